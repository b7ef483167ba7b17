//! The nodes: looks at the containers that are there, starts, completes or makes them ([`super::create`]).
//!
//! `kind` writes the kubeconfig after everything else, so a cluster without one was never finished and holds nothing that
//! anybody would miss: `up` begins to fill it while workers still join. Whether a finished cluster is whole only Kubernetes
//! can say; the caller looks for us ([`ClusterLook`]).

use std::{fmt, future::Future, path::PathBuf, time::Duration};

use anyhow::{Context, Result};

use crate::{
    host::{
        Host,
        docker::{Container, Docker},
        lock::{self, LabLock},
        nodes::{
            create::{create, export_kubeconfig, network},
            freeze, halt,
            roots::Clones,
            rules,
            there::{
                Access, Nodes, NotOurs, begun, containers, finished, frontend_port, kubeconfig_path, node_names,
                remove_leftovers, unfinished_mark,
            },
        },
    },
    run::{
        StepCx, Stepped,
        advice::{Advise, Blame, Hint, Trouble},
        gate::Gate,
        wait::{Look, TimedOut},
    },
    spec::{LabName, LabSpec},
};

/// How long the API server of a finished cluster may be silent: nodes that were just started need a minute or two.
const API_PATIENCE: Duration = Duration::from_mins(3);
/// The same for one that may never have been finished.
const DOUBTFUL_PATIENCE: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_secs(1);

/// What one look at a cluster through its API found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterLook {
    /// The API answers, every expected Node object is there, and so is what `kind` installs last.
    Whole,
    /// Something of that is missing, and nothing of a lab is in it: it may be thrown away.
    Unfinished(String),
    /// Something is missing, but a lab is in it: it must not be thrown away.
    InUse(String),
    /// It has a lab in it, and only so many workers, the first ones of those that are expected.
    Fewer(u8),
    /// The API does not answer (yet), and what was seen instead.
    Silent(String),
}

/// Makes sure that the lab's nodes run: starts those that are stopped, throws away what an interrupted creation left,
/// makes what is not there. `look` looks at the cluster of a kubeconfig once; `settled` opens when no container is going to be
/// thrown away any more, so that images may be loaded into those that appear; `api` as soon as the API server answers. `roots`
/// is asked for what new nodes have as /var.
///
/// # Errors
/// [`NotOurs`]; the nodes that are there are not those of the lab file, or are damaged though a lab is in them; `kind`
/// failed ([`CommandFailed`](crate::host::process::CommandFailed) with what it usually means); the API of nodes that are there stays silent ([`TimedOut`]).
#[expect(clippy::too_many_arguments, reason = "what it needs of its caller is what it may not know")]
pub async fn ensure<F, R>(
    cx: StepCx,
    host: &Host,
    spec: &LabSpec,
    lock: &LabLock,
    node_image: &str,
    settled: &Gate<()>,
    api: &Gate<Access>,
    look: impl Fn(PathBuf) -> F,
    roots: impl FnOnce(StepCx) -> R,
) -> Result<Stepped<Nodes>>
where
    F: Future<Output = ClusterLook>,
    R: Future<Output = Clones>,
{
    let docker = &host.docker;
    let there = containers(docker, &spec.name).await?;
    if let Err(error) = NotOurs::check(&spec.name, &there) {
        // Taking the lock made a folder for a lab that will never be.
        let _ = lock::remove_folder(&lock::folder(&spec.name), lock::Only::OurLock);
        return Err(error.into());
    }
    if let Err(error) = rules::ensure().await {
        cx.say(format!("cluster addresses may leave this machine: {error:#}"));
    }
    if !there.is_empty() {
        let (started, left) = start_stopped(&cx, docker, &spec.name, there).await?;
        if let Some(nodes) = keep(&cx, host, spec, &left, look).await? {
            let detail = format!("{} nodes", nodes.all.len());
            let _ = std::fs::remove_file(unfinished_mark(&spec.name));
            settled.open(());
            api.open(access(&nodes)?);
            return Ok(Stepped::changed(started, nodes, detail));
        }
        remove_leftovers(&cx, docker, &left).await?;
        // Of the cluster that is gone; were it there, the next run would take the new one for finished.
        let _ = std::fs::remove_file(kubeconfig_path(&spec.name));
    }
    settled.open(());
    let clones = roots(cx.clone()).await;
    begun(&spec.name)?;
    let nodes = create(&cx, host, spec, lock, node_image, api, &clones).await?;
    finished(&spec.name)?;
    api.open(access(&nodes)?);
    let detail = format!("{} nodes on Docker network {}", nodes.all.len(), network(&spec.name));
    Ok(Stepped::done(nodes, detail))
}

