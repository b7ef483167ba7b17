//! The only file that starts `kind`: makes the nodes, and says in other words what its errors usually mean. When it is
//! called is [`super::ensure()`]'s to decide.

use std::{collections::BTreeMap, convert::Infallible, fmt, io::Write, path::Path, time::Duration};

use anyhow::{Context, Result};

use crate::{
    host::{
        Host,
        docker::{self, Docker},
        lock::LabLock,
        nodes::{
            config,
            there::{
                Access, Nodes, NotOurs, containers, kubeconfig_path, node_names, remove_leftovers, write_kubeconfig,
            },
        },
        ports,
        process::{Cmd, CommandFailed},
        programs,
    },
    labels,
    run::{
        StepCx,
        advice::{self, Advise, Blame, Hint, Trouble},
        gate::Gate,
        wait::TimedOut,
    },
    spec::{LabName, LabSpec},
};

/// How long `kind` may take for all nodes; on two cores four of them take less than one minute.
const CREATE_LIMIT: Duration = Duration::from_mins(15);

/// What kind says when kubeadm has set up the control plane; the network and the workers come after it.
const API_ANSWERS: &str = "Installing CNI";

/// Makes all nodes of a lab of which there are none. `api` opens as soon as its API server answers.
pub(crate) async fn create(
    cx: &StepCx,
    host: &Host,
    spec: &LabSpec,
    lock: &LabLock,
    node_image: &str,
    api: &Gate<Access>,
    clones: &[String],
) -> Result<Nodes> {
    let (docker, lab) = (&host.docker, &spec.name);
    let image = derive_image(docker, lab, node_image).await?;
    docker.ensure_network(&network(lab), &labels::of_lab(lab)).await.context("cannot make the lab's Docker network")?;
    let published = docker.published_ports().await.context("cannot list the published ports")?;
    let port = ports::next_free(spec.cluster.port, &published)?;
    if port != spec.cluster.port {
        cx.warn(format!("port {} is taken; lab {lab} gets 127.0.0.1:{port}", spec.cluster.port));
    }
    let yaml = config::yaml(spec.cluster.workers, port, host.facts.cgroup_version, clones)?;
    let making = Making { host, lab, lock, image: &image, config: &yaml, port, api };
    if let Err(error) = making.run_kind(cx).await {
        // A killed run's `docker` children may bring a container up after we have looked.
        let late = advice::find::<CommandFailed>(&error)
            .is_some_and(|failed| failed.said.contains("already exist for a cluster"));
        if !late {
            return Err(explained(lab, error));
        }
        let left = containers(docker, lab).await?;
        NotOurs::check(lab, &left)?;
        remove_leftovers(cx, docker, &left).await?;
        making.run_kind(cx).await.map_err(|error| explained(lab, error))?;
    }
    let kubeconfig = kubeconfig_path(lab);
    let all = node_names(lab, spec.cluster.workers);
    // The engine would start them all at once, under other addresses, when the machine starts.
    for node in &all {
        docker.never_restart(node).await?;
    }
    Ok(Nodes { kubeconfig, all, port })
}

/// One cluster in the making.
struct Making<'a> {
    host: &'a Host,
    lab: &'a LabName,
    lock: &'a LabLock,
    image: &'a str,
    config: &'a str,
    port: u16,
    api: &'a Gate<Access>,
}

impl Making<'_> {
    async fn run_kind(&self, cx: &StepCx) -> Result<()> {
        let mut file = tempfile::Builder::new()
            .prefix("wplab-kind-")
            .suffix(".yaml")
            .tempfile()
            .context("cannot make a temporary file")?;
        file.write_all(self.config.as_bytes()).context("cannot write kind's configuration")?;
        let command = kind(self.host, self.lab, "create", "cluster")
            .args(["--image", self.image, "--retain", "--config"])
            .arg(file.path())
            .arg("--kubeconfig")
            .arg(kubeconfig_path(self.lab))
            .stdin(self.lock.share()?)
            .ends_with_us();
        let answers = Gate::closed();
        let mut last = String::from("it has not said anything");
        let on_line = |line: &str| {
            if let Some(note) = note(line) {
                if note == API_ANSWERS {
                    answers.open(());
                }
                cx.say(note.clone());
                last = note;
            }
        };
        let limit = cx.run().patience(CREATE_LIMIT);
        let created = tokio::select! {
            created = tokio::time::timeout(limit, command.watch(on_line)) => created,
            never = self.let_in(cx, &answers) => match never {},
        };
        created.map_err(|_| TimedOut {
            what: "kind to make the nodes".into(),
            after: limit,
            last: format!("it got as far as: {last}"),
        })??;
        Ok(())
    }

    /// Opens the way to the API server as soon as it answers. If that fails, the way opens when kind has ended.
    async fn let_in(&self, cx: &StepCx, answers: &Gate<()>) -> Infallible {
        answers.wait().await;
        match read_kubeconfig(self.host, self.lab).await {
            Ok(kubeconfig) => self.api.open(Access { kubeconfig, port: self.port }),
            Err(error) => cx.say(format!("the API is used when all nodes are there: {error:#}")),
        }
        std::future::pending().await
    }
}

