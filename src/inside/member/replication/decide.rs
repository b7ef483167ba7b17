//! What a member does next: a pure function from what it sees to one action. Nobody opens itself, and nobody chooses whom to
//! follow: the agent's orders do that, and what was ordered last is the member's mandate.

use crate::{
    inside::member::{
        mandate::{Line, Mandate, Part},
        status::{MemberStatus, ServerFacts, State},
    },
    wire::gtid::GtidSet,
};

/// What the volume holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing, or an initialisation that was cut off: both are made anew.
    Empty,
    /// A data directory that this supervisor made, to be replaced by a copy of another member's; or, in a new lab, to become
    /// the lab's data by following the source from the very beginning.
    Fresh,
    /// The same, but the server has stopped since, perhaps in the middle of the copy. Nothing of the lab is in it.
    Interrupted,
    /// The lab's data.
    Present,
}

/// What a member sees.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Whether this is the member that may create the lab's data.
    pub bootstraps: bool,
    /// Whether the lab is known to have data, here or elsewhere.
    pub lab_initialised: bool,
    /// What the volume holds.
    pub data: Data,
    /// By which recipe a fresh data directory was made, if the lab had no data yet then; `None` where it had, or may have.
    pub first: Option<&'a str>,
    /// What the agent has ordered; `None` before its first order.
    pub mandate: Option<&'a Mandate>,
    /// The running server; `None` while mysqld does not run.
    pub server: Option<&'a ServerFacts>,
    /// The other members, as far as they answer.
    pub peers: &'a [Peer],
}

/// Another member.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// The pod's name.
    pub name: String,
    /// Its host name.
    pub host: String,
    /// What it says; `None` when it does not answer.
    pub status: Option<MemberStatus>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create the lab's data, here and only here.
    Bootstrap,
    /// Create a data directory that a copy will replace; whatever is in the volume is of no worth.
    Prepare,
    /// Start mysqld.
    Start,
    /// Copy the data of the source.
    Clone {
        /// Its host name.
        donor: String,
        /// Whose history the copy is.
        line: Line,
    },
    /// Take the fresh data directory for the lab's data: it is what the source's was before its first transaction, and the
    /// source still has all of them. Then follow.
    Adopt {
        /// The source's host name.
        source: String,
        /// Whose history the data is from then on.
        line: Line,
    },
    /// Follow this member, from our own position on.
    Follow {
        /// Its host name.
        source: String,
        /// Whose history our data is from then on.
        line: Line,
    },
    /// Fetch nothing more, and apply what was received.
    Drain,
    /// Let the replication threads run again.
    Resume,
    /// End the server at once and start it shut: others have gone on without it.
    Fence(String),
    /// Nothing by itself: what is here and what the source has do not fit.
    Differ {
        /// What this member alone has; empty when it only lacks what nobody can send any more.
        diverged: String,
        /// The same for people.
        why: String,
    },
    /// Nothing; this is what the member is.
    Be(State),
    /// Nothing until somebody else does something.
    Wait(String),
    /// Nothing until somebody decides.
    Stay(String),
}

/// The errors of the fetching thread (one, with two numbers) after which it never recovers: the source's logs do not hold
/// what we lack, or we have what the source has not. Which of the two, the GTID sets tell, not the message.
const LOST_POSITION: [u32; 2] = [1236, 13114];

/// What to do now.
pub fn decide(seen: &Observed<'_>) -> Action {
    let part = seen.mandate.map(|mandate| &mandate.part);
    match (seen.data, seen.server) {
        // Even without a record: a peer with data means that the lab has data, and a second creation would fork it.
        (Data::Empty, _)
            if seen.bootstraps && !seen.lab_initialised && part.is_none() && !seen.peers.iter().any(has_data) =>
        {
            Action::Bootstrap
        }
        (Data::Empty | Data::Interrupted, _) => Action::Prepare,
        (_, None) => Action::Start,
        (Data::Fresh, Some(facts)) => match part.and_then(Part::follows) {
            Some(source) => fresh(facts, source, seen),
            None => Action::Wait("for the agent to say whom to copy".to_owned()),
        },
        (Data::Present, Some(facts)) if facts.is_open() => open(seen),
        (Data::Present, Some(facts)) => match part {
            None => Action::Wait("for the agent's first order".to_owned()),
            Some(Part::Source) => Action::Wait("for the agent to open it".to_owned()),
            Some(Part::Revoked | Part::Closed) => revoked(facts),
            Some(Part::Follows(source) | Part::Learns(source)) => replica(facts, source, seen),
        },
    }
}

/// A server that takes writes: only while this member is the source, and nobody has heard that another one is. A commit that
/// waits would keep the server from being shut, so it is ended.
fn open(seen: &Observed<'_>) -> Action {
    let Some(own) = seen.mandate.filter(|mandate| mandate.part == Part::Source) else {
        return Action::Fence("it is open and not the source".to_owned());
    };
    let newer =
        seen.peers.iter().filter_map(|peer| peer.status.as_ref()).find(|status| status.term() > Some(&own.term));
    match newer {
        Some(status) => {
            let heard = status.term().map(ToString::to_string).unwrap_or_default();
            Action::Fence(format!("{} has heard of term {heard}, this is the source of term {}", status.name, own.term))
        }
        None => Action::Be(State::Source),
    }
}

/// Whoever is not to fetch anything still applies what it has.
fn revoked(facts: &ServerFacts) -> Action {
    if facts.fetches() || (facts.source_host.is_some() && !facts.sql_running && facts.sql_errno == 0) {
        return Action::Drain;
    }
    Action::Wait("for the agent to choose the source".to_owned())
}

