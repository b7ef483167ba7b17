//! The containers of a trial cluster: one etcd and two members, each with as little as its pod gets, on a network of their own
//! that nothing leads out of. Configuration, certificates and passwords come as files in volumes that go with the
//! containers: nothing secret is in an argument, a variable, a label or a log.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, anyhow};
use futures_util::future::try_join_all;
use k8s_openapi::api::apps::v1::StatefulSet;
use serde::de::DeserializeOwned;

use crate::{
    cluster::{
        manifests::{self, name_of, typed},
        secrets::password,
    },
    host::docker::{Docker, Sandbox},
    inside::{member, trial},
    labels::Component,
    parts::{
        database, discovery,
        images::{
            Role,
            check::{self, TOOLS},
        },
    },
    spec::{LabSpec, Topology},
    wire::tls::{Authority, Use},
};

/// The members; the first one begins.
pub(super) const MEMBERS: [&str; 2] = ["db-0", "db-1"];
/// The one etcd.
pub(super) const ETCD: &str = "etcd-0";
/// The network, and what every container's name begins with.
const NETWORK: &str = "wplab-check";
const ETCD_HOST: &str = "etcd-0.etcd";
/// Where files and data are, as in the pods.
const CONFIG: &str = "/etc/wplab";
const DATA: [(&str, &str); 3] =
    [(ETCD, "/var/lib/etcd"), (MEMBERS[0], "/var/lib/mysql"), (MEMBERS[1], "/var/lib/mysql")];
/// How long a member may take to end; a little more than its supervisor gives its server.
const GRACE: i32 = 60;
/// How long one question inside a container may take.
const ANSWER: Duration = Duration::from_secs(20);

/// The images that a trial is made of, by id.
#[derive(Clone, Debug)]
pub(super) struct Images {
    /// Whose cluster it is.
    pub(super) role: Role,
    /// The image under test.
    pub(super) member: String,
    /// etcd's.
    pub(super) etcd: String,
    /// The tool's own.
    pub(super) tool: String,
}

/// The containers, made and not started.
pub(super) struct Containers<'a> {
    docker: &'a Docker,
    /// What must never be shown.
    pub(super) secrets: Vec<String>,
}

impl<'a> Containers<'a> {
    /// Makes everything; whoever calls it removes it.
    ///
    /// # Errors
    /// The engine refuses something, in its own words.
    pub(super) async fn make(docker: &'a Docker, images: &Images) -> Result<Containers<'a>> {
        docker.closed_network(NETWORK).await?;
        let Files { members, etcd, secrets } = Files::generate(images.role)?;
        let data = try_join_all(DATA.map(|(_, folder)| data(docker, &images.tool, folder)));
        let files = try_join_all([members, etcd].map(|files| lent(docker, &images.tool, files)));
        let (data, files) = futures_util::try_join!(data, files)?;
        for ((name, folder), data) in DATA.into_iter().zip(data) {
            let mut sandbox = match name {
                ETCD => etcd_sandbox(&images.etcd)?,
                member => member_sandbox(images.role, &images.member, member)?,
            };
            sandbox.folders.retain(|writable| writable != folder && writable != CONFIG);
            sandbox.sees = files.get(usize::from(name == ETCD)).cloned();
            sandbox.keeps = Some(data);
            docker.prepare(&container(name), &sandbox).await?;
        }
        Ok(Containers { docker, secrets })
    }

    /// Starts one, for the first time or again.
    ///
    /// # Errors
    /// The engine cannot start it.
    pub(super) async fn start(&self, name: &str) -> Result<()> {
        self.docker.start(&container(name)).await
    }

    /// Asks one to end and waits for that; its exit code.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(super) async fn stop(&self, name: &str) -> Result<i64> {
        self.docker.stop(&container(name), GRACE).await
    }

    /// The exit code of one that has ended.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(super) async fn ended(&self, name: &str) -> Result<Option<i64>> {
        self.docker.ended(&container(name)).await
    }

    /// Has our executable in a container do or look up something.
    ///
    /// # Errors
    /// What was said inside, or the container does not run.
    pub(super) async fn ask<T: DeserializeOwned>(&self, name: &str, question: &[&str]) -> Result<T> {
        let program = format!("{TOOLS}/wplab");
        let command: Vec<&str> = [program.as_str(), "trial"].iter().chain(question).copied().collect();
        let asked = tokio::time::timeout(ANSWER, self.docker.exec(&container(name), &command)).await;
        let asked = asked.map_err(|_| anyhow!("{name} gave no answer within {} s", ANSWER.as_secs()))??;
        if asked.code != 0 {
            return Err(anyhow!(
                "`{}` ended with {} in {name}: {}",
                command.join(" "),
                asked.code,
                asked.stderr.trim()
            ));
        }
        trial::parse(&asked.stdout)
    }

    /// All that a container has printed.
    ///
    /// # Errors
    /// The engine does not answer.
    pub(super) async fn log(&self, name: &str) -> Result<String> {
        let log = self.docker.log(&container(name)).await?;
        Ok(log.stdout + &log.stderr)
    }
}

