//! The commands that a person types, as `wplab --help` lists them (`tests/cli.rs` holds the list against it).

/// In the order of the help.
pub(crate) const COMMANDS: [&str; 24] = [
    "up",
    "down",
    "list",
    "status",
    "smoke",
    "url",
    "pause",
    "resume",
    "stop",
    "start",
    "snapshot",
    "credentials",
    "kubeconfig",
    "logs",
    "doctor",
    "plan",
    "render",
    "images",
    "failover",
    "replace",
    "recover",
    "repair",
    "diagnose",
    "completions",
];
