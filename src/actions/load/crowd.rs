//! Users who come, ask, think and go: the one file that names goose, which does that work (docs/decisions/0026-load.md). It is told
//! how many users there are, how they come, how long they think and how often all of them together may ask; each answer is written
//! into the tally. What is next is the mix's to say: goose would let every user begin with the same.
//!
//! goose is made for programs of its own: without what is done here it would listen on two ports of every address, print, log,
//! take Ctrl-C for itself and end the process at the second one.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use bytes::Bytes;
use goose::{
    GooseAttack,
    config::GooseConfiguration,
    goose::{GooseRequest, GooseUser, Scenario, Transaction, TransactionFunction, TransactionResult},
    trigger_killswitch,
};
use goose_reqwest::{Client, Response, redirect::Policy};
use reqwest::{
    Url,
    header::{COOKIE, HeaderValue},
};
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    mix::Mix,
    tally::{Sample, Tally},
};

/// One request, from the first byte out to the last byte in.
const PATIENCE: Duration = Duration::from_secs(20);
/// As many as browsers follow, roughly.
const REDIRECTS: usize = 10;
/// How long a user looks at what came before asking again.
const THINKS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_millis(1500));
/// Users for each request a second that is asked for: it is reached as long as an answer takes no longer than they think.
const USERS_PER_RATE: u32 = 2;
/// Longer than anybody lets users go on who stop when they are told.
const UNTIL_TOLD: Duration = Duration::from_hours(2);

/// How users come and go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// How many there are when all have come; with a rate, as many as that needs.
    pub(super) users: u32,
    /// The most requests a second.
    pub(super) rate: Option<u32>,
    /// How long they go on coming.
    pub(super) ramp: Duration,
    /// How long there is load, from the first to come; `None`: until they are told to stop.
    pub(super) length: Option<Duration>,
}

impl Pace {
    /// How many users there will be.
    pub(super) fn users(&self) -> u32 {
        self.rate.map_or(self.users, |rate| rate * USERS_PER_RATE)
    }
}

/// What users know.
pub(super) struct Crowd {
    errand: Arc<Errand>,
}

struct Errand {
    site: Url,
    client: Client,
    mix: Mix,
    session: HeaderValue,
    tally: Tally,
}