fn access(nodes: &Nodes) -> Result<Access> {
    let file = &nodes.kubeconfig;
    let kubeconfig = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(Access { kubeconfig, port: nodes.port })
}

/// Starts stopped nodes and lists the containers again: only a running one shows its port.
async fn start_stopped(
    cx: &StepCx,
    docker: &Docker,
    lab: &LabName,
    there: Vec<Container>,
) -> Result<(bool, Vec<Container>)> {
    if there.iter().all(|c| c.running) {
        return Ok((false, there));
    }
    freeze::thaw(docker, &there).await?;
    let stopped: Vec<&Container> = there.iter().filter(|c| !c.running && !c.paused).collect();
    halt::start(cx, docker, lab, &stopped).await;
    Ok((true, containers(docker, lab).await.context("cannot list the nodes after starting them")?))
}

/// A lab has other nodes than are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Differs {
    /// The lab.
    pub lab: LabName,
    /// The workers that it has.
    pub workers: usize,
    /// The workers that are asked for.
    pub wanted: u8,
}

impl fmt::Display for Differs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Differs { lab, workers, wanted } = self;
        write!(
            f,
            "lab {lab} has {workers} workers and the lab file asks for {wanted}; they come and go by a command of their own, as what they have may go with them"
        )
    }
}

impl Advise for Differs {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        let lab = || self.lab.clone();
        let keep = Hint::Keep { lab: lab(), setting: "workers", has: self.workers.to_string() };
        vec![Hint::Scale { lab: lab(), what: "workers", to: self.wanted.to_string() }, keep]
    }
}

/// A lab has lost something that cannot be made again without what was in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    /// The lab.
    pub lab: LabName,
    /// What it has lost.
    pub how: String,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lab {} is damaged: {}", self.lab, self.how)
    }
}

impl Advise for Damaged {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Anew { lab: self.lab.clone() }]
    }
}

/// In what condition containers are that are there, before the API is asked.
#[derive(Debug, PartialEq, Eq)]
enum Condition {
    /// All are there and run.
    Whole,
    /// Some are missing or do not run; the API is asked what would be lost.
    Damaged(String),
    /// They are so many workers, and the lab file asks for fewer.
    Differs(usize),
    /// Nothing can be kept.
    Worthless,
}

fn judge(lab: &LabName, workers: u8, there: &[(&str, bool)], finished: bool) -> Condition {
    let wanted = node_names(lab, workers);
    let running = |name: &str| there.iter().any(|(n, running)| *n == name && *running);
    if !running(&wanted[0]) {
        // The cluster's whole state was on the control plane.
        return if there.iter().any(|(n, _)| *n == wanted[0]) && finished {
            Condition::Damaged(format!("its control plane {} does not run", wanted[0]))
        } else {
            Condition::Worthless
        };
    }
    let extra = there.iter().filter(|(name, _)| !wanted.iter().any(|w| w == name)).count();
    if extra > 0 && finished {
        return Condition::Differs(there.len() - 1);
    }
    let missing: Vec<&str> = wanted.iter().map(String::as_str).filter(|name| !running(name)).collect();
    match (missing.is_empty() && extra == 0, finished) {
        (true, _) => Condition::Whole,
        (false, true) => Condition::Damaged(format!("{} missing or stopped", missing.join(" and "))),
        (false, false) => Condition::Worthless,
    }
}

