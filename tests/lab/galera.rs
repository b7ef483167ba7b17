//! Topology `galera` on a real lab: up, every loss that it must survive while somebody writes and an imp harms the agents,
//! the loss that a person must decide about, cold starts, down.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::Value;

use crate::{
    front_door,
    lab::{Engine, Lab, say, thoroughly},
    ledger::{Ledger, ask},
    rights,
    roles::{Imp, Witness},
};

const MEMBERS: [&str; 3] = ["db-0", "db-1", "db-2"];
const SUPERVISOR: &str = "/tools/wplab member galera";
/// MariaDB's and Percona's; the supervisor starts it again at once.
const SERVERS: [&str; 2] = ["mariadbd ", "mysqld "];
/// Longer than a record in etcd outlives its member.
const LEASE: Duration = Duration::from_secs(12);
/// How long nothing may be written when the writer's server is killed.
const UNWRITTEN: Duration = Duration::from_secs(6);
/// How long a cluster may take to be whole again; two of three pass a state transfer of ten seconds one after the other.
const WHOLE: Duration = Duration::from_secs(240);

#[test]
#[ignore = "needs Docker"]
fn a_galera_lab_survives_every_loss_but_one_which_a_person_decides() {
    let lab = Lab::new("wplab-galera");
    let before = Engine::snapshot();
    let up = lab.up_in_order("galera").json();
    let other = lab.up(&["--topology", "replication"]);
    other.assert_code(2);
    assert!(other.stderr.contains("has topology galera"), "{}", other.stderr);
    assert!(!other.stderr.contains("images "), "refused before anything is done: {}", other.stderr);
    say(&format!("timings: {}", up["timings"]));
    as_promised(&lab);
    rights::the_agent_may_label_members_and_no_more(&lab);
    rights::the_agent_has_no_other_right_to_members(&lab);
    rights::nobody_is_served_unencrypted(&lab);
    rights::a_key_opens_one_door(&lab);
    // Two minutes of what the lab of topology `replication` shows every time.
    if thoroughly() {
        front_door::under_fire(&lab, up["url"].as_str().expect("a URL"), &["--topology", "galera"]);
    }

    losses(&lab);
    back_too_soon(&lab);
    etcd_is_rebuilt(&lab);
    a_person_decides(&lab);
    lab.run(&["smoke", lab.name()]).assert_code(0);
    for round in 1..=cold_starts() {
        cold_start(&lab, round);
    }

    lab.run(&["down", lab.name()]).assert_code(0);
    assert_eq!(Engine::snapshot(), before, "down leaves the engine as it was");
}

/// Five show that one leaves nothing behind that the next one trips over; each takes half a minute.
fn cold_starts() -> u32 {
    if thoroughly() { 5 } else { 1 }
}

/// One in twenty went wrong before, and as many clean ones as `just drills` makes happen by luck in 4.6 % of all runs.
fn kills() -> u32 {
    if thoroughly() { 60 } else { 2 }
}

fn as_promised(lab: &Lab) {
    crate::until_well(lab);
    let status = lab.run(&["status", lab.name(), "-o", "json"]).assert_code(0).json();
    let members = status["members"].as_array().expect("members");
    assert_eq!(members.len(), 3, "{status}");
    assert!(
        members.iter().all(|m| m["state"] == "synced" && m["cluster-size"] == 3 && m["seqno"].is_i64()),
        "{status}"
    );
    assert_eq!(members.iter().filter(|m| m["role"] == "writer").count(), 1, "{status}");
    let etcd = status["etcd"].as_array().expect("etcd's members");
    assert_eq!(etcd.iter().filter(|m| m["leader"] == true).count(), 1, "{status}");
    let nodes: BTreeSet<_> = etcd.iter().map(|m| m["node"].to_string()).collect();
    assert_eq!(nodes.len(), 3, "etcd is on three nodes: {status}");
    for member in MEMBERS {
        say(&format!("memory of {member}: {} MiB", lab.memory_of(member) / (1 << 20)));
    }
    for (setting, wanted) in [("sql_mode", "STRICT_TRANS_TABLES"), ("require_secure_transport", "ON")] {
        let found = lab.block_on(ask(lab.client(), "db-0", &format!("SELECT CAST(@@global.{setting} AS CHAR)")));
        assert!(found.contains(wanted) || found == "1", "{setting} is {found}");
    }
    let bare = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.tables t WHERE t.table_schema = 'wordpress' AND NOT EXISTS \
                (SELECT 1 FROM information_schema.table_constraints c WHERE c.table_schema = t.table_schema \
                AND c.table_name = t.table_name AND c.constraint_type = 'PRIMARY KEY')";
    assert_eq!(lab.block_on(ask(lab.client(), "db-0", bare)), "0", "every table has a primary key");
}

