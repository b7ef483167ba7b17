//! A lab that is watched: Prometheus reaches everything, says what is wrong and when that is over, every line of the dashboard is one
//! that it understands, and when nobody watches any more nothing of it is left.

use std::time::{Duration, Instant};

use hyper::Request;
use k8s_openapi::api::{apps::v1::Deployment, rbac::v1::ClusterRole};
use kube::{ResourceExt, api::ListParams};
use serde_json::Value;

use super::lab::{Lab, say, thoroughly};

const FILE: &str =
    "cluster: {workers: 2}\ndatabase: {members: 2}\nwordpress: {replicas: 2}\nautoscale: {min: 2, max: 4}\n";
/// An alert waits for a minute before it fires, and everything is asked every 15 s.
const FIRES: Duration = Duration::from_secs(180);
/// Panels of another topology, or of backups, which this lab has not.
const EMPTY: [&str; 3] = ["Galera", "Age of the newest backup", "Backups that came to nothing"];

#[test]
#[ignore = "needs Docker"]
fn a_lab_is_watched_and_says_what_is_wrong() {
    if !thoroughly() {
        return;
    }
    let lab = Lab::new("wplab-watched");
    let (without, with) = (lab.file(FILE), format!("{FILE}monitoring: true\n"));
    lab.up(&["-f", &without]).assert_code(0);
    assert_eq!(left(&lab), Vec::<String>::new(), "nobody asked for it");
    // On a lab that stands: its database gets the account, too.
    let file = lab.file(&with);
    lab.up(&["-f", &file]).assert_code(0);
    let again = lab.up(&["-f", &file]);
    again.assert_code(0);
    assert_eq!(again.json()["changed"], false, "{}", again.stderr);
    assert_eq!(firing(&lab), Some(Vec::new()), "all is well");

    every_line_of_the_dashboard_is_understood(&lab);
    a_frozen_server_is_told_and_then_not(&lab);

    let without = lab.file(FILE);
    lab.up(&["-f", &without]).assert_code(0);
    assert_eq!(left(&lab), Vec::<String>::new(), "all of it goes");
    let accounts = sql(&lab, "SELECT COUNT(*) FROM mysql.user WHERE user = 'monitor'");
    assert_eq!(accounts, "0", "its account, too");
    assert_eq!(firing(&lab), None);
    lab.run(&["down", lab.name()]).assert_code(0);
}

fn every_line_of_the_dashboard_is_understood(lab: &Lab) {
    let dashboard: Value =
        serde_json::from_str(include_str!("../../lab/monitoring/dashboard.json")).expect("a dashboard");
    for panel in dashboard["panels"].as_array().expect("panels") {
        let title = panel["title"].as_str().expect("a title");
        for target in panel["targets"].as_array().expect("targets") {
            let expression = target["expr"].as_str().expect("an expression");
            if EMPTY.contains(&title) {
                assert_eq!(asked(lab, expression), Vec::<Value>::new(), "{title}");
            } else {
                // Rates need two looks.
                until(&format!("{title}: {expression}"), || !asked(lab, expression).is_empty());
            }
        }
    }
}

fn a_frozen_server_is_told_and_then_not(lab: &Lab) {
    let signal = |name: &str| {
        let every = "for p in /proc/[0-9]*; do [ \"$(cat $p/comm)\" = mysqld ] && kill";
        lab.exec("db-1", &["bash", "-c", &format!("{every} -{name} ${{p#/proc/}}; done; true")]);
    };
    signal("STOP");
    let frozen = Instant::now();
    let fires = |name: &str| firing(lab).is_some_and(|all| all.iter().any(|alert| alert == name));
    until("an alert", || fires("WplabMemberDown"));
    say(&format!("the alert came {} s after the server was frozen", frozen.elapsed().as_secs()));
    signal("CONT");
    let thawed = Instant::now();
    until("the end of it", || !fires("WplabMemberDown"));
    say(&format!("it was over {} s after it was thawed", thawed.elapsed().as_secs()));
}

#[track_caller]
fn until(what: &str, look: impl Fn() -> bool) {
    let begin = Instant::now();
    while !look() {
        assert!(begin.elapsed() < FIRES, "{what} did not come");
        std::thread::sleep(Duration::from_secs(1));
    }
}

/// The names of the alerts that fire, as `status` tells them; `None` where nobody watches.
fn firing(lab: &Lab) -> Option<Vec<String>> {
    let status = lab.run(&["status", lab.name(), "-o", "json"]).json();
    let monitoring = status.get("monitoring")?;
    assert_eq!(monitoring.get("silent"), None, "{monitoring}");
    let alerts = monitoring["alerts"].as_array().expect("alerts").iter();
    Some(alerts.map(|alert| alert["name"].as_str().expect("a name").to_owned()).collect())
}

/// What Prometheus has for an expression.
#[track_caller]
fn asked(lab: &Lab, expression: &str) -> Vec<Value> {
    let query: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let at = "/api/v1/namespaces/wplab/services/prometheus:9090/proxy/api/v1/query";
    let request = Request::get(format!("{at}?query={query}")).body(Vec::new()).expect("a request");
    let text = lab.block_on(lab.client().request_text(request)).unwrap_or_else(|error| panic!("{expression}: {error}"));
    let answer: Value = serde_json::from_str(&text).expect("JSON");
    answer["data"]["result"].as_array().expect("a result").clone()
}

fn sql(lab: &Lab, query: &str) -> String {
    let client = "mysql -uroot -p\"$(cat /etc/wplab/credentials/root-password)\" -S /var/run/mysqld/mysqld.sock -N";
    lab.exec("db-0", &["bash", "-c", &format!("{client} -e \"{query}\" 2>/dev/null")]).trim().to_owned()
}

/// What there is of monitoring.
fn left(lab: &Lab) -> Vec<String> {
    let ours = |labels: &std::collections::BTreeMap<String, String>| {
        labels.get("app.kubernetes.io/component").is_some_and(|component| component == "monitoring")
    };
    // What a Deployment made goes after it.
    let made = |what: &String| what.starts_with("Pod/") || what.starts_with("ReplicaSet/");
    let all = lab.every_object_in_namespace().into_iter().filter(|(_, labels)| ours(labels));
    let mut left: Vec<String> = all.map(|(what, _)| what).filter(|what| !made(what)).collect();
    let roles: Vec<ClusterRole> = lab.list(&ListParams::default().labels("app.kubernetes.io/component=monitoring"));
    left.extend(roles.iter().map(|role| format!("ClusterRole/{}", role.name_any())));
    let deployments: Vec<Deployment> = lab.list_in("wplab", &ListParams::default());
    assert!(deployments.iter().any(|one| one.name_any() == "wordpress"), "the lab itself is there");
    left
}
