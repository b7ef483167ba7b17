//! Drills on a real lab. What the tool says of a drill is held against what can be seen without it: the engine, the node's
//! packet filter, and the database asked directly. A set within CI's time is run always, about six minutes after `up`;
//! `every_drill` runs all of them and writes the table for people.

use std::{
    fmt::Write,
    fs,
    io::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::Value;

use crate::{
    lab::{Engine, Lab, Ran, say, thoroughly},
    ledger::{ask, tell, try_tell},
};

/// The drill of CI, which takes less than a minute; `just test-lab-thoroughly` adds one of the file server.
fn some() -> &'static [&'static str] {
    if thoroughly() { &["writer-process", "nfs-server"] } else { &["writer-process"] }
}

/// What ends a writer is worth more than one look: these faults, of that target.
const ENDS: [&str; 5] = ["delete-pods", "kill-server", "freeze-server", "kill-node", "lose-volume"];
const ROUNDS: u32 = 5;

/// A write under way.
type Telling = tokio::task::JoinHandle<Result<(), mysql_async::Error>>;

#[test]
#[ignore = "needs Docker"]
fn drills_measure_and_are_undone_whatever_ends_them() {
    let lab = Lab::new("wplab-drills");
    let before = Engine::snapshot();
    lab.up(&[]).assert_code(0);

    some_drills_pass(&lab);
    a_lost_row_is_told(&lab);
    nothing_is_acknowledged_that_no_replica_has(&lab);
    what_only_a_lost_source_has_is_kept_aside(&lab);
    if thoroughly() {
        what_waits_for_nobody_is_lost_with_its_volume_and_told(&lab);
    }
    a_killed_run_is_healed_from_what_is_found(&lab);
    an_interrupted_run_heals_itself(&lab);
    what_cannot_be_done_is_refused_before_anything_is_broken(&lab);

    lab.run(&["smoke", lab.name()]).assert_code(0);
    lab.run(&["down", lab.name()]).assert_code(0);
    assert_eq!(Engine::snapshot(), before, "down leaves the engine as it was");
}

fn run(lab: &Lab, scenarios: &[&str], more: &[&str]) -> Ran {
    lab.run(&[&["chaos", "run", "--lab", lab.name(), "-o", "json"], scenarios, more].concat())
}

fn some_drills_pass(lab: &Lab) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let reports = format!("html={},junit={}", path("drills.html"), path("drills.xml"));
    let ran = run(lab, some(), &["--report", &reports]);
    let report = ran.json();
    for round in report["rounds"].as_array().expect("rounds") {
        let (rows, name) = (&round["rows"], &round["scenario"]);
        say(&format!(
            "{name}: no reads for {} s, no writes for {} s",
            outage(round, "readers"),
            outage(round, "writers")
        ));
        assert!(rows["acknowledged"].as_u64() > Some(100), "somebody wrote in {name}: {rows}");
        assert_eq!(
            (&rows["lost-rows"], rows["members"].as_array().map(Vec::len)),
            (&Value::from(0), Some(3)),
            "{name}"
        );
    }
    ran.assert_code(0);
    assert_eq!(report["rounds"].as_array().map(Vec::len), Some(some().len()));
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("a report");
    assert_eq!(read("drills.html").matches("<svg ").count(), some().len());
    assert_eq!(read("drills.xml").matches("<testcase ").count(), some().len());
}

fn outage(round: &Value, who: &str) -> f64 {
    round[who]["outage"]["length"].as_f64().unwrap_or_default()
}

