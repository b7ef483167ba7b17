//! Real labs on a real Docker engine: from `up` to `down`, killed and resumed, side by side. Everything is looked at
//! independently of the tool's own smoke code: through the Kubernetes API, HTTP and the engine. Run with `cargo test-lab`;
//! the tests set up what they need through `up --fix` and leave nothing behind.

#[path = "lab/backups.rs"]
mod backups;
#[path = "lab/chaos.rs"]
mod chaos;
#[path = "lab/front_door.rs"]
mod front_door;
#[path = "lab/galera.rs"]
mod galera;
#[path = "lab/golden_roots.rs"]
mod golden_roots;
#[path = "support/lab.rs"]
mod lab;
#[path = "support/ledger.rs"]
mod ledger;
#[path = "lab/load.rs"]
mod load;
#[path = "lab/monitoring.rs"]
mod monitoring;
#[path = "lab/rights.rs"]
mod rights;
#[path = "support/roles.rs"]
mod roles;
#[path = "lab/scale.rs"]
mod scale;
#[path = "lab/settings.rs"]
mod settings;
#[path = "lab/snapshots.rs"]
mod snapshots;
#[path = "lab/verify.rs"]
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Event, Node, PersistentVolumeClaim, Pod, Secret},
};
use kube::{Api, ResourceExt, api::ListParams};
use serde_json::Value;

use lab::{Engine, Lab};
use ledger::Ledger;
use roles::Witness;

/// The whole promise on one lab: up, everything there and labelled, a second up changes nothing, the everyday commands, down.
#[test]
#[ignore = "needs Docker"]
fn a_lab_from_up_to_down() {
    let lab = Lab::new("wplab-test");
    let before = Engine::snapshot();

    let up = lab.up_in_order("replication");
    // Most of it is the executable itself; the images together have ten times as much.
    assert!(up.peak < 128 * 1024, "images are streamed, not held: {} KiB", up.peak);
    let report = up.json();
    let url = report["url"].as_str().expect("a URL").to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert!(report["timings"].as_array().is_some_and(|t| t.len() == 9), "a timing per step: {report}");

    the_cluster_is_as_promised(&lab);
    the_site_answers(&lab, &url);

    // Run again, it changes nothing and says so.
    let again = lab.up(&[]);
    again.assert_code(0);
    let second = again.json();
    assert_eq!(second["changed"], false, "a second up changes nothing:\n{}", again.stderr);
    assert_eq!(second["url"], report["url"]);

    rights::the_agent_may_label_members_and_no_more(&lab);
    rights::the_agent_has_no_other_right_to_members(&lab);
    rights::the_operator_may_change_members_and_no_more(&lab);
    rights::nobody_is_served_unencrypted(&lab);
    everyday_commands(&lab, &url);
    the_source_is_lost_and_moved(&lab);
    a_member_is_given_up_and_made_anew(&lab);
    at_rest_and_back_again(&lab, &url);
    settings::reach_the_members(&lab);
    a_failed_check_is_exit_code_one(&lab);
    if lab::thoroughly() {
        settings::are_the_defaults(&lab);
    }

    lab.run(&["down", lab.name()]).assert_code(0);
    assert_eq!(Engine::snapshot(), before, "down leaves the engine as it was");
    assert!(!lab.folder().exists(), "down removes the lab's folder");
    let gone = lab.run(&["down", lab.name()]);
    gone.assert_code(0);
    assert!(gone.stderr.contains("no lab"), "down of a lab that is not there says so: {}", gone.stderr);
}

