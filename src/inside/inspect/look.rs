//! How each kind of line is looked at. An error is a line that breaks; its chain is the reason.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    storage::v1::StorageClass,
};

use super::{Judgement, apache, contract::Need, ganesha, server};
use crate::{
    cluster::manifests::{self, typed},
    host::{process::Cmd, version::Version},
};

/// How long a program may take to say its version or its flags.
const ANSWER: Duration = Duration::from_secs(20);

/// Looks at one line.
///
/// # Errors
/// It does not hold; why.
pub(super) async fn at(need: &Need) -> Result<Judgement> {
    Ok(Judgement::Holds(match need {
        Need::Programs(programs) => programs_in_path(programs)?,
        Need::OneOf(programs) => one_of(programs)?,
        Need::Files(files) => readable(files)?,
        Need::Absent(file) => absent(Path::new(file))?,
        Need::Owned(folder) => owned(Path::new(folder))?,
        Need::User(name) => user(name)?,
        Need::Version { command, proven, least } => return version(&said(command).await?, proven, *least),
        Need::Release { proven } => return release(proven),
        Need::Words { command, words } => listed(&said(command).await?, words)?,
        Need::Flags { program, part } => flags(program, part).await?,
        Need::Options(which) => server::options(*which).await?,
        Need::Plugins(files) => server::plugins(files).await?,
        Need::StorageClass(name) => storage_class(name)?,
        Need::Init => {
            // Under the name of init it would talk to the one that runs.
            let program = fs::canonicalize("/sbin/init").context("there is no /sbin/init")?;
            init(&said(&[&program.to_string_lossy(), "--version"]).await?, unified())?
        }
        Need::Seeds => apache::seeds().await?,
        Need::Serves => apache::serves().await?,
        Need::Exports => return ganesha::exports().await,
    }))
}

/// What a command prints, to whichever of the two streams.
async fn said(command: &[&str]) -> Result<String> {
    let (program, args) = command.split_first().context("no command")?;
    let out = Cmd::new(*program).args(args.iter().copied()).run_within(ANSWER).await?;
    Ok(out.stdout + &out.stderr)
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let executable = |p: &PathBuf| p.metadata().is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(executable)
}

fn programs_in_path(programs: &[&str]) -> Result<String> {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| in_path(program).is_none()).collect();
    ensure!(missing.is_empty(), "{} not in PATH ({})", missing.join(", "), std::env::var("PATH").unwrap_or_default());
    Ok(format!("{} programs", programs.len()))
}

fn one_of(programs: &[&str]) -> Result<String> {
    let found = programs.iter().find_map(|program| in_path(program));
    let found = found.with_context(|| format!("none of {} is in PATH", programs.join(", ")))?;
    Ok(found.display().to_string())
}

fn readable(files: &[&str]) -> Result<String> {
    let missing: Vec<String> =
        files.iter().filter_map(|file| fs::File::open(file).err().map(|why| format!("{file}: {why}"))).collect();
    ensure!(missing.is_empty(), "cannot read {}", missing.join("; "));
    Ok(format!("{} files", files.len()))
}

fn absent(file: &Path) -> Result<String> {
    ensure!(fs::symlink_metadata(file).is_err(), "{} is there", file.display());
    Ok("it is not there".to_owned())
}

fn owned(folder: &Path) -> Result<String> {
    let us = rustix::process::geteuid().as_raw();
    let mut seen = 0_u64;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry.with_context(|| format!("cannot read {}", folder.display()))?.path();
            let data = fs::symlink_metadata(&path).with_context(|| format!("cannot look at {}", path.display()))?;
            ensure!(data.uid() == us, "{} belongs to user {} and not to {us}", path.display(), data.uid());
            seen += 1;
            if data.is_dir() {
                folders.push(path);
            }
        }
    }
    ensure!(seen > 0, "{} is empty", folder.display());
    Ok(format!("{seen} files"))
}

