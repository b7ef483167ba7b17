//! Pulling: the registry is asked first, so that what is wrong has a type; then the engine pulls, and goes on where a
//! broken connection left it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::stream::Throttle;
use crate::{
    host::{
        docker::{Docker, LocalImage, PullProgress},
        machine::registry::{self, Answer, Reference},
    },
    run::{
        StepCx,
        advice::{Advise, Blame, Hint, Trouble},
        event::Amount,
        wait::Look,
    },
};

/// How often a pull is begun again after a broken connection. The engine keeps the layers it has.
const AGAIN: u32 = 3;
/// The longest wait that a registry may ask for.
const PATIENCE: Duration = Duration::from_secs(120);

/// Why an image cannot be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PullError {
    /// The image, at the registry that was asked.
    pub image: String,
    /// What is wrong.
    pub kind: PullErrorKind,
}

/// What is wrong with a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullErrorKind {
    /// The registry has no such image.
    NotFound,
    /// The registry wants a login.
    LoginNeeded,
    /// Too many pulls; how long the registry asked to wait, if it did.
    TooMany(Option<Duration>),
    /// No registry answers; why.
    Unreachable(String),
    /// What came has another digest than the pinned one; what was seen.
    DigestMismatch(String),
    /// The connection broke again and again; how it did the last time.
    Broken(String),
    /// The engine's own words.
    Other(String),
}

impl fmt::Display for PullError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let image = &self.image;
        match &self.kind {
            PullErrorKind::NotFound => write!(f, "image {image} does not exist"),
            PullErrorKind::LoginNeeded => write!(f, "image {image} does not exist or needs a login"),
            PullErrorKind::TooMany(Some(after)) => {
                write!(f, "the registry of {image} allows no more pulls for now, but again in {} s", after.as_secs())
            }
            PullErrorKind::TooMany(None) => write!(f, "the registry of {image} allows no more pulls for now"),
            PullErrorKind::Unreachable(why) => write!(f, "the registry of {image} does not answer: {why}"),
            PullErrorKind::DigestMismatch(seen) => {
                write!(
                    f,
                    "what the registry sent as {image} is not the image that was pinned ({seen}); it was not used"
                )
            }
            PullErrorKind::Broken(why) => {
                write!(f, "the connection broke {} times while pulling {image}: {why}", AGAIN + 1)
            }
            PullErrorKind::Other(said) => write!(f, "cannot pull {image}: {said}"),
        }
    }
}

impl Advise for PullError {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        match &self.kind {
            PullErrorKind::LoginNeeded => {
                let log_in = format!(
                    "log in with `docker login` and run `docker pull {}`: an image that Docker has is used as it is",
                    self.image
                );
                vec![Hint::words(log_in)]
            }
            PullErrorKind::TooMany(_) => vec![Hint::words("try again later: what has come stays"), Hint::Mirror],
            PullErrorKind::NotFound | PullErrorKind::Unreachable(_) | PullErrorKind::DigestMismatch(_) => {
                vec![Hint::Mirror]
            }
            PullErrorKind::Broken(_) => vec![Hint::words("try again: the layers that have come stay")],
            PullErrorKind::Other(_) => Vec::new(),
        }
    }
}

/// The public image, if Docker has it already: by its digest when that is pinned, else by its tag.
pub(super) async fn present(docker: &Docker, public: &str) -> Result<Option<LocalImage>> {
    let wanted = Reference::parse(public);
    let by_tag = docker.image(&wanted.tagged()).await?;
    match (&wanted.digest, by_tag) {
        (None, found) => Ok(found),
        (Some(digest), Some(image)) if has_digest(&image, digest) => Ok(Some(image)),
        (Some(_), _) => docker.image(&wanted.to_pull()).await,
    }
}

fn has_digest(image: &LocalImage, digest: &str) -> bool {
    image.repo_digests.iter().any(|known| known.rsplit_once('@').is_some_and(|(_, d)| d == digest))
}

/// Pulls a public image, from the mirror if one is given, and gives it its public name. Progress goes to `task`.
///
/// # Errors
/// [`PullError`].
pub async fn pull(cx: &StepCx, docker: &Docker, task: &str, public: &str, mirror: Option<&str>) -> Result<LocalImage> {
    let wanted = Reference::parse(public);
    let at = wanted.at(mirror);
    let image = at.to_pull();
    let fail = |kind| Trouble::from(PullError { image: image.clone(), kind });
    cx.task(task, format!("asking {} for {}", at.registry, at.path), None);
    question(cx, task, &at).await?;
    let mut broken = 0;
    loop {
        let (mut throttle, mut last) = (Throttle::default(), String::new());
        let progress = |now: PullProgress| {
            let news = now.note != last;
            if throttle.due() || news {
                last.clone_from(&now.note);
                cx.task(task, now.note, Some(Amount::Bytes { done: now.done, total: now.total }));
            }
        };
        let Err(error) = docker.pull(&image, progress).await else { break };
        match classify(&format!("{error:#}")) {
            Failure::Broken(why) if broken < AGAIN => {
                broken += 1;
                cx.task(task, format!("the connection broke ({why}); going on, {broken} of {AGAIN}"), None);
            }
            Failure::Broken(why) => return Err(fail(PullErrorKind::Broken(why)).into()),
            Failure::Final(kind) => return Err(fail(kind).into()),
        }
    }
    let pulled = docker.image(&image).await?.context("the engine has pulled an image and does not find it")?;
    if let Some(digest) = wanted.digest.as_ref().filter(|digest| !has_digest(&pulled, digest)) {
        let seen = format!("{} instead of {digest}", pulled.repo_digests.join(", "));
        return Err(fail(PullErrorKind::DigestMismatch(seen)).into());
    }
    docker.tag(&pulled.id, &wanted.tagged()).await?;
    cx.task_done(task, "pulled");
    docker.image(&pulled.id).await?.context("the image that was pulled is gone again")
}

