//! Scaling a lab that stands: the autoscaler's bounds, and workers that join and leave while somebody reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Namespace, Node, PersistentVolume, Pod, Secret},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, PostParams},
};
use serde_json::json;

use super::{
    lab::{Engine, Lab, say, thoroughly},
    ledger::Ledger,
    load,
};

fn nodes(lab: &Lab) -> BTreeMap<String, bool> {
    let nodes: Vec<Node> = lab.list(&ListParams::default());
    let ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    };
    nodes
        .into_iter()
        .map(|node| (node.name_any(), ready(&node) && node.spec.is_some_and(|spec| spec.unschedulable.is_none())))
        .collect()
}

/// What lets nodes join; `kind` made the first one.
fn tokens(lab: &Lab) -> BTreeSet<String> {
    let tokens = ListParams::default().fields("type=bootstrap.kubernetes.io/token");
    lab.list_in::<Secret>("kube-system", &tokens).into_iter().map(|secret| secret.name_any()).collect()
}

/// A value of the lab file that the lab has written down.
fn written(lab: &Lab, path: &str) -> serde_json::Value {
    let all: Vec<Namespace> = lab.list(&ListParams::default().fields("metadata.name=wplab"));
    let file = &all[0].annotations()["wplab.dev/lab-file"];
    serde_json::from_str::<serde_json::Value>(file).expect("JSON").pointer(path).expect("a value").clone()
}

/// Runs `work` while somebody reads the front page, one request after the other; nobody is turned away.
fn while_read(lab: &Lab, url: &str, work: impl FnOnce()) {
    assert_eq!(told_to_come_again(lab, url, work), 0, "a page while the lab is scaled");
}

/// The same; how many were told to come again, which is all that may happen to anybody.
fn told_to_come_again(lab: &Lab, url: &str, work: impl FnOnce()) -> usize {
    let (over, pages, again) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                match lab.get(url).0 {
                    200 => {}
                    503 => drop(again.fetch_add(1, Ordering::Relaxed)),
                    other => panic!("a page with status {other} while the lab is scaled"),
                }
                pages.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        // The reader goes home also when the work fails.
        let worked = catch_unwind(AssertUnwindSafe(work));
        over.store(true, Ordering::Relaxed);
        if let Err(panic) = worked {
            resume_unwind(panic);
        }
        reader.join().expect("every page came");
    });
    assert!(pages.load(Ordering::Relaxed) > 0, "somebody read");
    again.load(Ordering::Relaxed)
}

fn bounds(lab: &Lab, url: &str) {
    let name = lab.name();
    let scaled = lab.run(&["scale", "wordpress", "3..4", name, "-o", "json"]).assert_code(0).json();
    assert_eq!((&scaled["had"]["min"], &scaled["had"]["max"]), (&json!(2), &json!(3)), "{scaled}");
    assert!(scaled["ready"].as_u64().is_some_and(|ready| (3..=4).contains(&ready)), "{scaled}");
    let scalers: Vec<HorizontalPodAutoscaler> = lab.list_in("wplab", &ListParams::default());
    let spec = scalers[0].spec.clone();
    assert_eq!((spec.min_replicas, spec.max_replicas), (Some(3), 4));
    assert_eq!((written(lab, "/autoscale/max"), written(lab, "/wordpress/replicas")), (json!(4), json!(3)));
    while_read(lab, url, || {
        lab.run(&["scale", "wordpress", "2", name]).assert_code(0);
    });
}

