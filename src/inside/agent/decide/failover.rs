//! How another member becomes the source. First nobody may acknowledge anything any more: so many members are told to fetch
//! nothing that the source before, and whoever an agent of before may still promote, lacks those that have to acknowledge.
//! What these members have, and were sent, holds every commit that was ever acknowledged. One that has all of it applies it and is
//! promoted; the others follow it ([`super::replication`]).
//!
//! The step is read from what the members remember, so that it does not matter which agent goes on, or when. Only the agent that
//! has begun a term promotes in it, and only one member: what another one may have sent, and what may still arrive, is refused
//! by members that have heard of a newer term.

use super::{
    Decision, Outlook, Request, Seen, View, Wanted,
    evidence::{acks, away, counted, is_near, lags, mandate, quorum, server, told, wanted},
};
use crate::{
    inside::member::{
        mandate::{Mandate, Part, Term, What},
        status::{ServerFacts, State},
    },
    wire::gtid::GtidSet,
};

/// The source does not answer, or has nothing to answer with, and is taken for lost, for this reason.
pub(super) fn lost(view: &View<'_>, term: &Term, source: &str, why: &str) -> Decision {
    let hears = view.members.iter().find(|member| {
        let follows = mandate(member).is_some_and(|own| own.term == *term && own.part.follows() == Some(source));
        follows && server(member).is_some_and(|facts| facts.io_running)
    });
    // Where its own supervisor says so nobody else need.
    let says = view.members.iter().any(|member| member.name == source && member.status().is_some());
    if let Some(hears) = hears.filter(|_| !says) {
        return away(view, Outlook::Waits(format!("{why}; {} still hears from {source}", hears.name)));
    }
    let others = counted(view).filter(|member| member.name != source);
    let whole = others.filter(|member| told(member).is_some_and(|(_, facts)| !facts.relay_log_damaged())).count();
    let need = need(view);
    if whole < need {
        let all = view.count.members.saturating_sub(1);
        return away(
            view,
            Outlook::Waits(format!("{why}; only {whole} of {all} replicas can be asked, {need} must be")),
        );
    }
    begin(view, term, why)
}

/// Everybody who answers is told to fetch nothing more.
pub(super) fn begin(view: &View<'_>, before: &Term, why: &str) -> Decision {
    let term = next(view, before);
    let orders = revoke(view, &term, |_| true);
    let outlook = Outlook::Waits(format!("{why}; another member is being made the source"));
    Decision { vacant: true, orders, why: why.to_owned(), ..away(view, outlook) }
}

/// A term that nobody has heard of, and that this agent has not used itself.
fn next(view: &View<'_>, before: &Term) -> Term {
    [view.used, view.decided].into_iter().flatten().fold(before, Ord::max).next(view.me)
}

fn revoke(view: &View<'_>, term: &Term, pick: impl Fn(&Seen) -> bool) -> Vec<Wanted> {
    let answer = view.members.iter().filter(|member| member.status().is_some_and(|s| s.state != State::Stopping));
    let order = |member: &Seen| wanted(view, member, term, What::Revoke);
    answer.filter(|member| pick(member)).map(order).collect()
}

fn need(view: &View<'_>) -> usize {
    if view.request.is_some_and(|request| request.accept_loss) { 1 } else { quorum(view) }
}

/// A member that takes part in the decision of this number, and whose data counts.
struct Voter<'a> {
    member: &'a Seen,
    mandate: &'a Mandate,
    facts: &'a ServerFacts,
}