/// Somebody takes a row away that was acknowledged, changes one and adds one: the ledger can fail.
fn a_lost_row_is_told(lab: &Lab) {
    // What is broken does not matter here, and need not last.
    let short = include_str!("../../lab/scenarios/wordpress-pod.yaml").replace("lasts: 20s", "lasts: 8s");
    let file = lab.file(&short);
    let args = ["chaos", "run", &file, "--lab", lab.name(), "-o", "json"];
    let ran = lab.run_while(&args, "for 8 s", || {
        let writer = lab.try_pods("app.kubernetes.io/component=database,wplab.dev/role=writer").expect("the writer");
        let writer = writer[0].metadata.name.clone().expect("a name");
        for statement in [
            "DELETE FROM wplab_chaos WHERE session = 0 AND seq = 5",
            "UPDATE wplab_chaos SET payload = 'other' WHERE session = 0 AND seq = 6",
            "INSERT INTO wplab_chaos VALUES (7, 1, 0, 'nobody')",
        ] {
            lab.block_on(tell(lab.client(), &writer, statement));
        }
    });
    ran.assert_code(1);
    let rows = &ran.json()["rounds"][0]["rows"];
    assert_eq!((&rows["lost-rows"], rows["lost"].as_array().map(Vec::len)), (&Value::from(1), Some(3)), "{rows}");
    let unwritten = rows["unwritten"].as_array().expect("a list");
    assert_eq!(unwritten.len(), 6, "two rows at three members: {rows}");
}

/// A source is ended while both replicas stand still and people write: nobody hears that a write is safe.
fn nothing_is_acknowledged_that_no_replica_has(lab: &Lab) {
    let writer = writer(lab);
    lab.block_on(tell(lab.client(), &writer, "CREATE TABLE IF NOT EXISTS unheard (id INT PRIMARY KEY)"));
    let replicas = replicas(lab);
    replicas.iter().for_each(|replica| signal(lab, replica, "STOP"));
    let writes = waiting_writes(lab, &writer, 0..8);
    lab.delete_pods(&[&writer], 60);
    assert_eq!(acknowledged(lab, writes), 0, "writes that no replica has were acknowledged");
    replicas.iter().for_each(|replica| signal(lab, replica, "CONT"));
    lab.up(&[]).assert_code(0);
}

/// A source is lost with commits that nobody was sent: it comes back as a replica of the next one, without them, and keeps them
/// aside.
fn what_only_a_lost_source_has_is_kept_aside(lab: &Lab) {
    let (old, replicas) = (writer(lab), replicas(lab));
    let leave = "pkill -STOP -f '[/]tools/wplab member'; pkill -KILL -x mysqld";
    let back = "pkill -CONT -f '[/]tools/wplab member'";
    replicas.iter().for_each(|replica| on_node_of(lab, replica, leave));
    let writes = waiting_writes(lab, &old, 100..103);
    on_node_of(lab, &old, leave);
    assert_eq!(acknowledged(lab, writes), 0, "writes that no replica has were acknowledged");
    replicas.iter().for_each(|replica| on_node_of(lab, replica, back));
    let begin = Instant::now();
    let writers = || names(lab, "app.kubernetes.io/component=database,wplab.dev/role=writer");
    while writers().iter().all(|writer| *writer == old) {
        assert!(begin.elapsed() < Duration::from_secs(60), "nobody else became the source");
        std::thread::sleep(Duration::from_millis(200));
    }
    on_node_of(lab, &old, back);
    lab.up(&[]).assert_code(0);
    let status = lab.run(&["status", lab.name(), "-o", "json"]).assert_code(0).json();
    let own = status["members"].as_array().and_then(|all| all.iter().find(|member| member["name"] == old));
    let own = own.expect("the member");
    let folder = own["aside"][0].as_str().unwrap_or_else(|| panic!("nothing is kept: {own}"));
    assert_eq!(own["role"], "reader", "{own}");
    let kept = lab.exec(
        &old,
        &["sh", "-c", &format!("ls {folder}; grep -c : {folder}/gtids.txt; grep -la unheard {folder}/*bin*")],
    );
    assert!(kept.contains("gtids.txt"), "{kept}");
    for member in replicas.iter().chain([&old]) {
        let rows = lab.block_on(ask(lab.client(), member, "SELECT COUNT(*) FROM unheard WHERE id >= 100"));
        assert_eq!(rows, "0", "{member} has what was acknowledged to nobody");
    }
}

