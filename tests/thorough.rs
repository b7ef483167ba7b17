//! `wplab images check --thorough`, with the real executable and the machine's own engine: a cluster of two on the
//! package-built MariaDB lives through every step; and where the program that copies a member is broken, joining is named.

#[path = "support/engine_alone.rs"]
mod engine;
#[path = "support/ready.rs"]
mod ready;

use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use engine::Docker;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use wplab::run::wait::{self, Look};

const MEMBER: &str = "wplab-check-db-0";

fn wplab(args: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wplab"));
    command.args(args).current_dir(folder).stdin(Stdio::null());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The name of the package-built MariaDB, built if need be; and etcd beside it.
fn mariadb() -> String {
    ready::images(&["mariadb", "etcd"]).swap_remove(0)
}

/// A check on its way.
struct Check(Child);

impl Check {
    fn start(args: &[&str], folder: &Path) -> Check {
        let mut command = wplab(&[&["images", "check", "mariadb", "--thorough"], args].concat(), folder);
        Check(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts"))
    }

    fn end(mut self) -> Output {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        // It says less than a pipe holds before it ends.
        let status = self.0.wait().expect("it ends");
        self.0.stdout.take().expect("a pipe").read_to_end(&mut stdout).expect("read");
        self.0.stderr.take().expect("a pipe").read_to_end(&mut stderr).expect("read");
        Output { status, stdout, stderr }
    }

    fn interrupt(&self) {
        kill_process(Pid::from_child(&self.0), Signal::INT).expect("signalled");
    }
}

/// The files of a member with something secret in them, and what everybody may see of its container.
async fn within(check: &mut Check) -> (Vec<String>, String) {
    let docker = wplab::host::docker::Docker::connect().await.expect("an engine");
    let running = std::sync::Mutex::new(check);
    let look = || async {
        if let Some(status) = running.lock().expect("nobody else").0.try_wait()? {
            anyhow::bail!("the check ended with {status} before there was a member");
        }
        let mut secrets = Vec::new();
        for file in ["credentials/root-password", "credentials/wordpress-password", "credentials/sst-password"] {
            match docker.exec(MEMBER, &["cat", &format!("/etc/wplab/{file}")]).await {
                Ok(cat) if cat.code == 0 && !cat.stdout.is_empty() => secrets.push(cat.stdout.trim().to_owned()),
                other => return Ok(Look::NotYet(format!("{other:?}"))),
            }
        }
        Ok(Look::Ready(secrets))
    };
    // Somebody else may be looking at images.
    let limit = Duration::from_secs(600);
    let secrets = match wait::until("a member", limit, Duration::from_millis(200), |_| {}, look).await {
        Ok(secrets) => secrets,
        Err(error) => {
            let check = running.into_inner().expect("nobody else");
            let _ = check.0.kill();
            let mut told = String::new();
            let _ = check.0.stderr.take().expect("a pipe").read_to_string(&mut told);
            panic!("{error:#}: {told}");
        }
    };
    let api = bollard::Docker::connect_with_local_defaults().expect("a socket");
    let seen = api.inspect_container(MEMBER, None).await.expect("it is there");
    (secrets, serde_json::to_string(&seen).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn a_cluster_of_two_lives_through_every_step_and_nothing_is_left_or_told() {
    let folder = tempfile::tempdir().expect("a folder");
    mariadb();
    let docker = tokio::task::block_in_place(Docker::new);
    let before = tokio::task::block_in_place(|| docker.everything());
    let mut check = Check::start(&["-o", "json"], folder.path());
    let (secrets, shown) = within(&mut check).await;
    let ended = tokio::task::block_in_place(|| check.end());
    let (stdout, stderr) = (text(&ended.stdout), text(&ended.stderr));
    assert_eq!(ended.status.code(), Some(0), "{stdout}\n{stderr}");
    let report = fs::read_to_string(folder.path().join("wplab-check-mariadb.md")).expect("a report");
    let result: Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(result["report"], "wplab-check-mariadb.md");
    let steps = result["steps"].as_array().expect("steps");
    let names: Vec<&str> = steps.iter().filter_map(|step| step["name"].as_str()).collect();
    assert_eq!(names, ["etcd", "begin", "join", "encrypted", "row", "rejoin", "stop"]);
    for step in steps {
        assert_eq!(step["verdict"], "holds", "{step:#}");
        assert!(report.contains(&format!("### {}\n", step["name"].as_str().expect("a name"))), "{report}");
    }
    for proof in ["SST succeeded", "Receiving IST: ", "ssl://", "--require_secure_transport=ON", "TLS_"] {
        assert!(report.contains(proof), "{proof} in {report}");
    }
    for secret in &secrets {
        assert_eq!(secret.len(), 32);
        for told in [&report, &stdout, &stderr, &shown] {
            assert!(!told.contains(secret.as_str()), "a password is told: {told}");
        }
    }
    assert_eq!(tokio::task::block_in_place(|| docker.everything()), before);
}

#[test]
#[ignore = "needs Docker"]
fn where_the_program_that_copies_a_member_is_broken_joining_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let mariadb = mariadb();
    let docker = Docker::new();
    let before = docker.everything();
    let broken = "RUN p=$(command -v wsrep_sst_mariabackup) && printf '#!/bin/sh\\nexit 1\\n' > \"$p\"\n";
    let image = docker.build("no-copy", &format!("FROM {mariadb}\n{broken}"));
    let ended = Check::start(&["--image", &image.name, "--report", "why.md"], folder.path()).end();
    let (stdout, stderr) = (text(&ended.stdout), text(&ended.stderr));
    assert_eq!(ended.status.code(), Some(1), "{stdout}\n{stderr}");
    assert!(stdout.contains("the cluster does not hold at step join"), "{stdout}");
    let report = fs::read_to_string(folder.path().join("why.md")).expect("a report");
    assert!(report.contains("| join | the other one joins by a whole copy | **does not hold** |"), "{report}");
    assert!(report.contains("| stop | both members end well when they are told to | not reached |"), "{report}");
    assert!(report.contains("## The end of the log of db-1") && report.contains("wsrep_sst_mariabackup"), "{report}");
    drop(image);
    assert_eq!(docker.everything(), before);
}

#[test]
#[ignore = "needs Docker"]
fn a_member_that_comes_back_by_a_whole_copy_is_told_from_one_that_comes_back_by_single_changes() {
    // Half a minute of a step that the broken copy above is like.
    if std::env::var_os("DRILLS").is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mariadb = mariadb();
    // A server that never knows how far its data goes.
    let forgets = r#"RUN p=$(command -v mariadbd) && mv "$p" "$p.real" && printf '%s\n' '#!/bin/sh' \
 'case "$*" in *gcomm://[0-9]*) rm -f /var/lib/mysql/data/grastate.dat;; esac' \
 'for a; do shift; case "$a" in --wsrep-start-position=*) ;; *) set -- "$@" "$a";; esac; done' \
 'exec mariadbd.real "$@"' > "$p" && chmod 755 "$p"
"#;
    let image = Docker::new().build("forgets", &format!("FROM {mariadb}\n{forgets}"));
    let ended = Check::start(&["--image", &image.name], folder.path()).end();
    let (stdout, stderr) = (text(&ended.stdout), text(&ended.stderr));
    assert_eq!(ended.status.code(), Some(1), "{stdout}\n{stderr}");
    assert!(stdout.contains("the cluster does not hold at step rejoin"), "{stdout}");
    assert!(stdout.contains("db-1 came back by a whole copy"), "{stdout}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Docker"]
async fn who_is_interrupted_tidies_up() {
    let folder = tempfile::tempdir().expect("a folder");
    mariadb();
    let docker = tokio::task::block_in_place(Docker::new);
    let before = tokio::task::block_in_place(|| docker.everything());
    let mut check = Check::start(&[], folder.path());
    within(&mut check).await;
    check.interrupt();
    let ended = tokio::task::block_in_place(|| check.end());
    assert_eq!(ended.status.code(), Some(130), "{}", text(&ended.stderr));
    assert!(!folder.path().join("wplab-check-mariadb.md").exists(), "there is nothing to report");
    assert_eq!(tokio::task::block_in_place(|| docker.everything()), before);
}