fn workers(lab: &Lab, url: &str, small: &str) {
    let (name, had) = (lab.name(), tokens(lab));
    let third = format!("{name}-worker3");
    // Killed while it boots: it is no Node, `up` says whose business that is, and the next one begins anew.
    lab.run_until(&["scale", "workers", "3", name], "to boot", "KILL");
    assert!(Engine::container_exists(&third), "its container was made");
    let refused = lab.up(&["-f", small, "--workers", "3"]);
    assert!(
        refused.code == Some(2) && refused.stderr.contains(&format!("wplab scale workers 3 {name}")),
        "{}",
        refused.stderr
    );
    let begin = Instant::now();
    let scaled = lab.run(&["scale", "workers", "3", name, "-o", "json"]).assert_code(0).json();
    say(&format!("a worker joined in {:.1} s", begin.elapsed().as_secs_f64()));
    assert_eq!((&scaled["had"], &scaled["joined"]), (&json!(2), &json!([third])), "{scaled}");
    assert_eq!(nodes(lab).get(&third), Some(&true), "it takes pods");
    assert_eq!(written(lab, "/cluster/workers"), json!(3));
    assert_eq!(tokens(lab), had, "what it joined by is worth nothing any more");
    for container in Engine::containers_of(name) {
        assert_eq!(container.labels.get("wplab.dev/lab").map(String::as_str), Some(name), "{container:?}");
    }
    // A lab rests and comes back with it.
    if thoroughly() {
        lab.run(&["stop", name]).assert_code(0);
        lab.run(&["start", name]).assert_code(0);
    }

    members(lab, url);

    // A volume that only it has keeps it, and nothing is touched.
    let volume = stranger(&third);
    let volumes: Api<PersistentVolume> = Api::all(lab.client());
    lab.block_on(volumes.create(&PostParams::default(), &volume)).expect("a volume");
    let refused = lab.run(&["scale", "workers", "2", name, "--yes"]);
    assert!(refused.code == Some(2) && refused.stderr.contains("default/theirs"), "{}", refused.stderr);
    assert_eq!(nodes(lab).get(&third), Some(&true), "it still takes pods");
    lab.block_on(volumes.delete("theirs", &DeleteParams::default())).expect("deleted");

    // Pods of the site are on it: they move before it goes, and nobody is turned away.
    lab.run(&["scale", "wordpress", "4..6", name]).assert_code(0);
    let on =
        |lab: &Lab| lab.list_in::<Pod>("wplab", &ListParams::default().fields(&format!("spec.nodeName={third}"))).len();
    assert!(on(lab) > 0, "some pod is on {third}");
    let begin = Instant::now();
    while_read(lab, url, || {
        lab.run(&["scale", "workers", "2", name, "--yes"]).assert_code(0);
    });
    say(&format!("a worker left in {:.1} s", begin.elapsed().as_secs_f64()));
    assert_eq!(nodes(lab).len(), 3);
    assert!(!Engine::container_exists(&third), "its container is gone");
    assert_eq!(written(lab, "/cluster/workers"), json!(2));
}

/// Members come and go while somebody writes: to as many as there are workers, to one, and back to two.
/// Waits until a member is not behind.
fn until_caught_up(lab: &Lab, member: &str) {
    let begin = Instant::now();
    loop {
        let status = lab.run(&["status", lab.name(), "-o", "json"]).json();
        let all = status["members"].as_array().expect("members");
        let behind = &all.iter().find(|one| one["name"] == member).expect("it is there")["lag"];
        if behind.as_f64().is_some_and(|lag| lag < 1.0) {
            return;
        }
        assert!(begin.elapsed() < Duration::from_secs(60), "{member} stays behind: {status}");
        std::thread::sleep(Duration::from_millis(500));
    }
}

fn members(lab: &Lab, url: &str) {
    let name = lab.name();
    let ledger = lab.block_on(Ledger::open(lab.client(), "ledger_of_members"));
    // Where the writer goes, a page that is being made may need it.
    let scaled = |number: &str, kept: usize, most_again: usize| {
        let begin = Instant::now();
        let mut scaled = json!(null);
        let again = told_to_come_again(lab, url, || {
            scaled = lab.run(&["scale", "db", number, name, "-o", "json"]).assert_code(0).json();
        });
        let (gap, took) = (ledger.longest_gap_since(begin), begin.elapsed().as_secs_f64());
        say(&format!("{number} members after {took:.1} s, no write for {gap:.1?}, {again} were told to come again"));
        assert!(again <= most_again, "{again} were told to come again");
        assert_eq!(
            (&scaled["members"], scaled["kept"].as_array().map(Vec::len)),
            (&json!(number.parse::<u8>().ok()), Some(kept))
        );
        assert_eq!(written(lab, "/database/members"), scaled["members"]);
        lab.block_on(ledger.until_written(10));
        scaled
    };
    let many = lab.run(&["scale", "db", "4", name]).assert_code(2).stderr.clone();
    assert!(many.contains("4 members need 4 workers, and there are 3"), "{many}");
    let three = scaled("3", 0, 0);
    assert_eq!(three["protected"], json!(true));
    // Who takes writes is among those who go. Who has just been copied has to catch up first, and is refused until then.
    until_caught_up(lab, "db-2");
    lab.run(&["failover", "--to", "db-2", name]).assert_code(0);
    let one = scaled("1", 2, 3);
    assert_eq!((&one["writer"], &one["protected"]), (&json!("db-0"), &json!(false)));
    assert!(lab.try_pods("app.kubernetes.io/component=database").expect("pods").len() == 1, "the others are gone");
    // What they had is still theirs.
    let two = scaled("2", 1, 0);
    assert_eq!((&two["writer"], &two["protected"]), (&json!("db-0"), &json!(true)));
    let rows = lab.block_on(ledger.close(&["db-0", "db-1"]));
    say(&format!("{rows} acknowledged rows are at both members"));
    // Two minutes and a half, one of which Kubernetes takes to believe that a node is lost.
    if thoroughly() {
        a_shared_worker_and_a_lost_one(lab);
    }
}