/// Everything that the cluster comes back from by itself, with no acknowledged row lost and never two writers.
fn losses(lab: &Lab) {
    let ledger = lab.block_on(Ledger::open(lab.client(), "ledger"));
    let (watching, harming) = (lab.client(), lab.client());
    let witness = lab.block_on(async { Witness::watch(watching) });
    let imp = lab.block_on(async { Imp::loose(harming) });

    drill(lab, &ledger, "rolling restart", || {
        for member in MEMBERS {
            lab.delete_pods(&[member], 60);
            until_whole(lab);
        }
    });
    drill(lab, &ledger, "one killed", || lab.kill(SUPERVISOR, &["db-1"]));
    drill(lab, &ledger, "the writer killed", || lab.kill(SUPERVISOR, &[&writer(lab)]));
    drill(lab, &ledger, "two killed", || lab.kill(SUPERVISOR, &["db-0", "db-2"]));
    drill(lab, &ledger, "all killed", || lab.kill(SUPERVISOR, &MEMBERS));
    let addresses = addresses(lab);
    drill(lab, &ledger, "all killed, addresses changed", || {
        lab.delete_pods(&MEMBERS, 0);
        lab.until_running(&MEMBERS);
    });
    assert!(addresses.is_disjoint(&self::addresses(lab)), "every address has changed");
    drop(imp);

    quiet(lab, &ledger, "another writer is asked for", || {
        let before = writer(lab);
        lab.run(&["failover", lab.name()]).assert_code(0);
        assert_ne!(writer(lab), before, "another one");
    });
    // etcd: the database does not notice that one member is gone, nor that all are.
    quiet(lab, &ledger, "one etcd member killed", || lab.kill("/usr/local/bin/etcd --name=etcd-1", &["etcd-1"]));
    quiet(lab, &ledger, "all of etcd gone", || {
        let before = restarts(lab);
        lab.scale("etcd", 0);
        std::thread::sleep(LEASE);
        assert_eq!(restarts(lab), before, "no member restarts");
        lab.scale("etcd", 3);
    });
    drill(lab, &ledger, "all killed while etcd is gone", || {
        lab.scale("etcd", 0);
        lab.kill(SUPERVISOR, &MEMBERS);
        std::thread::sleep(LEASE);
        for member in MEMBERS {
            let status = lab.member(member);
            assert!(status["galera"].is_null(), "nobody starts without etcd: {status}");
        }
        lab.scale("etcd", 3);
    });
    drill(lab, &ledger, "engine restarted", || {
        for node in Engine::nodes_of(lab.name()) {
            Engine::kill_container(&node);
        }
        lab.up(&["--topology", "galera"]).assert_code(0);
    });

    let seen = witness.seen();
    drop(witness);
    assert!(seen.doubles.is_empty(), "two writers at a time: {:?}", seen.doubles);
    say(&format!("writers in the order of time: {:?}", seen.writers));
    let rows = lab.block_on(ledger.close(&MEMBERS));
    say(&format!("{rows} acknowledged rows, none lost"));
}

/// The writer's server is killed and back in under a second, again and again: those who are left agree on who that is before it
/// joins them, so that writes go on at another member in the time that its silence takes to be noticed.
fn back_too_soon(lab: &Lab) {
    let ledger = lab.block_on(Ledger::open(lab.client(), "ledger_of_kills"));
    let client = lab.client();
    let witness = lab.block_on(async { Witness::watch(client) });
    let mut gaps = Vec::new();
    for round in 1..=kills() {
        until_whole(lab);
        lab.block_on(ledger.until_written(20));
        let (victim, begin) = (writer(lab), Instant::now());
        for server in SERVERS {
            lab.kill(server, &[&victim]);
        }
        lab.block_on(ledger.until_written(20));
        let gap = ledger.longest_gap_since(begin);
        assert_ne!(writer(lab), victim, "another member takes writes");
        until_whole(lab);
        let whole = begin.elapsed().as_secs_f64();
        say(&format!("kill {round}, of {victim}: {:.1} s without writes, whole after {whole:.1} s", gap.as_secs_f64()));
        gaps.push(gap);
    }
    let seen = witness.seen();
    drop(witness);
    assert!(seen.doubles.is_empty(), "two writers at a time: {:?}", seen.doubles);
    let rows = lab.block_on(ledger.close(&MEMBERS));
    gaps.sort();
    let middle = gaps[gaps.len() / 2].as_secs_f64();
    let longest = gaps.last().copied().unwrap_or_default();
    say(&format!(
        "{} kills: {middle:.1} s without writes in the middle, {:.1} s at most; {rows} rows, none lost",
        gaps.len(),
        longest.as_secs_f64()
    ));
    assert!(longest <= UNWRITTEN, "{gaps:?}");
}