/// A data directory that holds nothing of the lab yet.
fn fresh(facts: &ServerFacts, source: &str, seen: &Observed<'_>) -> Action {
    if let Some((source, line)) = begins_with_the_source(facts, source, seen) {
        return Action::Adopt { source, line };
    }
    // Only from the source: a copy of a replica may lack what this member itself has acknowledged before it lost its volume.
    let peer = seen.peers.iter().find(|peer| peer.name == source && is_source(peer));
    match peer.and_then(|peer| Some((peer.host.clone(), line_of(peer, seen)?))) {
        Some((donor, line)) => Action::Clone { donor, line },
        None => Action::Wait(format!("{source} to be open, to copy its data")),
    }
}

/// The source's host name and line, if it began with what this member has made too, and has every transaction since then in its logs. A
/// lab that is known to have had data is no new one: whoever is empty there has lost a volume or came later, and copies.
fn begins_with_the_source(facts: &ServerFacts, source: &str, seen: &Observed<'_>) -> Option<(String, Line)> {
    let recipe = seen.first.filter(|recipe| !recipe.is_empty())?;
    let peer = seen.peers.iter().find(|peer| peer.name == source && is_source(peer))?;
    let status = peer.status.as_ref()?;
    let whole = status.server.as_ref()?.gtid_purged.as_deref() == Some("");
    let same = facts.gtid_executed.is_empty() && facts.source_host.is_none() && status.recipe == recipe;
    let line = line_of(peer, seen)?;
    (whole && same).then(|| (peer.host.clone(), line))
}

/// The line of the source that this member is to follow, once that knows itself that it is the source.
fn line_of(source: &Peer, seen: &Observed<'_>) -> Option<Line> {
    let theirs = source.status.as_ref()?.mandate.as_ref()?;
    let own = seen.mandate?;
    (theirs.is(&Part::Source, &own.term)).then(|| theirs.line.clone())
}

fn replica(facts: &ServerFacts, source: &str, seen: &Observed<'_>) -> Action {
    let Some(peer) = seen.peers.iter().find(|peer| peer.name == source) else {
        return Action::Stay(format!("it is to follow {source}, which is no other member"));
    };
    // Who follows it has perhaps done so in another term, and others in between.
    let in_line = seen.mandate.is_some_and(|own| own.line.term == own.term);
    if in_line && facts.source_host.as_deref() == Some(&peer.host) {
        return following(facts, peer, seen);
    }
    if facts.fetches() {
        return Action::Drain;
    }
    match has_applied(facts) {
        Ok(true) => {}
        Ok(false) if facts.sql_errno != 0 => return Action::Stay("applying what it was sent failed".to_owned()),
        Ok(false) if !facts.sql_running => return Action::Drain,
        Ok(false) => return Action::Wait(format!("it applies what it was sent before it follows {source}")),
        Err(error) => return Action::Wait(format!("cannot read its own position: {error:#}")),
    }
    let Some(line) = line_of(peer, seen) else {
        return Action::Wait(format!("{source} does not say that it is the source"));
    };
    match only_here(facts, peer) {
        Some(Ok(diverged)) if diverged.is_empty() => Action::Follow { source: peer.host.clone(), line },
        Some(Ok(diverged)) => differ(&diverged, source),
        Some(Err(error)) => Action::Wait(format!("cannot compare it with {source}: {error:#}")),
        None => Action::Wait(format!("{source} does not say what it has")),
    }
}

/// Set to follow the right one.
fn following(facts: &ServerFacts, source: &Peer, seen: &Observed<'_>) -> Action {
    if facts.serves_as_replica() {
        return Action::Be(State::Replica);
    }
    if LOST_POSITION.contains(&facts.io_errno) {
        return match only_here(facts, source) {
            Some(Ok(diverged)) => differ(&diverged, &source.name),
            _ => Action::Wait("cannot compare this member's transactions with the source's".to_owned()),
        };
    }
    match facts {
        // What it was sent can be sent again: the source has it.
        facts if facts.relay_log_damaged() && is_source(source) => match line_of(source, seen) {
            Some(line) => Action::Follow { source: source.host.clone(), line },
            None => Action::Wait(format!("{} does not say that it is the source", source.name)),
        },
        // An applier that stopped with an error would stop with it again: the copies differ, and a person should know.
        facts if facts.sql_errno != 0 => Action::Stay("applying the source's transactions failed".to_owned()),
        // The server goes on trying by itself.
        facts if facts.sql_running && facts.io_connecting => Action::Be(State::Connecting),
        _ => Action::Resume,
    }
}

fn differ(diverged: &GtidSet, source: &str) -> Action {
    let why = if diverged.is_empty() {
        format!("what it lacks is no longer in the logs of {source}, so its data is to be copied again")
    } else {
        format!(
            "it has transactions that {source} has not ({diverged}); they are kept aside before its data is copied again"
        )
    };
    Action::Differ { diverged: diverged.to_string(), why }
}

/// What this member has and the other one has not; `None` while that one does not say.
fn only_here(facts: &ServerFacts, source: &Peer) -> Option<anyhow::Result<GtidSet>> {
    let theirs = source.status.as_ref()?.server.as_ref()?;
    let compare = || Ok(facts.executed()?.without(&theirs.executed()?));
    Some(compare())
}

fn has_applied(facts: &ServerFacts) -> anyhow::Result<bool> {
    Ok(facts.executed()?.contains(&facts.everything()?))
}

fn is_source(peer: &Peer) -> bool {
    peer.status.as_ref().is_some_and(|status| status.state == State::Source)
}

fn has_data(peer: &Peer) -> bool {
    peer.status.as_ref().is_some_and(|status| status.has_data)
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
