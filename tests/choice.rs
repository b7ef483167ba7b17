//! Where images come from: with a registry on loopback that serves, with one that lacks what is wanted, and with none. The
//! engine is the machine's own, behind a veil that says what it has.

#[path = "support/engine_alone.rs"]
#[allow(dead_code, reason = "what there is, is asked by other tests")]
mod engine;
#[path = "support/ready.rs"]
mod ready;
#[path = "support/registry.rs"]
#[allow(dead_code, reason = "its will to misbehave is for other tests")]
mod registry;
#[path = "support/serving.rs"]
mod serving;
#[path = "support/veil.rs"]
mod veil;

use std::{
    panic::{AssertUnwindSafe, resume_unwind},
    process::{Command, Stdio},
};

use futures_util::FutureExt;
use registry::{Faults, Registry};
use serde_json::Value;
use veil::Veil;
use wplab::{
    host::{Host, HostFacts, docker::Docker},
    parts::images::{self, ImageSet, Kept, Origin, PullError, PullErrorKind, Role, catalogue::Catalogue, forecast},
    run::{
        Run, StepCx,
        advice::{self, Advise, Hint},
        event::{Event, StepId},
    },
    spec::{ImageSource, LabSpec},
};

/// Where nothing listens.
const NOBODY: &str = "127.0.0.1:1";
/// The public name of MariaDB's image.
const PUBLIC: &str = "docker.io/library/mariadb:11.8";