/// Keeps goose from taking Ctrl-C and from writing logs. Whoever listens for Ctrl-C does so after this.
pub(super) fn tame() {
    struct Silent;
    impl log::Log for Silent {
        fn enabled(&self, _: &log::Metadata<'_>) -> bool {
            false
        }
        fn log(&self, _: &log::Record<'_>) {}
        fn flush(&self) {}
    }
    // The first to ask gets it; goose is content without.
    let _ = ctrlc::set_handler(|| {});
    let _ = log::set_logger(&Silent);
}

impl Crowd {
    /// Users of the site at this URL.
    ///
    /// # Errors
    /// It is not on this machine.
    pub(super) fn new(site: &str, mix: Mix, session: HeaderValue, tally: Tally) -> Result<Crowd> {
        let site = Url::parse(site).with_context(|| format!("{site:?} is no URL"))?;
        let here = site.host_str().and_then(|host| host.parse::<std::net::IpAddr>().ok());
        let here = here.is_some_and(|address| address.is_loopback());
        ensure!(
            here && site.scheme() == "http",
            "{site} is not on this machine, and load is for the lab's own address"
        );
        let client = client(&site)?;
        Ok(Crowd { errand: Arc::new(Errand { site, client, mix, session, tally }) })
    }

    /// Lets users come.
    ///
    /// # Errors
    /// goose does not take what it is told.
    pub(super) fn send(&self, pace: &Pace) -> Result<Going> {
        let mut site = Scenario::new("site");
        site = site.set_wait_time(THINKS.0, THINKS.1).map_err(refused)?;
        let errand = self.errand.clone();
        let come: TransactionFunction = Arc::new(move |user| {
            user.client = errand.client.clone();
            errand.tally.arrived();
            Box::pin(async { Ok(()) })
        });
        site = site.register_transaction(Transaction::new(come).set_name("come").set_on_start());
        let errand = self.errand.clone();
        let one: TransactionFunction = Arc::new(move |user| {
            let errand = errand.clone();
            Box::pin(async move { ask(user, &errand).await })
        });
        site = site.register_transaction(Transaction::new(one).set_name("ask"));
        let attack = GooseAttack::initialize_with_config(configured(&self.errand.site, pace)).map_err(refused)?;
        let attack = attack.register_scenario(site);
        let (over, tally) = (Arc::new(Notify::new()), self.errand.tally.clone());
        let tell = over.clone();
        let done = tokio::spawn(async move {
            let ended = attack.execute().await.map(drop).map_err(refused);
            tally.emptied();
            tell.notify_one();
            ended
        });
        Ok(Going { done: Some(done), over })
    }
}

fn refused(error: goose::GooseError) -> anyhow::Error {
    anyhow!("goose: {error}")
}

fn configured(site: &Url, pace: &Pace) -> GooseConfiguration {
    let mut how = GooseConfiguration::default();
    how.host = site.origin().ascii_serialization();
    how.users = usize::try_from(pace.users()).ok();
    how.startup_time = format!("{}s", pace.ramp.as_secs().max(1));
    let rest = pace.length.unwrap_or(UNTIL_TOLD).saturating_sub(pace.ramp);
    how.run_time = format!("{}s", rest.as_secs().max(1));
    how.throttle_requests = pace.rate.and_then(|rate| usize::try_from(rate).ok()).unwrap_or_default();
    // No ports, nothing on the terminal, and no sums beside ours.
    (how.no_telnet, how.no_websocket) = (true, true);
    (how.no_metrics, how.no_print_metrics, how.no_error_summary) = (true, true, true);
    how
}

/// A client that stays on the site: without a proxy, whatever the environment says, and with a connection for each request, because
/// a connection stays with the replica that took it, and new replicas would get none.
fn client(site: &Url) -> Result<Client> {
    let origin = site.origin();
    let stay = Policy::custom(move |next| {
        if next.url().origin() != origin {
            next.error("it leads away from the site")
        } else if next.previous().len() > REDIRECTS {
            next.error("it leads in a circle")
        } else {
            next.follow()
        }
    });
    let client = Client::builder().user_agent("Mozilla/5.0 (compatible; wplab-load)").redirect(stay).no_proxy();
    client.timeout(PATIENCE).pool_max_idle_per_host(0).build().context("cannot make an HTTP client")
}

/// One request of one user.
async fn ask(user: &mut GooseUser, errand: &Errand) -> TransactionResult {
    let (kind, path) = errand.mix.next();
    let url = errand.site.join(&path).ok().filter(|url| url.origin() == errand.site.origin());
    // A path that leads away is not asked for.
    let Some(url) = url else { return Ok(()) };
    let mut request = errand.client.get(url);
    if kind.logged_in() {
        request = request.header(COOKIE, errand.session.clone());
    }
    let request = GooseRequest::builder().set_request_builder(request).name(kind.name()).build();
    // With a rate this also waits until it is somebody's turn, which is not the site's time.
    let answered = user.request(request).await?;
    let head = Duration::from_millis(answered.request.response_time);
    let begin = Instant::now();
    let error = match read(answered.response).await {
        Ok((status, ..)) if status != 200 => Some(format!("status {status}")),
        Ok((_, at, body)) => kind.wrong(&at, &body).map(ToOwned::to_owned),
        Err(error) => Some(broken(&error).to_owned()),
    };
    let took = (head + begin.elapsed()).as_secs_f64();
    errand.tally.add(Sample { kind, at: (errand.tally.now() - took).max(0.0), took, error });
    Ok(())
}

async fn read(response: Result<Response, goose_reqwest::Error>) -> Result<(u16, String, Bytes), goose_reqwest::Error> {
    let response = response?;
    let (status, at) = (response.status().as_u16(), response.url().path().to_owned());
    Ok((status, at, response.bytes().await?))
}

/// What kind of failure this is, in few words, so that the same ones can be counted together.
fn broken(error: &goose_reqwest::Error) -> &'static str {
    if error.is_redirect() {
        "leads elsewhere"
    } else if error.is_timeout() {
        "no answer"
    } else if error.is_connect() {
        "refused"
    } else {
        "broken off"
    }
}

/// Users who are at work. They stop when this is dropped, each after its request.
pub(super) struct Going {
    done: Option<JoinHandle<Result<()>>>,
    /// Told when all are gone.
    pub(super) over: Arc<Notify>,
}

impl Going {
    /// Whether all are gone.
    pub(super) fn is_over(&self) -> bool {
        self.done.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Tells users to stop, and waits until all are gone.
    ///
    /// # Errors
    /// goose ended with one.
    pub(super) async fn stop(mut self) -> Result<()> {
        if !self.is_over() {
            trigger_killswitch("told to stop");
        }
        match self.done.take() {
            Some(done) => done.await.context("goose fell over")?,
            None => Ok(()),
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        if !self.is_over() {
            trigger_killswitch("nobody waits any more");
        }
    }
}

#[cfg(test)]
#[path = "crowd_tests.rs"]
mod tests;
