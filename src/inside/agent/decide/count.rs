//! How what counts becomes what people ask for, one step at a time while there is a source; where it stands is read from what was
//! written down and from what members say, so that any agent goes on with it.
//!
//! Fewer replicas to wait for: written down, then ordered. More: ordered, and written down once as many replicas have everything
//! that was acknowledged by less. Members come: they follow without being counted, are written down once they have caught up, and
//! acknowledge from then on. Members go: they acknowledge nothing any more, then that is written down, and they count no more once
//! enough of the others have everything that the source had after that.

use super::{
    Mark, Request, Seen, View, Wanted,
    evidence::{acknowledges_still, counted, is_near, mandate, part_of, server, told, wanted},
};
use crate::inside::{
    agent::count::Count,
    member::{
        mandate::{Mandate, Part, Term, What},
        status::ServerFacts,
    },
};

/// The next step.
#[derive(Debug, Default)]
pub(super) struct Change {
    /// To be written down.
    pub(super) counts: Option<Count>,
    /// For the source.
    pub(super) order: Option<Wanted>,
    /// To be kept in mind.
    pub(super) mark: Option<Mark>,
    /// What still has to come; `None` when everything is as people ask for.
    pub(super) waits: Option<String>,
}

/// From which ordinal on members follow without being counted on.
pub(super) fn staying(view: &View<'_>) -> usize {
    view.count.members.min(view.target.members).min(view.count.leaving.unwrap_or(usize::MAX))
}

/// The switch-over that has to come first where the source itself is to leave.
pub(super) fn other_source(view: &View<'_>, term: &Term) -> Option<Request> {
    let members = view.target.members;
    if members >= view.count.members {
        return None;
    }
    let is_source = |(member, own): &(&Seen, &Mandate)| {
        matches!(own.part, Part::Source | Part::Closed) && member.ordinal() >= members
    };
    let (source, _) = part_of(view, term).find(is_source)?;
    let stay = || counted(view).filter(|member| member.ordinal() < members && told(member).is_some());
    let to = stay().find(|member| is_near(member)).or_else(|| stay().next())?;
    Some(Request { to: Some(to.name.clone()), from: Some(source.name.clone()), ..Request::default() })
}

/// What to do next, with this source.
pub(super) fn change(view: &View<'_>, term: &Term, source: &Seen, facts: &ServerFacts) -> Change {
    let (now, target) = (view.count, view.target);
    let (grows, shrinks) = (target.members > now.members, target.members < now.members);
    if now.leaving.is_some() && !shrinks {
        return write(now, Count { leaving: None, ..now.clone() }, "members stay after all");
    }
    // Who comes may be counted on later, who goes is not to be waited for.
    let acks = if grows || shrinks { now.acks.min(target.acks) } else { target.acks };
    if acks < now.acks {
        let waits = format!("{} is to wait for {acks} replicas instead of {}", source.name, now.acks);
        return write(now, Count { acks, ..now.clone() }, &waits);
    }
    let more = acks > now.acks;
    // An older order that comes late is refused by whoever has heard of the newer version.
    let version = now.version + u64::from(more);
    if knows(source) > version {
        return Change { counts: caught_up(view, source), ..waits("what counts is to be as new as its source's") };
    }
    if facts.acks != Some(acks) || (more && knows(source) < version) {
        return tell(view, term, source, facts, acks, version);
    }
    if more {
        return match held(view, term, source, facts, version, acks) {
            Ok(()) => write(now, Count { acks, ..now.clone() }, "every write is at enough replicas"),
            Err(change) => *change,
        };
    }
    if shrinks {
        return shrink(view, term, source, facts);
    }
    if grows {
        return grow(view, term, source);
    }
    Change::default()
}

/// A source that was to wait for more replicas, and ended before that was written down, has heard of a version that nobody else has:
/// what is decided about it from now on is newer.
pub(super) fn caught_up(view: &View<'_>, source: &Seen) -> Option<Count> {
    let version = knows(source);
    (version > view.count.version).then(|| Count { version, ..view.count.clone() })
}

/// The newest version that a member has heard of.
fn knows(member: &Seen) -> u64 {
    mandate(member).map_or(0, |own| own.version)
}