/// Begins writes of table `unheard` at a source, and waits until their commits wait for a replica.
fn waiting_writes(lab: &Lab, writer: &str, ids: std::ops::Range<u32>) -> Vec<Telling> {
    let client = lab.client();
    let writes = lab.block_on(async {
        let write = |id: u32| {
            let (client, writer) = (client.clone(), writer.to_owned());
            tokio::spawn(async move { try_tell(client, &writer, &format!("INSERT INTO unheard VALUES ({id})")).await })
        };
        ids.map(write).collect()
    });
    let begin = Instant::now();
    while lab.member(writer)["waiting"].as_u64().is_none_or(|waiting| waiting == 0) {
        assert!(begin.elapsed() < Duration::from_secs(10), "no commit waits: {}", lab.member(writer));
        std::thread::sleep(Duration::from_millis(100));
    }
    writes
}

/// How many of these heard that they are safe, once all have ended.
fn acknowledged(lab: &Lab, writes: Vec<Telling>) -> usize {
    let ended = lab.block_on(futures_util::future::join_all(writes));
    ended.into_iter().filter(|write| write.as_ref().is_ok_and(Result::is_ok)).count()
}

/// A lab without semi-synchronous replication, a replica that is away and a lost volume: the ledger says what is gone.
fn what_waits_for_nobody_is_lost_with_its_volume_and_told(lab: &Lab) {
    let name = lab.name();
    let scaled = lab.run(&["scale", "db", "2", name, "--unprotected", "-o", "json"]).assert_code(0).json();
    assert_eq!(scaled["protected"], Value::from(false), "{scaled}");
    let (writer, replica) = (writer(lab), replicas(lab).remove(0));
    let before = uid(lab, &writer);
    // The lost one is made anew on the only other worker that there is, where what was kept of the third member is.
    let (nodes, closed) = (Api::<Node>::all(lab.client()), node_of(lab, &writer));
    lab.block_on(nodes.cordon(&closed)).expect("a closed node");
    let scenario = lab.file(
        "name: lost\nsummary: what only the writer has is lost\nsteady: serving\nfault: {do: lose-volume, of: writer}\nlasts: 30s\n\
         expect: {lost-rows: 0}\nheal: {within: 4m}\n",
    );
    let ran = lab.run_while(&["chaos", "run", &scenario, "--lab", name, "-o", "json"], "all is well after", || {
        // What is sent to a server that only stands still waits in its node's kernel, and is not lost.
        on_node_of(lab, &replica, "pkill -STOP -f '[/]tools/wplab member'; pkill -KILL -x mysqld");
        let begin = Instant::now();
        while uid(lab, &writer) == before {
            assert!(begin.elapsed() < Duration::from_secs(60), "the writer was not hit");
            std::thread::sleep(Duration::from_millis(200));
        }
        on_node_of(lab, &replica, "pkill -CONT -f '[/]tools/wplab member'");
        // Nobody gives up a source that may have more than the others, but a person.
        let moved = lab.run(&["failover", "--accept-loss", name, "-o", "json"]).assert_code(0).json();
        assert_eq!(moved["to"], Value::from(replica.clone()), "{moved}");
    });
    ran.assert_code(1);
    let round = &ran.json()["rounds"][0];
    let lost = round["rows"]["lost-rows"].as_u64().expect("a number");
    say(&format!("{lost} of {} acknowledged rows are lost, and told", round["rows"]["acknowledged"]));
    assert!(lost > 10, "{round}");
    lab.block_on(nodes.uncordon(&closed)).expect("an open node");
    let scaled = lab.run(&["scale", "db", "3", name, "-o", "json"]).assert_code(0).json();
    assert_eq!(scaled["protected"], Value::from(true), "{scaled}");
    assert_eq!(node_of(lab, "db-2"), closed, "each member has a worker of its own");
}

fn writer(lab: &Lab) -> String {
    names(lab, "app.kubernetes.io/component=database,wplab.dev/role=writer").remove(0)
}

fn replicas(lab: &Lab) -> Vec<String> {
    names(lab, "app.kubernetes.io/component=database,wplab.dev/role=reader")
}