fn container(name: &str) -> String {
    format!("{NETWORK}-{name}")
}

/// A volume that the container's user can write to, as one of its own group would be.
async fn data(docker: &Docker, tool: &str, folder: &str) -> Result<String> {
    let sandbox = Sandbox {
        image: tool.to_owned(),
        command: ["/wplab", "trial", "open", folder].map(str::to_owned).into(),
        volumes: vec![folder.to_owned()],
        ..Sandbox::default()
    };
    docker.lender(&sandbox).await.context("cannot make a volume")
}

/// The executable, and these files below [`CONFIG`].
async fn lent(docker: &Docker, tool: &str, archive: Vec<u8>) -> Result<String> {
    let mut sandbox = check::lender(tool);
    sandbox.volumes.push(CONFIG.to_owned());
    let lender = docker.lender(&sandbox).await.context("cannot hand out the executable")?;
    docker.unpack(&lender, CONFIG, archive).await?;
    Ok(lender)
}

/// What a member of the lab that nobody described may use, in bytes.
fn memory() -> i64 {
    #[expect(clippy::cast_possible_truncation, reason = "a size in bytes, without a fraction")]
    let bytes = LabSpec::of(Topology::Galera).database.resources.memory.value() as i64;
    bytes
}

fn member_sandbox(role: Role, image: &str, name: &str) -> Result<Sandbox> {
    let env = [
        ("POD_NAME", name),
        ("MEMBERS", "2"),
        ("WPLAB_FLAVOUR", role.name()),
        ("ETCD_ENDPOINTS", &format!("https://{ETCD_HOST}:2379")),
    ];
    Ok(Sandbox {
        command: [&format!("{TOOLS}/wplab"), "trial", "member"].map(str::to_owned).into(),
        env: env.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        memory: Some(memory()),
        network: Some((NETWORK.to_owned(), name.to_owned())),
        ..check::sandbox(role, image)?
    })
}

/// etcd with the manifest's own arguments, as the only one.
fn etcd_sandbox(image: &str) -> Result<Sandbox> {
    let objects = manifests::part("discovery")?;
    let set = objects.iter().find(|object| name_of(object) == "StatefulSet/etcd").context("there is no etcd")?;
    let pod = typed::<StatefulSet>(set)?.spec.and_then(|spec| spec.template.spec).context("etcd has no pod")?;
    let container = pod.containers.into_iter().next().context("etcd has no container")?;
    let alone = |arg: String| match arg.split_once('=') {
        Some(("--initial-cluster", all)) => {
            format!("--initial-cluster={}", all.split(',').next().unwrap_or_default())
        }
        _ => arg.replace("$(POD_NAME)", ETCD),
    };
    let args = container.args.unwrap_or_default().into_iter().map(alone);
    Ok(Sandbox {
        command: container.command.unwrap_or_default().into_iter().chain(args).collect(),
        network: Some((NETWORK.to_owned(), ETCD_HOST.to_owned())),
        ..check::sandbox(Role::Etcd, image)?
    })
}

/// What ConfigMaps and Secrets hold, as archives for the volumes.
struct Files {
    members: Vec<u8>,
    etcd: Vec<u8>,
    secrets: Vec<String>,
}