/// An error of kind's with what it usually means.
fn explained(lab: &LabName, error: anyhow::Error) -> anyhow::Error {
    let means = match advice::find::<CommandFailed>(&error) {
        Some(failed) => meaning(&failed.said),
        None if error.is::<TimedOut>() => Some(Meaning::Hangs),
        None => None,
    };
    Trouble::from(KindFailed { lab: lab.clone(), means }).because(error).into()
}

/// The node image with our labels on top: containers inherit them, and that is how we know our nodes again.
pub(super) async fn derive_image(docker: &Docker, lab: &LabName, node_image: &str) -> Result<String> {
    let dockerfile = format!("FROM {node_image}\n");
    let context = docker::archive_of("Dockerfile", &dockerfile)?;
    let tag = image_of(lab, "latest");
    docker
        .build(context, &tag, &BTreeMap::new(), &labels::of_lab(lab), false, |_| {})
        .await
        .with_context(|| format!("cannot derive the lab's node image from {node_image}"))?;
    Ok(tag)
}

/// Writes the kubeconfig of a cluster that has lost it; fails when the control plane was never set up.
pub(crate) async fn export_kubeconfig(host: &Host, lab: &LabName, path: &Path) -> Result<()> {
    write_kubeconfig(path, &read_kubeconfig(host, lab).await?)
}

/// What kind would write as kubeconfig; it has one as soon as the control plane is set up.
async fn read_kubeconfig(host: &Host, lab: &LabName) -> Result<String> {
    Ok(kind(host, lab, "get", "kubeconfig").run().await?.stdout)
}

fn kind(host: &Host, lab: &LabName, verb: &str, noun: &str) -> Cmd {
    let kind = host.kind.as_ref().map_or(Path::new("kind"), |kind| kind.path.as_path());
    Cmd::new(kind)
        .args([verb, noun, "--name", lab.as_str()])
        .env("PATH", programs::child_path())
        .env("DOCKER_HOST", host.docker.host())
        .env("KIND_EXPERIMENTAL_PROVIDER", "docker")
        .env("KIND_EXPERIMENTAL_DOCKER_NETWORK", network(lab))
}

/// Asks an executable for its version.
pub(crate) fn version_command(path: &Path) -> Cmd {
    Cmd::new(path).arg("version")
}

/// What the image of a lab's nodes is called, or of one of them; it goes with the lab.
pub(crate) fn image_of(lab: &LabName, which: &str) -> String {
    format!("wplab/node-of-{lab}:{which}")
}

/// The lab's own Docker network.
pub(crate) fn network(lab: &LabName) -> String {
    format!("wplab-{lab}")
}

/// A line of kind's as a progress note: only the beginning of a piece of work, without the bullet.
fn note(line: &str) -> Option<String> {
    let text = line.trim().strip_prefix('•')?.trim_end_matches(['.', ' ']);
    let text: String = text.chars().filter(|c| c.is_ascii()).collect();
    let words: Vec<&str> = text.split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// kind could not make the nodes of a lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindFailed {
    /// The lab.
    pub lab: LabName,
    /// What its last words usually mean, where that is known.
    pub means: Option<Meaning>,
}

/// What kind's last words usually mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Another program was quicker.
    PortTaken,
    /// No space is left.
    DiskFull,
    /// The nodes of all labs share them.
    Inotify,
    /// Its init does not get as far as kind waits for.
    NoBoot,
    /// The engine keeps from its containers what nodes need.
    Unprivileged,
    /// kubeadm gave up on the control plane.
    NoControlPlane,
    /// kubeadm gave up on a worker.
    NoWorker,
    /// The engine does not answer.
    NoEngine,
    /// kind waits, and nothing comes.
    Hangs,
}