fn names(lab: &Lab, labels: &str) -> Vec<String> {
    lab.try_pods(labels).expect("pods").iter().filter_map(|pod| pod.metadata.name.clone()).collect()
}

/// Which of the pods of this name there is, if there is one.
fn uid(lab: &Lab, pod: &str) -> Option<String> {
    let pods = lab.try_pods("app.kubernetes.io/component=database").expect("pods");
    pods.into_iter().find(|found| found.metadata.name.as_deref() == Some(pod)).and_then(|found| found.metadata.uid)
}

/// Sends a signal to the server of one member.
fn signal(lab: &Lab, member: &str, signal: &str) {
    on_node_of(lab, member, &format!("pkill -{signal} -x mysqld"));
}

/// Runs words of the shell on the node of one member.
fn on_node_of(lab: &Lab, member: &str, words: &str) {
    lab.block_on(Engine::sh(&node_of(lab, member), words));
}

fn node_of(lab: &Lab, member: &str) -> String {
    let pods = lab.try_pods("app.kubernetes.io/component=database").expect("pods");
    let pod = pods.iter().find(|pod| pod.metadata.name.as_deref() == Some(member)).expect("the member");
    pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).expect("its node")
}

/// The run is killed in the middle, and what it has written down is lost, too.
fn a_killed_run_is_healed_from_what_is_found(lab: &Lab) {
    let killed = lab.run_until(&["chaos", "run", "cut-node", "--lab", lab.name()], "for 90 s", "KILL");
    assert_eq!(killed.code, None, "{}", killed.stderr);
    assert_eq!(cut_off(lab), 1, "a node is cut off");
    fs::remove_file(lab.folder().join("chaos.json")).expect("what was written down");
    let healed = lab.run(&["chaos", "heal", "--lab", lab.name(), "-o", "json"]).assert_code(0).json();
    assert_eq!(healed["undone"].as_array().map(Vec::len), Some(1), "{healed}");
    assert_eq!(cut_off(lab), 0, "no node is");
    let again = lab.run(&["chaos", "heal", "--lab", lab.name(), "-o", "json"]).assert_code(0).json();
    assert_eq!(again["undone"], Value::Array(Vec::new()), "there is nothing left to put right");
}

fn an_interrupted_run_heals_itself(lab: &Lab) {
    let ran = lab.run_until(&["chaos", "run", "writer-frozen", "--lab", lab.name()], "for 45 s", "INT");
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    let frozen = in_nodes(lab, "ps -eo stat=,comm= | grep -E '^T.* mysqld'");
    assert_eq!(frozen, 0, "no server stands still");
    assert!(!lab.folder().join("chaos.json").exists(), "nothing is written down any more");
}

fn what_cannot_be_done_is_refused_before_anything_is_broken(lab: &Lab) {
    let refused = lab.run(&["chaos", "run", "clock-jump", "wordpress-pod", "--lab", lab.name()]);
    refused.assert_code(2);
    assert!(refused.stderr.contains("nothing was broken"), "{}", refused.stderr);
    assert!(refused.stderr.contains("share its one clock"), "{}", refused.stderr);
}

/// In how many nodes words of the shell succeed.
fn in_nodes(lab: &Lab, words: &str) -> usize {
    let nodes = ["worker", "worker2", "worker3"].map(|node| format!("{}-{node}", lab.name()));
    let words = format!("if {words}; then echo yes; fi");
    nodes.iter().filter(|node| lab.block_on(Engine::sh(node, &words)).contains("yes")).count()
}

fn cut_off(lab: &Lab) -> usize {
    in_nodes(lab, "iptables -S INPUT | grep -q WPLAB-CHAOS")
}