/// In the newest term nobody is the source yet.
pub(super) fn choose(view: &View<'_>, term: &Term) -> Decision {
    let vacant = |orders, reason| Decision { vacant: true, orders, ..away(view, Outlook::Waits(reason)) };
    if term.by != view.me {
        return begin(view, term, &format!("term {term} was begun by another agent"));
    }
    if let Some(used) = view.used.filter(|used| *used > term) {
        return begin(view, term, &format!("nobody has heard of term {used} any more"));
    }
    if let Some(waits) = catching_up(view, term) {
        return vacant(Vec::new(), waits);
    }
    let unasked = |member: &Seen| mandate(member).is_none_or(|own| own.term < *term);
    let voters: Vec<Voter<'_>> = counted(view).filter_map(|member| voter(member, term)).collect();
    // Nobody was made the source since this one, which is shut: it has everything that was ever acknowledged.
    let last = |voter: &Voter<'_>| voter.mandate.part == Part::Closed && view.decided <= Some(&voter.mandate.line.term);
    let need = if voters.iter().any(last) { 1 } else { need(view) };
    if voters.len() < need {
        let reason = format!("{} of {need} members have given up the source of before", voters.len());
        return vacant(revoke(view, term, unasked), reason);
    }
    if let Some(waits) = missing(view, &voters) {
        return vacant(revoke(view, term, unasked), waits);
    }
    let Chosen { name, applied, holds } = match candidate(view, term, &voters) {
        Ok(chosen) => chosen,
        Err(outlook) => return Decision { vacant: true, ..away(view, outlook) },
    };
    if view.chosen.is_some_and(|(of, before)| of == term && *before != name) {
        // What was sent to that one may still arrive there: it must have heard of a newer term first.
        return begin(view, term, &format!("{name} is to be the source instead"));
    }
    if !applied {
        return vacant(Vec::new(), format!("{name}, which is to be the source, applies what it was sent"));
    }
    let what = What::Promote { acks: acks(view), holds: holds.to_string() };
    let orders = vec![Wanted { member: name.clone(), term: term.clone(), version: view.count.version, what }];
    Decision { decides: Some(term.clone()), ..vacant(orders, format!("{name} is being made the source")) }
}

/// One that obeys the decision, says what it has, and fetches nothing.
fn voter<'a>(member: &'a Seen, term: &Term) -> Option<Voter<'a>> {
    let ((_, facts), mandate) = (told(member)?, mandate(member)?);
    let stands = mandate.term == *term && matches!(mandate.part, Part::Revoked | Part::Closed);
    let rests = !facts.fetches() && !facts.is_open() && !facts.relay_log_damaged();
    (stands && rests).then_some(Voter { member, mandate, facts })
}

/// A planned switch-over: the source is shut, and has all that it ever acknowledged. Whoever is to be the next one may fetch the
/// rest from it before it is told to fetch nothing more. Why that is waited for; `None` once it need not be.
fn catching_up(view: &View<'_>, term: &Term) -> Option<String> {
    let request = view.request.filter(|request| !request.expired)?;
    let closed = counted(view).filter_map(|member| voter(member, term)).find(|v| v.mandate.part == Part::Closed)?;
    let behind = |member: &Seen| {
        let source = Some(closed.member.name.as_str());
        let follows = mandate(member).is_some_and(|own| own.term < *term && own.part.follows() == source);
        let lacks = |facts: &ServerFacts| Some(!facts.executed().ok()?.contains(&closed.facts.executed().ok()?));
        // One that cannot apply what it is sent never catches up.
        let gets_there = |facts: &ServerFacts| facts.io_running && facts.sql_errno == 0;
        follows && server(member).is_some_and(|facts| gets_there(facts) && lacks(facts) != Some(false))
    };
    let aim = |member: &&Seen| request.to.as_ref().is_none_or(|to| *to == member.name);
    let mut aims = counted(view).filter(|member| member.name != closed.member.name).filter(aim).peekable();
    aims.peek()?;
    // With nobody named, the first that has everything will do.
    aims.clone().all(behind).then(|| format!("{} is closed, the next source catches up", closed.member.name))
}

/// Whom a person has asked for, or in a planned switch-over anybody but the source of before, while that one can still be asked
/// and has not given up the source yet.
fn missing(view: &View<'_>, voters: &[Voter<'_>]) -> Option<String> {
    let request = view.request.filter(|request| !request.expired)?;
    let votes = |name: &str| voters.iter().any(|voter| voter.member.name == name);
    let could = |member: &&Seen| !votes(&member.name) && told(member).is_some();
    let member = match &request.to {
        Some(to) => counted(view).filter(could).find(|member| member.name == *to)?,
        None if voters.iter().all(|voter| voter.mandate.part == Part::Closed) => counted(view).find(could)?,
        None => return None,
    };
    Some(format!("{} has not given up the source of before yet", member.name))
}

struct Chosen {
    name: String,
    applied: bool,
    holds: GtidSet,
}