/// `wplab ARGS -o json` on the engine behind a veil, without any lab.
async fn wplab(veil: &Veil, args: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(env!("CARGO_BIN_EXE_wplab"));
    command.args(args).args(["-o", "json"]).env("DOCKER_HOST", veil.host()).env("NO_COLOR", "1");
    command.env("XDG_DATA_HOME", folder.path()).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("an end").expect("wplab runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("`wplab {}`: {error}\n{out}\n{err}", args.join(" ")))
}

/// An engine that has no image of the catalogue.
fn bare() -> Veil {
    let catalogue = Catalogue::embedded().expect("parses");
    let public: Vec<String> = Role::ALL
        .into_iter()
        .filter_map(|role| catalogue.role(role))
        .map(|source| wplab::host::machine::registry::Reference::parse(&source.public).tagged())
        .collect();
    Veil::new(true, move |name| {
        name.starts_with("wplab/") || public.iter().any(|public| name.starts_with(public.as_str()))
    })
}

/// What `plan` says of each role, as `ROLE: ACTION (BECAUSE)`.
async fn planned(veil: &Veil, mirror: &str, args: &[&str]) -> Vec<String> {
    let all = [&["plan", "wplab-choice", "--registry-mirror", mirror], args].concat();
    let report = wplab(veil, &all).await;
    let line = |image: &Value| {
        let text = |name: &str| image[name].as_str().expect("a text").to_owned();
        format!("{}: {} ({})", text("role"), text("action"), text("because"))
    };
    report["images"].as_array().expect("images").iter().map(line).collect()
}

#[track_caller]
fn assert_one(lines: &[String], begins: &str, ends: &str) {
    let found = lines.iter().any(|line| line.starts_with(begins) && line.ends_with(ends));
    assert!(found, "no line {begins}…{ends}: {lines:#?}");
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn with_a_registry_each_role_comes_the_way_that_the_catalogue_prefers() {
    ready::machine();
    let registry = Registry::start("choice", Faults::default()).await;
    let (veil, mirror) = (bare(), registry.address.to_string());
    let lines = planned(&veil, &mirror, &[]).await;
    for role in ["mysql", "wordpress", "nfs"] {
        assert_one(&lines, &format!("{role}: build {role} (quick to build, and "), ")");
    }
    assert_one(&lines, "metrics-server: pull registry.k8s.io/", " (agrees line by line, and minutes to build)");
    let doctor = wplab(&veil, &["doctor", "wplab-choice", "--registry-mirror", &mirror]).await;
    let facts = &doctor["facts"];
    // An engine without any image cannot be tried, and must not be warned of when it is known to work.
    let findings = doctor["findings"].as_array().expect("findings");
    let privileged = findings.iter().find(|finding| finding["id"] == "privileged").expect("looked at");
    assert_eq!((&privileged["level"], &facts["sys-resource"]), (&"ok".into(), &true.into()), "{privileged}");
    let fit = facts["kernel-nfs"] == true && facts["cgroup-version"] == 2 && facts["sys-resource"] == true;
    if fit {
        assert_one(&lines, "node: pull kindest/node:", " (many minutes to build)");
    } else {
        assert_one(&lines, "node: build node (", ")");
        assert!(!lines.iter().any(|line| line.starts_with("node:") && line.ends_with("(no registry answers)")));
    }
    let lines = planned(&veil, &mirror, &["--topology", "galera"]).await;
    assert_one(&lines, "percona: pull percona/percona-xtradb-cluster:", " (no Debian package has it)");
    assert_one(&lines, "etcd: pull gcr.io/etcd-development/etcd:", " (agrees line by line, and minutes to build)");
    let lines = planned(&veil, &mirror, &["--images", "packages"]).await;
    assert_one(&lines, "metrics-server: build metrics-server", " (asked for)");
    let lines = planned(&veil, &mirror, &["--images", "registry"]).await;
    assert_one(&lines, "mysql: pull mysql:", " (asked for)");
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn where_nobody_answers_everything_is_built() {
    ready::machine();
    let veil = bare();
    let lines = planned(&veil, NOBODY, &[]).await;
    assert!(lines.iter().all(|line| line.contains(": build ") || line.starts_with("tool:")), "{lines:#?}");
    assert_one(&lines, "metrics-server: build metrics-server", " (no registry answers)");
    let lines = planned(&veil, NOBODY, &["--topology", "galera"]).await;
    assert_one(&lines, "mariadb: build mariadb", " (quick to build, and what the tests run on)");
    assert_one(&lines, "etcd: build etcd", " (no registry answers)");

    // What is ahead of this engine is what would be ahead of a machine without any.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let docker = Docker::connect_to(&veil.host()).await.expect("an engine");
    let spec = LabSpec::default();
    let ahead = |docker| forecast::ahead(docker, HostFacts::default(), &spec, Some(NOBODY), false);
    let (seen, unseen) = (ahead(Some(docker)).await.expect("told"), ahead(None).await.expect("told"));
    assert!(seen == unseen && seen.seconds > 300 && seen.pulls == 0, "{seen:?} {unseen:?}");
    let here = ahead(Some(Docker::connect().await.expect("an engine"))).await.expect("told");
    assert!(here.seconds <= seen.seconds, "{here:?}");
}

/// What was taken for MariaDB, with what was told.
struct Taken {
    result: anyhow::Result<ImageSet>,
    told: Vec<String>,
}

impl Taken {
    async fn of(veil: &Veil, mirror: &str, kept: &Kept) -> Taken {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let docker = Docker::connect_to(&veil.host()).await.expect("an engine");
        let facts =
            HostFacts { cgroup_version: 2, kernel_nfs: true, sys_resource: true, cpus: 2, ..HostFacts::default() };
        let host = Host { docker, kind: None, facts };
        let (run, mut events) = Run::new(None);
        let cx = StepCx::new(&run, StepId::Images);
        let result = images::take(cx, &host, &[Role::Mariadb], Some(mirror), kept).await;
        drop(run);
        let mut told = Vec::new();
        while let Some(event) = events.recv().await {
            match event {
                Event::Warning { text, .. } => told.push(format!("warning: {text}")),
                Event::Progress { task: None, note, .. } => told.push(note),
                _ => {}
            }
        }
        Taken { result: result.map(|taken| taken.value().clone()), told }
    }

    #[track_caller]
    fn origin(self) -> Origin {
        self.result.expect("it is taken").get(Role::Mariadb).expect("an image").origin.clone()
    }
}

/// The public image of MariaDB in the engine: whatever the tests make of its name is put right in the end.
struct PublicName {
    docker: Docker,
    name: String,
    had: Option<String>,
}

impl PublicName {
    async fn of(docker: &Docker, name: &str) -> PublicName {
        let had = docker.image(name).await.expect("an answer").map(|image| image.id);
        PublicName { docker: docker.clone(), name: name.to_owned(), had }
    }

    async fn restore(self) {
        let Some(image) = self.docker.image(&self.name).await.expect("an answer") else { return };
        let pulled = |name: &&String| name.starts_with("127.0.0.1:") || *name == "mariadb:11.8";
        for name in image.repo_tags.iter().chain(&image.repo_digests).filter(pulled) {
            self.docker.remove_image(name).await.expect("removed");
        }
        if let Some(id) = self.had {
            self.docker.tag(&id, &self.name).await.expect("named again");
        }
    }
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn mariadb_comes_from_packages_though_a_registry_has_it_and_from_the_registry_for_a_lab_that_has_it_from_there() {
    ready::machine();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let docker = Docker::connect().await.expect("an engine");
    let name = PublicName::of(&docker, PUBLIC).await;
    let ended = AssertUnwindSafe(mariadb_comes_the_right_way(&docker)).catch_unwind().await;
    name.restore().await;
    ended.unwrap_or_else(|panic| resume_unwind(panic));
}

async fn mariadb_comes_the_right_way(docker: &Docker) {
    // Nothing is hidden and nobody answers: this builds it if it is not there.
    let kept = |origin| Kept::from([(Role::Mariadb, origin)]);
    let packages = kept(Origin::Packages("mariadb".into()));
    let whole = Taken::of(&Veil::new(true, |_| false), NOBODY, &packages).await;
    assert_eq!(whole.origin(), Origin::Packages("mariadb".into()));
    let built = Catalogue::embedded().expect("parses").tag("mariadb", docker.arch()).expect("a tag");
    let registry = Registry::serving(&[("library/mariadb:11.8", &built)]).await;
    let mirror = registry.address.to_string();
    let hidden = |name: &str| name.starts_with("wplab/mariadb:") || name.ends_with("/mariadb:11.8");
    let here = move |name: &str| hidden(name) && !name.starts_with("127.0.0.1:");
    let from_registry = Origin::Registry("mariadb:11.8".into());

    // The engine has neither. The steps of the build are in its cache.
    let taken = Taken::of(&Veil::new(true, here), &mirror, &Kept::new()).await;
    let why = "building mariadb (quick to build, and what the tests run on)";
    assert!(taken.told.iter().any(|line| line == why), "{:#?}", taken.told);
    assert_eq!(taken.origin(), Origin::Packages("mariadb".into()));
    assert_eq!(registry.seen().iter().filter(|r| r.contains("/manifests/")).count(), 0, "nothing was asked for");

    // The lab that stands has it from the registry, and the engine has what the recipe builds.
    let only_built = |name: &str| name.ends_with("/mariadb:11.8") && !name.starts_with("127.0.0.1:");
    let taken = Taken::of(&Veil::new(true, only_built), &mirror, &kept(from_registry.clone())).await;
    let why = "pulling mariadb (the lab has it from there)";
    assert!(taken.told.iter().any(|line| line == why), "{:#?}", taken.told);
    assert_eq!(taken.origin(), from_registry);
    assert!(registry.seen().iter().any(|r| r.contains("/v2/library/mariadb/manifests/")), "it was asked for");
    let id = docker.image(PUBLIC).await.expect("an answer").expect("its public name").id;
    assert_eq!(
        id,
        docker.image(&built).await.expect("an answer").expect("built").id,
        "it is the image that was served"
    );

    // It cannot be had from there any more: it is not moved to packages.
    let refused = Taken::of(&Veil::new(true, only_built), NOBODY, &kept(from_registry.clone())).await;
    let error = refused.result.expect_err("not moved");
    let packages = Hint::Images { lab: None, source: ImageSource::Packages };
    assert!(advice::find::<images::NotKept>(&error).is_some_and(|it| it.hints().contains(&packages)), "{error:#}");
    let lacking = Registry::start("lacking", Faults::default()).await;
    let refused =
        Taken::of(&Veil::new(true, only_built), &lacking.address.to_string(), &kept(from_registry.clone())).await;
    let error = refused.result.expect_err("not moved");
    assert_eq!(advice::find::<PullError>(&error).expect("typed").kind, PullErrorKind::NotFound);

    // Where nothing can be built, the registry helps out.
    let taken = Taken::of(&Veil::new(false, here), &mirror, &Kept::new()).await;
    let why = "warning: pulling mariadb instead of building: cannot build image ";
    assert!(taken.told.iter().any(|line| line.starts_with(why)), "{:#?}", taken.told);
    assert_eq!(taken.origin(), from_registry);
    let refused = Taken::of(&Veil::new(false, here), NOBODY, &Kept::new()).await;
    let error = format!("{:#}", refused.result.expect_err("no way is open"));
    assert!(error.contains("nothing is built here"), "{error}");
}

/// What `wplab images get ROLE` did on the engine behind a veil: its exit code, the report, and what it told.
async fn got(veil: &Veil, args: &[&str]) -> (Option<i32>, Value, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wplab"));
    command.args(["images", "get"]).args(args).args(["-o", "json"]);
    command.env("DOCKER_HOST", veil.host()).env("NO_COLOR", "1").stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output()).await.expect("an end").expect("wplab runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), report, text(&output.stderr))
}

/// Where the image of a role came from, by the report.
fn origin<'a>(report: &'a Value, role: &str) -> &'a Value {
    let row = report.as_array().into_iter().flatten().find(|row| row["role"] == role).expect("a row");
    &row["present"]["origin"]
}

/// An etcd that says it is older than the first with `/livez`: whoever trusts its name has a lab that never gets ready.
fn too_old(etcd: &str, base: &str) -> String {
    let script = "#!/bin/sh\\necho etcd Version: 3.5.9\\n";
    format!(
        "FROM {base}\nCOPY --from={etcd} /usr/local/bin/ /usr/local/bin/\nRUN printf '{script}' > /usr/local/bin/etcd\n"
    )
}

#[test]
#[ignore = "needs Docker"]
fn a_pulled_image_that_breaks_its_contract_is_replaced_or_refused_with_the_line_that_it_breaks() {
    let _built = ready::images(&["etcd"]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let _guard = runtime.enter();
    let docker = engine::Docker::new();
    let ours = runtime.block_on(Docker::connect()).expect("an engine");
    let catalogue = Catalogue::embedded().expect("parses");
    let tag = |name: &str| catalogue.tag(name, ours.arch()).expect("a tag");
    let public = |role| wplab::host::machine::registry::Reference::parse(&catalogue.role(role).expect("a role").public);
    let stand_in = docker.build("old-etcd", &too_old(&tag("etcd"), &tag("debian-trixie")));
    let etcd = public(Role::Etcd);
    let served = format!("{}:{}", etcd.path, etcd.tag.as_deref().expect("a tag"));
    let registry = runtime.block_on(Registry::serving(&[(&served, &stand_in.name)]));
    let mirror = registry.address.to_string();

    // Left open: one sentence that names the line, and the package-built one in its place.
    let repository = etcd.repository();
    let veil = Veil::new(true, move |name| name.starts_with("wplab/etcd:") || name.starts_with(&repository));
    let (code, report, told) = runtime.block_on(got(&veil, &["etcd", "--registry-mirror", &mirror]));
    assert_eq!(code, Some(0), "{told}");
    let sentence = "breaks what the lab relies on of etcd: version: 3.5.9 is older than 3.5.11; ";
    assert_eq!(told.matches(sentence).count(), 1, "{told}");
    assert_eq!(origin(&report, "etcd"), &serde_json::json!({"packages": "etcd"}), "{report:#}");

    // Asked for: an error that names the line, and nothing takes its place.
    let hidden = etcd.repository();
    let veil = Veil::new(true, move |name| name.starts_with("wplab/etcd:") || name.starts_with(&hidden));
    let args = ["etcd", "--images", "registry", "--registry-mirror", &mirror];
    let (code, _, told) = runtime.block_on(got(&veil, &args));
    assert_eq!(code, Some(4), "{told}");
    assert!(told.contains("error: ") && told.contains("version: 3.5.9 is older than 3.5.11"), "{told}");

    for image in [etcd.tagged(), etcd.at(Some(&mirror)).tagged()] {
        runtime.block_on(ours.remove_image(&image)).expect("removed");
    }
}
