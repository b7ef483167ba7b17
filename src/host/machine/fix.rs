//! `--fix`: does what would cure this machine, once somebody has agreed to it.

use std::{fmt, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use futures_util::future::BoxFuture;

use crate::{
    host::{
        HostFacts,
        docker::Docker,
        folders,
        machine::{
            action::{Action, KIND_MODULE, KindSource},
            apt, engine, files,
            observe::KIND_MIN,
            outlook::{ImagesAhead, Outlook},
        },
        process::Cmd,
        programs,
    },
    run::StepCx,
};

/// Compiling kind with a cold cache on one slow core.
const BUILD_LIMIT: Duration = Duration::from_mins(15);

/// Who is asked before anything is changed.
pub trait Consent: Send + Sync {
    /// Shows what would be done, and what would follow as far as it is known, and says whether to go ahead. Without a
    /// terminal or with `--yes` that is always so.
    fn agree<'a>(&'a self, actions: &'a [Action], outlook: Option<&'a Outlook>) -> BoxFuture<'a, bool>;
}

/// Builds the image of the recipe `kind`, whose `/kind` is the executable, and returns its reference.
pub type KindRecipe<'a> = dyn Fn(Docker) -> BoxFuture<'a, Result<String>> + Send + Sync + 'a;

/// Says which images a lab would still need on a machine of these facts; what is in the engine is looked at if there is
/// one, and `true` adds the recipe `kind`.
pub type AheadOfLab<'a> =
    dyn Fn(Option<Docker>, HostFacts, bool) -> BoxFuture<'a, Result<ImagesAhead>> + Send + Sync + 'a;

/// What `--fix` needs from its caller.
pub struct Fixer<'a> {
    /// Who is asked.
    pub consent: &'a dyn Consent,
    /// The last resort for `kind`; the recipes belong to another room.
    pub kind_recipe: Box<KindRecipe<'a>>,
    /// What follows; images, too, belong to another room.
    pub images_ahead: Box<AheadOfLab<'a>>,
}

impl fmt::Debug for Fixer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fixer").finish_non_exhaustive()
    }
}

/// Does what was agreed to, one after another.
///
/// # Errors
/// The first action that failed, in its own words.
pub(crate) async fn carry_out(cx: &StepCx, fixer: &Fixer<'_>, actions: &[Action]) -> Result<()> {
    for action in actions {
        cx.say(action.to_string());
        let done = match action {
            Action::ConfigureRuntime => engine::configure_runtime(),
            Action::Packages { names, optional } => apt::install(cx, names, optional).await,
            Action::StartEngine { systemd } => engine::start(cx, *systemd).await,
            Action::RaiseInotify { instances, watches } => {
                raise_inotify(Path::new("/proc/sys/fs/inotify"), *instances, *watches)
            }
            Action::DockerClient => docker_client().await,
            Action::Kind { sources } => kind(cx, fixer, sources).await,
        };
        done.with_context(|| format!("cannot {action}"))?;
    }
    Ok(())
}

fn raise_inotify(folder: &Path, instances: u64, watches: u64) -> Result<()> {
    for (name, least) in [("max_user_instances", instances), ("max_user_watches", watches)] {
        let path = folder.join(name);
        let shown = path.display();
        let now = std::fs::read_to_string(&path).with_context(|| format!("cannot read {shown}"))?;
        if now.trim().parse::<u64>().is_ok_and(|now| now < least) {
            std::fs::write(&path, least.to_string()).with_context(|| format!("cannot write {shown}"))?;
        }
    }
    Ok(())
}

/// The client alone, out of whichever package has it: installing `docker.io` beside another engine would disturb that.
async fn docker_client() -> Result<()> {
    let package = if apt::candidate("docker-cli").await.is_some() { "docker-cli" } else { "docker.io" };
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let path = folder.path().to_string_lossy().into_owned();
    Cmd::new("sh")
        .args(["-c", "cd \"$1\" && apt-get download -q \"$2\" && dpkg-deb -x ./*.deb tree", "sh", &path, package])
        .run_within(BUILD_LIMIT)
        .await?;
    let client = std::fs::read(folder.path().join("tree/usr/bin/docker"))
        .with_context(|| format!("the package {package} has no docker client"))?;
    keep_executable("docker", &client)
}

async fn kind(cx: &StepCx, fixer: &Fixer<'_>, sources: &[KindSource]) -> Result<()> {
    let mut failed = Vec::new();
    for source in sources {
        let got = match source {
            KindSource::Package => apt::install(cx, &["kind"], &[]).await,
            KindSource::Go => kind_from_go().await,
            KindSource::Recipe => kind_from_recipe(fixer).await,
        };
        match got {
            Ok(()) => return Ok(()),
            Err(error) => failed.push(format!("{error:#}")),
        }
        if failed.len() < sources.len() {
            cx.say("that did not work; trying the next source of kind");
        }
    }
    bail!("no source had kind {KIND_MIN} or newer:\n{}", failed.join("\n"))
}

async fn kind_from_go() -> Result<()> {
    let go = programs::find("go").context("there is no Go")?;
    // Go needs a home for its caches even where the user has none.
    let bin = folders::bin_home();
    std::fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    Cmd::new(go)
        .args(["install", KIND_MODULE])
        .env("GOBIN", bin)
        .env("CGO_ENABLED", "0")
        .run_within(BUILD_LIMIT)
        .await?;
    Ok(())
}

async fn kind_from_recipe(fixer: &Fixer<'_>) -> Result<()> {
    let docker = Docker::connect().await?;
    let image = (fixer.kind_recipe)(docker.clone()).await?;
    keep_executable("kind", &docker.file_of_image(&image, "/kind").await?)
}

/// Puts an executable into our own folder, whole or not at all.
fn keep_executable(name: &str, content: &[u8]) -> Result<()> {
    let bin = folders::bin_home();
    files::executable(&bin.join(name), content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_limits_that_are_too_low_are_raised() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("max_user_instances"), "128\n").expect("written");
        std::fs::write(file("max_user_watches"), "1000000\n").expect("written");
        raise_inotify(folder.path(), 512, 131_072).expect("raised");
        assert_eq!(std::fs::read_to_string(file("max_user_instances")).expect("read"), "512");
        assert_eq!(std::fs::read_to_string(file("max_user_watches")).expect("read"), "1000000\n");
    }
}
