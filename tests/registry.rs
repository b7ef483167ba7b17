//! Pulling from a registry that misbehaves, with the machine's own Docker engine.

#[path = "support/ready.rs"]
#[allow(dead_code, reason = "no images of a lab are needed here")]
mod ready;
#[path = "support/registry.rs"]
mod registry;

use std::time::{Duration, Instant};

use registry::{Faults, Registry};
use tokio::sync::mpsc::UnboundedReceiver;
use wplab::{
    host::{
        docker::{Docker, LocalImage},
        machine::registry::answers,
    },
    parts::images::{PullError, PullErrorKind, pull::pull},
    run::{
        Run, StepCx, advice,
        event::{Amount, Event, StepId},
    },
};

/// A pull, what it told, and the names it left to be removed.
struct Pulled {
    result: anyhow::Result<LocalImage>,
    events: Vec<Event>,
    docker: Docker,
}

impl Pulled {
    async fn of(reference: &str, mirror: Option<&str>) -> Pulled {
        let _ = rustls::crypto::ring::default_provider().install_default();
        ready::machine();
        let docker = Docker::connect().await.expect("an engine");
        let (run, events) = Run::new(Some(Duration::from_secs(300)));
        let result = pull(&StepCx::new(&run, StepId::Images), &docker, "tiny", reference, mirror).await;
        drop(run);
        Pulled { result, events: collect(events).await, docker }
    }

    fn notes(&self) -> Vec<String> {
        let note = |event: &Event| if let Event::Progress { note, .. } = event { Some(note.clone()) } else { None };
        self.events.iter().filter_map(note).collect()
    }

    /// What went wrong; nothing half-made is left behind.
    async fn failure(self, reference: &str) -> PullErrorKind {
        let error = self.result.expect_err("fails");
        let kind = advice::find::<PullError>(&error).expect("typed").kind.clone();
        assert!(
            self.docker.image(reference).await.expect("an answer").is_none(),
            "{reference} is in Docker all the same"
        );
        kind
    }

    async fn success(self) -> LocalImage {
        let image = self.result.expect("pulled");
        let now = self.docker.image(&image.id).await.expect("an answer").expect("an image");
        for name in now.repo_digests.iter().chain(&now.repo_tags) {
            self.docker.remove_image(name).await.expect("removed");
        }
        image
    }
}

