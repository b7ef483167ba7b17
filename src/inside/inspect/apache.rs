//! Apache, PHP and WordPress's files, tried with the lab's own configuration: what the pods mount over files of the image
//! is put into a copy of Apache's folder, because a container without rights can mount nothing.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::CONFIG;
use crate::{
    cluster::manifests::{self, name_of, typed},
    host::process::{Cmd, CommandFailed},
    run::advice,
    run::wait::{self, Look},
};

/// Where the site's configuration listens.
const ADDRESS: ([u8; 4], u16) = ([127, 0, 0, 1], 8080);
/// How long Apache may take to answer, and to end.
const PATIENCE: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(50);
/// How long copying a theme may take.
const SEEDING: Duration = Duration::from_secs(30);
/// Apache's own folder, and the copy with the lab's files.
const APACHE: &str = "/etc/apache2";
const COPY: &str = "/tmp/apache2";
/// Where the installer finds the shared volume.
const CONTENT: &str = "/mnt/wp-content";

fn config() -> Result<impl Fn(&str) -> Result<String>> {
    let map = manifests::part("frontend")?.into_iter().find(|object| name_of(object) == "ConfigMap/wordpress-config");
    let map: ConfigMap = typed(&map.context("there is no ConfigMap wordpress-config")?)?;
    let files = map.data.unwrap_or_default();
    Ok(move |name: &str| files.get(name).cloned().with_context(|| format!("wordpress-config has no {name}")))
}

fn put(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path)).with_context(|| format!("cannot make {}", path.display()))?;
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// A command with PHP's settings as in the pods.
fn with_settings(command: Cmd) -> Result<Cmd> {
    put(&Path::new(CONFIG).join("php/wplab.ini"), &config()?("php.ini")?)?;
    Ok(command.env("PHP_INI_SCAN_DIR", format!(":{CONFIG}/php")))
}

/// Runs the part of the installer that fills the shared volume, on an empty one.
///
/// # Errors
/// It fails, or takes along a theme or plugin that is not the default theme.
pub(super) async fn seeds() -> Result<String> {
    let installer = Path::new(CONFIG).join("install/wplab-install.php");
    put(&installer, &config()?("wplab-install.php")?)?;
    let command = with_settings(Cmd::new("php").arg(&installer).arg("--seed-only"))?;
    let out = command.run_within(SEEDING).await.map_err(|error| in_its_words(&error))?;
    let folders = |of: &str| -> Vec<String> {
        let entries = fs::read_dir(Path::new(CONTENT).join(of)).into_iter().flatten().flatten();
        entries.filter(|e| e.path().is_dir()).map(|e| e.file_name().to_string_lossy().into_owned()).collect()
    };
    let (themes, plugins) = (folders("themes"), folders("plugins"));
    ensure!(themes.len() == 1 && plugins.is_empty(), "wp-content got {}", [themes, plugins].concat().join(", "));
    let files = out.stdout.rsplit(": ").next().unwrap_or_default().trim();
    Ok(format!("{}, {files}", themes.concat()))
}

/// Starts Apache, asks it for what must and must not be served, and stops it.
///
/// # Errors
/// It refuses the configuration, does not start, serves what it must not, or does not end.
pub(super) async fn serves() -> Result<String> {
    let config = config()?;
    let copy = Path::new(COPY);
    copy_folder(Path::new(APACHE), copy)?;
    put(&copy.join("ports.conf"), &config("ports.conf")?)?;
    put(&copy.join("sites-enabled/000-default.conf"), &config("000-default.conf")?)?;
    // The variables of the image's own configuration are in a file for the shell.
    let apache = |flag: &str| {
        let script = format!(". {APACHE}/envvars && exec apache2 -d {COPY} -f {COPY}/apache2.conf {flag}");
        with_settings(Cmd::new("sh").arg("-c").arg(script))
    };
    apache("-t")?.run_within(PATIENCE).await.map_err(|error| in_its_words(&error)).context("the configuration")?;
    let server = apache("-DFOREGROUND")?.run();
    tokio::pin!(server);
    let ended = |ended: Result<_>| match ended {
        Ok(_) => anyhow!("Apache ended by itself"),
        Err(error) => in_its_words(&error).context("Apache does not run"),
    };
    let served = tokio::select! {
        served = asked() => served?,
        end = &mut server => return Err(ended(end)),
    };
    kill_process(pid()?, Signal::WINCH).context("cannot signal Apache")?;
    match tokio::time::timeout(PATIENCE, server).await {
        Err(_) => bail!("it did not end within {} s after SIGWINCH", PATIENCE.as_secs()),
        Ok(end) => drop(end.map_err(|error| in_its_words(&error)).context("it did not end well after SIGWINCH")?),
    }
    Ok(served)
}

