//! Whether members of the database may leave, and who relieves a writer that is to go, from what is seen of them. Decided, not done.

use crate::{
    actions::standing::Impossible,
    inside::agent::count::{Count, Target},
    labels::WRITER,
    parts::database::{self, Member},
    run::{advice::Hint, wait::Look},
    spec::LabName,
};

/// Whether members are to leave: there shall be fewer than the set is to have, or than count. How many pods there are at some moment
/// says nothing: some may be about to go, or to come back.
pub(super) fn shrinks(members: u8, pods: u8, count: Option<&Count>) -> bool {
    members < pods || count.is_some_and(|count| usize::from(members) < count.members)
}

/// The writer, where it is to go.
fn leaving<'a>(seen: &'a [Member], staying: &[String]) -> Option<&'a Member> {
    seen.iter().find(|member| member.role.as_deref() == Some(WRITER) && !staying.contains(&member.name))
}

/// The member that is to take writes first: `None` where whoever does stays, or nobody could yet.
pub(super) fn successor(seen: &[Member], staying: &[String]) -> Option<String> {
    leaving(seen, staying)?;
    match heir(seen, staying) {
        Look::Ready(to) => Some(to),
        Look::NotYet(_) => None,
    }
}

/// Why nobody will relieve a writer that is to go: all who stay are lost. Who only has not come so far is waited for.
pub(super) fn forsaken(seen: &[Member], staying: &[String], answer: &[String]) -> Option<String> {
    let writer = leaving(seen, staying)?;
    let there = |name: &String| seen.iter().any(|member| member.name == *name && !is_lost(member, answer));
    let why = match heir(seen, staying) {
        Look::NotYet(why) if !staying.iter().any(there) => why,
        _ => return None,
    };
    Some(format!("{} takes writes and is to go, and nobody who stays could: {why}", writer.name))
}

/// A member that stays and serves. In topology `galera` it is synced, and has everything: the others may leave.
pub(super) fn heir(seen: &[Member], staying: &[String]) -> Look<String> {
    let behind =
        |member: &Member| member.galera().filter(|facts| !facts.synced()).map(|facts| facts.state.to_lowercase());
    let trouble = |name: &String| match seen.iter().find(|member| member.name == *name) {
        Some(member) => member.unready().or_else(|| behind(member)).map(|why| format!("{name}: {why}")),
        None => Some(format!("{name} has no pod")),
    };
    match staying.iter().find(|name| trouble(name).is_none()) {
        Some(name) => Look::Ready(name.clone()),
        None => Look::NotYet(staying.iter().filter_map(trouble).collect::<Vec<_>>().join(", ")),
    }
}

/// Whether a member is on a node that is lost: not one of those that answer, and its supervisor does not either.
pub(super) fn is_lost(member: &Member, answer: &[String]) -> bool {
    member.status.is_none() && member.node.as_ref().is_some_and(|node| !answer.contains(node))
}

/// Whether no member of a Galera cluster counts this one as part of it.
pub(super) fn alone(seen: &[Member], name: &str) -> bool {
    !seen.iter().filter_map(Member::galera).any(|facts| facts.counts(name))
}

