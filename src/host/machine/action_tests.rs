//! Tests of [`super`]: what would be done on which machine.

use super::*;
use crate::host::machine::{judge::tests::healthy, needs::Inotify, needs::tests::spec};

fn planned(change: impl FnOnce(&mut Observed)) -> Vec<Action> {
    let mut seen = healthy();
    change(&mut seen);
    plan(&spec(), &seen)
}

fn bare(seen: &mut Observed) {
    seen.engine = EngineSeen::Silent("there is no such socket".into());
    (seen.dockerd, seen.docker_client, seen.kind, seen.mmdebstrap, seen.images, seen.go, seen.daemon_json) =
        (false, false, None, false, false, false, false);
    seen.registry = Err("no answer".into());
}

#[test]
fn a_healthy_machine_needs_nothing() {
    assert_eq!(planned(|_| {}), []);
}

#[test]
fn a_bare_machine_gets_everything_in_order() {
    let want = [
        Action::Packages { names: vec!["docker.io", "iptables", "mmdebstrap"], optional: vec!["docker-cli"] },
        Action::StartEngine { systemd: true },
        Action::Kind { sources: vec![KindSource::Recipe] },
    ];
    assert_eq!(planned(bare), want);
}

#[test]
fn without_sys_resource_the_runtime_is_configured_first_but_never_over_a_configuration() {
    let sandbox = |daemon_json| {
        planned(move |seen| {
            bare(seen);
            (seen.sys_resource, seen.systemd, seen.daemon_json) = (false, false, daemon_json);
        })
    };
    assert_eq!(sandbox(false)[0], Action::ConfigureRuntime);
    assert_eq!(sandbox(false)[2], Action::StartEngine { systemd: false });
    assert!(!sandbox(true).contains(&Action::ConfigureRuntime));
}

#[test]
fn an_engine_that_answers_is_never_touched() {
    let actions = planned(|seen| {
        (seen.sys_resource, seen.docker_client, seen.dockerd, seen.daemon_json) = (false, false, false, false);
        seen.privileged = crate::host::machine::observe::Privileged::Fails("unable to apply caps".into());
    });
    assert_eq!(actions, [Action::DockerClient]);
}

#[test]
fn an_engine_elsewhere_or_closed_to_us_is_not_ours_to_start() {
    assert_eq!(planned(|seen| (seen.engine, seen.elsewhere) = (EngineSeen::Silent(String::new()), true)), []);
    assert_eq!(planned(|seen| seen.engine = EngineSeen::Denied), []);
}

#[test]
fn without_root_only_the_users_own_folder_is_used() {
    let actions = planned(|seen| {
        bare(seen);
        (seen.root, seen.go) = (false, true);
    });
    assert_eq!(actions, [Action::DockerClient, Action::Kind { sources: vec![KindSource::Go] }]);
}

#[test]
fn an_old_kind_is_replaced_from_the_best_source() {
    let actions = planned(|seen| {
        seen.kind = Some(("/usr/bin/kind".into(), Some(crate::host::version::Version(0, 17, 0))));
        seen.kind_package = true;
    });
    assert_eq!(actions, [Action::Kind { sources: vec![KindSource::Package, KindSource::Go, KindSource::Recipe] }]);
}

#[test]
fn limits_are_raised_and_never_lowered() {
    let low = Inotify { instances: 128, watches: 1_000_000 };
    let raised = |instances, watches| [Action::RaiseInotify { instances, watches }];
    assert_eq!(planned(|seen| seen.inotify = Some(low)), raised(512, 1_000_000));
    // Enough for one lab, and used up by others.
    assert_eq!(planned(|seen| seen.inotify_room = Some(3)), raised(1024, 131_072));
    assert_eq!(planned(|seen| (seen.inotify_room, seen.lab) = (Some(3), Some(None))), []);
}

#[test]
fn actions_are_sentences() {
    let packages = Action::Packages { names: vec!["docker.io", "iptables"], optional: vec!["docker-cli"] };
    assert_eq!(
        packages.to_string(),
        "install the Debian packages docker.io, iptables (and docker-cli, if there is such a package)"
    );
    let kind = Action::Kind { sources: vec![KindSource::Package, KindSource::Go] };
    assert!(
        kind.to_string().starts_with("get kind from its Debian package, else the Go module sigs.k8s.io/kind@"),
        "{kind}"
    );
}
