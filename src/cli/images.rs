//! `wplab images …`: the images by themselves.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Error, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use wplab::{
    actions::images,
    parts::{
        images::Role,
        trial::{self, Thorough},
    },
    run::advice::Trouble,
    spec::{Flavour, ImageSource},
};

use super::{
    args::{self, Wanted},
    failure::{Ending, Misused},
    render::{contracts, tables},
    session::Session,
};

/// How long removing what an interrupted check has left may take.
const TIDYING: Duration = Duration::from_secs(30);

/// List, build, pull or save the container images of a lab
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  wplab images list
  wplab images build mysql wordpress
  wplab images check mysql --image mysql:9.7
  wplab images check percona --thorough
  wplab images save bundle.tar    then `wplab up --images bundle.tar` needs no network")]
pub(super) struct Images {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the catalogue and what of it is here
    List,
    /// Build images from Debian packages and Go modules
    Build {
        /// Which: node, mysql, mariadb, etcd, wordpress, nfs, metrics-server, prometheus, mysqld-exporter, versitygw [default: all]
        #[arg(value_parser = role)]
        roles: Vec<Role>,
    },
    /// Pull images from their registries
    Pull {
        /// Pull from this registry instead of the images' own
        #[arg(long, value_name = "HOST[:PORT]", value_parser = args::mirror)]
        registry_mirror: Option<String>,
    },
    /// Get images as `up` would: what is here, else pulled or built
    Get {
        /// Which: node, mysql, percona, mariadb, etcd, wordpress, nfs, metrics-server, prometheus, mysqld-exporter, versitygw [default: all]
        #[arg(value_parser = role)]
        roles: Vec<Role>,
        /// Where from: auto, registry or packages
        #[arg(long, default_value = "auto", value_name = "SOURCE", value_parser = source)]
        images: ImageSource,
        /// Pull from this registry instead of the images' own
        #[arg(long, value_name = "HOST[:PORT]", value_parser = args::mirror)]
        registry_mirror: Option<String>,
    },
    /// Hold images against what the lab relies on, line by line
    Check {
        /// Which: node, mysql, percona, mariadb, etcd, wordpress, nfs, metrics-server, prometheus, mysqld-exporter, versitygw [default: all that are here]
        #[arg(value_parser = role)]
        roles: Vec<Role>,
        /// This image, which Docker has, instead of the one that a lab would run; for one role
        #[arg(long, value_name = "IMAGE", requires = "roles")]
        image: Option<String>,
        /// Have a cluster of two live through what a lab's members do, and write a report; for mariadb or percona
        #[arg(long, requires = "roles")]
        thorough: bool,
        /// Where the report goes [default: wplab-check-ROLE.md in this folder]
        #[arg(long, value_name = "FILE", requires = "thorough")]
        report: Option<PathBuf>,
    },
    /// Unpack a lab's images once, so that its nodes begin with them; the first `up` does so by itself
    Warm {
        #[command(flatten)]
        wanted: Wanted,
        /// Pull from this registry instead of the images' own
        #[arg(long, value_name = "HOST[:PORT]", value_parser = args::mirror)]
        registry_mirror: Option<String>,
    },
    /// Remove what was unpacked for labs and not used for two weeks; labs that stand keep theirs
    Prune {
        /// All of it
        #[arg(long)]
        all: bool,
    },
    /// Save the images of both topologies into one file
    Save {
        /// Which server of topology galera: auto, percona or mariadb
        #[arg(long, default_value = "auto", value_parser = Flavour::new)]
        flavour: Flavour,
        /// The file, ending in .tar
        #[arg(value_name = "FILE.tar", value_parser = bundle)]
        file: PathBuf,
    },
}