/// Why members cannot leave a protected lab as it is, if they cannot, and what can be done: one that counts has to say that it acknowledges
/// nothing any more, and of those that stay enough have to acknowledge.
pub(super) fn held_up(
    lab: &LabName,
    seen: &[Member],
    answer: &[String],
    count: &Count,
    target: Target,
) -> Option<Impossible> {
    if target.acks == 0 || target.members >= count.members {
        return None;
    }
    let named = |members: usize| database::names(u8::try_from(members).unwrap_or(database::MOST));
    let (staying, counted) = (named(target.members), named(count.members));
    let lost = seen.iter().filter(|member| counted.contains(&member.name) && is_lost(member, answer));
    let (stay, leave): (Vec<&Member>, Vec<&Member>) = lost.partition(|member| staying.contains(&member.name));
    let too_few = stay.first().filter(|_| target.members - stay.len() <= target.acks as usize);
    let (member, why) = match (leave.first(), too_few) {
        (Some(member), _) => (member, "is to say that it acknowledges nothing any more"),
        (None, Some(member)) => (member, "would have to acknowledge every write"),
        (None, None) => return None,
    };
    let (member, node) = (member.name.clone(), member.node.clone().unwrap_or_default());
    let why = format!("{member} {why}, and {node} is lost");
    let alone = Hint::Scale { lab: lab.clone(), what: "db", to: "1".to_owned() };
    Some(Impossible { lab: lab.clone(), why, hints: vec![alone, Hint::Replace { lab: lab.clone(), member, node }] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        labels::READER,
        parts::database::health::tests::{self, serving as member},
    };

    #[test]
    fn members_leave_where_fewer_are_wanted_than_the_set_is_to_have_or_than_count() {
        let count = |members| Count { version: 1, members, acks: 1, leaving: None };
        for (members, pods, counted, wanted) in [
            (3, 3, 3, false),
            (5, 3, 3, false),
            (1, 3, 3, true),
            // Somebody was interrupted while members left: they count no more, and the set is to have one.
            (3, 1, 1, false),
            (1, 1, 1, false),
            // Somebody was interrupted before they left, or before new ones counted.
            (1, 3, 1, true),
            (1, 5, 3, true),
            (3, 5, 3, true),
            (5, 5, 3, false),
        ] {
            assert_eq!(shrinks(members, pods, Some(&count(counted))), wanted, "{members} of {pods}, {counted} count");
        }
        assert!(shrinks(1, 3, None) && !shrinks(3, 3, None));
    }

    #[test]
    fn a_writer_that_is_to_go_is_relieved_by_one_that_stays_and_serves() {
        let seen = [member(0, READER, false), member(1, READER, true), member(2, WRITER, true)];
        assert_eq!(successor(&seen, &database::names(2)).as_deref(), Some("db-1"));
        assert_eq!(successor(&seen, &database::names(3)), None, "it stays");
        assert_eq!(successor(&seen, &database::names(1)), None, "nobody who stays serves");
        let answer = ["w1".to_owned()];
        assert_eq!(forsaken(&seen, &database::names(1), &answer), None, "it answers, and may come");
        let mut lost = seen.clone();
        (lost[0].status, lost[0].node) = (None, Some("w0".to_owned()));
        let why = forsaken(&lost, &database::names(1), &answer).expect("it is lost");
        assert!(why.starts_with("db-2 takes writes and is to go, and nobody who stays could: db-0: "), "{why}");
        assert_eq!(forsaken(&lost, &database::names(2), &answer), None, "the other one stays");
        assert!(forsaken(&seen[1..], &database::names(1), &answer).is_some(), "there is no pod");
    }

    fn on(node: &str, member: Member) -> Member {
        Member { node: Some(node.to_owned()), ..member }
    }

    /// On a node that is gone.
    fn lost(number: usize) -> Member {
        on("w9", Member { status: None, ..member(number, READER, false) })
    }

    #[test]
    fn members_do_not_leave_a_protected_lab_whose_lost_one_nobody_can_tell() {
        let lab = LabName::new("zoo").expect("a name");
        let (here, answer) = (|number| on("w1", member(number, READER, true)), ["w1".to_owned()]);
        let silent = Member { status: None, ..here(2) };
        let why = |seen: &[Member], members, protected| {
            let count = Count { version: 1, members: 3, acks: 1, leaving: None };
            held_up(&lab, seen, &answer, &count, Target::new(members, protected))
        };
        let cannot = why(&[here(0), here(1), lost(2)], 2, true).expect("it may acknowledge still");
        assert_eq!(cannot.why, "db-2 is to say that it acknowledges nothing any more, and w9 is lost");
        let alone = Hint::Scale { lab: lab.clone(), what: "db", to: "1".to_owned() };
        let anew = Hint::Replace { lab: lab.clone(), member: "db-2".to_owned(), node: "w9".to_owned() };
        assert_eq!(cannot.hints, [alone, anew]);
        let cannot = why(&[here(0), lost(1), here(2)], 2, true).expect("nobody would acknowledge");
        assert_eq!(cannot.why, "db-1 would have to acknowledge every write, and w9 is lost");
        for (seen, members, protected) in [
            (vec![here(0), here(1), lost(2)], 1, true),
            (vec![here(0), here(1), lost(2)], 2, false),
            (vec![here(0), here(1), lost(2)], 3, true),
            // It may be back in a moment; and whoever counts no more is no matter.
            (vec![here(0), here(1), silent], 2, true),
            (vec![here(0), here(1), here(2), lost(3)], 2, true),
        ] {
            assert_eq!(why(&seen, members, protected), None, "{members} of {seen:?}");
        }
    }

    #[test]
    fn a_member_on_a_lost_node_is_given_up_when_its_group_counts_it_no_more() {
        let answer = ["w1".to_owned()];
        assert!(is_lost(&lost(2), &answer) && !is_lost(&on("w1", lost(2)), &answer));
        assert!(!is_lost(&on("w9", member(2, READER, true)), &answer), "its supervisor answers");
        assert!(!is_lost(&Member { node: None, ..lost(2) }, &answer), "it has no node yet");
        let mut sees = tests::synced("db-0", WRITER, 2, "u");
        assert!(alone(&[sees.clone(), lost(2)], "db-2"));
        let galera = sees.status.as_mut().and_then(|status| status.galera.as_mut()).expect("of a cluster");
        galera.members = vec!["db-0".to_owned(), "db-2".to_owned()];
        assert!(!alone(&[sees, lost(2)], "db-2"), "it may be there");
        assert!(alone(&[member(0, WRITER, true)], "db-2"), "there is no group");
    }

    #[test]
    fn members_of_a_galera_cluster_leave_only_where_one_that_stays_has_everything() {
        let synced = |number: usize| tests::synced(&format!("db-{number}"), READER, 2, "u");
        let doing = |state: &str, number: usize| {
            let mut member = synced(number);
            let galera = member.status.as_mut().and_then(|status| status.galera.as_mut()).expect("of a cluster");
            galera.state = state.into();
            member
        };
        let silent = Member { status: None, ..synced(0) };
        for (seen, staying, has) in [
            (vec![synced(0), synced(1), synced(2)], 1, Some("db-0")),
            (vec![doing("Joining", 0), synced(1), synced(2)], 1, None),
            (vec![doing("Donor/Desynced", 0), synced(1), synced(2)], 1, None),
            (vec![silent.clone(), synced(1), synced(2)], 1, None),
            (vec![synced(1), synced(2)], 1, None),
            (vec![silent, synced(1), synced(2), synced(3)], 3, Some("db-1")),
        ] {
            let found = heir(&seen, &database::names(staying));
            assert_eq!(matches!(&found, Look::Ready(_)), has.is_some(), "{found:?}");
            assert!(has.is_none_or(|has| found == Look::Ready(has.to_owned())), "{found:?}");
        }
    }
}