fn the_cluster_is_as_promised(lab: &Lab) {
    let nodes: Vec<Node> = lab.list(&ListParams::default());
    assert_eq!(nodes.len(), 4, "1 control plane and 3 workers");

    for container in Engine::containers_of(lab.name()) {
        assert_eq!(
            container.labels.get("app.kubernetes.io/part-of").map(String::as_str),
            Some("wplab"),
            "{container:?}"
        );
    }
    let everything = lab.every_object_in_namespace();
    for (what, labels) in everything {
        assert_eq!(labels.get("app.kubernetes.io/part-of").map(String::as_str), Some("wplab"), "{what}");
        assert_eq!(labels.get("wplab.dev/lab").map(String::as_str), Some(lab.name()), "{what}");
        assert!(labels.contains_key("app.kubernetes.io/component"), "{what}");
    }

    let members: Vec<Pod> = lab.list_in("wplab", &ListParams::default().labels("app.kubernetes.io/component=database"));
    assert_eq!(members.len(), 3, "three members");
    let on: BTreeSet<_> = members.iter().filter_map(|p| p.spec.as_ref()?.node_name.clone()).collect();
    assert_eq!(on.len(), 3, "on three nodes");
    let writers: Vec<Pod> = lab.list_in("wplab", &ListParams::default().labels("wplab.dev/role=writer"));
    assert_eq!(writers.len(), 1, "one writer");
    let sets: Vec<StatefulSet> = lab.list_in("wplab", &ListParams::default());
    let names: BTreeSet<_> = sets.iter().filter_map(|s| s.metadata.name.clone()).collect();
    assert_eq!(names, BTreeSet::from(["db".to_owned(), "nfs".to_owned()]));

    let claims: Vec<PersistentVolumeClaim> = lab.list_in("wplab", &ListParams::default());
    let content = claims.iter().find(|c| c.metadata.name.as_deref() == Some("wp-content")).expect("claim wp-content");
    let modes = content.spec.as_ref().and_then(|s| s.access_modes.clone()).unwrap_or_default();
    assert_eq!(modes, ["ReadWriteMany"]);

    let sites: Vec<Deployment> = lab.list_in("wplab", &ListParams::default());
    let ready = sites.iter().find(|d| d.metadata.name.as_deref() == Some("wordpress")).and_then(|d| d.status.clone());
    assert!(ready.and_then(|s| s.ready_replicas).unwrap_or_default() >= 3, "three WordPress replicas are ready");
    let scalers: Vec<HorizontalPodAutoscaler> = lab.list_in("wplab", &ListParams::default());
    let value = scalers.first().and_then(|h| {
        h.status.as_ref()?.current_metrics.as_ref()?.first()?.resource.as_ref()?.current.average_utilization
    });
    assert!(value.is_some(), "the HPA reports a CPU value");

    // The shared file system is the real protocol: what one replica writes, a replica on another node reads.
    let running: Vec<String> = replicas(lab).into_keys().collect();
    let path = "/usr/src/wordpress/wp-content/uploads/lab-test.txt";
    lab.exec(&running[0], &["sh", "-c", &format!("echo seen > {path}")]);
    assert_eq!(lab.exec(&running[1], &["cat", path]).trim(), "seen");
    lab.exec(&running[0], &["rm", path]);
    assert!(lab.exec(&running[0], &["cat", "/proc/self/mounts"]).contains("/usr/src/wordpress/wp-content"));

    // Passwords: long, and not twice the same.
    let secrets: Vec<Secret> = lab.list_in("wplab", &ListParams::default());
    let database =
        secrets.iter().find(|s| s.metadata.name.as_deref() == Some("db-credentials")).expect("db-credentials");
    let values: BTreeSet<_> = database.data.iter().flatten().map(|(_, v)| v.0.clone()).collect();
    assert_eq!(values.len(), 3);
    assert!(values.iter().all(|v| v.len() >= 20));
}

fn the_site_answers(lab: &Lab, url: &str) {
    let page = lab.get(url);
    assert_eq!(page.0, 200, "{}", page.1);
    assert!(page.1.contains("<title>wplab"), "the front page carries the site's title");
    let login = lab.get(&format!("{url}/wp-login.php"));
    assert_eq!(login.0, 200);
    assert!(login.1.contains("name=\"log\""), "the login form");
}

fn everyday_commands(lab: &Lab, url: &str) {
    let name = lab.name();
    assert_eq!(lab.run(&["url", name]).assert_code(0).stdout.trim(), url);
    let kubeconfig = lab.run(&["kubeconfig", name]);
    assert!(std::path::Path::new(kubeconfig.assert_code(0).stdout.trim()).is_file());

    until_well(lab);
    let status = lab.run(&["status", name, "-o", "json"]).assert_code(0).json();
    assert_eq!(status["nodes"].as_array().map(Vec::len), Some(4), "{status}");
    assert_eq!(status["members"].as_array().map(Vec::len), Some(3), "{status}");
    let labs = lab.run(&["list", "-o", "json"]).assert_code(0).json();
    assert!(labs.as_array().is_some_and(|l| l.iter().any(|l| l["name"] == name)), "{labs}");

    let smoke = lab.run(&["smoke", name, "-o", "json"]);
    smoke.assert_code(0);
    let secret = lab.secret("db-credentials", "root-password");
    let credentials = lab.run(&["credentials", name, "-o", "json"]);
    assert!(credentials.assert_code(0).stdout.contains("admin"));
    for shown in [&smoke, &lab.run(&["logs", name, "--of", "database"]), &lab.run(&["status", name])] {
        shown.assert_code(0);
        assert!(!shown.stdout.contains(&secret) && !shown.stderr.contains(&secret), "no secret is printed");
    }
    let plan = lab.run(&["plan", name, "-o", "json"]);
    plan.assert_code(0).json();
}

