//! Tests of [`super`]: machines as data, and what is found on them.

use super::*;
use crate::host::machine::needs::{Building, tests::spec};

/// A machine that has everything.
pub(crate) fn healthy() -> Observed {
    Observed {
        arch: "x86_64",
        cores: 4,
        cgroup_v2: true,
        root: true,
        apt: true,
        systemd: true,
        engine: EngineSeen::Answers(info()),
        elsewhere: false,
        dockerd: true,
        daemon_json: true,
        sys_resource: true,
        our_runtime: false,
        privileged: Privileged::Works,
        disk: Some(200 << 30),
        memory: Some(32 << 30),
        inotify: Some(INOTIFY_MIN),
        inotify_room: Some(1000),
        open_files: Some(20_000),
        kind: Some(("/usr/bin/kind".into(), Some(Version(0, 33, 0)))),
        kind_package: false,
        go: true,
        docker_client: true,
        mmdebstrap: true,
        images: true,
        lab: None,
        free_port: Some(8080),
        kernel_nfs: true,
        fuse: true,
        registry: Ok(()),
        leak: Leak::Closed,
    }
}

fn info() -> EngineInfo {
    EngineInfo {
        version: "28.2.2".into(),
        api_version: "1.50".into(),
        arch: "amd64".into(),
        cgroup_version: 2,
        storage_driver: "overlay2".into(),
        containerd_store: false,
        root_dir: "/var/lib/docker".into(),
        rootless: false,
        runtime: "runc".into(),
        cpus: 4,
        memory: 32 << 30,
        os: "Debian GNU/Linux 13".into(),
        kernel: "6.1".into(),
    }
}

/// The finding of one id on a healthy machine with one change.
fn found(id: &str, change: impl FnOnce(&mut LabSpec, &mut Observed)) -> Finding {
    let (mut spec, mut seen) = (spec(), healthy());
    change(&mut spec, &mut seen);
    let findings = judge(&spec, &seen);
    findings.into_iter().find(|f| f.id == id).unwrap_or_else(|| panic!("no finding {id}"))
}

fn with_engine(change: impl FnOnce(&mut EngineInfo)) -> impl FnOnce(&mut LabSpec, &mut Observed) {
    let mut engine = info();
    change(&mut engine);
    move |_, seen| seen.engine = EngineSeen::Answers(engine)
}

#[test]
fn a_healthy_machine_has_nothing_but_ok() {
    let findings = judge(&spec(), &healthy());
    let bad: Vec<&Finding> = findings.iter().filter(|f| f.level != Level::Ok).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert!(findings.len() >= 16, "{}", findings.len());
}

#[test]
fn every_finding_that_is_not_ok_has_a_title_and_a_unique_id() {
    let mut seen = healthy();
    seen.engine = EngineSeen::Silent("there is no such socket".into());
    let findings = judge(&spec(), &seen);
    let ids: std::collections::BTreeSet<&str> = findings.iter().map(|f| f.id).collect();
    assert_eq!(ids.len(), findings.len());
    assert!(!ids.contains("cgroup"), "nothing is known of an engine that is silent");
}

