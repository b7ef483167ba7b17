//! Topology `replication`: one member is open, the others follow it. Members do nothing of this by themselves: they are
//! ordered to, and remember by which decision (its term). So who is the source is read from what the members remember, and a
//! new leader goes on from there; what happens when the source is lost is next door ([`super::failover`]).

use super::{
    Decision, Outlook, Seen, View, Wanted, count,
    evidence::{
        acknowledges_not_yet, acknowledges_still, acks, away, counted, is_stale, mandate, part_of, server, told, wanted,
    },
    failover, names,
};
use crate::inside::member::{
    mandate::{Part, Term, What},
    status::{MemberStatus, ServerFacts, State},
};

/// The member that creates the data of a new lab.
const FIRST: &str = "db-0";

pub(super) fn decide(view: &View<'_>) -> Decision {
    let Some(term) = view.members.iter().filter_map(mandate).map(|mandate| &mandate.term).max() else {
        return new_lab(view);
    };
    // Whoever is said to be the source may have been given up by members that are away, or have lost their volumes.
    let forgotten = view.decided.filter(|decided| *decided > term);
    if let Some(decided) = forgotten.filter(|_| !view.request.is_some_and(|request| request.accept_loss)) {
        let why = format!("nobody who answers has heard of term {decided}");
        let silent: Vec<String> = counted(view).filter(|member| member.status().is_none()).map(Seen::trouble).collect();
        if silent.is_empty() && counted(view).count() >= view.count.members {
            return failover::begin(view, term, &why);
        }
        return away(view, Outlook::Waits(format!("{why}; {}", silent.join(", "))));
    }
    let decide = |view: &View<'_>| match source_of(view, term) {
        None => failover::choose(view, term),
        Some(source) => with_source(view, term, &source),
    };
    match (view.request, count::other_source(view, term)) {
        // Nobody waits for an answer, but whoever waits for the members to go should know what keeps them.
        (None, Some(request)) => {
            let mut decision = decide(&View { request: Some(&request), ..view.clone() });
            if let (Some((_, Err(why))), Outlook::Waits(waits)) = (decision.answer.take(), &mut decision.outlook) {
                *waits = format!("{waits}; {why}");
            }
            decision
        }
        _ => decide(view),
    }
}

/// Who is the source by the decision of this number, as it says itself or one who follows it.
fn source_of(view: &View<'_>, term: &Term) -> Option<String> {
    part_of(view, term).find_map(|(member, mandate)| match &mandate.part {
        Part::Source => Some(member.name.clone()),
        Part::Follows(source) | Part::Learns(source) => Some(source.clone()),
        Part::Revoked | Part::Closed => None,
    })
}

fn with_source(view: &View<'_>, term: &Term, source: &str) -> Decision {
    let Some(member) = view.members.iter().find(|member| member.name == source) else {
        return failover::lost(view, term, source, &format!("{source} has no pod"));
    };
    let Some(status) = member.status() else {
        return if member.gone {
            failover::lost(view, term, source, &member.trouble())
        } else {
            away(view, Outlook::Waits(member.trouble()))
        };
    };
    if !status.has_data {
        return failover::lost(view, term, source, &format!("{source}, the source, has lost its data"));
    }
    match (&status.mandate, &status.server) {
        (Some(own), _) if own.is(&Part::Source, term) => {}
        _ => {
            let why = format!("{source} is the source of term {term} by what others say, but does not know it");
            return away(view, Outlook::Refused(why));
        }
    }
    match &status.server {
        Some(facts) if facts.is_open() && status.state != State::Stopping => settled(view, term, member, facts),
        Some(_) if status.state != State::Stopping => reopened(view, term, member),
        _ if member.down => failover::lost(view, term, source, &member.trouble()),
        _ => away(view, Outlook::Waits(member.trouble())),
    }
}