/// The source's server is killed, then its pod is deleted, then people ask for another source, while somebody writes: no
/// acknowledged row is lost, at no time there are two writers, and in the end all members have the same transactions.
fn the_source_is_lost_and_moved(lab: &Lab) {
    let client = lab.client();
    let ledger = lab.block_on(Ledger::open(lab.client(), "ledger"));
    let witness = lab.block_on(async { Witness::watch(client) });
    let writer = || -> String {
        let found: Vec<Pod> = lab.list_in("wplab", &ListParams::default().labels("wplab.dev/role=writer"));
        found.first().and_then(|pod| pod.metadata.name.clone()).expect("a writer")
    };
    for what in ["killed", "deleted with its pod"] {
        let (begin, source) = (Instant::now(), writer());
        if what == "killed" {
            lab.kill("mysqld ", &[&source]);
        } else {
            lab.delete_pods(&[&source], 0);
        }
        lab.block_on(ledger.until_written(20));
        let gap = ledger.longest_gap_since(begin).as_secs_f64();
        lab::say(&format!("the source is {what}: {gap:.1} s without writes, {source} -> {}", writer()));
        until_well(lab);
    }
    for asked in [Some("db-2"), Some("db-0"), None] {
        let (begin, source) = (Instant::now(), writer());
        let to = asked.map(|to| ["--to", to]);
        let args: Vec<&str> =
            ["failover", lab.name(), "-o", "json"].into_iter().chain(to.into_iter().flatten()).collect();
        let moved = lab.run(&args).assert_code(0).json();
        assert!(asked.is_none_or(|to| moved["to"] == to) && moved["to"] != *source, "{moved}");
        lab.block_on(ledger.until_written(20));
        let gap = ledger.longest_gap_since(begin).as_secs_f64();
        lab::say(&format!("the source is moved, {source} -> {}: {gap:.1} s without writes", moved["to"]));
        until_well(lab);
    }
    let refused = lab.run(&["failover", lab.name(), "--to", "db-9"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("there is no member db-9"), "{}", refused.stderr);
    let seen = witness.seen();
    assert!(seen.doubles.is_empty(), "two writers at a time: {:?}", seen.doubles);
    let rows = lab.block_on(ledger.close(&["db-0", "db-1", "db-2"]));
    lab::say(&format!("{rows} acknowledged rows, none lost"));
    let has = |member: &str| lab.block_on(ledger::ask(lab.client(), member, "SELECT @@GLOBAL.gtid_executed"));
    // The site's own cron job may write between two of these looks; what only one member has stays different for good.
    let begin = Instant::now();
    let same = || {
        let first = has("db-0");
        ["db-1", "db-2"].iter().all(|member| has(member) == first)
    };
    while !same() {
        assert!(begin.elapsed() < Duration::from_secs(30), "members have different transactions");
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Waits until all is well: every member serves its role, and a replica that the autoscaler has added is ready.
fn until_well(lab: &Lab) {
    let begin = Instant::now();
    loop {
        let status = lab.run(&["status", lab.name(), "-o", "json"]);
        if status.code == Some(0) {
            return;
        }
        assert!(begin.elapsed().as_secs() < 120, "not whole again:\n{}", status.stdout);
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
}

/// A reader is given up with its volume: another one of that name copies, and nobody gives up the one that takes writes.
fn a_member_is_given_up_and_made_anew(lab: &Lab) {
    let members: Vec<Pod> = lab.list_in("wplab", &ListParams::default().labels("app.kubernetes.io/component=database"));
    let role = |pod: &Pod| pod.metadata.labels.as_ref().and_then(|labels| labels.get("wplab.dev/role").cloned());
    let named = |wanted: &str| {
        let pod = members.iter().find(|pod| role(pod).as_deref() == Some(wanted)).expect("a member");
        (pod.metadata.name.clone().expect("a name"), pod.metadata.uid.clone())
    };
    let (writer, _) = named("writer");
    let refused = lab.run(&["replace", &writer, lab.name(), "--yes"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("wplab failover"), "{}", refused.stderr);
    let (reader, before) = named("reader");
    let unasked = lab.run(&["replace", &reader, lab.name()]);
    assert!(unasked.code == Some(2) && unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    lab.run(&["replace", &reader, lab.name(), "--yes"]).assert_code(0);
    let made: Vec<Pod> = lab.list_in("wplab", &ListParams::default().fields(&format!("metadata.name={reader}")));
    assert!(made.first().is_some_and(|pod| pod.metadata.uid != before), "it is the pod of before");
    until_well(lab);
}

/// The part of which the autoscaler says how many there are.
const SITE: &str = "frontend";

/// Pods of these parts by their uid, but for those of jobs.
fn pods_of(lab: &Lab, components: &str) -> BTreeMap<String, String> {
    let selected = ListParams::default().labels(&format!("app.kubernetes.io/component in ({components})"));
    let pods: Vec<Pod> = lab.list_in("wplab", &selected);
    let kept = pods.into_iter().filter(|p| p.metadata.owner_references.iter().flatten().any(|o| o.kind != "Job"));
    kept.filter_map(|p| p.metadata.uid.zip(p.metadata.name)).collect()
}

/// Of these replicas of the site those that are gone, but for such that the autoscaler took away: their ReplicaSet says so, and of one that was
/// evicted it says nothing.
fn gone(lab: &Lab, replicas: &BTreeMap<String, String>) -> Vec<String> {
    let events: Vec<Event> = lab.list_in("wplab", &ListParams::default().fields("reason=SuccessfulDelete"));
    let told = |pod: &str| events.iter().any(|event| event.message.as_deref() == Some(&format!("Deleted pod: {pod}")));
    let there = pods_of(lab, SITE);
    let gone = replicas.iter().filter(|(uid, name)| !there.contains_key(*uid) && !told(name));
    gone.map(|(_, name)| name.clone()).collect()
}

/// Paused twice within a minute, stopped and started, killed and brought up, while somebody writes between the rests: every
/// acknowledged row is still there, no pod was taken away, and the nodes keep their addresses.
fn at_rest_and_back_again(lab: &Lab, url: &str) {
    let name = lab.name();
    // Of a node that is silent for ten seconds the agent is made anew elsewhere, and booting takes longer.
    let (all, with_data) = ("database,storage,agent", "database,storage");
    let none: [String; 0] = [];
    let addresses = |lab: &Lab| -> BTreeSet<String> {
        let nodes: Vec<Node> = lab.list(&ListParams::default());
        let addresses = nodes.into_iter().filter_map(|n| n.status?.addresses).flatten();
        addresses.filter(|a| a.type_ == "InternalIP").map(|a| a.address).collect()
    };
    let (before, before_with_data, had) = (pods_of(lab, all), pods_of(lab, with_data), addresses(lab));
    let site = pods_of(lab, SITE);
    let ledger = lab.block_on(Ledger::open(lab.client(), "ledger_of_rests"));
    for turn in ["first", "second"] {
        lab.block_on(ledger.until_written(20));
        lab.run(&["pause", name]).assert_code(0);
        let listed = lab.run(&["list", "-o", "json"]).assert_code(0).json();
        assert!(listed.as_array().is_some_and(|l| l.iter().any(|l| l["name"] == name && l["state"] == "paused")));
        for command in ["url", "smoke", "credentials"] {
            let told = lab.run(&[command, name]);
            assert_eq!(told.code, Some(4), "{command}: {}", told.stderr);
            assert!(told.stderr.contains(&format!("wplab resume {name}")), "{command}: {}", told.stderr);
        }
        let status = lab.run(&["status", name, "-o", "json"]);
        assert_eq!((status.code, &status.json()["state"]), (Some(1), &"paused".into()), "{}", status.stderr);
        lab.run(&["resume", name]).assert_code(0);
        the_site_answers(lab, url);
        assert_eq!(pods_of(lab, all), before, "no pod was evicted by the {turn} pause");
        assert_eq!(gone(lab, &site), none, "no replica was evicted by the {turn} pause");
    }
    lab.block_on(ledger.until_written(20));
    lab.run(&["stop", name]).assert_code(0);
    let told = lab.run(&["url", name]);
    assert!(told.code == Some(4) && told.stderr.contains(&format!("wplab start {name}")), "{}", told.stderr);
    assert_eq!(lab.run(&["stop", name, "-o", "json"]).assert_code(0).json()["changed"], false);
    lab.run(&["start", name]).assert_code(0);
    the_site_answers(lab, url);
    assert_eq!(addresses(lab), had, "after stop and start");
    // What a machine does that is switched off.
    lab.block_on(ledger.until_written(20));
    for node in ["control-plane", "worker", "worker2", "worker3"] {
        Engine::kill_container(&format!("{name}-{node}"));
    }
    lab.up(&[]).assert_code(0);
    the_site_answers(lab, url);
    assert_eq!((addresses(lab), pods_of(lab, with_data)), (had, before_with_data), "after all nodes were killed");
    assert_eq!(gone(lab, &site), none, "after all nodes were killed");
    let rows = lab.block_on(ledger.close(&["db-0", "db-1", "db-2"]));
    lab::say(&format!("{rows} acknowledged rows outlive pause, stop and kill"));
}

/// Something that a check looks at is taken away: `smoke` ends with 1 and names it, and the next `up` repairs it.
fn a_failed_check_is_exit_code_one(lab: &Lab) {
    lab.delete_horizontal_pod_autoscaler();
    let smoke = lab.run(&["smoke", lab.name()]);
    smoke.assert_code(1);
    // Members that have other settings are restarted for the defaults, which takes half a minute.
    let file = settings::as_they_were_left(lab);
    let as_it_is = ["-f", file.as_str()];
    lab.up(if lab::thoroughly() { &[] } else { &as_it_is }).assert_code(0);
}

/// `up` is killed at three different steps, each time in another way; the next one always completes.
#[test]
#[ignore = "needs Docker"]
fn killed_and_resumed_at_three_steps() {
    let lab = Lab::new("wplab-kill");
    let before = Engine::snapshot();
    let cuts = [
        (&[][..], "Starting control-plane", "KILL", None),
        (&["--stream"], "loading (", "TERM", Some(130)),
        (&[], "and the members", "INT", Some(130)),
    ];
    for (more, moment, signal, code) in cuts {
        let cut = lab.up_until(more, moment, signal);
        assert_eq!(cut.code, code, "{signal} at {moment}:\n{}", cut.stderr);
    }
    // A node that dies when all have joined is started again, and the same `up` completes.
    let node = format!("{}-worker2", lab.name());
    let up = lab.up_while("the shared volume", || Engine::kill_container(&node));
    up.assert_code(0);
    assert!(up.stderr.contains(&format!("node {node} had stopped and was started again")), "{}", up.stderr);
    lab.up(&[]).assert_code(0);

    // Half deleted: one node is gone altogether; down still removes everything.
    Engine::remove_container(&format!("{}-worker", lab.name()));
    lab.run(&["down", lab.name()]).assert_code(0);
    assert_eq!(Engine::snapshot(), before);
}

/// Two labs with different names live side by side, and a taken port is stepped over.
#[test]
#[ignore = "needs Docker"]
fn two_labs_side_by_side_and_a_taken_port() {
    let taken = std::net::TcpListener::bind("127.0.0.1:8080");
    let before = Engine::snapshot();
    let (one, two) = (Lab::new("wplab-one"), Lab::new("wplab-two"));
    let small_lab =
        "database: {members: 2}\ncluster: {workers: 2}\nwordpress: {replicas: 2}\nautoscale: {min: 2, max: 3}\n";
    let small = one.file(small_lab);
    let first = one.up(&["-f", &small]).assert_code(0).json();
    let splits = small_lab.replace("replicas: 2", "replicas: 2, reads: readers");
    let second = two.up(&["-f", &two.file(&splits)]).assert_code(0).json();
    assert_ne!(first["url"], second["url"]);
    assert!(taken.is_err() || !first["url"].as_str().unwrap_or_default().ends_with(":8080"), "{first}");
    for (lab, report) in [(&one, &first), (&two, &second)] {
        the_site_answers(lab, report["url"].as_str().unwrap_or_default());
    }
    replicas_are_spread_again(&one, &small);
    reads_are_split(&two, &second);
    one.run(&["down", one.name()]).assert_code(0);
    the_site_answers(&two, second["url"].as_str().unwrap_or_default());
    two.run(&["down", two.name()]).assert_code(0);
    assert_eq!(Engine::snapshot(), before);
}

/// Strangers are read for at the readers, which is counted, and whoever has just written a comment at the writer. `up` has looked at that
/// at every replica.
fn reads_are_split(lab: &Lab, up: &Value) {
    let checks = up["smoke"]["checks"].as_array().expect("checks");
    let split = checks
        .iter()
        .find(|check| check["sentence"].as_str().is_some_and(|told| told.contains("from the readers, and at")));
    assert_eq!(split.expect("a check")["verdict"], "passed", "{up}");
    let site = up["url"].as_str().expect("a URL");
    let visitor = reqwest::Client::builder().cookie_store(true).build().expect("a client");
    let read_by =
        |answer: &reqwest::Response| answer.headers().get("x-wplab-database").map(|way| way.as_bytes().to_vec());
    lab.block_on(async {
        let page = visitor.get(site).send().await.expect("a page");
        assert_eq!(read_by(&page).as_deref(), Some(&b"reader"[..]));
        let comment =
            [("comment", "first"), ("author", "a visitor"), ("email", "v@wplab.example"), ("comment_post_ID", "1")];
        let page = visitor.post(format!("{site}/wp-comments-post.php")).form(&comment).send().await.expect("an answer");
        // Led to the post, which he sees with his comment.
        assert_eq!((page.status().as_u16(), read_by(&page)), (200, None));
        assert!(page.text().await.expect("a body").contains("first"), "the visitor's own comment");
        let page = visitor.get(site).send().await.expect("a page");
        assert_eq!(read_by(&page), None);
    });
    let counted = replicas(lab).into_keys().map(|pod| lab.try_pod(&pod, "8084/proxy/metrics").expect("metrics"));
    let counted: Vec<String> = counted.collect();
    for way in ["reader", "writer", "read-only", "refused"] {
        let of = |text: &String| {
            text.lines().any(|line| {
                line.strip_prefix(&format!("wplab_site_requests_total{{database=\"{way}\"}} "))
                    .is_some_and(|count| count != "0")
            })
        };
        assert!(counted.iter().any(of), "{way}: {counted:?}");
    }
}

/// Where the site's replicas are.
fn replicas(lab: &Lab) -> BTreeMap<String, String> {
    let on = |pod: &Pod| Some((pod.name_any(), pod.spec.as_ref()?.node_name.clone()?));
    lab.replicas().iter().filter_map(on).collect()
}

/// A replica that had to be made anew while its worker took no pods stays where it is until the next `up`.
fn replicas_are_spread_again(lab: &Lab, file: &str) {
    let (replica, worker) = replicas(lab).pop_first().expect("a replica");
    let nodes: Api<Node> = Api::all(lab.client());
    lab.block_on(nodes.cordon(&worker)).expect("closed");
    lab.delete_pods(&[&replica], 0);
    let begin = Instant::now();
    while replicas(lab).len() < 2 {
        assert!(begin.elapsed().as_secs() < 60, "no replica was made anew: {:?}", replicas(lab));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(!replicas(lab).values().any(|node| *node == worker), "{:?}", replicas(lab));
    lab.block_on(nodes.uncordon(&worker)).expect("open");
    let up = lab.up(&["-f", file]).assert_code(0).json();
    assert_eq!(up["changed"], true, "{up}");
    let on: BTreeSet<String> = replicas(lab).into_values().collect();
    assert_eq!(on.len(), 2, "{on:?}");
    assert_eq!(lab.up(&["-f", file]).assert_code(0).json()["changed"], false);
}

/// A cluster that is not ours is never touched, whatever it is called.
#[test]
#[ignore = "needs Docker"]
fn what_is_not_ours_is_never_touched() {
    let lab = Lab::new("wplab-foreign");
    let _stranger = Engine::stranger(lab.name());
    let before = Engine::snapshot();
    for command in ["up", "down"] {
        let refused = lab.run(&[command, lab.name()]);
        assert_eq!(refused.code, Some(2), "{command}: {}", refused.stderr);
        let said = format!("is left alone ({}-control-plane)", lab.name());
        assert!(refused.stderr.contains(&said), "{command}: {}", refused.stderr);
        assert_eq!(Engine::snapshot(), before, "{command}");
    }
    assert!(Engine::container_exists(&format!("{}-control-plane", lab.name())), "the stranger is still there");
}

/// The engine goes away in the middle: exit code 4, one clear message, and the next `up` completes.
#[test]
#[ignore = "needs Docker"]
fn docker_stopped_in_the_middle() {
    let lab = Lab::new("wplab-cut");
    let before = Engine::snapshot();
    let engine = Engine::behind_a_wire();
    let cut = lab.up_while_on(&engine, "loading (", || engine.cut());
    assert_eq!(cut.code, Some(4), "{}", cut.stderr);
    assert!(cut.stderr.contains("Docker"), "the message names the engine:\n{}", cut.stderr);
    lab.run(&["down", lab.name()]).assert_code(0);
    assert_eq!(Engine::snapshot(), before);
}
