//! The election: which member starts the cluster, as a pure function of what etcd holds. Every member judges for itself;
//! whoever is told to bootstrap claims it in a transaction that fails when anything judged here has changed (`registry`).
//!
//! Two mistakes cannot be repaired: a second cluster beside a running one, and a cluster that starts from older data than a
//! member has. So nothing starts while a member is silent or runs a server, nor while the position of a member that has had
//! data is unknown. An operator may decide about what is unknown (`wplab recover --bootstrap MEMBER`), never about a server
//! that runs.
//!
//! What "unknown" means:
//! - A member that has had data and comes back empty has lost its volume. It may have been the one with the most: unknown.
//! - One whose data is [`Position::Unusable`] was receiving a state transfer when it was cut off. What it had before was
//!   older than what its donor had, and all it was told as a joiner the donor's cluster has: it knows nothing that the
//!   others do not, and does not block them. Whoever empties a volume for a transfer must therefore leave a mark that makes
//!   it `Unusable`, not `Empty`, until the transfer is complete.
//! - Where nobody has data and nobody is known to have had any, there has never been a cluster: the first empty member
//!   starts it. Members remember who has had data on their volumes too ([`Record::known`]), because an etcd that lost
//!   everything must not make a member that lost its volume look new. They write it there before they join.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What Galera writes where it knows no cluster.
const NO_CLUSTER: &str = "00000000-0000-0000-0000-000000000000";

/// How far the data of a member goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Position {
    /// There is none.
    Empty,
    /// A state transfer was cut off: what is there is not data.
    Unusable,
    /// This far. A sequence number below 0, or a uuid of zeros, counts as no data.
    At {
        /// The cluster's uuid.
        uuid: String,
        /// The last write set.
        seqno: i64,
    },
}

/// What a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// It has no server, knows its position, and takes part in the election.
    Waiting,
    /// It starts the cluster.
    Bootstrapping,
    /// Its server joins the others.
    Joining,
    /// Its server is part of the primary component.
    Primary,
    /// Its server has lost the others.
    NonPrimary,
    /// It cannot read its own position, and starts nothing.
    Broken,
}

/// What a member says of itself in etcd.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it does.
    pub phase: Phase,
    /// How far its data goes. Judged only while it waits.
    pub position: Position,
    /// Its pod's address, without a port.
    pub address: String,
    /// Galera's own `safe_to_bootstrap`: it was the last one to stop in good order.
    pub safe: bool,
    /// The members that its volume remembers as having had data.
    #[serde(default)]
    pub known: BTreeSet<String>,
}

/// A member's record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The record.
    pub record: Record,
    /// The revision that changed it last.
    pub modified: i64,
}

/// How a cluster that had no data began: whoever makes the same data, and counts it as that cluster's, needs no copy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// The cluster's uuid, chosen before its first server started.
    pub uuid: String,
    /// What the data was made by; the data of two members of one recipe is the same.
    pub recipe: String,
}

/// All that etcd holds about the cluster, at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The members whose lease lives.
    pub members: BTreeMap<String, Seen>,
    /// Who holds the bootstrap lock.
    pub bootstrap: Option<String>,
    /// The uuid of the last cluster that came up.
    pub initialised: Option<String>,
    /// How the last cluster began that began with no data.
    pub beginning: Option<Beginning>,
    /// The members that have had data.
    pub known: BTreeSet<String>,
    /// The member that the operator chose.
    pub force: Option<String>,
    /// The revision of the newest key here; whatever is written later has a higher one.
    pub revision: i64,
}

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start the server and join these.
    Join {
        /// Name and address of every member of the primary component.
        peers: Vec<(String, String)>,
    },
    /// Claim it, and start the cluster.
    Bootstrap,
    /// Not yet, for this reason; it may pass by itself.
    Wait(Reason),
    /// Not without the operator, for this reason.
    Refuse(Reason),
}

/// Why nothing is started, and from whose data a person may start the cluster all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// In words.
    pub why: String,
    /// The members; none where only waiting helps.
    pub start_from: Vec<String>,
}

impl Reason {
    fn or_from(why: String, start_from: &[&str]) -> Reason {
        Reason { why, start_from: start_from.iter().map(|name| (*name).to_owned()).collect() }
    }
}

impl<T: Into<String>> From<T> for Reason {
    fn from(why: T) -> Reason {
        Reason::or_from(why.into(), &[])
    }
}