/// The source is open. The others follow it, and it has the role as soon as enough of them acknowledge.
fn settled(view: &View<'_>, term: &Term, source: &Seen, facts: &ServerFacts) -> Decision {
    let name = &source.name;
    let (follows, learns) = (Part::Follows(name.clone()), Part::Learns(name.clone()));
    let staying = count::staying(view);
    let part = |member: &Seen| if member.ordinal() < staying { &follows } else { &learns };
    let others = || view.members.iter().filter(|member| member.name != *name);
    // By what it waits for itself, and not by less.
    let enough = facts.clients >= acks(view) && facts.acks.is_some_and(|waits| waits >= acks(view));
    let settles = |member: &Seen| !enough || !mandate(member).is_some_and(|own| own.is(part(member), term));
    let reads = names(view.members, |member| {
        let status = member.status();
        let follows =
            status.is_some_and(|status| status.serves() && server(member).is_some_and(ServerFacts::serves_as_replica));
        (follows || (settles(member) && status.is_some_and(MemberStatus::readable))) && !is_stale(member)
    });
    let order = |member: &Seen, what| wanted(view, member, term, what);
    let learning = |member: &Seen| member.ordinal() >= staying;
    // One copy at a time: a donor serves one, and whoever is being copied acknowledges nothing.
    let is_copied = |member: &Seen| {
        let copies = |status: &MemberStatus| status.state == State::Cloning || !status.has_data;
        member.status().is_some_and(copies) && mandate(member).is_some_and(|own| own.is(part(member), term))
    };
    let mut copies = others().any(is_copied);
    let mut orders: Vec<Wanted> = others()
        .filter(|member| member.status().is_some_and(|status| status.state != State::Stopping))
        .filter(|member| {
            let obeys = mandate(member).is_some_and(|own| own.is(part(member), term));
            !obeys || acknowledges_still(member) || acknowledges_not_yet(member)
        })
        .map(|member| order(member, What::Follow { source: name.clone(), learns: learning(member) }))
        .collect();
    if view.initialised {
        // A new lab's members begin alike and need no copy; whoever comes later does.
        let empty = |name: &str| others().any(|m| m.name == name && m.status().is_some_and(|status| !status.has_data));
        orders.retain(|order| !empty(&order.member) || !std::mem::replace(&mut copies, true));
    }
    let broken = others().find(|member| member.status().is_some_and(|status| status.needs_copy));
    if let (false, Some(broken)) = (copies, broken) {
        orders.push(order(broken, What::Copy { source: name.clone(), learns: learning(broken) }));
    }
    let change = count::change(view, term, source, facts);
    orders.extend(change.order.clone());
    // Whoever accepts the loss of the others' writes has the role before anybody follows: nobody may be left to.
    let accepted = view.request.is_some_and(|request| request.accept_loss && request.is_met_by(name));
    let keeps = accepted || source.role.as_deref() == Some(crate::labels::WRITER);
    let outlook = match (enough, facts.waiting) {
        (true, _) => change.waits.map_or(Outlook::Settled, Outlook::Waits),
        (false, 0) => {
            Outlook::Waits(format!("{} of {} replicas that must acknowledge a write do", facts.clients, acks(view)))
        }
        (false, waiting) => {
            Outlook::Waits(format!("{waiting} commits at {name} wait for a replica that acknowledges them"))
        }
    };
    let decision = Decision {
        writer: (enough || keeps).then(|| name.clone()),
        orders,
        counts: change.counts,
        mark: change.mark,
        exists: true,
        why: format!("{name} is the source of term {term}"),
        ..Decision::keep(reads, outlook)
    };
    match view.request {
        Some(request) => failover::asked(view, term, source, request, enough, decision),
        None => decision,
    }
}

