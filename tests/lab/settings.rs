//! Declared settings on a lab that stands, while somebody writes: what a server takes as it runs, what it has to be restarted for, and
//! what it does not take at all.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::{api::core::v1::Secret, jiff::Timestamp};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use wplab::inside::kinds::{Database, DatabasePhase};

use crate::{
    lab::{Lab, say, thoroughly},
    ledger::{Ledger, ask},
};

/// How long nothing may be written while another member comes to take writes.
const SWITCHED: Duration = Duration::from_secs(10);

/// When each member's pod was made.
fn begun(lab: &Lab) -> BTreeMap<String, Timestamp> {
    let pods = lab.try_pods("app.kubernetes.io/component=database").expect("pods");
    let made = |pod: &k8s_openapi::api::core::v1::Pod| pod.metadata.creation_timestamp.as_ref().expect("a time").0;
    pods.iter().map(|pod| (pod.name_any(), made(pod))).collect()
}

fn writer(lab: &Lab) -> String {
    let pods = lab.try_pods("wplab.dev/role=writer").expect("pods");
    pods.first().expect("a writer").name_any()
}

fn everywhere(lab: &Lab, variable: &str, value: &str) {
    for member in begun(lab).keys() {
        let has = lab.block_on(ask(lab.client(), member, &format!("SELECT @@GLOBAL.{variable}")));
        assert_eq!(has, value, "{variable} at {member}");
    }
}

/// A lab of three members that stands, made from the defaults; it ends with other settings.
pub(crate) fn reach_the_members(lab: &Lab) {
    let file = |settings: &str| lab.file(&format!("database: {{settings: {{{settings}}}}}\n"));
    as_they_run(lab, &file("max_connections: 61"));
    one_by_one(lab, &file("max_connections: 61, back_log: 71"));
    taken_back(lab, &file("max_connections: 61, back_log: 71, no_such_option: 1"));
    declared_by_others(lab);
    if thoroughly() {
        another_image(lab);
    }
    root_has_another_password(lab);
}

/// Another image of the server comes member by member; one whose server does not start is taken back.
fn another_image(lab: &Lab) {
    let build = |name: &str, lines: &str| {
        let pods = lab.try_pods("app.kubernetes.io/component=database").expect("pods");
        let runs = pods[0].spec.as_ref().expect("a spec").containers[0].image.clone().expect("an image");
        let runs = runs.trim_start_matches("docker.io/").to_owned();
        docker(&["build", "-q", "-t", name, "-"], &format!("FROM {runs}\nLABEL wplab.dev/test=settings\n{lines}\n"));
    };
    let file = |image: &str| {
        lab.file(&format!("database: {{image: '{image}', settings: {{max_connections: 61, back_log: 71}}}}\n"))
    };
    let (other, broken) = ("wplab-test/mysql:other", "wplab-test/mysql:broken");
    build(other, "");
    let before = begun(lab);
    let planned = lab.run(&["plan", lab.name(), "-f", &file(other), "-o", "json"]).assert_code(0).json();
    assert_eq!(
        (&planned["changes"][0]["what"], &planned["changes"][0]["restarts"]),
        (&json!("database.image"), &json!(true))
    );
    lab.up(&["-f", &file(other)]).assert_code(0);
    let after = begun(lab);
    assert!(after.iter().all(|(member, since)| *since > before[member]), "{before:?} {after:?}");
    assert_eq!(lab.up(&["-f", &file(other)]).assert_code(0).json()["changed"], false, "it is as it shall be");

    // One whose server ends at once is told before it comes near a member.
    build(
        broken,
        "RUN mv $(command -v mysqld) /usr/sbin/mysqld.real && printf '#!/bin/sh\\n[ -d /var/lib/mysql/data ] && exit 1\\nexec /usr/sbin/mysqld.real \"$@\"\\n' > /usr/sbin/mysqld && chmod 755 /usr/sbin/mysqld",
    );
    let up = lab.up(&["-f", &file(broken)]);
    up.assert_code(4);
    assert!(up.stderr.contains("breaks what the lab relies on"), "{}", up.stderr);
    assert_eq!(begun(lab), after, "nobody was restarted");
    lab.run(&["status", lab.name()]).assert_code(0);
    lab.up(&["-f", &lab.file("database: {settings: {max_connections: 61, back_log: 71}}\n")]).assert_code(0);
    docker(&["rmi", other, broken], "");
}

fn docker(args: &[&str], input: &str) {
    let mut process =
        Command::new("docker").args(args).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("docker");
    process.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    assert!(process.wait().expect("an end").success(), "docker {args:?}");
}

