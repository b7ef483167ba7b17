//! Tests of [`super`]: labs of which more or less answers, and what is said about them.

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::parts::database::health::tests::{self, source};

fn from<K: DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).expect("fits its type")
}

fn container(name: &str, running: bool) -> Container {
    let (image, labels, ports) = (String::new(), Default::default(), Vec::new());
    Container { name: name.into(), running, paused: false, image, labels, ports }
}

fn api_node(name: &str, ready: &str) -> Node {
    let info = json!({ "kubeletVersion": "v1.36.3", "architecture": "", "bootID": "", "containerRuntimeVersion": "",
        "kernelVersion": "", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": "" });
    from(json!({ "metadata": { "name": name }, "status": { "nodeInfo": info,
        "conditions": [{ "type": "Ready", "status": ready, "message": "kubelet is silent" }] } }))
}

#[test]
fn nodes_are_told_from_their_containers_whatever_kubernetes_says() {
    let there = [
        container("lab-worker10", true),
        container("lab-worker2", false),
        container("lab-control-plane", true),
        container("lab-worker", true),
    ];
    let seen =
        [api_node("lab-control-plane", "True"), api_node("lab-worker", "False"), api_node("lab-worker2", "True")];
    let rows: Vec<_> = nodes(&there, Some(&seen)).into_iter().map(|n| (n.name, n.ready, n.detail)).collect();
    let row = |name: &str, ready, detail: &str| (name.to_owned(), ready, detail.to_owned());
    assert_eq!(
        rows,
        [
            row("lab-control-plane", true, "v1.36.3"),
            row("lab-worker", false, "kubelet is silent"),
            row("lab-worker2", false, "its container is stopped"),
            row("lab-worker10", false, "has not joined"),
        ]
    );
    assert!(nodes(&there, None).iter().all(|node| !node.ready));
}

#[test]
fn a_member_without_a_pod_is_a_row_too() {
    let there = vec![tests::member("db-1", "writer", source())];
    let all = summaries(&there, 3);
    let healthy: Vec<_> = all.iter().map(|m| (m.name.as_str(), m.healthy)).collect();
    assert_eq!(healthy, [("db-0", false), ("db-1", true), ("db-2", false)]);
    let record = Record::Kept(tests::record("db-1"));
    let sentences: Vec<_> = wrong(Some(&(there, 3)), Some(&record)).iter().map(Wrong::to_string).collect();
    assert_eq!(sentences, ["1 of 3 members exist"]);
}

#[test]
fn a_writer_that_nobody_copies_is_told_apart() {
    let mut alone = source();
    (alone.semi_sync, alone.acks) = (false, Some(0));
    let state = |server| member(&tests::member("db-0", "writer", server)).state;
    assert!(state(alone).ends_with(", unprotected"));
    assert!(!state(source()).contains("unprotected"));
}

#[test]
fn nothing_is_said_about_the_database_while_half_of_it_is_unknown() {
    let members = (Vec::new(), 3);
    let record = Record::Unkept { why: "no agent leads yet".into(), last: None };
    assert_eq!(wrong(Some(&members), Some(&record)).len(), 2);
    assert!(wrong(None, Some(&record)).is_empty() && wrong(Some(&members), None).is_empty());
}

#[test]
fn replicas_autoscaler_and_volume_are_read_from_their_objects() {
    let site =
        from(json!({ "spec": { "replicas": 3, "selector": {}, "template": {} }, "status": { "readyReplicas": 2 } }));
    assert_eq!(replicas(&site), ReplicaStatus { ready: 2, wanted: 3 });
    let hpa = from(json!({
        "spec": { "minReplicas": 2, "maxReplicas": 6, "scaleTargetRef": { "kind": "", "name": "" }, "metrics": [
            { "type": "Resource", "resource": { "name": "cpu", "target": { "type": "Utilization", "averageUtilization": 60 } } }] },
        "status": { "desiredReplicas": 3, "currentMetrics": [
            { "type": "Resource", "resource": { "name": "cpu", "current": { "averageUtilization": 7 } } }] } }));
    assert_eq!(autoscaler(&hpa), HpaStatus { min: 2, max: 6, cpu: Some(7), target: 60 });
    let claim = from(
        json!({ "metadata": { "name": "wp-content" }, "status": { "phase": "Bound", "capacity": { "storage": "2Gi" } } }),
    );
    let pod = |node: &str, phase: &str, claim: &str| {
        from::<Pod>(json!({ "spec": { "nodeName": node, "containers": [], "volumes": [
            { "name": "c", "persistentVolumeClaim": { "claimName": claim } }] }, "status": { "phase": phase } }))
    };
    let pods = [
        pod("b", "Running", CLAIM),
        pod("a", "Running", CLAIM),
        pod("a", "Running", CLAIM),
        pod("c", "Succeeded", CLAIM),
        pod("d", "Running", "x"),
    ];
    let volume = volume_of(&claim, &pods);
    assert_eq!(
        (volume.size.as_str(), volume.phase.as_str(), volume.nodes),
        ("2Gi", "Bound", vec!["a".to_owned(), "b".to_owned()])
    );
}

#[test]
fn what_cannot_be_looked_at_is_told_with_its_reason_and_is_not_healthy() {
    let mut unknown = Unknowns::default();
    let error: Result<u8> = Err(anyhow::anyhow!("refused")).context("cannot read Deployment wordpress");
    assert_eq!(unknown.or("replicas", error), 0);
    let lab = LabName::default();
    let report = StatusReport { unknown: unknown.0, ..empty(&lab, Doing::Running, "http://127.0.0.1:8080".into()) };
    assert!(!report.healthy());
    let json = serde_json::to_value(&report).expect("JSON");
    assert_eq!(json["unknown"], json!([{ "what": "replicas", "why": "cannot read Deployment wordpress: refused" }]));
}