impl Position {
    /// Cluster and last write set, where there is data.
    pub fn data(&self) -> Option<(&str, i64)> {
        match self {
            Position::At { uuid, seqno } if *seqno >= 0 && uuid != NO_CLUSTER => Some((uuid, *seqno)),
            _ => None,
        }
    }
}

/// What `me` does, one of `members`, the names of all that make up the cluster. Members that are not on the list but have a
/// record count as well.
///
/// A member whose server has lost the others asks too: [`Decision::Join`] says that there is something to go back to, and
/// nothing else is said to who does not wait.
pub fn decide(me: &str, members: &[String], seen: &Snapshot) -> Decision {
    let peers = others(me, seen).filter(|(_, r)| r.phase == Phase::Primary);
    let peers: Vec<_> = peers.map(|(name, r)| (name.to_owned(), r.address.clone())).collect();
    if !peers.is_empty() {
        return Decision::Join { peers };
    }
    let Some(own) = seen.members.get(me).map(|s| &s.record).filter(|r| r.phase == Phase::Waiting) else {
        return Decision::Wait("this member's own record in etcd does not say that it waits".into());
    };
    if let Some(holder) = &seen.bootstrap {
        return Decision::Wait(format!("{holder} is starting the cluster").into());
    }
    match &seen.force {
        Some(chosen) if chosen == me => forced(me, own, members, seen),
        Some(chosen) => {
            Decision::Wait(format!("the operator chose {chosen}, which has not started the cluster yet").into())
        }
        None => elect(me, members, seen),
    }
}

/// Whether every other one of `members` says what it does, and none is in a cluster, or begins one, that `me` could wait for.
pub fn scattered(me: &str, members: &[String], seen: &Snapshot) -> bool {
    let nowhere = |phase| !matches!(phase, Phase::Primary | Phase::Bootstrapping);
    silent(members, seen).iter().all(|name| *name == me) && others(me, seen).all(|(_, record)| nowhere(record.phase))
}

/// The operator chose `me`: nobody is waited for, but no running server is ignored, and no data is thrown away.
fn forced(me: &str, own: &Record, members: &[String], seen: &Snapshot) -> Decision {
    let busy = others(me, seen).filter(|(_, r)| !idle(r.phase));
    let busy: Vec<_> = busy.map(|(name, r)| format!("{name} {}", doing(r.phase))).collect();
    if !busy.is_empty() {
        return Decision::Wait(format!("chosen by the operator, but {}: it must stop first", busy.join(", ")).into());
    }
    let rich: Vec<_> = others(me, seen).filter(|(_, r)| r.position.data().is_some()).map(|(name, _)| name).collect();
    if own.position == Position::Unusable {
        let why = format!("{me} was chosen, but its data is an unfinished copy: another has to be chosen");
        return Decision::Refuse(Reason::or_from(why, &rich));
    }
    if own.position.data().is_some() {
        return Decision::Bootstrap;
    }
    // Starting empty makes the others throw away what they have when they join.
    let silent = silent(members, seen);
    if !rich.is_empty() {
        let why = format!("{me} was chosen, but has no data; there is some at {}", rich.join(" and "));
        return Decision::Refuse(Reason::or_from(why, &rich));
    }
    if !silent.is_empty() {
        let silent = silent.join(", ");
        let why = format!("{me} was chosen, but has no data, and {silent} may have some and has not reported");
        return Decision::Wait(why.into());
    }
    Decision::Bootstrap
}