/// The nodes, if what is there can be kept; `None` when it has to go.
async fn keep<F>(
    cx: &StepCx,
    host: &Host,
    spec: &LabSpec,
    there: &[Container],
    look: impl Fn(PathBuf) -> F,
) -> Result<Option<Nodes>>
where
    F: Future<Output = ClusterLook>,
{
    let lab = &spec.name;
    let kubeconfig = kubeconfig_path(lab);
    let finished = kubeconfig.is_file();
    let seen: Vec<(&str, bool)> = there.iter().map(|c| (c.name.as_str(), c.running)).collect();
    let wanted = spec.cluster.workers;
    let differs = |workers| Trouble::from(Differs { lab: lab.clone(), workers, wanted });
    let run = |workers| node_names(lab, workers).iter().all(|name| seen.contains(&(name.as_str(), true)));
    let damage = match judge(lab, wanted, &seen, finished) {
        Condition::Worthless => return Ok(None),
        Condition::Differs(workers) => {
            return Err(differs(workers).into());
        }
        Condition::Damaged(how) => Some(how),
        Condition::Whole => None,
    };
    if !finished && unfinished_mark(lab).is_file() {
        cx.say("the cluster was never finished: whoever made it was interrupted");
        return Ok(None);
    }
    if !finished && let Err(error) = export_kubeconfig(host, lab, &kubeconfig).await {
        cx.say(format!("the cluster was never finished: {error:#}"));
        return Ok(None);
    }
    let lost = |how: &str| Trouble::from(Damaged { lab: lab.clone(), how: how.to_owned() });
    let patience = if finished { API_PATIENCE } else { DOUBTFUL_PATIENCE };
    let looked = cx
        .until("the API server", patience, EVERY, || {
            let seen = look(kubeconfig.clone());
            async {
                Ok(match seen.await {
                    ClusterLook::Silent(why) => Look::NotYet(why),
                    other => Look::Ready(other),
                })
            }
        })
        .await;
    match looked {
        Ok(ClusterLook::Whole | ClusterLook::Silent(_)) if damage.is_none() => {}
        Ok(ClusterLook::Unfinished(why)) => {
            cx.say(format!("the cluster was never finished: {why}"));
            return Ok(None);
        }
        Ok(ClusterLook::Fewer(workers)) if run(workers) => return Err(differs(workers.into()).into()),
        Ok(ClusterLook::InUse(why)) => return Err(lost(damage.as_deref().unwrap_or(&why)).into()),
        Ok(_) => return Err(lost(damage.as_deref().unwrap_or("its API server does not answer")).into()),
        Err(error) if !finished && error.is::<TimedOut>() => {
            let _ = std::fs::remove_file(&kubeconfig);
            return Ok(None);
        }
        Err(error) => {
            return Err(match damage {
                Some(how) => lost(&how).because(error).into(),
                None => error.context("the nodes run, but Kubernetes does not answer"),
            });
        }
    }
    let all = node_names(lab, spec.cluster.workers);
    let Some(port) = there.iter().find_map(frontend_port) else {
        return Err(lost("its control plane maps no port to the frontend").into());
    };
    Ok(Some(Nodes { kubeconfig, all, port }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> LabName {
        LabName::new("zoo").expect("a name")
    }

    #[test]
    fn what_is_there_is_kept_asked_about_or_removed() {
        const CP: (&str, bool) = ("zoo-control-plane", true);
        const W: (&str, bool) = ("zoo-worker", true);
        const MISSING: &str = "zoo-worker missing or stopped";
        let damaged = |text: &str| Condition::Damaged(text.into());
        let differs = Condition::Differs(2);
        type Case<'a> = (&'a [(&'a str, bool)], bool, Condition);
        let cases: [Case<'_>; 9] = [
            (&[CP, W], true, Condition::Whole),
            (&[CP, W], false, Condition::Whole),
            (&[CP], false, Condition::Worthless),
            (&[CP], true, damaged(MISSING)),
            (&[CP, ("zoo-worker", false)], true, damaged(MISSING)),
            (&[W], true, Condition::Worthless),
            (&[("zoo-control-plane", false), W], false, Condition::Worthless),
            (&[("zoo-control-plane", false), W], true, damaged("its control plane zoo-control-plane does not run")),
            (&[CP, W, ("zoo-worker2", true)], true, differs),
        ];
        for (there, finished, want) in cases {
            assert_eq!(judge(&lab(), 1, there, finished), want, "{there:?} finished: {finished}");
        }
    }
}