fn waits(reason: impl Into<String>) -> Change {
    Change { waits: Some(reason.into()), ..Change::default() }
}

fn write(now: &Count, next: Count, reason: &str) -> Change {
    Change { counts: Some(Count { version: now.version + 1, ..next }), ..waits(reason) }
}

/// The source is told for how many replicas it is to wait.
fn tell(view: &View<'_>, term: &Term, source: &Seen, facts: &ServerFacts, acks: u32, version: u64) -> Change {
    let begins = facts.acks.is_some_and(|waits| waits < acks);
    if begins && facts.clients < acks {
        // Told now, every write would wait for somebody who is not there.
        return waits(format!("{} of {acks} replicas that are to acknowledge writes do", facts.clients));
    }
    let order = Wanted { version, ..wanted(view, source, term, What::Await { acks }) };
    Change { order: Some(order), ..waits(format!("{} is to wait for {acks} replicas", source.name)) }
}

/// Whether so many of the replicas that stay have everything that the source had when it was first seen to go by this version.
fn held(
    view: &View<'_>,
    term: &Term,
    source: &Seen,
    facts: &ServerFacts,
    version: u64,
    need: u32,
) -> Result<(), Box<Change>> {
    let unread = |name: &str, error| Box::new(waits(format!("cannot read what {name} has: {error:#}")));
    let Some(mark) = view.mark.filter(|mark| mark.term == *term && mark.version == version) else {
        let executed = facts.executed().map_err(|error| unread(&source.name, error))?;
        let mark = Mark { term: term.clone(), version, executed };
        return Err(Box::new(Change { mark: Some(mark), ..waits("replicas are to have what the source has") }));
    };
    let mut have = 0_u32;
    for member in counted(view).filter(|member| member.name != source.name && member.ordinal() < staying(view)) {
        let follows = mandate(member).is_some_and(|own| own.is(&Part::Follows(source.name.clone()), term));
        let Some(facts) = server(member).filter(|facts| follows && !facts.relay_log_damaged()) else { continue };
        let all = facts.everything().map_err(|error| unread(&member.name, error))?;
        have += u32::from(all.contains(&mark.executed));
    }
    if have >= need {
        return Ok(());
    }
    Err(Box::new(waits(format!("{have} of {need} replicas have what {} had", source.name))))
}

fn shrink(view: &View<'_>, term: &Term, source: &Seen, facts: &ServerFacts) -> Change {
    let (now, members) = (view.count, view.target.members);
    if source.ordinal() >= members {
        return waits(format!("{} takes writes, and is to go", source.name));
    }
    // Where nobody has to acknowledge anything, nobody is relied on.
    if now.acks > 0 {
        let learns = Part::Learns(source.name.clone());
        let silent =
            |member: &&Seen| !mandate(member).is_some_and(|own| own.is(&learns, term)) || acknowledges_still(member);
        let mut leaving = counted(view).filter(|member| member.ordinal() >= members);
        if let Some(member) = leaving.find(silent) {
            return waits(format!("{} is to acknowledge nothing any more", member.name));
        }
        if now.leaving != Some(members) {
            return write(now, Count { leaving: Some(members), ..now.clone() }, "members are about to leave");
        }
        if knows(source) < now.version {
            return Change {
                order: Some(wanted(view, source, term, What::Await { acks: facts.acks.unwrap_or_default() })),
                ..waits(format!("{} is to hear who leaves", source.name))
            };
        }
        if let Err(change) = held(view, term, source, facts, now.version, now.acks) {
            return *change;
        }
    }
    write(now, Count { members, leaving: None, ..now.clone() }, "members leave")
}

fn grow(view: &View<'_>, term: &Term, source: &Seen) -> Change {
    let (now, members) = (view.count, view.target.members);
    let learns = Part::Learns(source.name.clone());
    for ordinal in now.members..members {
        let Some(member) = view.members.iter().find(|member| member.ordinal() == ordinal) else {
            return waits(format!("a member db-{ordinal} is to come"));
        };
        if !mandate(member).is_some_and(|own| own.is(&learns, term)) || !is_near(member) {
            return waits(if member.serves() { format!("{} catches up", member.name) } else { member.trouble() });
        }
    }
    write(now, Count { members, ..now.clone() }, "new members count from now on")
}
