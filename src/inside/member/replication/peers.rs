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
    task::AbortHandle,
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

/// One of them, and who asks it.
struct Known {
    name: String,
    host: String,
    slot: Slot,
    asks: AbortHandle,
}

/// The other members.
pub(super) struct Peers {
    resolver: TokioResolver,
    known: Vec<Known>,
    news: watch::Sender<u64>,
    hurry: watch::Sender<bool>,
}

impl Peers {
    /// Those of this configuration, by the pod's own name servers; they are asked from now on.
    ///
    /// # Errors
    /// The pod has no usable `/etc/resolv.conf`.
    pub(super) fn new(config: &Config) -> Result<Peers> {
        let (resolver, news, hurry) = (resolver(LOOKUP)?, watch::Sender::new(0), watch::Sender::new(true));
        let mut peers = Peers { resolver, known: Vec::new(), news, hurry };
        peers.keep_up(config);
        Ok(peers)
    }

    /// Whoever is new is asked from now on, and who is gone no more.
    pub(super) fn keep_up(&mut self, config: &Config) {
        let wanted: Vec<(String, String)> = config.others(config.peers()).collect();
        self.known.retain(|known| {
            let stays = wanted.iter().any(|(name, _)| *name == known.name);
            if !stays {
                known.asks.abort();
            }
            stays
        });
        for (name, host) in wanted {
            if self.known.iter().any(|known| known.name == name) {
                continue;
            }
            let (slot, resolver) = (Slot::default(), self.resolver.clone());
            let asks = ask(host.clone(), resolver, slot.clone(), self.news.clone(), self.hurry.subscribe());
            let asks = tokio::spawn(asks).abort_handle();
            self.known.push(Known { name, host, slot, asks });
        }
    }

    /// Whether each of them has been asked: before that, that somebody says nothing means nothing.
    pub(super) fn asked(&self) -> bool {
        self.known.iter().all(|known| known.slot.lock().unwrap_or_else(PoisonError::into_inner).is_some())
    }

    /// Whoever has answered lately; the others have no status.
    pub(super) fn known(&self) -> Vec<Peer> {
        let status = |slot: &Slot| {
            let said = slot.lock().unwrap_or_else(PoisonError::into_inner).clone();
            said.filter(|(_, at)| at.elapsed() < STALE).and_then(|(status, _)| status)
        };
        let peer =
            |known: &Known| Peer { name: known.name.clone(), host: known.host.clone(), status: status(&known.slot) };
        self.known.iter().map(peer).collect()
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