/// The source of this term is back and shut. A commit was acknowledged only when replicas had it too, and nobody can have been
/// promoted meanwhile without most of the others knowing: when enough of them do not, it goes on.
fn reopened(view: &View<'_>, term: &Term, member: &Seen) -> Decision {
    let name = &member.name;
    let why = format!("{name} was the source of term {term}");
    let keep = |outlook| Decision { writer: Some(name.clone()), why: why.clone(), ..away(view, outlook) };
    if let Some(counts) = count::caught_up(view, member) {
        return Decision { counts: Some(counts), ..keep(Outlook::Waits(format!("{name} is to be opened for writes"))) };
    }
    match may_reopen(view, term, member) {
        Open::Yes(term) => {
            let what = What::Promote { acks: acks(view), holds: String::new() };
            Decision {
                decides: Some(term.clone()),
                orders: vec![wanted(view, member, &term, what)],
                ..keep(Outlook::Waits(format!("{name} is being opened for writes")))
            }
        }
        Open::NotYet(reason) => keep(Outlook::Waits(reason)),
        Open::No(reason) => keep(Outlook::Refused(reason)),
    }
}

/// Whether a member may be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    /// Nothing can be lost by it.
    Yes(Term),
    /// Too little is known.
    NotYet(String),
    /// Somebody else has what this one has not.
    No(String),
}

fn may_reopen(view: &View<'_>, term: &Term, member: &Seen) -> Open {
    let (Some(own), Some((_, facts))) = (mandate(member), told(member)) else {
        return Open::NotYet(member.trouble());
    };
    let known: Vec<&Seen> =
        counted(view).filter(|other| other.name != member.name && other.status().is_some()).collect();
    let (all, here) = (view.count.members, known.len() + 1);
    if 2 * here <= all {
        return Open::NotYet(format!(
            "{} was the source; only {here} of {all} members are known; a majority must say that nobody took over",
            member.name
        ));
    }
    // What somebody has of an older line, and this one had not when it was promoted, was never acknowledged.
    let counts = |status: &MemberStatus| status.mandate.as_ref().is_none_or(|theirs| theirs.line.term == *term);
    for (other, (status, theirs)) in known.iter().filter_map(|other| Some((other, told(other)?))) {
        if !counts(status) {
            continue;
        }
        match holds(facts, theirs) {
            Ok(true) => {}
            Ok(false) => return Open::No(format!("{} has transactions that {} has not", other.name, member.name)),
            Err(error) => {
                return Open::NotYet(format!("cannot compare {} with {}: {error:#}", other.name, member.name));
            }
        }
    }
    Open::Yes(own.term.clone())
}

/// Whether everything that the other has, or was sent, is here.
fn holds(own: &ServerFacts, other: &ServerFacts) -> anyhow::Result<bool> {
    Ok(own.executed()?.contains(&other.everything()?))
}

/// No member has ever been given an order.
fn new_lab(view: &View<'_>) -> Decision {
    let waits = |reason: String| away(view, Outlook::Waits(reason));
    let refuses = |what: &str| away(view, Outlook::Refused(what.to_owned()));
    if let Some(silent) = view.members.iter().find(|member| member.status().is_none()) {
        // It may be the source: nothing is decided without it.
        return waits(silent.trouble());
    }
    let members = view.target.members;
    if view.members.len() < members {
        return waits(format!("{} of {members} members exist", view.members.len()));
    }
    let with_data: Vec<&Seen> =
        view.members.iter().filter(|member| member.status().is_some_and(|status| status.has_data)).collect();
    match with_data.as_slice() {
        [] if view.initialised => refuses("no member has data any more"),
        _ if view.initialised => refuses("no member knows who was the source, so what it had last is lost"),
        [] => waits(view.members.iter().find(|member| member.name == FIRST).map_or(FIRST.to_owned(), Seen::trouble)),
        [only] if only.name == FIRST => match told(only) {
            Some(_) => {
                let what = What::Promote { acks: acks(view), holds: String::new() };
                let term = Term::default().next(view.me);
                Decision {
                    orders: vec![wanted(view, only, &term, what)],
                    why: format!("{FIRST} has made the data of a new lab"),
                    ..waits(format!("{FIRST} is being opened for writes"))
                }
            }
            None => waits(only.trouble()),
        },
        _ => refuses("there is data, but no member knows who was the source"),
    }
}
