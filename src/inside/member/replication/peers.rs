//! The other members, asked over HTTP beside the supervisor's loop: one that is gone does not answer for seconds, and nobody waits
//! for it. Names are looked up by hickory, because a static executable cannot use the C library's lookup.

use std::{
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use hickory_resolver::TokioResolver;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{config::Config, decide::Peer};
use crate::{
    inside::{
        http::Line,
        member::{pod::HTTP_PORT, status::MemberStatus},
    },
    wire::net::resolver,
};

/// How long the cluster's name server may take.
const LOOKUP: Duration = Duration::from_secs(1);
/// How long one peer may take; a pod that is gone does not answer at all.
const PATIENCE: Duration = Duration::from_secs(2);
/// Time between two questions to one peer, while this member serves and while it does not.
const EVERY: Duration = Duration::from_secs(1);
const HURRIED: Duration = Duration::from_millis(250);
/// How old an answer may be.
const STALE: Duration = Duration::from_secs(4);

/// What one peer said when it was asked last, if anything, and when that was; `None` before the first question.
type Slot = Arc<Mutex<Option<(Option<MemberStatus>, Instant)>>>;

/// The other members.
pub(super) struct Peers {
    slots: Vec<(String, String, Slot)>,
    news: watch::Sender<u64>,
    hurry: watch::Sender<bool>,
}

impl Peers {
    /// Those of this configuration, by the pod's own name servers; they are asked from now on.
    ///
    /// # Errors
    /// The pod has no usable `/etc/resolv.conf`.
    pub(super) fn new(config: &Config) -> Result<Peers> {
        let resolver = resolver(LOOKUP)?;
        let (news, hurry) = (watch::Sender::new(0), watch::Sender::new(true));
        let ask = |(name, host): (String, String)| {
            let slot = Slot::default();
            tokio::spawn(ask(host.clone(), resolver.clone(), slot.clone(), news.clone(), hurry.subscribe()));
            (name, host, slot)
        };
        Ok(Peers { slots: config.others().map(ask).collect(), news, hurry })
    }

    /// Whether each of them has been asked: before that, that somebody says nothing means nothing.
    pub(super) fn asked(&self) -> bool {
        self.slots.iter().all(|(.., slot)| slot.lock().unwrap_or_else(PoisonError::into_inner).is_some())
    }

    /// Whoever has answered lately; the others have no status.
    pub(super) fn known(&self) -> Vec<Peer> {
        let status = |slot: &Slot| {
            let said = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
            said.filter(|(_, at)| at.elapsed() < STALE).and_then(|(status, _)| status)
        };
        let peer = |(name, host, slot): &(String, String, Slot)| Peer {
            name: name.clone(),
            host: host.clone(),
            status: status(slot),
        };
        self.slots.iter().map(peer).collect()
    }

    /// Wakes whoever waits for something new from a peer.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// How soon they are asked again: this member waits for them, or serves.
    pub(super) fn hurry(&self, hurried: bool) {
        self.hurry.send_if_modified(|before| std::mem::replace(before, hurried) != hurried);
    }
}

/// Asks one peer for ever.
async fn ask(
    host: String,
    resolver: TokioResolver,
    slot: Slot,
    news: watch::Sender<u64>,
    mut hurry: watch::Receiver<bool>,
) {
    let mut line = Line::to(&host);
    loop {
        let answer = timeout(PATIENCE, status(&mut line, &host, &resolver)).await.ok().and_then(Result::ok);
        let said = |status: &MemberStatus| MemberStatus { clock_ms: 0, ..status.clone() };
        let changed = {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            let before = slot.as_ref().map(|(status, _)| status.as_ref().map(said));
            let changed = before != Some(answer.as_ref().map(said));
            *slot = Some((answer, Instant::now()));
            changed
        };
        if changed {
            news.send_modify(|count| *count += 1);
        }
        let pause = if *hurry.borrow_and_update() { HURRIED } else { EVERY };
        tokio::select! {
            () = sleep(pause) => {}
            // The supervisor is gone, and with it this program.
            changed = hurry.changed() => if changed.is_err() { return },
        }
    }
}

async fn status(line: &mut Line, host: &str, resolver: &TokioResolver) -> Result<MemberStatus> {
    let find = async {
        let found = resolver.lookup_ip(host).await.with_context(|| format!("cannot look up {host}"))?;
        let address: IpAddr = found.iter().next().with_context(|| format!("{host} has no address"))?;
        Ok(SocketAddr::new(address, HTTP_PORT))
    };
    let answer = line.get("/status", find).await?;
    MemberStatus::parse(&answer).with_context(|| format!("{host} did not send a member's status"))
}
