//! What members of topology `replication` say, as far as decisions rest on it: how many must have a commit, how many must have
//! taken part in a decision, what one has, and which of that counts.

use super::{Decision, Outlook, Seen, View, names};
use crate::inside::member::{
    mandate::{Mandate, Term},
    status::{MemberStatus, ServerFacts},
};

/// How many replicas must have a commit before it is acknowledged: with this many a lost source and one more lost member cost
/// nothing, and with so few a lost replica holds nothing up.
pub(super) fn acks(view: &View<'_>) -> usize {
    view.wanted / 2
}

/// How many members must have taken part in a decision, so that nobody who has not can acknowledge anything, and so that
/// whatever was acknowledged is at one of them: all replicas but as many as can be missing from an acknowledgement.
pub(super) fn quorum(view: &View<'_>) -> usize {
    let replicas = view.wanted.saturating_sub(1);
    (replicas + 1).saturating_sub(acks(view)).max(1)
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