/// A password of root that somebody brings is the only one that any server lets in, and every pod has it.
pub(crate) fn root_has_another_password(lab: &Lab) {
    let secrets: Api<Secret> = Api::namespaced(lab.client(), "wplab");
    let (former, own) = (lab.secret("db-credentials", "root-password"), "somebody's-own-password");
    let by_hand = json!({"stringData": {"root-password": own}});
    let params = PatchParams::default();
    let refused = lab.block_on(secrets.patch("db-credentials", &params, &Patch::Merge(by_hand)));
    let refused = refused.expect_err("refused").to_string();
    assert!(refused.contains("the servers have these passwords") && refused.contains("db-root"), "{refused}");
    let brought: Secret =
        serde_json::from_value(json!({"metadata": {"name": "db-root"}, "stringData": {"password": own}}))
            .expect("a Secret");
    let begin = Instant::now();
    lab.block_on(secrets.create(&PostParams::default(), &brought)).expect("made");
    let has = |member: &str, password: &str| -> serde_json::Value {
        let said = lab.exec_told(member, &["/tools/wplab", "member", "root", "--step", "look"], password);
        serde_json::from_str(said.trim()).unwrap_or_else(|error| panic!("{error}: {said:?}"))
    };
    let members: Vec<String> = begun(lab).into_keys().collect();
    let (all, none) = (json!({"server": true, "pod": true}), json!({"server": false, "pod": false}));
    while !members.iter().all(|member| has(member, own) == all && has(member, &former) == none) {
        assert!(begin.elapsed() < Duration::from_secs(60), "root has another password for {:?}", members.first());
        std::thread::sleep(Duration::from_millis(200));
    }
    say(&format!("root had another password after {:.1} s", begin.elapsed().as_secs_f64()));
    let shown = lab.run(&["credentials", lab.name(), "-o", "json"]).assert_code(0).json();
    assert_eq!(shown["database-root-password"], own);
    lab.run(&["status", lab.name()]).assert_code(0);
}