/// The one that has everything that any of them has: whom a person asked for, whom we have chosen before, a replica rather than the
/// source of before, the one with the least still to be applied.
fn candidate(view: &View<'_>, term: &Term, voters: &[Voter<'_>]) -> Result<Chosen, Outlook> {
    let line = voters.iter().map(|voter| &voter.mandate.line).max_by_key(|line| &line.term);
    let newest = line.map(|line| &line.term);
    let unread = |name: &str, error| Outlook::Waits(format!("cannot read what {name} has: {error:#}"));
    let base = GtidSet::parse(line.map_or("", |line| &line.base)).map_err(|error| unread("the source", error))?;
    let mut known = Vec::new();
    let mut union = GtidSet::default();
    for voter in voters {
        let unread = |error| unread(&voter.member.name, error);
        let (executed, all) = (voter.facts.executed().map_err(unread)?, voter.facts.everything().map_err(unread)?);
        // Of an older line only what the newer one began with can have been acknowledged.
        let counts =
            if Some(&voter.mandate.line.term) == newest { all.clone() } else { all.without(&all.without(&base)) };
        union = union.with(&counts);
        known.push((voter, executed, all));
    }
    let expired = view.request.is_some_and(|request| request.expired);
    let asked = view.request.filter(|_| !expired).and_then(|request| request.to.as_deref());
    let before = view.chosen.filter(|(of, _)| of == term).map(|(_, name)| name.as_str());
    // What only an older line has was never acknowledged, but does no harm where nothing of a newer one is there.
    let clean = |voter: &Voter<'_>, all: &GtidSet| Some(&voter.mandate.line.term) == newest || base.contains(all);
    let fit = known.iter().filter(|(voter, _, all)| all.contains(&union) && voter.facts.sql_errno == 0);
    let best = fit.min_by_key(|(voter, executed, all)| {
        let name = Some(voter.member.name.as_str());
        let closed = voter.mandate.part == Part::Closed;
        // After a switch-over that came to nothing the source of before goes on.
        (before != name, !clean(voter, all), asked != name, closed != expired, !executed.contains(&union))
    });
    match best {
        Some((voter, executed, _)) => {
            Ok(Chosen { name: voter.member.name.clone(), applied: executed.contains(&union), holds: union.clone() })
        }
        None => {
            let each =
                known.iter().map(|(voter, _, all)| format!("{} lacks {}", voter.member.name, union.without(all)));
            Err(Outlook::Refused(format!("no member has everything: {}", each.collect::<Vec<_>>().join(", "))))
        }
    }
}

/// A person asks for another source while there is one, which `enough` replicas follow or not.
pub(super) fn asked(
    view: &View<'_>,
    before: &Term,
    source: &Seen,
    request: &Request,
    enough: bool,
    decision: Decision,
) -> Decision {
    let answer = |result| Decision { answer: Some((request.id.clone(), result)), ..decision.clone() };
    if request.is_met_by(&source.name) {
        let done = enough || request.accept_loss;
        return if done { answer(Ok(format!("{} is the source", source.name))) } else { decision };
    }
    match aim(view, source, request) {
        _ if request.expired => answer(Err(format!("it was not done in time; {} is the source", source.name))),
        Err(reason) => answer(Err(reason)),
        Ok(_) if !enough => decision,
        Ok(to) => {
            let term = next(view, before);
            let orders = vec![wanted(view, source, &term, What::Close)];
            let outlook = Outlook::Waits(format!("{} is being closed, so that {to} can be the source", source.name));
            // Who counts does not change meanwhile: the source is as safe as it was until another one has taken over.
            Decision { orders, outlook, counts: None, mark: None, ..decision }
        }
    }
}

/// Whom the source may be switched to now.
fn aim(view: &View<'_>, source: &Seen, request: &Request) -> Result<String, String> {
    let near: Vec<&Seen> =
        counted(view).filter(|member| member.name != source.name).filter(|member| is_near(member)).collect();
    let to = match &request.to {
        None => near.first().map(|member| member.name.clone()).ok_or("no replica is up to date")?,
        Some(to) => {
            let member = counted(view).find(|member| member.name == *to);
            let member = member.ok_or_else(|| format!("there is no member {to}"))?;
            if !near.iter().any(|near| near.name == *to) {
                return Err(match lags(member) {
                    Some(lag) => format!("{to} is {lag} s behind {}", source.name),
                    None => member.trouble(),
                });
            }
            to.clone()
        }
    };
    // The source of before acknowledges again only once it follows. Where no write waits, nobody has to be there meanwhile.
    let others = near.iter().filter(|member| member.name != to).count();
    let beside = quorum(view).saturating_sub(2).max((acks(view) as usize).min(view.count.members.saturating_sub(2)));
    let need = if acks(view) == 0 { 0 } else { beside };
    if others < need {
        return Err(format!(
            "only {others} other replicas follow {}, {need} must, so that {to} is not alone",
            source.name
        ));
    }
    Ok(to)
}