impl Files {
    fn generate(role: Role) -> Result<Files> {
        let own = database::certificate_names();
        let names = discovery::names();
        let subject = database::certificate_subject;
        let [database, etcd, peers] = [Authority::new()?, Authority::new()?, Authority::new()?];
        let mut secrets = Vec::new();
        let mut paper = |folder: &str, authority: &Authority, used, of: Component, names: &[String]| -> Result<_> {
            let issued = authority.issue(used, &subject(of), names)?;
            secrets.extend(issued.key.lines().filter(|line| !line.starts_with("-----")).map(str::to_owned));
            let files =
                [("ca.crt", authority.certificate.clone()), ("tls.crt", issued.certificate), ("tls.key", issued.key)];
            Ok(files.map(|(name, text)| (format!("{folder}/{name}"), text)))
        };
        let mut members = BTreeMap::from(paper("tls", &database, Use::Peer, Component::Database, &own)?);
        members.extend(paper("etcd", &etcd, Use::Client, Component::Database, &["client".to_owned()])?);
        let mut of_etcd = BTreeMap::from(paper("tls", &etcd, Use::Peer, Component::Discovery, &names)?);
        of_etcd.extend(paper("peers", &peers, Use::Peer, Component::Discovery, &names)?);
        let passwords: BTreeMap<String, String> =
            database::keys(Topology::Galera).iter().map(|key| (format!("credentials/{key}"), password())).collect();
        secrets.extend(passwords.values().cloned());
        let group = |role| -> Result<u64> {
            let user = check::sandbox(role, "")?.user;
            user.rsplit(':').next().and_then(|group| group.parse().ok()).context("a pod has no group")
        };
        members.extend(passwords.into_iter().chain(options(role)?));
        Ok(Files { members: archive(&members, group(role)?)?, etcd: archive(&of_etcd, group(Role::Etcd)?)?, secrets })
    }
}

/// The server's option files with the settings of the lab that nobody described, and what makes it tell what it does.
fn options(role: Role) -> Result<BTreeMap<String, String>> {
    let mut settings = LabSpec::of(Topology::Galera).database.settings;
    if role == Role::Percona {
        // Which way a member takes is a note to it, and notes are not logged by default.
        settings.insert("log_error_verbosity".to_owned(), "3".to_owned());
    }
    let files = member::options::files(role.name(), &settings)?;
    Ok(files.into_iter().map(|(name, text)| (format!("mysql/{name}"), text)).collect())
}

/// Files that nobody but root and this group may read, as a pod's Secrets are.
fn archive(files: &BTreeMap<String, String>, group: u64) -> Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o440);
        header.set_uid(0);
        header.set_gid(group);
        archive.append_data(&mut header, path, text.as_bytes())?;
    }
    archive.into_inner().context("cannot pack the files of a member")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_gets_as_little_as_its_pod_and_nothing_secret_in_the_open() {
        let sandbox = member_sandbox(Role::Percona, "x", "db-1").expect("a sandbox");
        assert_eq!((sandbox.user.as_str(), sandbox.capabilities.len()), ("1001:1001", 0));
        assert_eq!(sandbox.command, ["/tools/wplab", "trial", "member"]);
        let names: Vec<&str> = sandbox.env.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["POD_NAME", "MEMBERS", "WPLAB_FLAVOUR", "ETCD_ENDPOINTS"]);
        assert_eq!(sandbox.memory, Some(640 << 20));
    }

    #[test]
    fn etcd_is_alone_with_the_manifests_arguments() {
        let sandbox = etcd_sandbox("x").expect("a sandbox");
        let has = |arg: &str| sandbox.command.iter().any(|given| given == arg);
        assert!(has("/usr/local/bin/etcd") && has("--name=etcd-0") && has("--client-cert-auth"), "{sandbox:?}");
        assert!(has("--initial-cluster=etcd-0=https://etcd-0.etcd:2380"), "{sandbox:?}");
        assert!(!sandbox.command.iter().any(|arg| arg.contains("$(") || arg.contains("etcd-1")), "{sandbox:?}");
    }

    #[test]
    fn files_are_closed_to_others_and_every_password_is_a_secret() {
        let files = Files::generate(Role::Percona).expect("generated");
        let mut seen = BTreeMap::new();
        for entry in tar::Archive::new(files.members.as_slice()).entries().expect("an archive") {
            let mut entry = entry.expect("a file");
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text).expect("text");
            let header = entry.header();
            assert_eq!((header.mode().expect("a mode"), header.gid().expect("a group")), (0o440, 1001));
            seen.insert(entry.path().expect("a path").to_string_lossy().into_owned(), text);
        }
        for of in ["root", "wordpress", "sst"] {
            assert!(files.secrets.contains(&seen[&format!("credentials/{of}-password")]), "{of}");
        }
        for of in ["tls", "etcd"] {
            let key = seen[&format!("{of}/tls.key")].lines().nth(1).expect("a key").to_owned();
            assert!(files.secrets.contains(&key), "{of}");
        }
        assert!(
            seen["mysql/my.cnf"].contains("!include") && seen["mysql/lab.cnf"].contains("log_error_verbosity=\"3\"")
        );
        assert!(seen["mysql/fixed.cnf"].contains("pxc_strict_mode"));
        let mut etcd = tar::Archive::new(files.etcd.as_slice());
        assert_eq!(etcd.entries().expect("an archive").count(), 6);
    }
}
