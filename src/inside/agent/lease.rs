//! Leadership: one agent at a time, by a Lease. Times are measured by each agent's own monotonic clock and never compared
//! between agents: who wants the lease waits until it has not changed for its whole duration, and who has it stops relying
//! on it before that.

use std::{future::Future, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, ResourceExt,
    api::{ObjectMeta, PostParams},
};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};

use super::{ask, log};
use crate::{
    cluster::Refused,
    labels::{COMPONENT, Component},
};

/// The Lease.
const NAME: &str = "wplab-agent";
/// How long the lease holds after it was renewed.
const DURATION: Duration = Duration::from_secs(6);
/// How often the holder renews it.
const RENEW: Duration = Duration::from_secs(2);
/// How often the lease is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long before its end the holder stops relying on it: clocks may run a little differently.
const MARGIN: Duration = Duration::from_secs(1);
/// When this much more than [`LOOK`] lies between two turns, this process stood still (its node was frozen) and so, perhaps,
/// did everybody else: that a lease has not changed meanwhile says nothing.
const GAP: Duration = Duration::from_secs(3);
/// How long one request may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// That this agent leads.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leadership {
    /// Which leadership this is; grows with every one.
    pub(super) term: i32,
    /// Since when.
    pub(super) since: Timestamp,
    /// When the last renewal that was granted was asked for.
    renewed: Instant,
}

impl Leadership {
    /// Whether nobody else can have the lease yet.
    pub(super) fn surely_valid(&self) -> bool {
        self.valid_at(Instant::now())
    }

    fn valid_at(&self, now: Instant) -> bool {
        now.duration_since(self.renewed) + MARGIN < DURATION
    }
}

/// What a candidate sees of the lease, and since when it has been just that.
#[derive(Clone, Debug)]
struct Sight {
    /// Who holds it, and the object's version; `None` while there is no such object.
    holder: Option<(String, String)>,
    since: Instant,
}

/// Whether a candidate may take the lease now.
///
/// A holder that has let go says so by an empty name. `me` is an earlier life of the same pod's container, which has ended.
/// Anybody else may still rely on the lease, also when the object itself has been removed.
fn may_take(sight: &Sight, me: &str, now: Instant) -> bool {
    match &sight.holder {
        Some((holder, _)) if holder.is_empty() || holder == me => true,
        _ => now.duration_since(sight.since) >= DURATION,
    }
}

/// The lease of a lab in which no agent has ever run, which the first agent takes at once. Whoever makes it must have made
/// the namespace just before: anywhere else, somebody may still rely on a lease that is not there.
pub fn unheld() -> Lease {
    let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
    let spec = LeaseSpec { holder_identity: Some(String::new()), ..LeaseSpec::default() };
    Lease { metadata, spec: Some(spec) }
}

/// Takes, renews and gives back the lease.
pub(super) struct Keeper {
    api: Api<Lease>,
    me: String,
    sight: Option<Sight>,
    held: Option<Held>,
    current: watch::Sender<Option<Leadership>>,
}

struct Held {
    lease: Lease,
    leadership: Leadership,
}

impl Keeper {
    /// For the agent with this pod name.
    pub(super) fn new(api: Api<Lease>, me: &str) -> Keeper {
        Keeper { api, me: me.to_owned(), sight: None, held: None, current: watch::Sender::new(None) }
    }