async fn collect(mut events: UnboundedReceiver<Event>) -> Vec<Event> {
    let mut all = Vec::new();
    while let Some(event) = events.recv().await {
        all.push(event);
    }
    all
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_pull_shows_bytes_and_leaves_the_image_under_its_name() {
    let registry = Registry::start("plain", Faults { slow: true, ..Faults::default() }).await;
    let reference = format!("{}@{}", registry.image(), registry.digest);
    let pulled = Pulled::of(&reference, None).await;
    let bytes = |e: &Event| matches!(e, Event::Progress { amount: Some(Amount::Bytes { total: Some(t), .. }), .. } if *t > 6 << 20);
    assert!(pulled.events.iter().any(bytes), "{:?}", pulled.notes());
    assert!(pulled.docker.image(&registry.image()).await.expect("an answer").is_some(), "the tag is missing");
    pulled.success().await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn an_image_that_does_not_exist() {
    let registry = Registry::start("404", Faults::default()).await;
    let reference = format!("{}/wplab-test/tiny:2", registry.address);
    assert_eq!(Pulled::of(&reference, None).await.failure(&reference).await, PullErrorKind::NotFound);
    let repository = format!("{}/nobody/nothing:1", registry.address);
    assert_eq!(Pulled::of(&repository, None).await.failure(&repository).await, PullErrorKind::NotFound);
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_login_is_wanted_or_only_a_token() {
    let registry = Registry::start("401", Faults { basic_login: true, ..Faults::default() }).await;
    assert_eq!(Pulled::of(&registry.image(), None).await.failure(&registry.image()).await, PullErrorKind::LoginNeeded);
    let registry = Registry::start("token", Faults { token: true, ..Faults::default() }).await;
    Pulled::of(&registry.image(), None).await.success().await;
    assert!(registry.seen().iter().any(|r| r == "GET /token"), "{:?}", registry.seen());
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn too_many_requests_are_waited_out_once() {
    let registry = Registry::start("429", Faults { too_many: (1, Some(2)), ..Faults::default() }).await;
    let begin = Instant::now();
    let pulled = Pulled::of(&registry.image(), None).await;
    assert!(begin.elapsed() >= Duration::from_secs(2));
    assert!(pulled.notes().iter().any(|n| n.ends_with("asked for 2 s of patience")), "{:?}", pulled.notes());
    pulled.success().await;
    let registry = Registry::start("429", Faults { too_many: (u32::MAX, Some(1)), ..Faults::default() }).await;
    let kind = Pulled::of(&registry.image(), None).await.failure(&registry.image()).await;
    assert_eq!(kind, PullErrorKind::TooMany(Some(Duration::from_secs(1))));
    let registry = Registry::start("429", Faults { too_many: (u32::MAX, Some(86400)), ..Faults::default() }).await;
    let kind = Pulled::of(&registry.image(), None).await.failure(&registry.image()).await;
    assert_eq!(kind, PullErrorKind::TooMany(Some(Duration::from_secs(86400))), "nobody waits for a day");
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn another_image_than_the_pinned_one_is_refused() {
    // The registry says itself that it is another one; or it does not, and the engine finds out.
    for told in [true, false] {
        let registry = Registry::start("digest", Faults { wrong_manifest: Some(told), ..Faults::default() }).await;
        let reference = format!("{}@sha256:{}", registry.image(), "0".repeat(64));
        let kind = Pulled::of(&reference, None).await.failure(&registry.image()).await;
        assert!(matches!(kind, PullErrorKind::DigestMismatch(_)), "{kind:?}");
    }
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_connection_cut_half_way_goes_on_where_it_was() {
    let registry = Registry::start("layer", Faults { cut_layers: 1, ..Faults::default() }).await;
    let pulled = Pulled::of(&registry.image(), None).await;
    assert!(
        pulled.notes().iter().any(|n| n.starts_with("the connection broke; Docker is retrying in ")),
        "{:?}",
        pulled.notes()
    );
    pulled.success().await;
    let ranged = |r: &String| r.contains("/blobs/") && r.contains("bytes=");
    assert!(registry.seen().iter().any(ranged), "the layer was begun from its start: {:?}", registry.seen());
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_connection_cut_again_and_again_is_given_up_with_the_reason() {
    let registry = Registry::start("manifest", Faults { cut_manifests: 2, ..Faults::default() }).await;
    let pulled = Pulled::of(&registry.image(), None).await;
    assert!(pulled.notes().iter().any(|n| n.starts_with("the connection broke (")), "{:?}", pulled.notes());
    pulled.success().await;
    let registry = Registry::start("manifest", Faults { cut_manifests: u32::MAX, ..Faults::default() }).await;
    let kind = Pulled::of(&registry.image(), None).await.failure(&registry.image()).await;
    assert!(matches!(&kind, PullErrorKind::Broken(why) if why.contains("EOF") || why.contains("reset")), "{kind:?}");
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_mirror_gives_the_image_under_its_public_name() {
    let registry = Registry::start("mirror", Faults::default()).await;
    let public = format!("registry.example/wplab-test/tiny:1@{}", registry.digest);
    let pulled = Pulled::of(&public, Some(&registry.address.to_string())).await;
    assert!(pulled.docker.image("registry.example/wplab-test/tiny:1").await.expect("an answer").is_some());
    let image = pulled.success().await;
    assert!(image.repo_digests.iter().any(|d| d.ends_with(&registry.digest)), "{:?}", image.repo_digests);
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_registry_that_is_not_there() {
    let reference = "127.0.0.1:1/wplab-test/tiny:1";
    let kind = Pulled::of(reference, None).await.failure(reference).await;
    assert!(matches!(kind, PullErrorKind::Unreachable(_)), "{kind:?}");
    assert!(!answers(Some("127.0.0.1:1")).await);
    let registry = Registry::start("there", Faults::default()).await;
    assert!(answers(Some(&registry.address.to_string())).await);
}
