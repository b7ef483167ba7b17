//! `podnet`, the pod network of package-built nodes: `gofmt`, `go vet` and its own tests, with the compiler of the recipes, so
//! that no Go has to be on the machine. What is compiled and downloaded is kept in the cache of the user. The tests change
//! routes: they run in a network of their own.

#![expect(clippy::print_stdout, reason = "what the tests of another language say is told")]

#[path = "support/golang.rs"]
mod golang;
#[path = "support/nfs.rs"]
#[allow(dead_code, reason = "the other half of it is for the NFS server")]
mod nfs;
#[path = "support/ready.rs"]
mod ready;

use golang::{compile, golang};
use nfs::{docker, text};

/// Label of everything that is made here.
const LABEL: &str = "wplab.dev/test=podnet";

/// As [`compile`] runs it.
const COMPILE: &str = "
unformatted=$(gofmt -l podnet)
[ -z \"$unformatted\" ] || { echo \"not formatted: $unformatted\" >&2; exit 1; }
go vet ./podnet && go test -c -o /cache/podnet.test ./podnet";

/// A network without a way out, which goes with its value.
struct Network(String);

impl Network {
    fn new() -> Network {
        let network = Network(format!("wplab-test-podnet-{}", std::process::id()));
        docker(&["network", "create", "--internal", "--label", LABEL, &network.0]);
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker").args(["network", "rm", &self.0]).output();
    }
}

#[test]
#[ignore = "needs Docker"]
fn podnet_is_vetted_and_keeps_routes_and_configuration_in_line() {
    let golang = golang();
    let cache = compile(&golang, "lab/images/programs", LABEL, COMPILE);
    let (network, program) = (Network::new(), format!("{}:/podnet.test:ro", cache.join("podnet.test").display()));
    let tested = docker(&[
        "run",
        "--rm",
        "--label",
        LABEL,
        "--network",
        &network.0,
        "--cap-drop",
        "ALL",
        "--cap-add",
        "NET_ADMIN",
        "-e",
        "PODNET_ROUTES=1",
        "-v",
        &program,
        &golang,
        "/podnet.test",
        "-test.v",
    ]);
    let told = text(&tested.stdout);
    println!("{told}");
    assert!(
        told.contains("--- PASS: TestRoutesFollowTheNodes") && !told.contains("--- SKIP"),
        "routes were not looked at"
    );
}