    /// Tells of this agent's leadership, and of its end.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Leadership>> {
        self.current.subscribe()
    }

    /// Works until `stop`, and then gives the lease back; the caller has stopped acting by then.
    pub(super) async fn run(mut self, stop: impl Future<Output = ()>) {
        let mut beat = interval(LOOK);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::pin!(stop);
        loop {
            let waits = Instant::now();
            tokio::select! {
                () = &mut stop => break,
                _ = beat.tick() => {}
            }
            if waits.elapsed() > LOOK + GAP {
                self.forget("its process stood still");
            }
            if let Err(error) = self.turn().await {
                log::warn("the lease could not be looked at or renewed", &[("why", format!("{error:#}").into())]);
            }
            if self.held.as_ref().is_some_and(|held| held.leadership.renewed.elapsed() >= DURATION) {
                self.lose("it could not be renewed in time");
            }
            self.current.send_replace(self.held.as_ref().map(|held| held.leadership.clone()));
        }
        self.current.send_replace(None);
        if let Err(error) = self.release().await {
            log::warn("the lease could not be given back", &[("why", format!("{error:#}").into())]);
        }
    }

    fn lose(&mut self, why: &str) {
        if let Some(held) = self.held.take() {
            log::warn("leads no more", &[("term", held.leadership.term.into()), ("why", why.into())]);
        }
    }

    /// Leads no more, and has seen nothing yet: a lease that still carries this agent's name is taken anew, in a new term and
    /// behind a new fence; anybody else's has to stay unchanged for its whole duration from now on.
    fn forget(&mut self, why: &str) {
        self.lose(why);
        self.sight = None;
    }

    async fn turn(&mut self) -> Result<()> {
        match &self.held {
            Some(held) if held.leadership.renewed.elapsed() < RENEW => Ok(()),
            Some(_) => self.renew().await,
            None => self.look().await,
        }
    }

    async fn look(&mut self) -> Result<()> {
        let lease = ask(PATIENCE, self.api.get_opt(NAME)).await?.map_err(Refused).context("cannot read the lease")?;
        let holder = lease.as_ref().map(|lease| (holder(lease), lease.resource_version().unwrap_or_default()));
        if self.sight.as_ref().is_none_or(|sight| sight.holder != holder) {
            self.sight = Some(Sight { holder, since: Instant::now() });
        }
        let Some(sight) = self.sight.as_ref().filter(|sight| may_take(sight, &self.me, Instant::now())) else {
            return Ok(());
        };
        let before = sight.holder.as_ref().map(|(holder, _)| holder.clone()).unwrap_or_default();
        let term = lease.as_ref().and_then(|lease| lease.spec.as_ref()?.lease_transitions).unwrap_or(0) + 1;
        let leadership = Leadership { term, since: Timestamp::now(), renewed: Instant::now() };
        let wanted = self.lease(&leadership, lease.as_ref());
        let taken = match &lease {
            Some(_) => ask(PATIENCE, self.api.replace(NAME, &PostParams::default(), &wanted)).await?,
            None => ask(PATIENCE, self.api.create(&PostParams::default(), &wanted)).await?,
        };
        match taken {
            Ok(lease) => {
                log::info("leads", &[("term", term.into()), ("before", before.into())]);
                (self.held, self.sight) = (Some(Held { lease, leadership }), None);
                Ok(())
            }
            // Somebody else was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            Err(error) => Err(Refused(error)).context("cannot take the lease"),
        }
    }

    async fn renew(&mut self) -> Result<()> {
        let Some(held) = &self.held else { return Ok(()) };
        let leadership = Leadership { renewed: Instant::now(), ..held.leadership.clone() };
        let wanted = self.lease(&leadership, Some(&held.lease));
        match ask(PATIENCE, self.api.replace(NAME, &PostParams::default(), &wanted)).await? {
            Ok(lease) => {
                self.held = Some(Held { lease, leadership });
                Ok(())
            }
            // Removed under our feet. Nobody else takes what is not there before our time is over.
            Err(kube::Error::Api(status)) if status.code == 404 => self.restore(leadership).await,
            // Somebody has written it: perhaps we did, in a request whose answer was lost.
            Err(kube::Error::Api(status)) if status.code == 409 => self.reread().await,
            Err(error) => Err(Refused(error)).context("cannot renew the lease"),
        }
    }

    async fn restore(&mut self, leadership: Leadership) -> Result<()> {
        if !self.held.as_ref().is_some_and(|held| held.leadership.surely_valid()) {
            self.lose("the lease was removed");
            return Ok(());
        }
        let wanted = self.lease(&leadership, None);
        match ask(PATIENCE, self.api.create(&PostParams::default(), &wanted)).await? {
            Ok(lease) => {
                log::warn("the lease had been removed and is there again", &[("term", leadership.term.into())]);
                self.held = Some(Held { lease, leadership });
                Ok(())
            }
            Err(kube::Error::Api(status)) if status.code == 409 => self.reread().await,
            Err(error) => Err(Refused(error)).context("cannot make the lease again"),
        }
    }

    async fn reread(&mut self) -> Result<()> {
        let lease = ask(PATIENCE, self.api.get_opt(NAME)).await?.map_err(Refused).context("cannot read the lease")?;
        let Some(held) = &mut self.held else { return Ok(()) };
        match lease {
            Some(lease) if holder(&lease) == self.me && transitions(&lease) == held.leadership.term => {
                held.lease = lease;
            }
            Some(lease) => self.lose(&format!("{} has the lease", holder(&lease))),
            None => {}
        }
        Ok(())
    }

    async fn release(&mut self) -> Result<()> {
        let Some(held) = self.held.take() else { return Ok(()) };
        let mut lease = self.lease(&held.leadership, Some(&held.lease));
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
        }
        ask(PATIENCE, self.api.replace(NAME, &PostParams::default(), &lease)).await?.map_err(Refused)?;
        log::info("has given the lease back", &[("term", held.leadership.term.into())]);
        Ok(())
    }

    /// The object as it should be; on top of the version that was seen, so that nobody else's is written over.
    fn lease(&self, leadership: &Leadership, seen: Option<&Lease>) -> Lease {
        let mut metadata = seen.map_or_else(ObjectMeta::default, |lease| lease.metadata.clone());
        metadata.name = Some(NAME.to_owned());
        metadata.managed_fields = None;
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(COMPONENT.to_owned(), Component::Agent.as_str().to_owned());
        let spec = LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: Some(MicroTime(leadership.since)),
            renew_time: Some(MicroTime(Timestamp::now())),
            lease_transitions: Some(leadership.term),
            ..LeaseSpec::default()
        };
        Lease { metadata, spec: Some(spec) }
    }
}