/// What a server takes as it runs.
fn as_they_run(lab: &Lab, file: &str) {
    let before = begun(lab);
    let planned = lab.run(&["plan", lab.name(), "-f", file, "-o", "json"]).assert_code(0).json();
    let change = json!([{"what": "database.settings.max_connections", "had": "60", "wanted": "61", "restarts": false}]);
    assert_eq!(planned["changes"], change, "{planned}");
    let up = lab.up(&["-f", file]);
    assert_eq!(up.assert_code(0).json()["changed"], true);
    assert!(up.stderr.contains("changed without a restart: max_connections"), "{}", up.stderr);
    assert_eq!(begun(lab), before, "nobody was restarted");
    everywhere(lab, "max_connections", "61");
    for member in before.keys() {
        // Whoever ends now begins with it: the kubelet was asked to hurry.
        let begin = Instant::now();
        while !lab.exec(member, &["cat", "/etc/wplab/mysql/lab.cnf"]).contains("max_connections=\"61\"") {
            assert!(begin.elapsed() < Duration::from_secs(20), "{member} would begin with what it had");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
    assert_eq!(lab.up(&["-f", file]).assert_code(0).json()["changed"], false, "it is as it shall be");
}

/// What a server has to be restarted for.
fn one_by_one(lab: &Lab, file: &str) {
    let (before, wrote) = (begun(lab), writer(lab));
    let planned = lab.run(&["plan", lab.name(), "-f", file, "-o", "json"]).assert_code(0).json();
    assert_eq!(
        (&planned["changes"][0]["what"], &planned["changes"][0]["restarts"]),
        (&json!("database.settings.back_log"), &json!(true))
    );
    let ledger = lab.block_on(Ledger::open(lab.client(), "ledger_of_settings"));
    let begin = Instant::now();
    lab.up(&["-f", file]).assert_code(0);
    let (gap, took) = (ledger.longest_gap_since(begin), begin.elapsed().as_secs_f64());
    let rows = lab.block_on(ledger.close(&["db-0", "db-1", "db-2"]));
    say(&format!("three members restarted within {took:.1} s, no write for {gap:.1?}, {rows} rows"));
    assert!(gap < SWITCHED, "nothing was written for {gap:.1?}");
    let after = begun(lab);
    assert!(after.iter().all(|(member, since)| *since > before[member]), "{before:?} {after:?}");
    let last = after.iter().max_by_key(|(_, since)| **since).expect("members").0;
    assert_eq!(*last, wrote, "who took writes comes last: {after:?}");
    assert_ne!(writer(lab), wrote);
    everywhere(lab, "back_log", "71");
}

/// What a server does not take at all: one reader tries it.
fn taken_back(lab: &Lab, file: &str) {
    let (before, wrote) = (begun(lab), writer(lab));
    let begin = Instant::now();
    let up = lab.up(&["-f", file]);
    say(&format!("a wrong option was taken back after {:.1} s", begin.elapsed().as_secs_f64()));
    up.assert_code(4);
    let told = &up.stderr;
    assert!(told.contains("unknown variable 'no_such_option=1'") && told.contains("settings.no_such_option"), "{told}");
    let after = begun(lab);
    let tried: Vec<&String> =
        after.iter().filter(|(member, since)| **since != before[*member]).map(|(m, _)| m).collect();
    assert!(matches!(tried.as_slice(), [one] if **one != wrote && told.contains(*one)), "{tried:?} tried it");
    lab.run(&["status", lab.name()]).assert_code(0);
    assert_eq!(writer(lab), wrote, "nobody else had to take writes");
    everywhere(lab, "back_log", "71");
    let without = lab.file("database: {settings: {max_connections: 61, back_log: 71}}\n");
    let planned = lab.run(&["plan", lab.name(), "-f", &without, "-o", "json"]).assert_code(0).json();
    assert_eq!(planned["changes"], json!(null), "all is as it was: {planned}");
}

/// What somebody declares with `kubectl` reaches the members as what a lab file declares, and `up` leaves it alone until it is told not to.
fn declared_by_others(lab: &Lab) {
    const OTHER: &str = "kubectl-edit";
    let file = |settings: &str| {
        lab.file(&format!("database: {{settings: {{max_connections: 61, back_log: 71{settings}}}}}\n"))
    };
    let api: Api<Database> = Api::namespaced(lab.client(), "wplab");
    let patch = |spec: serde_json::Value| {
        let params = PatchParams { field_manager: Some(OTHER.to_owned()), ..PatchParams::default() };
        let patched = lab.block_on(api.patch("db", &params, &Patch::Merge(json!({"spec": spec}))));
        patched.map(|database| database.metadata.generation).map_err(|error| error.to_string())
    };
    for (spec, why) in [
        (json!({"members": 5}), "members come and go by `wplab scale db`"),
        (json!({"volume": "512Mi"}), "volumes only grow"),
        (json!({"topology": "galera"}), "a topology is for good"),
    ] {
        let refused = patch(spec).expect_err("refused");
        assert!(refused.contains(why), "{refused}");
    }
    let until = |generation: Option<i64>, phase: DatabasePhase| {
        let begin = Instant::now();
        loop {
            let status = lab.block_on(api.get("db")).expect("a Database").status.unwrap_or_default();
            if status.observed_generation == generation && status.phase == phase {
                return status;
            }
            assert!(begin.elapsed() < Duration::from_secs(60), "{phase:?} does not come: {status:?}");
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let before = begun(lab);
    let settled = until(patch(json!({"settings": {"long_query_time": "2"}})).expect("taken"), DatabasePhase::Settled);
    assert_eq!(settled.done, "changed without a restart: long_query_time");
    assert_eq!((settled.writer, settled.ready), (writer(lab), "3/3".to_owned()));
    everywhere(lab, "long_query_time", "2.000000");
    assert_eq!(begun(lab), before, "nobody was restarted");

    let wrong = json!({"settings": {"datadir": "/tmp"}, "resources": {"memory": "7Mi"}});
    let refused = until(patch(wrong).expect("written"), DatabasePhase::Refused);
    let told = &refused.message;
    assert!(told.contains("database.settings.datadir: ") && told.contains("database.resources.memory: 7Mi"), "{told}");
    assert!(lab.run(&["status", lab.name()]).assert_code(1).stdout.contains("database.settings.datadir"));
    let right = json!({"settings": {"datadir": null}, "resources": {"memory": "640Mi"}});
    until(patch(right).expect("written"), DatabasePhase::Settled);

    let other = || file(", long_query_time: 3");
    let planned = lab.run(&["plan", lab.name(), "-f", &other(), "-o", "json"]).assert_code(0).json();
    assert_eq!(planned["changes"][0]["written-by"], OTHER, "{planned}");
    let up = lab.up(&["-f", &other()]);
    up.assert_code(2);
    let told = "database.settings.long_query_time was written by kubectl-edit";
    assert!(up.stderr.contains(told) && up.stderr.contains("--take-over"), "{}", up.stderr);
    everywhere(lab, "long_query_time", "2.000000");
    lab.up(&["-f", &file("")]).assert_code(0);
    everywhere(lab, "long_query_time", "2.000000");
    lab.up(&["-f", &other(), "--take-over"]).assert_code(0);
    everywhere(lab, "long_query_time", "3.000000");
    lab.up(&["-f", &file("")]).assert_code(0);
    everywhere(lab, "long_query_time", "10.000000");
}

/// The lab file of what is declared after all of this.
pub(crate) fn as_they_were_left(lab: &Lab) -> String {
    lab.file("database: {settings: {max_connections: 61, back_log: 71}}\n")
}

/// An `up` without a lab file has been there: what is left out is ours again, or the server's.
pub(crate) fn are_the_defaults(lab: &Lab) {
    everywhere(lab, "max_connections", "60");
    assert_ne!(lab.block_on(ask(lab.client(), "db-0", "SELECT CAST(@@GLOBAL.back_log AS CHAR)")), "71");
}
