//! Alerts and the dashboard, without a lab: the files are read, and every alert is tried by Prometheus's own test runner. What
//! they show of a real lab is in `tests/lab/monitoring.rs`.

#[expect(dead_code, reason = "what is left behind is looked at elsewhere")]
#[path = "support/engine_alone.rs"]
mod engine;
#[path = "support/ready.rs"]
mod ready;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use engine::Docker;
use serde_json::Value;
use wplab::cluster::manifests;

const TESTS: &str = include_str!("alerts.yml");

fn dashboard() -> Value {
    serde_json::from_str(include_str!("../lab/monitoring/dashboard.json")).expect("JSON")
}

fn alerts() -> Vec<Value> {
    let file: Value = serde_yaml::from_str(manifests::file("monitoring/alerts.yml").expect("a file")).expect("YAML");
    let groups = file["groups"].as_array().expect("groups").iter();
    groups.flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

#[test]
fn every_alert_says_what_is_wrong_how_bad_it_is_and_where_to_begin() {
    let alerts = alerts();
    assert!(alerts.len() > 10);
    for alert in &alerts {
        let name = alert["alert"].as_str().expect("a name");
        assert!(name.starts_with("Wplab"), "{name}");
        let severity = alert["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning"].contains(&severity), "{name}: {severity:?}");
        let (summary, runbook) = (&alert["annotations"]["summary"], &alert["annotations"]["runbook"]);
        assert!(summary.as_str().is_some_and(|text| text.ends_with('.')), "{name}: {summary}");
        assert!(runbook.as_str().is_some_and(|text| text.starts_with("wplab ")), "{name}: {runbook}");
    }
}

#[test]
fn every_alert_is_tried_and_told() {
    let docs = include_str!("../docs/monitoring.md");
    for alert in alerts() {
        let name = alert["alert"].as_str().expect("a name");
        assert!(TESTS.contains(&format!("alertname: {name}\n")), "tests/alerts.yml does not try {name}");
        assert!(docs.contains(&format!("| `{name}` |")), "docs/monitoring.md does not tell of {name}");
    }
}

#[test]
fn the_dashboard_is_one_that_grafana_reads() {
    let dashboard = dashboard();
    assert_eq!(dashboard["schemaVersion"], 39);
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids: Vec<_> = panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(panel["targets"].as_array().is_some_and(|all| !all.is_empty()), "{title}");
    }
}

/// In the image, as a step of a build of it: nothing has to be copied into a container.
#[test]
#[ignore = "needs Docker"]
fn promtool_accepts_the_rules_and_every_alert_fires_when_it_should() {
    // It builds an image that nothing else of the short tier needs.
    if std::env::var_os("DRILLS").is_none() {
        return;
    }
    let image = ready::images(&["prometheus"]).swap_remove(0);
    let file = |name: &str, text: &str| format!("RUN echo {} | base64 -d > /tmp/{name}\n", STANDARD.encode(text));
    let rules = manifests::file("monitoring/alerts.yml").expect("a file");
    let with = |rules: &str| {
        let files = [file("alerts.yml", rules), file("tests.yml", TESTS)].concat();
        format!(
            "FROM {image}\nUSER 0\n{files}RUN promtool check rules --lint=all --lint-fatal /tmp/alerts.yml && promtool test rules /tmp/tests.yml\n"
        )
    };
    let docker = Docker::new();
    drop(docker.build("alerts", &with(rules)));
    // A test that cannot fail is none.
    let other = rules.replacen("== 0", "== 1", 1);
    let other = std::panic::catch_unwind(|| drop(Docker::new().build("alerts", &with(&other))));
    assert!(other.is_err(), "an alert that fires when all is well was not noticed");
}
