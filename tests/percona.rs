//! The supervisor of flavour `percona`, whose image the other tests do not have: the real process and a real etcd, with a
//! stand-in for `mysqld` that behaves as the manual says and reads the project's own option files.

#[path = "support/etcd.rs"]
mod etcd;
#[path = "percona/fake.rs"]
mod fake;
#[path = "percona/options.rs"]
mod options;
#[path = "percona/pod.rs"]
mod pod;
#[path = "percona/wire.rs"]
mod wire;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use etcd::{Server, soon};
use pod::Pod;
use wplab::{
    inside::member::{
        galera::{decide::Phase, registry},
        status::{MemberStatus, State},
    },
    run::wait::Look,
};

/// No test: what `mysqld` of a pod executes, see `pod::furnish`.
#[test]
#[ignore = "the stand-in for mysqld, which the other tests start"]
#[expect(clippy::exit, reason = "a server has an exit code of its own, and no test does")]
fn fake_mysqld() {
    let (Some(root), Ok(args)) = (std::env::var_os(fake::ROOT), std::env::var(fake::ARGS)) else { return };
    let args: Vec<String> = args.lines().map(str::to_owned).collect();
    let code = match fake::run(&PathBuf::from(root), &args) {
        Ok(()) => 0,
        Err(reason) => {
            let _ = writeln!(std::io::stderr(), "{reason}");
            1
        }
    };
    std::process::exit(code);
}

fn cluster(status: &MemberStatus) -> (&str, i64) {
    status.galera.as_ref().map(|facts| (facts.cluster_uuid.as_str(), facts.seqno)).expect("a server that answers")
}