/// Two of etcd's three volumes are lost: whoever writes does not notice, a member that ends stays down, and both are well again
/// when etcd has been rebuilt from what the members know.
fn etcd_is_rebuilt(lab: &Lab) {
    let ledger = lab.block_on(Ledger::open(lab.client(), "ledger_of_repair"));
    lab.run(&["repair", "etcd", lab.name(), "--yes"]).assert_code(2);
    let failed = ledger.failed();
    lab.scale("etcd", 1);
    for claim in ["data-etcd-1", "data-etcd-2"] {
        lab.delete_claim(claim);
    }
    lab.run(&["repair", "etcd", lab.name()]).assert_code(2);
    let repaired = lab.run(&["repair", "etcd", lab.name(), "--yes"]);
    repaired.assert_code(0);
    assert!(repaired.stderr.contains("db-0, db-1, db-2 tell a new one"), "{}", repaired.stderr);
    assert_eq!(ledger.failed(), failed, "no write fails, and no connection breaks");
    drill(lab, &ledger, "all killed after etcd was rebuilt", || lab.kill(SUPERVISOR, &MEMBERS));
    let rows = lab.block_on(ledger.close(&MEMBERS));
    say(&format!("{rows} acknowledged rows outlive etcd"));
}

/// Harms the lab and waits until it is whole; tells how long nothing could be written.
fn drill(lab: &Lab, ledger: &Ledger, what: &str, harm: impl FnOnce()) {
    let begin = Instant::now();
    let written = ledger.len();
    harm();
    until_whole(lab);
    let whole = begin.elapsed();
    lab.block_on(ledger.until_written(20));
    let gap = ledger.longest_gap_since(begin);
    let rows = ledger.len() - written;
    say(&format!(
        "{what}: whole after {:.1} s, {:.1} s without writes, {rows} rows",
        whole.as_secs_f64(),
        gap.as_secs_f64()
    ));
}

/// A drill that writers must not notice.
fn quiet(lab: &Lab, ledger: &Ledger, what: &str, harm: impl FnOnce()) {
    let failed = ledger.failed();
    drill(lab, ledger, what, harm);
    assert_eq!(ledger.failed(), failed, "{what}: no write fails, and no connection breaks");
}

/// Nothing starts while a member's position is unknown; `status` says whose, and `recover` starts without it.
fn a_person_decides(lab: &Lab) {
    lab.scale("db", 0);
    lab.scale("db", 2);
    lab.until_running(&["db-0", "db-1"]);
    let note = until_said(lab, "db-0", "db-2");
    say(&format!("two of three: {note}"));
    lab.scale("db", 0);
    lab.delete_claim("data-db-2");
    lab.scale("db", 3);
    lab.until_running(&MEMBERS);
    let note = until_said(lab, "db-1", "db-2 lost its data");
    say(&format!("a volume lost: {note}"));
    for member in MEMBERS {
        assert!(lab.member(member)["galera"].is_null(), "nobody starts");
    }
    let status = lab.run(&["status", lab.name()]);
    status.assert_code(1);
    let lost = "db-2 lost its data, which may have been the newest";
    let cure = format!("`wplab recover {} --bootstrap ", lab.name());
    assert!(status.stdout.contains(lost), "{}", status.stdout);
    assert!(status.stdout.contains(&cure), "the command is for this lab: {}", status.stdout);
    let folder = tempfile::tempdir().expect("a folder");
    let diagnosed = lab.run(&["diagnose", lab.name(), "--folder", &folder.path().to_string_lossy()]);
    let cause = std::fs::read_to_string(folder.path().join("cause.txt")).expect("a likely cause");
    assert!(cause.contains(lost) && diagnosed.stderr.contains(&cause), "{cause}\n{}", diagnosed.stderr);
    // The one without data cannot be chosen, and without an answer nothing is done.
    lab.run(&["recover", lab.name(), "--bootstrap", "db-2", "--yes"]).assert_code(2);
    lab.run(&["recover", lab.name(), "--bootstrap", "db-0"]).assert_code(2);
    let recovered = lab.run(&["recover", lab.name(), "--bootstrap", "db-0", "--yes"]);
    recovered.assert_code(0);
    assert!(recovered.stderr.contains("lost"), "the consequence is told: {}", recovered.stderr);
    until_whole(lab);
    lab.run(&["recover", lab.name(), "--bootstrap", "db-0", "--yes"]).assert_code(2);
}