#[test]
fn the_engines_own_findings() {
    type Case = (&'static str, fn(&mut EngineInfo), Level);
    let cases: [Case; 8] = [
        ("docker-version", |i| i.version = "20.10.24+dfsg1".into(), Level::Ok),
        ("docker-version", |i| i.version = "19.03.8".into(), Level::Blocking),
        ("docker-version", |i| i.version = "master".into(), Level::Ok),
        ("rootless", |i| i.rootless = true, Level::Blocking),
        ("cgroup", |i| i.cgroup_version = 1, Level::Ok),
        ("storage-driver", |i| i.storage_driver = "overlayfs".into(), Level::Ok),
        ("storage-driver", |i| i.storage_driver = "vfs".into(), Level::Warning),
        ("storage-driver", |i| i.storage_driver = "btrfs".into(), Level::Warning),
    ];
    for (id, change, want) in cases {
        let finding = found(id, with_engine(change));
        assert_eq!(finding.level, want, "{finding:?}");
        assert_eq!(finding.cure.is_some(), want != Level::Ok, "{finding:?}");
    }
}

#[test]
fn the_machines_findings() {
    type Case = (&'static str, fn(&mut LabSpec, &mut Observed), Level);
    let cases: [Case; 29] = [
        ("docker-engine", |_, s| s.engine = EngineSeen::Denied, Level::Blocking),
        ("docker-engine", |_, s| s.engine = EngineSeen::Silent("refused".into()), Level::Blocking),
        ("privileged", |_, s| s.privileged = Privileged::Fails("unable to apply caps".into()), Level::Blocking),
        ("privileged", |_, s| s.privileged = Privileged::Untried, Level::Ok),
        ("privileged", |_, s| (s.privileged, s.sys_resource) = (Privileged::Untried, false), Level::Warning),
        (
            "privileged",
            |_, s| (s.privileged, s.sys_resource, s.our_runtime) = (Privileged::Untried, false, true),
            Level::Ok,
        ),
        ("architecture", |_, s| s.arch = "aarch64", Level::Ok),
        ("architecture", |_, s| s.arch = "riscv64", Level::Blocking),
        ("memory", |_, s| s.memory = Some(3 << 30), Level::Warning),
        ("memory", |_, s| s.memory = Some(1 << 30), Level::Blocking),
        ("memory", |_, s| (s.memory, s.lab) = (Some(1 << 30), Some(Some(8080))), Level::Ok),
        ("disk", |_, s| s.disk = Some(10 << 30), Level::Warning),
        ("disk", |_, s| s.disk = Some(5 << 30), Level::Blocking),
        ("disk", |_, s| s.disk = None, Level::Ok),
        ("inotify", |_, s| s.inotify = Some(Inotify { instances: 128, watches: 192_536 }), Level::Warning),
        ("inotify", |_, s| s.inotify_room = Some(20), Level::Blocking),
        ("open-files", |_, s| s.open_files = Some(256), Level::Warning),
        ("kind", |_, s| s.kind = None, Level::Blocking),
        ("kind", |_, s| s.kind = Some(("/usr/bin/kind".into(), Some(Version(0, 30, 9)))), Level::Blocking),
        ("kind", |_, s| s.kind = Some(("/usr/bin/kind".into(), None)), Level::Blocking),
        ("docker-client", |_, s| s.docker_client = false, Level::Blocking),
        ("port", |_, s| s.free_port = Some(8083), Level::Ok),
        ("port", |_, s| s.free_port = None, Level::Blocking),
        ("nfs-client", |_, s| s.kernel_nfs = false, Level::Ok),
        ("nfs-client", |_, s| (s.kernel_nfs, s.fuse) = (false, false), Level::Blocking),
        ("nfs-client", |l, s| (l.images, s.kernel_nfs) = (ImageSource::Registry, false), Level::Blocking),
        ("registry", |_, s| s.registry = Err("no answer".into()), Level::Ok),
        ("registry", |l, s| (l.images, s.registry) = (ImageSource::Registry, Err("no answer".into())), Level::Warning),
        ("cluster-addresses", |_, s| s.leak = Leak::Open, Level::Ok),
    ];
    for (id, change, want) in cases {
        let finding = found(id, change);
        assert_eq!(finding.level, want, "{finding:?}");
    }
}

#[test]
fn mmdebstrap_matters_only_when_bases_have_to_be_made() {
    let seen = |images, registry| Observed { images, registry, mmdebstrap: false, ..healthy() };
    let no = || Err("no answer".to_owned());
    assert_eq!(mmdebstrap(&spec(), &seen(false, Ok(())), true), None);
    assert_eq!(mmdebstrap(&spec(), &seen(true, no()), true), None);
    let finding = mmdebstrap(&spec(), &seen(false, no()), true).expect("a finding");
    assert_eq!((finding.level, finding.cure.map(|c| c.fixable)), (Level::Blocking, Some(true)));
}

#[test]
fn a_taken_port_is_answered_by_the_next_and_a_running_lab_keeps_its_own() {
    let taken = found("port", |_, s| s.free_port = Some(8083));
    assert_eq!(taken.title, "Port 8080 is taken: the site will be at 127.0.0.1:8083");
    assert_eq!(
        found("port", |_, s| (s.lab, s.free_port) = (Some(Some(8080)), Some(8081))).title,
        "The lab answers on port 8080"
    );
}

#[test]
fn the_cure_fits_the_machine() {
    let silent = |dockerd, systemd, apt, root| {
        let finding = found("docker-engine", move |_, s| {
            s.engine = EngineSeen::Silent("refused".into());
            (s.dockerd, s.systemd, s.apt, s.root) = (dockerd, systemd, apt, root);
        });
        match finding.cure.expect("a cure") {
            Cure { by: Hint::Words { text }, fixable } => (text, fixable),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(silent(true, true, true, true), ("sudo systemctl start docker".into(), true));
    assert_eq!(silent(true, false, false, true), ("sudo setsid --fork dockerd".into(), true));
    assert_eq!(silent(false, true, true, false), ("sudo apt-get install docker.io iptables".into(), false));
    assert!(!silent(false, true, false, true).1, "without apt nothing can be installed");
}

#[test]
fn what_has_to_be_built_follows_the_choice_per_role() {
    let of = |images: ImageSource, change: fn(&mut Observed)| {
        let mut seen = Observed { images: false, ..healthy() };
        change(&mut seen);
        building(&LabSpec { images, ..spec() }, &seen)
    };
    let silent = |seen: &mut Observed| seen.registry = Err("no answer".into());
    assert_eq!(of(ImageSource::Auto, |_| ()), Building::Services);
    assert_eq!(of(ImageSource::Auto, silent), Building::Everything);
    assert_eq!(of(ImageSource::Auto, |seen| seen.kernel_nfs = false), Building::Everything);
    assert_eq!(of(ImageSource::Auto, |seen| seen.sys_resource = false), Building::Everything);
    assert_eq!(of(ImageSource::Auto, |seen| (seen.sys_resource, seen.our_runtime) = (false, true)), Building::Services);
    assert_eq!(of(ImageSource::Auto, |seen| seen.images = true), Building::Nothing);
    assert_eq!(of(ImageSource::Packages, |_| ()), Building::Everything);
    assert_eq!(of(ImageSource::Registry, silent), Building::Nothing);
    // Bases are pulled where a registry answers, even for what is built.
    let seen = Observed { images: false, mmdebstrap: false, ..healthy() };
    assert!(!bases_are_made(&LabSpec { images: ImageSource::Packages, ..spec() }, &seen));
}

#[test]
fn facts_before_there_is_an_engine_are_about_the_one_that_fix_would_start() {
    let bare = Observed {
        engine: EngineSeen::Silent("there is no such socket".into()),
        sys_resource: false,
        daemon_json: false,
        cgroup_v2: false,
        ..healthy()
    };
    let facts = bare.facts();
    assert_eq!((facts.cpus, facts.memory, facts.cgroup_version, facts.sys_resource), (4, 0, 1, true));
    assert!(!Observed { daemon_json: true, ..bare.clone() }.facts().sys_resource, "somebody's own configuration");
    assert!(Observed { daemon_json: true, our_runtime: true, ..bare }.facts().sys_resource);
    let answers = Observed { sys_resource: false, daemon_json: false, ..healthy() };
    assert!(!answers.facts().sys_resource, "an engine that answers is left as it is");
}