#[test]
fn the_stand_in_refuses_what_the_manual_refuses() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    pod::furnish(root);
    let call = |args: &[&str]| -> Output {
        // Through the shell: a file that was just written may not be executable yet while other tests start processes.
        let mut command = Command::new("/bin/sh");
        command
            .arg(root.join("bin/mysqld"))
            .arg("--defaults-file=/etc/wplab/mysql/my.cnf")
            .args(args)
            .env(fake::ROOT, root);
        command.output().expect("it starts")
    };
    let refused = |args: &[&str], why: &str| {
        let output = call(args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(why), "{args:?}: {output:?}");
    };
    let data = root.join("var/lib/mysql/data");
    refused(&["--wsrep-on=ON"], "unknown variable 'wsrep-on=ON'");
    refused(&["--wsrep-provider-options=pc.recover=no"], "Unrecognized parameter 'pc.recover'");
    refused(&["--wsrep-cluster-address=gcomm://", "--wsrep-new-cluster"], "is not a data directory");
    fs::create_dir(&data).expect("made");
    fs::write(data.join("left-over"), "").expect("written");
    let init = ["--initialize-insecure", "--init-file=/etc/wplab/mysql/lab.cnf"];
    refused(&init, "the data directory has files in it");
    fs::remove_file(data.join("left-over")).expect("removed");
    assert!(call(&init).status.success());
    fs::write(data.join("grastate.dat"), "seqno: -1\nsafe_to_bootstrap: 0\n").expect("written");
    let bootstrap = ["--wsrep-cluster-address=gcomm://", "--wsrep-new-cluster", "--wsrep-node-address=127.0.0.1"];
    refused(&bootstrap, "It may not be safe to bootstrap");
    refused(&["--wsrep-cluster-address=gcomm://", "--wsrep-node-address=127.0.0.1"], "without --wsrep-new-cluster");
    // Notes are not logged by default.
    let log = root.join("recover.log");
    for (verbosity, told) in [("--log-error-verbosity=2", false), ("--log-error-verbosity=3", true)] {
        assert!(call(&["--wsrep-recover", "--log-error=/recover.log", verbosity]).status.success());
        assert_eq!(read(&log).contains("Recovered position: 00000000-"), told, "{verbosity}");
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).expect("a file")
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_first_start_makes_data_and_a_cluster_and_a_good_end_leaves_at_once() {
    let etcd = Server::start().await;
    let mut pod = Pod::new(&etcd, 0, 1);
    pod.start();
    let status = pod.synced().await;
    let (uuid, _) = cluster(&status);
    assert_eq!((status.state, pod.get("/ready").await.expect("an answer")), (State::Synced, (200, "ready\n".into())));
    let calls = pod.calls();
    assert_eq!(calls.len(), 2, "{calls:#?}");
    assert!(
        calls[0].contains(" --initialize-insecure ") && calls[0].contains("/var/lib/mysql/data.new "),
        "{calls:#?}"
    );
    assert!(calls[1].ends_with(" --wsrep-cluster-address=gcomm:// --wsrep-new-cluster"), "{calls:#?}");
    assert!(!calls[1].contains("start-position"), "{calls:#?}");
    let statements = pod.data("statements");
    assert!(statements.contains("Sesame-root") && statements.contains("Sesame-wordpress"), "{statements}");
    pod.assert_no_secret_is_told();
    let seen = soon("the member in etcd", async || match registry::read(&etcd.etcd()).await.expect("an answer") {
        seen if seen.initialised.is_some() => Look::Ready(seen),
        seen => Look::NotYet(format!("{seen:?}")),
    })
    .await;
    assert_eq!((seen.members["db-0"].record.phase, seen.initialised.as_deref()), (Phase::Primary, Some(uuid)));

    assert!(pod.terminate().await.success());
    let after = registry::read(&etcd.etcd()).await.expect("an answer");
    assert!(after.members.is_empty() && after.known.contains("db-0"), "{after:?}");
    let (state, position) = (pod.data("grastate.dat"), pod.position());
    let (_, seqno) = position.split_once(':').expect("a position");
    assert!(state.contains(&format!("seqno:   {seqno}\n")) && state.contains("safe_to_bootstrap: 1"), "{state}");
    assert!(pod.server().is_none());
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn after_a_kill_the_position_is_read_and_nothing_committed_is_lost() {
    let etcd = Server::start().await;
    let mut pod = Pod::new(&etcd, 0, 1);
    pod.start();
    let before = pod.synced().await;
    let (uuid, _) = cluster(&before);
    for whole_pod in [false, true] {
        let so_far = pod.calls().len();
        let position = if whole_pod {
            pod.kill().await;
            pod.position()
        } else {
            pod.kill_server()
        };
        assert!(pod.data("grastate.dat").contains("seqno:   -1\nsafe_to_bootstrap: 0"), "it was killed");
        if whole_pod {
            pod.start();
        }
        let started =
            format!(" --wsrep-start-position={position} --wsrep-cluster-address=gcomm:// --wsrep-new-cluster");
        soon("a start from the position", async || match pod.calls().last() {
            Some(call) if call.ends_with(&started) => Look::Ready(()),
            _ => Look::NotYet(format!("{position}: {:#?}\n{}", pod.calls(), pod.log())),
        })
        .await;
        let after = pod.status("the member with its data", |status| status.serves() && pod.server().is_some()).await;
        let seqno: i64 = position.rsplit(':').next().and_then(|seqno| seqno.parse().ok()).expect("a position");
        let (same, now) = cluster(&after);
        assert!(same == uuid && now >= seqno, "{position}, then {after:?}");
        let calls = pod.calls().split_off(so_far);
        assert_eq!(calls.len(), 2, "{calls:#?}");
        assert!(calls[0].contains(" --wsrep-recover ") && calls[0].ends_with(" --log-error-verbosity=3"), "{calls:#?}");
    }
}

fn waits_for_etcd(status: &MemberStatus) -> bool {
    status.state == State::Waiting && status.note == "for etcd, without which nothing is started"
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn while_etcd_is_silent_nothing_is_started() {
    let mut etcd = Server::start().await;
    let mut pod = Pod::new(&etcd, 0, 1);
    etcd.kill();
    pod.start();
    let status = pod.status("a member that waits for etcd", waits_for_etcd).await;
    assert!(!status.trouble.is_empty());
    assert_eq!(pod.calls(), Vec::<String>::new());
    etcd.run().await;
    pod.synced().await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn when_etcd_falls_silent_a_server_goes_on_and_one_that_was_killed_stays_down() {
    let mut etcd = Server::start().await;
    let mut pod = Pod::new(&etcd, 0, 1);
    pod.start();
    pod.synced().await;
    etcd.kill();
    // The register is written every 3 s; its silence is told, and changes nothing.
    let status = pod.status("trouble with etcd", |status| !status.trouble.is_empty()).await;
    assert!(status.serves() && status.trouble.contains("etcd"), "{status:?}");
    let calls = pod.calls().len();
    pod.kill_server();
    pod.status("a member that waits for etcd", waits_for_etcd).await;
    let calls = pod.calls().split_off(calls);
    assert!(calls.iter().all(|call| call.contains(" --wsrep-recover ")), "{calls:#?}");
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn an_initialisation_that_fails_is_tried_again_and_its_reason_is_told() {
    let etcd = Server::start().await;
    let mut pod = Pod::new(&etcd, 0, 1);
    fs::write(pod.path(fake::REFUSE), "").expect("written");
    pod.start();
    let failed = "cannot make a data directory: mysqld failed (exit status: 1); the log says why";
    pod.status("the failure", |status| status.trouble == failed && pod.calls().len() >= 2).await;
    assert_eq!(pod.get("/ready").await.expect("an answer").0, 503);
    assert!(pod.log().contains("no space left on device"));
    assert!(!pod.path("var/lib/mysql/data").exists(), "a data directory appears whole");
    fs::remove_file(pod.path(fake::REFUSE)).expect("removed");
    let status = pod.status("the member", |status| status.serves() && status.trouble.is_empty()).await;
    assert_eq!(status.state, State::Synced);
    pod.assert_no_secret_is_told();
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn of_two_that_start_together_one_joins_and_comes_back_without_a_second_copy() {
    let etcd = Server::start().await;
    let mut pods = [Pod::new(&etcd, 0, 2), Pod::new(&etcd, 1, 2)];
    pods.iter_mut().for_each(Pod::start);
    let two = |status: &MemberStatus| status.serves() && status.galera.as_ref().is_some_and(|facts| facts.size == 2);
    let [first, second] = &pods;
    let (a, b) = tokio::join!(first.status("a cluster of two", two), second.status("a cluster of two", two));
    assert_eq!(cluster(&a).0, cluster(&b).0, "one cluster");
    let counted = |status: &MemberStatus| status.galera.as_ref().map(|facts| facts.members.clone()).unwrap_or_default();
    assert_eq!((counted(&a), counted(&b)), (vec!["db-0".into(), "db-1".into()], vec!["db-0".into(), "db-1".into()]));
    let began = |pod: &Pod| pod.calls().iter().filter(|call| call.contains("--wsrep-new-cluster")).count();
    assert_eq!(began(first) + began(second), 1);
    let [founder, joiner] = if began(first) == 1 { [first, second] } else { [second, first] };
    assert_eq!([founder.data("copies"), joiner.data("copies")], ["", "one whole copy\n"]);
    let position = joiner.kill_server();
    soon("its return", async || match joiner.calls().last() {
        Some(call) if call.contains(&format!(" --wsrep-start-position={position} ")) => Look::Ready(()),
        _ => Look::NotYet(format!("{:#?}\n{}", joiner.calls(), joiner.log())),
    })
    .await;
    joiner.status("a cluster of two again", |status| two(status) && joiner.server().is_some()).await;
    assert_eq!((joiner.data("copies").as_str(), began(joiner)), ("one whole copy\n", 0));
    assert_eq!(founder.calls().len(), 2, "the founder was left alone");
}
