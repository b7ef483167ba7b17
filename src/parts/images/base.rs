//! Bases: Debian from a registry where one answers, else bootstrapped from its packages.

use std::fmt;

use anyhow::{Context, Result};

use super::{
    catalogue::{Base, labels_of},
    pull,
    stream::{self, Throttle},
};
use crate::{
    host::{docker::Docker, machine::registry, process::Cmd},
    run::{
        StepCx,
        advice::{Advise, Blame, Hint, Trouble},
    },
};

/// Makes sure of a base under its tag.
pub(super) async fn ensure(
    cx: &StepCx,
    docker: &Docker,
    name: &str,
    base: &Base,
    tag: &str,
    mirror: Option<&str>,
    on_note: impl Fn(String),
) -> Result<()> {
    if registry::answers(mirror).await {
        match pull::pull(cx, docker, name, &base.public, mirror).await {
            Ok(image) => return docker.tag(&image.id, tag).await,
            Err(why) => cx.warn(format!("cannot pull {}, so it is made from packages: {why:#}", base.public)),
        }
    }
    bootstrap(docker, name, base, tag, on_note)
        .await
        .with_context(|| format!("cannot make a base of Debian {} from packages", base.suite))
}

/// A base image can neither be pulled nor made.
#[derive(Clone, Debug)]
pub struct NoBase {
    /// The base.
    pub name: String,
}

impl fmt::Display for NoBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be made: mmdebstrap is not installed, and no registry answers", self.name)
    }
}

impl Advise for NoBase {
    fn blame(&self) -> Blame {
        Blame::Machine
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::words("`apt-get install mmdebstrap` installs it"), Hint::Fix, Hint::Mirror]
    }
}

async fn bootstrap(docker: &Docker, name: &str, base: &Base, tag: &str, on_note: impl Fn(String)) -> Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let file = folder.path().join("root.tar");
    let mut command = Cmd::new("mmdebstrap").args(["--variant=minbase", "--format=tar"]);
    // As in the public slim images: nobody reads manuals inside a container.
    let unread = ["doc", "man", "locale", "info", "groff", "lintian", "linda"];
    command = command.args(unread.map(|folder| format!("--dpkgopt=path-exclude=/usr/share/{folder}/*")));
    command = command.arg(r#"--aptopt=Apt::Install-Recommends "false""#);
    // Nor does anybody mourn an image that a power failure has cut short: dpkg need not wait for the disk, here and later.
    command = command.arg("--dpkgopt=force-unsafe-io");
    // The index of an unreleased suite may be older than its own expiry date on a mirror or a snapshot.
    command = command.arg(r#"--aptopt=Acquire::Check-Valid-Until "false""#).arg(&base.suite).arg(&file);
    let mut throttle = Throttle::default();
    let line = |line: &str| {
        if throttle.due() {
            on_note(line.trim_start_matches("I: ").to_owned());
        }
    };
    if let Err(error) = command.watch(line).await {
        let absent = error
            .chain()
            .any(|e| e.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::NotFound));
        if absent {
            return Err(Trouble::from(NoBase { name: name.to_owned() }).into());
        }
        return Err(error);
    }
    on_note("importing".to_owned());
    let labels: Vec<String> = labels_of(name).into_iter().map(|(k, v)| format!("LABEL {k}={v}")).collect();
    docker.import_rootfs(stream::of_file(&file).await?, tag, &labels).await
}