impl Images {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let terminal = &session.terminal;
        let next = ("wplab up".to_owned(), "bring the lab up");
        match self.what {
            What::List => {}
            What::Build { roles } => {
                session.perform(|run| async move { images::build(&run, &roles).await }).await?;
            }
            What::Pull { registry_mirror } => {
                session.perform(|run| async move { images::pull(&run, registry_mirror.as_deref()).await }).await?;
            }
            What::Get { roles, images: source, registry_mirror: mirror } => {
                let get = |run| async move { images::get(&run, &source, &roles, mirror.as_deref()).await };
                session.perform(get).await?;
            }
            What::Check { roles, image, thorough: true, report } => {
                let [role] = roles.as_slice() else {
                    return Err(misused("--thorough is for one role at a time: mariadb or percona".to_owned()));
                };
                if !trial::can(*role) {
                    let why = "--thorough is for the servers of topology galera, mariadb and percona, not for";
                    return Err(misused(format!("{why} {}", role.name())));
                }
                return thoroughly(session, *role, image.as_deref(), report).await;
            }
            What::Check { roles, image, .. } => {
                if image.is_some() && roles.len() != 1 {
                    let many = roles.len();
                    return Err(misused(format!(
                        "--image is held against the contract of one role, and {many} are named"
                    )));
                }
                let checked =
                    session.perform(|run| async move { images::check(&run, &roles, image.as_deref()).await }).await?;
                terminal.result(&checked, |paint| contracts::checked(&checked, paint));
                return Ok(Ending::checked(checked.iter().all(|checked| checked.broken().is_none())));
            }
            What::Warm { wanted, registry_mirror: mirror } => {
                let spec = wanted.spec()?;
                session.perform(|run| async move { images::warm(&run, &spec, mirror.as_deref()).await }).await?;
                terminal.next(&[(wanted.again(), "bring the lab up")]);
                return Ok(Ending::Done);
            }
            What::Prune { all } => {
                let pruned = session.perform(|_run| images::prune(all)).await?;
                terminal.result(&pruned, |_| tables::pruned(&pruned));
                return Ok(Ending::Done);
            }
            What::Save { flavour, file } => {
                let size = session
                    .perform(|run| async {
                        let run = run;
                        images::save(&run, flavour, &file).await
                    })
                    .await?;
                let shown = file.display().to_string();
                terminal.result(&serde_json::json!({ "file": shown, "size": size }), |_| {
                    format!("{shown}  {}\n", tables::bytes(size))
                });
                terminal.next(&[(format!("wplab up --images {shown}"), "works with no network")]);
                return Ok(Ending::Done);
            }
        }
        let rows = session.perform(|_run| images::list()).await?;
        terminal.result(&rows, |_| tables::images(&rows));
        terminal.next(&[next]);
        Ok(Ending::Done)
    }
}

fn misused(why: String) -> Error {
    Trouble::from(Misused(why)).into()
}

/// The check with a cluster, and its report in a file.
async fn thoroughly(session: &Session, role: Role, image: Option<&str>, report: Option<PathBuf>) -> Result<Ending> {
    let path = report.unwrap_or_else(|| PathBuf::from(format!("wplab-check-{}.md", role.name())));
    // Told now, not when everything is done.
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) {
        return Err(misused(format!("--report: there is no folder {}", folder.display())));
    }
    let checked = session.perform(|run| async move { images::check_thoroughly(&run, role, image).await }).await;
    let checked = match checked {
        Ok(checked) => checked,
        Err(error) => {
            // Whoever was interrupted could not tidy up; what cannot be removed now is removed by the next check.
            let _ = tokio::time::timeout(TIDYING, images::clear()).await;
            return Err(error);
        }
    };
    fs::write(&path, checked.markdown()).with_context(|| format!("cannot write the report to {}", path.display()))?;
    let result = Reported { checked: &checked, report: &path };
    session.terminal.result(&result, |paint| contracts::thorough(&checked, &path, paint));
    Ok(Ending::checked(checked.holds()))
}

/// The result, with the place of its report.
#[derive(Debug, Serialize)]
struct Reported<'a> {
    #[serde(flatten)]
    checked: &'a Thorough,
    report: &'a Path,
}

/// Every role but the tool's, whose image is made of this executable; whether one has a recipe the catalogue knows.
fn role(text: &str) -> Result<Role, String> {
    let known = || Role::ALL.into_iter().filter(|role| *role != Role::Tool);
    let names = || known().map(Role::name).collect::<Vec<_>>().join(", ");
    known().find(|role| role.name() == text).ok_or_else(|| format!("use {}", names()))
}

/// A bundle is read by `up`, whole.
fn source(text: &str) -> Result<ImageSource, String> {
    match text {
        "auto" => Ok(ImageSource::Auto),
        "registry" => Ok(ImageSource::Registry),
        "packages" => Ok(ImageSource::Packages),
        _ => Err("use auto, registry or packages".to_owned()),
    }
}

fn bundle(text: &str) -> Result<PathBuf, String> {
    if text.ends_with(".tar") { Ok(PathBuf::from(text)) } else { Err("the name of a bundle ends in .tar".to_owned()) }
}