/// Three members start at the same moment on empty volumes, with an empty etcd: one cluster of three.
fn cold_start(lab: &Lab, round: u32) {
    lab.scale("db", 0);
    for number in 0..3 {
        lab.delete_claim(&format!("data-db-{number}"));
    }
    let tls = ["--cacert=/etc/wplab/tls/ca.crt", "--cert=/etc/wplab/tls/tls.crt", "--key=/etc/wplab/tls/tls.key"];
    let delete =
        ["etcdctl", "--endpoints=https://localhost:2379", tls[0], tls[1], tls[2], "del", "--prefix", "/wplab/"];
    lab.exec("etcd-0", &delete);
    let begin = Instant::now();
    lab.scale("db", 3);
    until_whole(lab);
    say(&format!("cold start {round}: one cluster of three after {:.1} s", begin.elapsed().as_secs_f64()));
}

/// Waits until three members are in one primary component, and the agent has given one of them the role of the writer and
/// lets all three be read.
fn until_whole(lab: &Lab) {
    let begin = Instant::now();
    loop {
        match whole(lab) {
            Ok(()) => return,
            Err(why) => assert!(begin.elapsed() < WHOLE, "the cluster is not whole: {why}"),
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn whole(lab: &Lab) -> Result<(), String> {
    let mut clusters = BTreeSet::new();
    for member in MEMBERS {
        let status = lab.try_member(member)?;
        let facts = &status["galera"];
        if facts["component"] != "Primary" || facts["state"] != "Synced" || facts["size"] != 3 {
            return Err(format!("{member}: {status}"));
        }
        clusters
            .insert(facts["cluster-uuid"].as_str().or(facts["cluster_uuid"].as_str()).unwrap_or_default().to_owned());
    }
    if clusters.len() != 1 {
        return Err(format!("more than one cluster: {clusters:?}"));
    }
    let pods = lab.try_pods("app.kubernetes.io/component=database")?;
    let with = |key: &str, value: &str| pods.iter().filter(|p| p.labels().get(key).is_some_and(|v| v == value)).count();
    let (writers, readable) = (with("wplab.dev/role", "writer"), with("wplab.dev/reads", "true"));
    if (writers, readable) != (1, 3) {
        return Err(format!("{writers} writers, {readable} members can be read"));
    }
    Ok(())
}

fn until_said(lab: &Lab, member: &str, words: &str) -> String {
    let begin = Instant::now();
    loop {
        let status = lab.try_member(member).unwrap_or(Value::Null);
        let note = status["note"].as_str().unwrap_or_default().to_owned();
        if note.contains(words) {
            return note;
        }
        assert!(begin.elapsed() < WHOLE, "{member} never said {words}: {status}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn writer(lab: &Lab) -> String {
    let found = lab.try_pods("wplab.dev/role=writer").expect("the API server answers");
    found.first().expect("a writer").name_any()
}

fn addresses(lab: &Lab) -> BTreeSet<String> {
    let pods = lab.try_pods("app.kubernetes.io/component=database").expect("the API server answers");
    pods.iter().filter_map(|pod| pod.status.as_ref()?.pod_ip.clone()).collect()
}

fn restarts(lab: &Lab) -> i32 {
    let of = |pod: &Pod| {
        pod.status.iter().flat_map(|s| s.container_statuses.iter().flatten()).map(|c| c.restart_count).sum::<i32>()
    };
    lab.try_pods("app.kubernetes.io/component=database").expect("the API server answers").iter().map(of).sum()
}