fn holder(lease: &Lease) -> String {
    lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default()
}

fn transitions(lease: &Lease) -> i32 {
    lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "agent-a";

    fn sight(holder: Option<&str>, age: Duration) -> (Sight, Instant) {
        let since = Instant::now();
        (Sight { holder: holder.map(|holder| (holder.to_owned(), "1".to_owned())), since }, since + age)
    }

    #[test]
    fn a_lease_may_be_taken_when_nobody_can_rely_on_it() {
        let (short, long) = (DURATION - Duration::from_millis(1), DURATION);
        let table = [
            ("given back", Some(""), Duration::ZERO, true),
            ("an earlier life of mine", Some(ME), Duration::ZERO, true),
            ("renewed lately", Some("agent-b"), short, false),
            ("not renewed for long", Some("agent-b"), long, true),
            ("removed lately", None, short, false),
            ("absent for long", None, long, true),
        ];
        for (case, holder, age, wanted) in table {
            let (sight, now) = sight(holder, age);
            assert_eq!(may_take(&sight, ME, now), wanted, "{case}");
        }
    }

    #[test]
    fn the_lease_of_a_new_lab_may_be_taken_at_once_and_begins_the_first_term() {
        let lease = unheld();
        let holder = Some((holder(&lease), "1".to_owned()));
        let now = Instant::now();
        assert!(may_take(&Sight { holder, since: now }, ME, now));
        assert_eq!(transitions(&lease), 0);
    }

    #[test]
    fn the_holder_stops_relying_on_it_before_anybody_else_may_take_it() {
        let asked = Instant::now();
        let leadership = Leadership { term: 1, since: Timestamp::UNIX_EPOCH, renewed: asked };
        // A candidate sees the renewal at the earliest when it was asked for.
        let sight = Sight { holder: Some(("agent-b".into(), "2".into())), since: asked };
        for tenths in 0..=60 {
            let now = asked + Duration::from_millis(100 * tenths);
            assert!(!(leadership.valid_at(now) && may_take(&sight, ME, now)), "after {tenths} tenths of a second");
        }
        assert!(leadership.valid_at(asked + RENEW + PATIENCE), "one renewal may be lost");
    }
}