async fn asked() -> Result<String> {
    let look = || async {
        Ok(match get("/wp-includes/images/blank.gif").await {
            Ok((200, _)) => Look::Ready(()),
            Ok((status, _)) => Look::NotYet(format!("it answers {status} to blank.gif")),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    };
    wait::until("Apache", PATIENCE, EVERY, |_| {}, look).await?;
    let (status, body) = get("/wp-includes/version.php").await?;
    ensure!(status == 200, "it answers {status} to a PHP file");
    ensure!(!body.contains("<?php"), "it sends PHP files instead of running them");
    let (status, _) = get("/wp-config-docker.php").await?;
    ensure!(status == 403 || status == 404, "it serves wp-config-docker.php ({status})");
    Ok("blank.gif is served, PHP runs".to_owned())
}

/// Status and body of the answer to one request.
async fn get(path: &str) -> Result<(u16, String)> {
    let mut stream = TcpStream::connect(SocketAddr::from(ADDRESS)).await.context("it does not listen")?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.context("it ended the connection")?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok((status.context("this is no answer of a web server")?, body.to_owned()))
}

fn pid() -> Result<Pid> {
    let file = "/run/apache2/apache2.pid";
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    text.trim().parse().ok().and_then(Pid::from_raw).with_context(|| format!("{file} has no process in it"))
}

fn in_its_words(error: &anyhow::Error) -> anyhow::Error {
    match advice::find::<CommandFailed>(error) {
        Some(failed) if !failed.said.is_empty() => anyhow!("{}", failed.said.replace('\n', "; ")),
        _ => anyhow!("{error:#}"),
    }
}

/// Copies a folder; links stay links, and those that lead to neighbours lead to the copies.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let context = |path: &Path| format!("cannot copy {}", path.display());
    fs::create_dir_all(to).with_context(|| context(from))?;
    for entry in fs::read_dir(from).with_context(|| context(from))? {
        let (source, kind) = entry.and_then(|e| Ok((e.path(), e.file_type()?))).with_context(|| context(from))?;
        let target: PathBuf = to.join(source.file_name().unwrap_or_default());
        if kind.is_dir() {
            copy_folder(&source, &target)?;
        } else if kind.is_symlink() {
            fs::read_link(&source).and_then(|link| symlink(link, &target)).with_context(|| context(&source))?;
        } else {
            let text = fs::read(&source).with_context(|| context(&source))?;
            fs::write(&target, text).with_context(|| context(&target))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copied_folder_can_be_changed_where_its_links_lead() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        put(&from.join("available/a.conf"), "a").expect("written");
        fs::create_dir(from.join("enabled")).expect("made");
        symlink("../available/a.conf", from.join("enabled/a.conf")).expect("linked");
        copy_folder(&from, &to).expect("copied");
        put(&to.join("available/a.conf"), "b").expect("written");
        assert_eq!(fs::read_to_string(to.join("enabled/a.conf")).expect("read"), "b");
        assert_eq!(fs::read_to_string(from.join("enabled/a.conf")).expect("read"), "a");
    }

    #[test]
    fn the_files_that_pods_mount_are_in_the_manifests() {
        let config = config().expect("a ConfigMap");
        for name in ["ports.conf", "000-default.conf", "php.ini", "wplab-install.php"] {
            assert!(config(name).is_ok(), "{name}");
        }
        assert!(config("000-default.conf").expect("text").contains("wp-config-docker.php"));
    }
}
