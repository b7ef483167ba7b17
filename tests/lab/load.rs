//! Load on a real lab: what the tool says of the autoscaler is held against what the cluster says of it, and nothing is left behind.

use k8s_openapi::api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod};
use kube::api::ListParams;
use serde_json::Value;

use crate::lab::{Lab, say, thoroughly};

/// In a lab of at most three replicas with a short window, so that what the autoscaler added is soon gone again.
pub(crate) fn users_come_and_the_autoscaler_answers(lab: &Lab, url: &str) {
    users_are_served(lab, url);
    an_interrupted_load_tells_what_it_saw(lab, url);
    // A minute and a half, most of which belongs to Kubernetes.
    if thoroughly() {
        the_autoscaler_answers(lab);
    }
}

/// A short load: every kind is asked for, next to nothing fails, and what was made for users is gone.
fn users_are_served(lab: &Lab, url: &str) {
    let had = made_by_us(lab, url);
    let args = ["load", lab.name(), "--rate", "10", "--ramp", "3s", "--duration", "15s", "-o", "json"];
    let ran = lab.run(&args);
    let report = ran.assert_code(0).json();
    let total = &report["total"];
    say(&format!("{} requests, {} failed, latency {}", total["count"], total["failed"], total["latency"]));
    assert!(total["count"].as_u64() > Some(60), "{total}");
    assert!(total["rate"].as_f64() < Some(11.0), "no more than asked for: {total}");
    assert_eq!(report["kinds"].as_array().map(Vec::len), Some(7), "{report}");
    for secret in [("db-credentials", "wordpress-password"), ("wordpress-credentials", "admin-password")] {
        let secret = lab.secret(secret.0, secret.1);
        assert!(!ran.stdout.contains(&secret) && !ran.stderr.contains(&secret), "no secret is printed");
    }
    assert_eq!(made_by_us(lab, url), had, "what was made for users is gone");
}

fn an_interrupted_load_tells_what_it_saw(lab: &Lab, url: &str) {
    let had = made_by_us(lab, url);
    let ran = lab.run_until(&["load", lab.name(), "-o", "json"], "requests, 0 failed, p95", "INT");
    assert_eq!(ran.code, Some(130), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["ended-early"], "interrupted by Ctrl-C", "{report}");
    assert!(report["total"]["count"].as_u64() > Some(0), "{report}");
    assert_eq!(made_by_us(lab, url), had, "what was made for users is gone");
}

/// Replicas come under load and go after it, link by link; the cluster agrees.
fn the_autoscaler_answers(lab: &Lab) {
    let replicas = || -> usize {
        lab.list_in::<Pod>("wplab", &ListParams::default().labels("app.kubernetes.io/name=wordpress")).len()
    };
    let ran = lab.run(&["load", lab.name(), "--prove-hpa", "-o", "json"]);
    let report: Value = serde_json::from_str(&ran.stdout).unwrap_or_default();
    let proof = &report["hpa"];
    for link in proof["links"].as_array().into_iter().flatten() {
        say(&format!("{}: at {} s, after {} s", link["link"], link["at"], link["after"]));
    }
    ran.assert_code(0);
    let at = |name: &str| {
        let links = proof["links"].as_array().expect("links");
        links.iter().find(|link| link["link"] == name).expect("the link")["at"].as_f64().expect("was seen")
    };
    // The autoscaler looks through metrics-server, decides before there are pods, and takes them away after the load.
    for (first, then) in [
        ("metrics-server", "decision"),
        ("decision", "endpoint"),
        ("endpoint", "load-ends"),
        ("load-ends", "fewest"),
        ("fewest", "gone"),
    ] {
        assert!(at(first) <= at(then), "{first} comes before {then}: {proof}");
    }
    let autoscalers: Vec<HorizontalPodAutoscaler> = lab.list_in("wplab", &ListParams::default());
    let status = autoscalers.first().and_then(|hpa| hpa.status.as_ref()).expect("an autoscaler");
    assert!(status.last_scale_time.is_some(), "it has scaled");
    assert_eq!(proof["min"].as_u64(), Some(replicas() as u64), "the cluster has the fewest replicas");
}

/// How many posts and images of ours the site shows.
fn made_by_us(lab: &Lab, url: &str) -> usize {
    ["posts", "media"]
        .into_iter()
        .map(|kind| lab.get(&format!("{url}/index.php?rest_route=/wp/v2/{kind}")).1.matches("wplab-smoke-").count())
        .sum()
}