fn user(name: &str) -> Result<String> {
    let us = rustix::process::geteuid().as_raw();
    let accounts = fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    account(&accounts, us, name)
}

fn account(accounts: &str, uid: u32, name: &str) -> Result<String> {
    let named = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    });
    match named {
        Some(found) if found == name => Ok(format!("{uid} is {name}")),
        Some(other) => bail!("user {uid}, as which the pod runs, is {other} here and not {name}"),
        None => bail!("user {uid}, as which the pod runs, has no name here"),
    }
}

/// Whether what a program says of its version is of the proven series, and new enough.
fn version(said: &str, proven: &str, least: Option<&str>) -> Result<Judgement> {
    let first = said.lines().next().unwrap_or_default();
    let found = Version::find(said).with_context(|| format!("there is no version in {first:?}"))?;
    if let Some(least) = least.and_then(Version::find) {
        ensure!(found >= least, "{found} is older than {least}");
    }
    let series = Version::find(proven).map(|Version(major, minor, _)| (major, minor));
    let version = found.to_string();
    if series == Some((found.0, found.1)) {
        return Ok(Judgement::Holds(version));
    }
    Ok(Judgement::Differs(format!("{version}, and the lab was seen running on {proven}")))
}

fn release(proven: &str) -> Result<Judgement> {
    let file = "/usr/src/wordpress/wp-includes/version.php";
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let line = text.lines().find(|line| line.trim_start().starts_with("$wp_version"));
    version(line.with_context(|| format!("{file} does not say a version"))?, proven, None)
}

fn listed(said: &str, words: &[&str]) -> Result<String> {
    let has = |word: &str| said.lines().any(|line| line.trim().eq_ignore_ascii_case(word));
    let missing: Vec<&str> = words.iter().copied().filter(|word| !has(word)).collect();
    ensure!(missing.is_empty(), "{} not listed", missing.join(", "));
    Ok(format!("{} of them", words.len()))
}

