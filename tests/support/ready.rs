//! What tests need before they begin: an engine, and images. Both come by the real executable: it may become part of the
//! engine (`host::runc_shim`), and it is what looks into images.

use std::{process::Command, sync::Once};

use serde_json::Value;

static ONCE: Once = Once::new();

/// `wplab ARGS` to its end: its exit code, and what it printed to standard output and standard error.
pub(crate) fn wplab(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_wplab")).args(args).output().expect("it starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A bare machine gets its engine.
pub(crate) fn machine() {
    ONCE.call_once(|| {
        let (code, _, told) = wplab(&["doctor", "--fix", "--yes"]);
        // What else a lab would miss on this machine (exit code 3) does not matter here.
        assert!(matches!(code, Some(0 | 3)), "doctor --fix: {code:?}\n{told}");
    });
}

/// The package-built images of these roles, built if need be: their names, in the same order.
pub(crate) fn images(roles: &[&str]) -> Vec<String> {
    machine();
    let (code, stdout, told) = wplab(&[&["images", "build", "-o", "json"], roles].concat());
    assert_eq!(code, Some(0), "{told}");
    let rows: Value = serde_json::from_str(&stdout).expect("JSON");
    let tag = |role: &&str| {
        let row = rows.as_array().expect("rows").iter().find(|row| row["role"] == **role).expect("a row");
        row["built-tag"].as_str().expect("a tag").to_owned()
    };
    roles.iter().map(tag).collect()
}