fn elect(me: &str, members: &[String], seen: &Snapshot) -> Decision {
    let records: Vec<(&str, &Record)> = seen.members.iter().map(|(name, s)| (name.as_str(), &s.record)).collect();
    let known: BTreeSet<&str> = had_data(seen).into_iter().collect();
    let started_before = seen.initialised.is_some() || !known.is_empty();

    let silent = silent(members, seen).into_iter().map(|name| format!("{name} has not reported"));
    let busy = records.iter().filter(|(_, r)| r.phase != Phase::Waiting);
    let busy = busy.map(|(name, r)| format!("{name} {}", doing(r.phase)));
    let missing: Vec<String> = silent.chain(busy).collect();
    let best = best(&records);
    if !missing.is_empty() {
        let missing = missing.join(", ");
        // The operator may go on without what is unknown, not beside a server that runs.
        let open = started_before && records.iter().all(|(_, r)| idle(r.phase));
        let best: Vec<&str> = best.filter(|_| open).into_iter().collect();
        return Decision::Wait(Reason::or_from(missing, &best));
    }

    // The clusters that data here belongs to, and the last one that came up; more than one are two histories.
    let mut histories: BTreeSet<&str> = records.iter().filter_map(|(_, r)| Some(r.position.data()?.0)).collect();
    let Some(best) = best else { return first_start(me, &records, &known, seen.initialised.is_some()) };
    histories.extend(seen.initialised.as_deref());
    if histories.len() > 1 {
        let each = records.iter().filter_map(|(name, r)| {
            let (uuid, seqno) = r.position.data()?;
            Some(format!("{name} {}:{seqno}", uuid.get(..8).unwrap_or(uuid)))
        });
        let each = each.collect::<Vec<_>>().join(", ");
        let with_data: Vec<&str> =
            records.iter().filter(|(_, r)| r.position.data().is_some()).map(|(name, _)| *name).collect();
        let why = format!("the data is of different clusters ({each})");
        return Decision::Refuse(Reason::or_from(why, &with_data));
    }
    let lost = records
        .iter()
        .filter(|(name, r)| known.contains(name) && r.position.data().is_none() && r.position != Position::Unusable);
    let lost: Vec<_> = lost.map(|(name, _)| *name).collect();
    if !lost.is_empty() {
        let why = format!("{} lost its data, which may have been the newest", lost.join(", "));
        return Decision::Refuse(Reason::or_from(why, &[best]));
    }
    if best == me {
        Decision::Bootstrap
    } else {
        Decision::Wait(format!("{best} has the newest data and starts the cluster").into())
    }
}

/// Nobody has data.
fn first_start(me: &str, records: &[(&str, &Record)], known: &BTreeSet<&str>, initialised: bool) -> Decision {
    let Some((first, _)) = records.iter().find(|(_, r)| r.position != Position::Unusable) else {
        return Decision::Refuse("every member has an unfinished copy, and none has data: restore a backup".into());
    };
    if initialised || !known.is_empty() {
        let whose = known.iter().copied().collect::<Vec<_>>().join(", ");
        let whose = if whose.is_empty() { "the cluster".to_owned() } else { whose };
        let why =
            format!("{whose} had data, and nobody has any now; the cluster can only begin with an empty database");
        return Decision::Refuse(Reason::or_from(why, &[first]));
    }
    if *first == me {
        Decision::Bootstrap
    } else {
        Decision::Wait(format!("first start: {first} starts the cluster").into())
    }
}

/// The member to start from among those that wait: the highest sequence number, then the last one to stop, then the lowest
/// name. With data of different clusters this compares what cannot be compared, and [`elect`] refuses.
fn best<'a>(records: &[(&'a str, &Record)]) -> Option<&'a str> {
    let waiting = records.iter().filter(|(_, r)| r.phase == Phase::Waiting);
    let with_data = waiting.filter_map(|(name, r)| Some((r.position.data()?.1, r.safe, std::cmp::Reverse(*name))));
    with_data.max().map(|(_, _, name)| name.0)
}

/// Whoever has, or is said to have had, data.
fn had_data(seen: &Snapshot) -> Vec<&str> {
    let theirs = seen.members.values().flat_map(|s| &s.record.known);
    seen.known.iter().chain(theirs).map(String::as_str).collect()
}

fn silent<'a>(members: &'a [String], seen: &Snapshot) -> Vec<&'a str> {
    members.iter().map(String::as_str).filter(|name| !seen.members.contains_key(*name)).collect()
}

fn others<'a>(me: &'a str, seen: &'a Snapshot) -> impl Iterator<Item = (&'a str, &'a Record)> {
    seen.members.iter().map(|(name, s)| (name.as_str(), &s.record)).filter(move |(name, _)| *name != me)
}

/// No server runs there.
fn idle(phase: Phase) -> bool {
    matches!(phase, Phase::Waiting | Phase::Broken)
}

fn doing(phase: Phase) -> &'static str {
    match phase {
        Phase::Waiting => "waits",
        Phase::Bootstrapping => "is starting the cluster",
        Phase::Joining => "is joining",
        Phase::Primary => "is in the cluster",
        Phase::NonPrimary => "runs without the others",
        Phase::Broken => "cannot read its own position",
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