impl Meaning {
    /// Every meaning.
    pub const ALL: [Meaning; 9] = [
        Meaning::PortTaken,
        Meaning::DiskFull,
        Meaning::Inotify,
        Meaning::NoBoot,
        Meaning::Unprivileged,
        Meaning::NoControlPlane,
        Meaning::NoWorker,
        Meaning::NoEngine,
        Meaning::Hangs,
    ];

    fn words(self) -> &'static str {
        match self {
            Meaning::PortTaken => {
                "another program took the port in the meantime; the next free one is taken when it is run again"
            }
            Meaning::DiskFull => "Docker's disk is full",
            Meaning::Inotify => "the machine's inotify limits are too low",
            Meaning::NoBoot => {
                "a node did not boot; the usual reasons are low inotify limits and a node image that does not want this machine's cgroup version"
            }
            Meaning::Unprivileged => "this engine cannot run privileged containers",
            Meaning::NoControlPlane => {
                "Kubernetes did not start on the control plane; the usual reasons are a slow or full disk and too little memory"
            }
            Meaning::NoWorker => "a worker could not join the control plane; the usual reason is too little memory",
            Meaning::NoEngine => "the Docker engine went away",
            Meaning::Hangs => "a node hangs",
        }
    }
}

impl fmt::Display for KindFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kind could not make the nodes")?;
        self.means.map_or(Ok(()), |means| write!(f, ": {}", means.words()))
    }
}

impl Advise for KindFailed {
    fn blame(&self) -> Blame {
        match self.means {
            Some(Meaning::Inotify | Meaning::Unprivileged) => Blame::Machine,
            _ => Blame::Step,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        let why = || Hint::words(format!("`docker logs {}-control-plane` (or another node) may say why", self.lab));
        match self.means {
            None => vec![Hint::Doctor],
            Some(Meaning::PortTaken) => vec![Hint::Up { lab: self.lab.clone() }],
            Some(Meaning::DiskFull) => vec![Hint::words("`docker system df` shows what takes the space"), Hint::Doctor],
            Some(Meaning::NoBoot | Meaning::Hangs) => vec![why(), Hint::Doctor],
            Some(Meaning::NoControlPlane | Meaning::NoWorker) => vec![Hint::Doctor, why()],
            Some(Meaning::Inotify | Meaning::Unprivileged | Meaning::NoEngine) => vec![Hint::Doctor],
        }
    }
}

fn meaning(said: &str) -> Option<Meaning> {
    let has = |text: &str| said.contains(text);
    if has("port is already allocated") || has("address already in use") {
        Some(Meaning::PortTaken)
    } else if has("no space left on device") {
        Some(Meaning::DiskFull)
    } else if has("too many open files") || has("inotify") {
        Some(Meaning::Inotify)
    } else if has("could not find a log line that matches") {
        Some(Meaning::NoBoot)
    } else if has("unable to apply caps") || has("operation not permitted") {
        Some(Meaning::Unprivileged)
    } else if has("failed to init node with kubeadm") {
        Some(Meaning::NoControlPlane)
    } else if has("failed to join node with kubeadm") {
        Some(Meaning::NoWorker)
    } else if has("Cannot connect to the Docker daemon") {
        Some(Meaning::NoEngine)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_lines_become_notes() {
        assert_eq!(
            note(" • Ensuring node image (wplab/node-of-zoo:latest) 🖼  ..."),
            Some("Ensuring node image (wplab/node-of-zoo:latest)".into())
        );
        assert_eq!(note(" • Starting control-plane 🕹️  ...").as_deref(), Some("Starting control-plane"));
        assert_eq!(note(" • Installing CNI 🔌  ...").as_deref(), Some(API_ANSWERS));
        assert_eq!(note(" ✓ Starting control-plane 🕹️"), None);
        assert_eq!(note("Set kubectl context to \"kind-zoo\""), None);
    }

    #[test]
    fn last_words_get_their_usual_meaning() {
        let taken = meaning("Bind for 127.0.0.1:8080 failed: port is already allocated");
        assert_eq!(taken, Some(Meaning::PortTaken));
        assert_eq!(meaning("write /x: no space left on device"), Some(Meaning::DiskFull));
        assert_eq!(meaning("something new"), None);
    }
}