/// The node of each member, in their order.
fn places(lab: &Lab) -> Vec<String> {
    let pods = lab.try_pods("app.kubernetes.io/component=database").expect("pods");
    let placed: BTreeMap<String, String> =
        pods.iter().filter_map(|pod| Some((pod.name_any(), pod.spec.as_ref()?.node_name.clone()?))).collect();
    placed.into_values().collect()
}

/// A member is made anew while its worker is closed.
fn made_anew_elsewhere(lab: &Lab, member: &str, worker: &str) {
    let nodes: Api<Node> = Api::all(lab.client());
    lab.block_on(nodes.cordon(worker)).expect("closed");
    lab.run(&["replace", member, lab.name(), "--yes"]).assert_code(0);
    lab.block_on(nodes.uncordon(worker)).expect("open");
}

/// Two members of before that share a worker come back, each on a worker of its own; then one of them is lost with its node, and
/// the lab becomes smaller all the same. In the end there are two members, as before.
fn a_shared_worker_and_a_lost_one(lab: &Lab) {
    let name = lab.name();
    let (second, third) = (format!("{name}-worker2"), format!("{name}-worker3"));
    made_anew_elsewhere(lab, "db-1", &second);
    assert_eq!(places(lab)[1], third, "where what was kept of db-2 is");
    lab.run(&["scale", "db", "1", name]).assert_code(0);
    lab.run(&["scale", "db", "3", name]).assert_code(0);
    let places_of_three: BTreeSet<String> = places(lab).into_iter().collect();
    assert_eq!(places_of_three.len(), 3, "{places_of_three:?}");
    Engine::kill_container(&third);
    let begin = Instant::now();
    let one = lab.run(&["scale", "db", "1", name, "-o", "json"]).assert_code(0).json();
    say(&format!("a lab with a lost node has one member after {:.1} s", begin.elapsed().as_secs_f64()));
    assert_eq!((&one["writer"], places(lab).len()), (&json!("db-0"), 1), "{one}");
    lab.run(&["start", name]).assert_code(0);
    lab.run(&["scale", "db", "2", name]).assert_code(0);
    // The third worker leaves later.
    made_anew_elsewhere(lab, "db-1", &third);
    assert_eq!(places(lab)[1], second, "where what was kept of db-2 is by now");
    lab.run(&["scale", "db", "3", name]).assert_code(0);
    assert_eq!(places(lab)[2], third, "it begins anew there");
    lab.run(&["scale", "db", "2", name]).assert_code(0);
}

fn stranger(node: &str) -> PersistentVolume {
    let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
    let volume = json!({
        "metadata": {"name": "theirs"},
        "spec": {
            "capacity": {"storage": "1Mi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": "/var/theirs"},
            "storageClassName": "none",
            "claimRef": {"namespace": "default", "name": "theirs"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        },
    });
    serde_json::from_value(volume).expect("a volume")
}

/// Bounds change, a worker joins (killed once on the way), members of the database come and go, and the worker leaves again, while
/// somebody reads; then users come.
#[test]
#[ignore = "needs Docker"]
fn a_lab_grows_and_shrinks() {
    let lab = Lab::new("wplab-scale");
    let before = Engine::snapshot();
    let small = lab
        .file("database: {members: 2}\ncluster: {workers: 2}\nwordpress: {replicas: 2}\nautoscale: {min: 2, max: 3, scale-down-window: 5s}\n");
    let up = lab.up(&["-f", &small]).assert_code(0).json();
    let url = up["url"].as_str().expect("a URL");
    bounds(&lab, url);
    workers(&lab, url, &small);
    lab.run(&["scale", "wordpress", "2..3", lab.name()]).assert_code(0);
    load::users_come_and_the_autoscaler_answers(&lab, url);
    lab.run(&["smoke", lab.name()]).assert_code(0);
    lab.run(&["down", lab.name()]).assert_code(0);
    assert_eq!(Engine::snapshot(), before, "down leaves the engine as it was");
}