async fn flags(program: &str, part: &str) -> Result<String> {
    let passed = passed(part)?;
    // Some programs end with an error after they have printed their help.
    let help = match Cmd::new(program).arg("--help").run_within(ANSWER).await {
        Ok(out) => out.stdout + &out.stderr,
        Err(error) => format!("{error:#}"),
    };
    let known = |flag: &String| {
        let mut words = help.split(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.')));
        words.any(|word| word.trim_start_matches('-').trim_end_matches('.') == flag)
    };
    let unknown: Vec<&str> = passed.iter().filter(|flag| !known(flag)).map(String::as_str).collect();
    ensure!(unknown.is_empty(), "{program} does not know --{}", unknown.join(", --"));
    Ok(format!("{} flags", passed.len()))
}

/// The flags that the one workload of a part passes to its containers, without dashes and values.
fn passed(part: &str) -> Result<Vec<String>> {
    let mut flags = Vec::new();
    for object in manifests::part(part)? {
        let pod = match object.types.as_ref().map(|types| types.kind.as_str()) {
            Some("Deployment") => typed::<Deployment>(&object)?.spec.and_then(|spec| spec.template.spec),
            Some("StatefulSet") => typed::<StatefulSet>(&object)?.spec.and_then(|spec| spec.template.spec),
            _ => None,
        };
        for arg in pod.into_iter().flat_map(|pod| pod.containers).flat_map(|c| c.args.unwrap_or_default()) {
            if let Some(flag) = arg.strip_prefix("--") {
                flags.push(flag.split('=').next().unwrap_or(flag).to_owned());
            }
        }
    }
    ensure!(!flags.is_empty(), "manifests/{part} passes no flags");
    Ok(flags)
}

fn storage_class(name: &str) -> Result<String> {
    let file = "/kind/manifests/default-storage.yaml";
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    default_class(&text, name).with_context(|| format!("in {file}"))
}

fn default_class(text: &str, name: &str) -> Result<String> {
    for object in manifests::parse(text)? {
        if object.types.as_ref().is_some_and(|types| types.kind == "StorageClass") {
            let class: StorageClass = typed(&object)?;
            let default = class.metadata.annotations.unwrap_or_default();
            let default = default.get("storageclass.kubernetes.io/is-default-class").is_some_and(|is| is == "true");
            if class.metadata.name.as_deref() == Some(name) && default {
                return Ok(class.provisioner);
            }
        }
    }
    bail!("there is no default StorageClass {name}")
}

/// This machine has cgroup version 2.
fn unified() -> bool {
    Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
}

/// The first systemd that refuses to start under cgroup version 1.
const UNIFIED_ONLY: u32 = 256;

fn init(said: &str, unified: bool) -> Result<String> {
    let release = said.split_whitespace().nth(1).and_then(|word| word.split(['.', '~']).next()?.parse::<u32>().ok());
    let release = release.filter(|_| said.starts_with("systemd ")).context("/sbin/init is no systemd")?;
    ensure!(
        unified || release < UNIFIED_ONLY,
        "systemd {release} does not start under cgroup version 1, which this machine has"
    );
    Ok(format!("systemd {release}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_proven_told_or_refused() {
        let said = "/usr/sbin/mysqld  Ver 9.7.1 for Linux on x86_64 (MySQL Community Server - GPL)";
        assert_eq!(version(said, "9.7", Some("8.4.0")).expect("fits"), Judgement::Holds("9.7.1".into()));
        let other = version("$wp_version = '7.1.1';", "6.8", None).expect("fits");
        assert_eq!(other, Judgement::Differs("7.1.1, and the lab was seen running on 6.8".into()));
        let error = version("etcd Version: 3.5.9", "3.6", Some("3.5.11")).expect_err("too old");
        assert_eq!(error.to_string(), "3.5.9 is older than 3.5.11");
        assert!(version("no number", "9.7", None).is_err());
    }

    #[test]
    fn systemd_must_start_under_this_cgroup_version() {
        assert_eq!(init("systemd 252 (252.39-1~deb12u1)\n+PAM", false).expect("starts"), "systemd 252");
        assert!(init("systemd 257 (257.8)\n", true).is_ok());
        assert!(init("systemd 256~rc3 (x)\n", false).expect_err("refuses").to_string().contains("cgroup version 1"));
        assert!(init("busybox 1.36", true).is_err());
    }

    #[test]
    fn a_user_has_the_right_name() {
        let accounts = "root:x:0:0:root:/root:/bin/bash\nmysql:x:999:999::/var/lib/mysql:/bin/false\n";
        assert!(account(accounts, 999, "mysql").is_ok());
        let why = |uid| account(accounts, uid, "mysql").expect_err("refused").to_string();
        assert_eq!(why(0), "user 0, as which the pod runs, is root here and not mysql");
        assert_eq!(why(1001), "user 1001, as which the pod runs, has no name here");
    }

    #[test]
    fn the_flags_of_the_manifests_are_found() {
        assert!(passed("discovery").expect("flags").contains(&"listen-metrics-urls".to_owned()));
        assert!(passed("autoscale").expect("flags").iter().any(|flag| flag.starts_with("kubelet-")));
        assert!(passed("namespace").is_err());
    }

    #[test]
    fn the_default_class_is_looked_for_by_name() {
        let class = |name, default| {
            format!(
                "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata:\n  name: {name}\n  annotations: {{storageclass.kubernetes.io/is-default-class: '{default}'}}\nprovisioner: p\n"
            )
        };
        assert_eq!(default_class(&class("standard", "true"), "standard").expect("found"), "p");
        assert!(default_class(&class("standard", "false"), "standard").is_err());
        assert!(default_class(&class("other", "true"), "standard").is_err());
    }

    #[test]
    fn words_stand_on_lines_of_their_own() {
        assert!(listed("[PHP Modules]\nmysqli\nGD\n", &["gd", "mysqli"]).is_ok());
        assert_eq!(listed("mysqlnd\n", &["mysqli"]).expect_err("missing").to_string(), "mysqli not listed");
    }
}