/// Every scenario that can be run here, on both topologies; those that hit a writer several times. Writes `OUT`, or the table in
/// `docs/drills.md`.
#[test]
#[ignore = "takes hours"]
fn every_drill() {
    if std::env::var_os("OUT").is_none() {
        say("this is only run by `just drills`");
        return;
    }
    let mut table = "| topology | scenario | rounds | longest read outage | longest write outage | errors | rows acknowledged | rows lost | met |\n\
                     |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    // It takes hours: whoever is interrupted goes on where it was.
    let so_far = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("drills.txt");
    let done = fs::read_to_string(&so_far).unwrap_or_default();
    for topology in ["replication", "galera"] {
        let lab = Lab::new(&format!("wplab-drills-{topology}"));
        lab.up(&["--topology", topology]).assert_code(0);
        let listed = lab.run(&["chaos", "list", "--lab", lab.name(), "-o", "json"]).assert_code(0).json();
        for scenario in listed.as_array().expect("scenarios").iter().filter(|one| one["can-run"] == true) {
            let name = scenario["name"].as_str().expect("a name");
            if let Some(line) = done.lines().find(|line| line.starts_with(&format!("| {topology} | `{name}` |"))) {
                table += &format!("{line}\n");
                continue;
            }
            let ends = ENDS.iter().any(|&fault| scenario["fault"]["do"] == fault);
            let rounds = if ends && scenario["fault"]["of"] == "writer" { ROUNDS } else { 1 }.to_string();
            let ran = run(&lab, &[name], &["--rounds", &rounds]);
            assert_ne!(ran.code, Some(130), "somebody interrupted it");
            let line = line(topology, name, &ran);
            say(&line);
            table += &line;
            let mut file = fs::File::options().create(true).append(true).open(&so_far).expect("a file");
            file.write_all(line.as_bytes()).expect("written");
            if ran.code == Some(4) {
                // Whatever it was, the next ones begin with a lab that is well.
                lab.run(&["down", lab.name()]).assert_code(0);
                lab.up(&["--topology", topology]).assert_code(0);
            }
        }
        lab.run(&["down", lab.name()]).assert_code(0);
    }
    keep(&table);
    fs::remove_file(&so_far).expect("removed");
}

fn line(topology: &str, name: &str, ran: &Ran) -> String {
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let rounds = report["rounds"].as_array().cloned().unwrap_or_default();
    let longest = |who: &str| rounds.iter().map(|round| outage(round, who)).fold(0.0, f64::max);
    let sum = |at: fn(&Value) -> Option<u64>| rounds.iter().filter_map(at).sum::<u64>();
    let errors = sum(|round| Some(round["readers"]["failed"].as_u64()? + round["editor"]["failed"].as_u64()?));
    let (acknowledged, lost) =
        (sum(|round| round["rows"]["acknowledged"].as_u64()), sum(|round| round["rows"]["lost-rows"].as_u64()));
    let met = match ran.code {
        Some(0) => "yes".to_owned(),
        Some(1) => missed(&rounds),
        other => format!("ended with {other:?}"),
    };
    let mut line = String::new();
    let _ = writeln!(
        line,
        "| {topology} | `{name}` | {} | {:.1} s | {:.1} s | {errors} | {acknowledged} | {lost} | {met} |",
        rounds.len(),
        longest("readers"),
        longest("writers")
    );
    line
}

/// What was not as expected, each once.
fn missed(rounds: &[Value]) -> String {
    let lines = rounds.iter().flat_map(|round| round["verdict"].as_array().cloned().unwrap_or_default());
    let mut what: Vec<String> =
        lines.filter(|line| line["met"] == false).filter_map(|line| Some(line["what"].as_str()?.to_owned())).collect();
    what.sort();
    what.dedup();
    format!("no: {}", what.join(", "))
}

const BEGIN: &str = "<!-- the table of `just drills` -->\n";
const END: &str = "<!-- its end -->\n";

fn keep(table: &str) {
    let out = std::env::var_os("OUT").filter(|out| !out.is_empty()).map(PathBuf::from);
    if let Some(out) = out {
        return fs::write(out, table).expect("written");
    }
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/drills.md");
    let text = fs::read_to_string(&page).expect("the page");
    let (before, rest) = text.split_once(BEGIN).expect("a place for the table");
    let (_, after) = rest.split_once(END).expect("its end");
    fs::write(&page, format!("{before}{BEGIN}{table}{END}{after}")).expect("written");
}