/// Asks the registry before the engine does. Only the engine's own failure tells that a registry cannot be reached: it
/// may have a proxy that we know nothing of.
async fn question(cx: &StepCx, task: &str, at: &Reference) -> Result<()> {
    let fail = |kind| Err(Trouble::from(PullError { image: at.to_pull(), kind }).into());
    let mut waited = false;
    loop {
        return match registry::ask(at).await? {
            Answer::Has(Some(seen)) if at.digest.as_ref().is_some_and(|wanted| *wanted != seen) => {
                fail(PullErrorKind::DigestMismatch(seen))
            }
            Answer::Has(_) | Answer::Unreachable(_) => Ok(()),
            Answer::NotFound => fail(PullErrorKind::NotFound),
            Answer::LoginNeeded => fail(PullErrorKind::LoginNeeded),
            Answer::TooMany(Some(after)) if !waited && after <= cx.run().patience(PATIENCE) => {
                waited = true;
                cx.task(task, format!("{} asked for {} s of patience", at.registry, after.as_secs()), None);
                let end = Instant::now() + after;
                let look = || async move {
                    Ok(if Instant::now() >= end {
                        Look::Ready(())
                    } else {
                        Look::NotYet("it asked for patience".to_owned())
                    })
                };
                cx.until(&at.registry, after + Duration::from_secs(5), Duration::from_millis(100), look).await?;
                continue;
            }
            Answer::TooMany(after) => fail(PullErrorKind::TooMany(after)),
        };
    }
}

/// What the engine's prose means.
#[derive(Debug, PartialEq, Eq)]
enum Failure {
    /// Worth another try.
    Broken(String),
    /// Not.
    Final(PullErrorKind),
}

fn classify(said: &str) -> Failure {
    let lower = said.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let said = said.to_owned();
    if has(&["toomanyrequests", "too many requests", "rate limit"]) {
        Failure::Final(PullErrorKind::TooMany(None))
    } else if has(&["verification failed", "unexpected commit digest", "digest mismatch"]) {
        Failure::Final(PullErrorKind::DigestMismatch(said))
    } else if has(&["no space left"]) {
        Failure::Final(PullErrorKind::Other(said))
    } else if has(&["dial tcp", "no such host", "connection refused", "proxyconnect", "x509", "network is unreachable"])
    {
        Failure::Final(PullErrorKind::Unreachable(said))
    } else if has(&["denied", "unauthorized", "authentication required", "no basic auth"]) {
        Failure::Final(PullErrorKind::LoginNeeded)
    } else if has(&["manifest unknown", "not found", "name unknown"]) {
        Failure::Final(PullErrorKind::NotFound)
    } else if has(&["eof", "reset by peer", "broken pipe", "timeout", "deadline exceeded", "client.timeout"]) {
        Failure::Broken(said)
    } else {
        Failure::Final(PullErrorKind::Other(said))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_prose_is_understood() {
        let kind = |said| match classify(said) {
            Failure::Final(kind) => kind,
            Failure::Broken(said) => PullErrorKind::Broken(said),
        };
        assert_eq!(kind("toomanyrequests: You have reached your pull rate limit."), PullErrorKind::TooMany(None));
        assert_eq!(kind("manifest for x:1 not found: manifest unknown: manifest unknown"), PullErrorKind::NotFound);
        let denied = "pull access denied for x, repository does not exist or may require 'docker login': denied: requested access";
        assert_eq!(kind(denied), PullErrorKind::LoginNeeded);
        assert!(matches!(kind("manifest verification failed for digest sha256:0"), PullErrorKind::DigestMismatch(_)));
        assert!(matches!(
            kind("Get \"https://x/v2/\": dial tcp: lookup x: i/o timeout"),
            PullErrorKind::Unreachable(_)
        ));
        assert!(matches!(kind("Get \"http://x/v2/\": EOF"), PullErrorKind::Broken(_)));
        assert!(matches!(kind("read tcp 1:2->3:4: read: connection reset by peer"), PullErrorKind::Broken(_)));
        assert!(matches!(kind("write /var/lib/docker/x: no space left on device"), PullErrorKind::Other(_)));
    }

    #[test]
    fn every_error_says_what_to_do_or_what_happened() {
        let text = |kind| PullError { image: "docker.io/library/x:1".into(), kind }.to_string();
        assert_eq!(text(PullErrorKind::NotFound), "image docker.io/library/x:1 does not exist");
        assert!(text(PullErrorKind::LoginNeeded).contains("needs a login"));
        assert!(text(PullErrorKind::TooMany(Some(Duration::from_secs(7)))).contains("again in 7 s"));
    }
}
