//! Backups are proven by using them, beside the lab: what is wrong with one is found, and its store says so from then on.

use std::{fs, path::Path};

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use serde_json::Value;

use super::lab::{Lab, say};

/// What `backup list` says came of proving a backup.
fn verdict(lab: &Lab, id: &str) -> Value {
    let listed = lab.run(&["backup", "list", "--lab", lab.name(), "-o", "json"]).assert_code(0).json();
    let backups = listed["backups"].as_array().expect("a list");
    backups.iter().find(|one| one["id"] == id).expect("it is listed")["verified"].clone()
}

fn no_server_is_left(lab: &Lab) {
    let pods: Vec<Pod> = lab.list_in("wplab", &ListParams::default().labels("app.kubernetes.io/name=db-scratch"));
    assert!(pods.is_empty(), "the server beside the lab is still there");
}

/// Proves a backup that is wrong, and is told what is.
fn is_found_wrong(lab: &Lab, id: &str, what: &str) {
    let told = lab.run(&["backup", "verify", id, "--lab", lab.name()]);
    assert!(told.code == Some(4) && told.stderr.contains(what), "{:?}: {}", told.code, told.stderr);
    let verified = verdict(lab, id);
    assert!(verified["wrong"].as_str().is_some_and(|wrong| wrong.contains(what)), "{verified}");
    no_server_is_left(lab);
}

/// A backup that is whole is proven; one with an object that was cut off, one with a bit that fell over and one whose manifest expects
/// other rows are found out, while whoever proves it is lost says nothing of it. `objects` is the backup's folder, which is left as it was.
pub(crate) fn a_damaged_backup_is_found(lab: &Lab, objects: &Path, id: &str) {
    let verify = ["backup", "verify", id, "--lab", lab.name(), "-o", "json"];
    let proven = lab.run(&verify).assert_code(0).json();
    say(&format!("{} rows and {} files are proven, in {} s", proven["rows"], proven["files"], proven["seconds"]));
    assert!(proven["rows"].as_u64() > Some(100) && proven["files"].as_u64() > Some(100), "{proven}");
    let verified = verdict(lab, id);
    assert!(verified["at"].is_string() && verified["wrong"].is_null(), "{verified}");
    no_server_is_left(lab);

    let runner = ListParams::default().labels("app.kubernetes.io/component=backup");
    let lost = lab.run_while(&["backup", "verify", id, "--lab", lab.name()], "starting a server", || {
        let pods: Vec<Pod> = lab.list_in("wplab", &runner);
        let names: Vec<&str> = pods.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        let runner = names.iter().find(|name| name.starts_with("backup-")).expect("a runner");
        lab.delete_pods(&[runner], 0);
    });
    assert!(lost.code == Some(4) && lost.stderr.contains("nothing is known of the backup"), "{}", lost.stderr);
    assert_eq!(verdict(lab, id), verified, "what was known of it is");
    no_server_is_left(lab);

    let (part, manifest) = (objects.join("files.00000"), objects.join("manifest.json"));
    let (whole, said) = (fs::read(&part).expect("an object"), fs::read_to_string(&manifest).expect("a manifest"));
    fs::write(&part, &whole[..whole.len() / 2]).expect("written");
    is_found_wrong(lab, id, "files.00000 has");
    let mut other = whole.clone();
    other[whole.len() / 2] ^= 1;
    fs::write(&part, other).expect("written");
    is_found_wrong(lab, id, "files.00000 has other bytes than were sent");
    fs::write(&part, &whole).expect("written");
    let mut other: Value = serde_json::from_str(&said).expect("JSON");
    other["database"]["tables"]["wp_options"]["hash"] = "0".repeat(64).into();
    fs::write(&manifest, other.to_string()).expect("written");
    is_found_wrong(lab, id, "wp_options has other rows");
    fs::write(&manifest, said).expect("written");

    lab.run(&verify).assert_code(0);
    assert!(verdict(lab, id)["wrong"].is_null(), "what was wrong is forgotten");
}
