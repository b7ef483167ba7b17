//! What members of topology `replication` say, as far as decisions rest on it: how many must have a commit, how many must have
//! taken part in a decision, what one has, and which of that counts.

use super::{Decision, Outlook, Seen, View, Wanted, names};
use crate::inside::member::{
    mandate::{Mandate, Part, Term, What},
    status::{MemberStatus, ServerFacts},
};

/// How many replicas must have a commit before it is acknowledged.
pub(super) fn acks(view: &View<'_>) -> u32 {
    view.count.acks
}

/// The members that count, as far as their pods exist.
pub(super) fn counted<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Seen> + Clone + use<'a> {
    let members = view.count.members;
    view.members.iter().filter(move |member| member.ordinal() < members)
}

/// How many members must have taken part in a decision, so that nobody who has not can acknowledge anything, and so that
/// whatever was acknowledged is at one of them: all replicas but as many as can be missing from an acknowledgement. Where nobody
/// has to acknowledge, that is more than there are.
pub(super) fn quorum(view: &View<'_>) -> usize {
    view.count.members.saturating_sub(acks(view) as usize).max(1)
}

pub(super) fn mandate(member: &Seen) -> Option<&Mandate> {
    member.status()?.mandate.as_ref()
}

pub(super) fn server(member: &Seen) -> Option<&ServerFacts> {
    member.status()?.server.as_ref()
}

/// Whether it has the lab's data, and a server that says how far it is.
pub(super) fn told(member: &Seen) -> Option<(&MemberStatus, &ServerFacts)> {
    let status = member.status()?;
    Some((status, status.server.as_ref()?)).filter(|(status, _)| status.has_data)
}

pub(super) fn part_of<'a>(view: &'a View<'_>, term: &'a Term) -> impl Iterator<Item = (&'a Seen, &'a Mandate)> {
    let members = view.members.iter().filter_map(|member| Some((member, mandate(member)?)));
    members.filter(move |(_, mandate)| mandate.term == *term)
}

/// There is no source that takes writes: everybody who applies what it was sent may be read from.
pub(super) fn away(view: &View<'_>, outlook: Outlook) -> Decision {
    Decision::keep(names(view.members, |member| member.status().is_some_and(MemberStatus::readable)), outlook)
}

/// Seconds behind the source beyond which a member is not relied on: whoever is to take over or to count would have to catch up first.
const MOST_LAG: u64 = 1;

/// Whether a member follows, and is hardly behind.
pub(super) fn is_near(member: &Seen) -> bool {
    let facts = server(member).filter(|_| member.serves()).filter(|facts| facts.serves_as_replica());
    facts.and_then(|facts| facts.lag_seconds).is_some_and(|lag| lag <= MOST_LAG)
}

/// How far a member is behind, if that is too much.
pub(super) fn lags(member: &Seen) -> Option<u64> {
    server(member).and_then(|facts| facts.lag_seconds).filter(|lag| *lag > MOST_LAG)
}

/// Seconds behind the source beyond which no page is read from a member while there is a writer. Whoever has just saved something reads
/// at the writer for a little longer (`BEHIND` in `manifests/frontend/11-code.yaml`).
const STALE: u64 = 10;

/// Whether what a member has is too old to be shown.
pub(super) fn is_stale(member: &Seen) -> bool {
    server(member).and_then(|facts| facts.lag_seconds).is_some_and(|lag| lag > STALE)
}

/// An order that is decided from what counts now.
pub(super) fn wanted(view: &View<'_>, member: &Seen, term: &Term, what: What) -> Wanted {
    Wanted { member: member.name.clone(), term: term.clone(), version: view.count.version, what }
}

/// Whether a member that is not to be counted on acknowledges nevertheless.
pub(super) fn acknowledges_still(member: &Seen) -> bool {
    matches!(mandate(member), Some(Mandate { part: Part::Learns(_), .. }))
        && server(member).is_some_and(|facts| !facts.is_open() && facts.semi_sync)
}

/// Whether a member that is to be counted on does not acknowledge: it was started again, and waits to be told.
pub(super) fn acknowledges_not_yet(member: &Seen) -> bool {
    matches!(mandate(member), Some(Mandate { part: Part::Follows(_), .. }))
        && server(member).is_some_and(|facts| facts.io_running && !facts.semi_sync)
}
