//! Topology `galera`: every synced member could take writes, so the role is only a home for them. It stays where it is as
//! long as that member serves, and does not move back. A member that does not serve by its own word loses it at once; of one
//! that cannot be heard for a moment, or whose server does not answer it, the others are asked: while one of them counts it in
//! the cluster, the role stays.

use std::{collections::BTreeSet, time::Duration};

use super::{Answer, Decision, Outlook, Seen, View, names};
use crate::inside::member::status::{GaleraFacts, State};

/// How long members may contradict each other about who is in the cluster. Galera itself has made up its mind by then.
const APART: Duration = Duration::from_secs(30);

pub(super) fn decide(view: &View<'_>) -> Decision {
    let primary = primaries(view.members);
    // One broken connection makes nobody unreadable either.
    let reads = names(view.members, |member| member.serves() || (member.reads && counted(member, &primary)));
    let labelled: Vec<&Seen> = view.members.iter().filter(|member| member.writes()).collect();
    if let Some(alarm) = two_histories(&primary) {
        return Decision::keep(reads, Outlook::Refused(alarm));
    }
    if let Some(doubt) = apart(view.members) {
        return Decision::keep(
            reads,
            if view.apart < APART {
                Outlook::Waits(doubt)
            } else {
                Outlook::Refused(format!("{doubt}; the role does not move until one side's pods are gone"))
            },
        );
    }
    let serving = |member: &&Seen| member.serves();
    let synced = |member: &&Seen| member.serves() && primary_synced(member);
    let (chosen, why) = match labelled.iter().find(|member| member.serves()) {
        // Of several with the label only one keeps it.
        Some(writer) => (*writer, format!("{} is {}", writer.name, state(writer))),
        None if labelled.iter().any(|member| counted(member, &primary)) => {
            let doubts = labelled.iter().map(|member| member.trouble()).collect::<Vec<_>>().join(", ");
            return Decision::keep(reads, Outlook::Waits(format!("{doubts}; the others still count it in")));
        }
        None => match view.members.iter().find(synced).or_else(|| view.members.iter().find(serving)) {
            Some(next) => {
                let before = labelled.first().map_or_else(|| "nobody had the role".to_owned(), |seen| seen.trouble());
                (next, format!("{before}; {} is {}", next.name, state(next)))
            }
            None => {
                let all = view.members.iter().map(Seen::trouble).collect::<Vec<_>>().join(", ");
                let all = if all.is_empty() { "there are no members yet".to_owned() } else { all };
                // Taking the role away would help nobody: readiness has closed the way to it already.
                return Decision::keep(reads, Outlook::Waits(format!("no member serves: {all}")));
            }
        },
    };
    let (chosen, why, answer) = asked(view, chosen, why);
    Decision {
        writer: Some(chosen.name.clone()),
        exists: true,
        why,
        answer,
        ..Decision::keep(
            reads,
            if view.members.len() < view.target.members {
                Outlook::Waits(format!("{} of {} members exist", view.members.len(), view.target.members))
            } else {
                Outlook::Settled
            },
        )
    }
}

/// What has become of a request, with its id.
type Reply = Option<(String, Result<String, String>)>;

/// Whom a person asks for, if that one could take over at once: every synced member has everything.
fn asked<'a>(view: &View<'a>, chosen: &'a Seen, why: String) -> (&'a Seen, String, Reply) {
    let Some(request) = view.request else { return (chosen, why, None) };
    let answer = |result| Some((request.id.clone(), result));
    let done = |name: &str| answer(Ok(format!("{name} takes writes")));
    if request.is_met_by(&chosen.name) {
        return (chosen, why, done(&chosen.name));
    }
    let wanted = |member: &&Seen| request.to.as_ref().is_none_or(|to| *to == member.name);
    let others = || view.members.iter().filter(|member| member.name != chosen.name).filter(wanted);
    match others().find(|member| member.serves() && primary_synced(member)) {
        Some(next) => (next, format!("{} was asked for", next.name), done(&next.name)),
        None => {
            let why_not = others().map(Seen::trouble).collect::<Vec<_>>().join(", ");
            let why_not = if why_not.is_empty() { "there is no other member".to_owned() } else { why_not };
            (chosen, why, answer(Err(why_not)))
        }
    }
}

fn primaries(members: &[Seen]) -> Vec<(&Seen, &GaleraFacts)> {
    members.iter().filter_map(|member| Some((member, primary(member)?))).collect()
}

fn primary(member: &Seen) -> Option<&GaleraFacts> {
    member.status()?.galera.as_ref().filter(|facts| facts.component == "Primary")
}

fn primary_synced(member: &Seen) -> bool {
    primary(member).is_some_and(GaleraFacts::synced)
}

fn state(member: &Seen) -> String {
    primary(member).map_or("unknown", |facts| facts.state.as_str()).to_lowercase()
}

/// Whether nothing more is known of this member than that it was not heard, and another one counts it in the cluster.
fn counted(member: &Seen, primary: &[(&Seen, &GaleraFacts)]) -> bool {
    let unheard = member.answer == Answer::Faint
        || member.status().is_some_and(|status| status.state == State::Unresponsive && status.galera.is_none());
    unheard && primary.iter().any(|(other, facts)| other.name != member.name && facts.counts(&member.name))
}

/// Two clusters that have grown from different beginnings: whatever is written at one is lost to the other.
fn two_histories(primary: &[(&Seen, &GaleraFacts)]) -> Option<String> {
    let (first, facts) = primary.iter().find(|(_, facts)| !facts.cluster_uuid.is_empty())?;
    let other = |theirs: &GaleraFacts| !theirs.cluster_uuid.is_empty() && theirs.cluster_uuid != facts.cluster_uuid;
    let (second, _) = primary.iter().find(|(_, theirs)| other(theirs))?;
    Some(format!(
        "{} and {} serve two different clusters; the role does not move until one of them is gone",
        first.name, second.name
    ))
}

/// Members in a primary component that does not count another one which says the same of itself. Also seen for a moment while
/// somebody comes or goes, because members do not report a new view at the same instant.
pub(super) fn apart(members: &[Seen]) -> Option<String> {
    let primary = primaries(members);
    let all: BTreeSet<&str> = primary.iter().map(|(member, _)| member.name.as_str()).collect();
    let alone = |facts: &GaleraFacts| match facts.members.as_slice() {
        [] => (facts.size as usize) < primary.len(),
        names => all.iter().any(|name| !names.iter().any(|counted| counted == name)),
    };
    let (member, facts) = primary.iter().find(|(_, facts)| alone(facts))?;
    let with = match facts.members.as_slice() {
        [] => format!("a cluster of {}", facts.size),
        names => format!("a cluster of {}", names.join(", ")),
    };
    let all: Vec<&str> = all.into_iter().collect();
    Some(format!("{} sees {with}, but {} call themselves part of it", member.name, all.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::{
        inside::member::status::MemberStatus,
        labels::{READER, WRITER},
    };

    fn galera(component: &str, state: &str, size: u32, uuid: &str) -> MemberStatus {
        let facts = GaleraFacts {
            cluster_uuid: uuid.into(),
            seqno: 7,
            size,
            component: component.into(),
            state: state.into(),
            ready: component == "Primary",
            members: Vec::new(),
        };
        MemberStatus { state: State::Synced, has_data: true, galera: Some(facts), ..MemberStatus::default() }
    }

    fn synced(number: usize) -> Seen {
        seen(number, Some(galera("Primary", "Synced", 3, "u")))
    }

    fn donor(number: usize) -> Seen {
        seen(number, Some(galera("Primary", "Donor/Desynced", 3, "u")))
    }

    fn joining(number: usize) -> Seen {
        seen(number, Some(galera("Primary", "Joined", 3, "u")))
    }

    fn cut_off(number: usize) -> Seen {
        seen(number, Some(galera("non-Primary", "Initialized", 1, "u")))
    }

    fn silent(number: usize) -> Seen {
        seen(number, None)
    }

    fn writer(member: Seen) -> Seen {
        with_role(WRITER, member)
    }

    fn reader(member: Seen) -> Seen {
        with_role(READER, member)
    }

    fn made(members: &[Seen]) -> Decision {
        after(members, Duration::ZERO)
    }

    fn after(members: &[Seen], apart: Duration) -> Decision {
        decide(&View { apart, ..view(members, true) })
    }

    /// Synced, in a component of these.
    fn with(number: usize, others: &[usize]) -> Seen {
        let mut status = galera("Primary", "Synced", u32::try_from(others.len()).expect("few"), "u");
        let members = others.iter().map(|number| format!("db-{number}")).collect();
        status.galera = status.galera.map(|facts| GaleraFacts { members, ..facts });
        seen(number, Some(status))
    }

    fn faint(number: usize) -> Seen {
        Seen { answer: Answer::Faint, ..silent(number) }
    }

    fn unresponsive(number: usize) -> Seen {
        seen(number, Some(MemberStatus { state: State::Unresponsive, has_data: true, ..MemberStatus::default() }))
    }

    #[test]
    fn the_writer_for_every_situation() {
        let stopping = {
            let status = MemberStatus { state: State::Stopping, ..galera("Primary", "Synced", 3, "u") };
            seen(0, Some(status))
        };
        type Row = (&'static str, Vec<Seen>, Option<&'static str>, &'static [&'static str]);
        let table: [Row; 14] = [
            ("a new cluster", vec![synced(0), synced(1), synced(2)], Some("db-0"), &["db-0", "db-1", "db-2"]),
            ("the first is not done", vec![joining(0), synced(1), synced(2)], Some("db-1"), &["db-1", "db-2"]),
            (
                "healthy",
                vec![reader(synced(0)), writer(synced(1)), reader(synced(2))],
                Some("db-1"),
                &["db-0", "db-1", "db-2"],
            ),
            (
                "the writer gives a copy",
                vec![reader(synced(0)), writer(donor(1)), reader(joining(2))],
                Some("db-1"),
                &["db-0", "db-1"],
            ),
            (
                "the writer is silent",
                vec![writer(silent(0)), reader(synced(1)), reader(synced(2))],
                Some("db-1"),
                &["db-1", "db-2"],
            ),
            (
                "the writer stops",
                vec![writer(stopping), reader(synced(1)), reader(synced(2))],
                Some("db-1"),
                &["db-1", "db-2"],
            ),
            (
                "the writer is cut off",
                vec![writer(cut_off(0)), reader(synced(1)), reader(synced(2))],
                Some("db-1"),
                &["db-1", "db-2"],
            ),
            (
                "it does not flap back",
                vec![reader(synced(0)), writer(synced(1)), reader(synced(2))],
                Some("db-1"),
                &["db-0", "db-1", "db-2"],
            ),
            (
                "synced before a donor",
                vec![writer(silent(0)), reader(donor(1)), reader(synced(2))],
                Some("db-2"),
                &["db-1", "db-2"],
            ),
            (
                "a donor before nobody",
                vec![writer(silent(0)), reader(donor(1)), reader(joining(2))],
                Some("db-1"),
                &["db-1"],
            ),
            ("the writer's pod is gone", vec![reader(synced(1)), reader(synced(2))], Some("db-1"), &["db-1", "db-2"]),
            ("nobody serves", vec![writer(silent(0)), reader(cut_off(1)), reader(joining(2))], None, &[]),
            ("nobody is there", vec![], None, &[]),
            (
                "two have the label",
                vec![writer(silent(0)), writer(synced(1)), writer(synced(2))],
                Some("db-1"),
                &["db-1", "db-2"],
            ),
        ];
        for (case, members, wanted, reads) in table {
            let decision = made(&members);
            assert_eq!((decision.writer.as_deref(), &decision.reads), (wanted, &set(reads)), "{case}: {decision:?}");
            assert_eq!(wanted.is_none(), matches!(decision.outlook, Outlook::Waits(_)) && members.len() != 2, "{case}");
            assert!(decision.orders.is_empty(), "{case}");
        }
    }

    #[test]
    fn while_nobody_serves_the_writer_keeps_its_label_and_nobody_may_be_read() {
        let members = [writer(silent(0)), reader(cut_off(1)), reader(silent(2))];
        let decision = made(&members);
        let labels: Vec<_> = members.iter().map(|member| decision.labels_of(member)).collect();
        let role = |role: &str| Some(role.to_owned());
        assert_eq!(labels, [(role(WRITER), false), (role(READER), false), (role(READER), false)]);
    }

    #[test]
    fn two_clusters_are_an_alarm_and_nothing_moves() {
        let stranger = reader(seen(2, Some(galera("Primary", "Synced", 1, "other"))));
        let decision = made(&[writer(silent(0)), reader(seen(1, Some(galera("Primary", "Synced", 1, "u")))), stranger]);
        assert!(matches!(&decision.outlook, Outlook::Refused(why) if why.contains("db-1 and db-2")), "{decision:?}");
        assert_eq!(decision.writer, None);
    }

    #[test]
    fn two_components_that_do_not_see_each_other_move_nothing_and_a_person_is_told_when_it_lasts() {
        let alone = |number| seen(number, Some(galera("Primary", "Synced", 1, "u")));
        let named = |number| with(number, &[number]);
        for one in [alone, named] {
            let members = [writer(silent(0)), reader(one(1)), reader(one(2))];
            assert!(super::apart(&members).is_some());
            for (apart, refused) in [(Duration::ZERO, false), (APART / 2, false), (APART, true)] {
                let decision = after(&members, apart);
                let (Outlook::Waits(why) | Outlook::Refused(why)) = &decision.outlook else { panic!("{decision:?}") };
                assert!(why.starts_with("db-1 sees a cluster of ") && why.contains("db-1, db-2 call"), "{why}");
                assert_eq!(matches!(decision.outlook, Outlook::Refused(_)), refused, "{decision:?}");
                assert_eq!(decision.writer, None);
            }
        }
        let pair = |number| seen(number, Some(galera("Primary", "Synced", 2, "u")));
        for pair in [pair, |number| with(number, &[1, 2])] {
            let members = [writer(silent(0)), reader(pair(1)), reader(pair(2))];
            assert_eq!(super::apart(&members), None);
            assert_eq!(made(&members).writer.as_deref(), Some("db-1"));
        }
        // Two pairs of four: their number alone would not show it.
        let halves = [with(0, &[0, 1]), with(1, &[0, 1]), with(2, &[2, 3]), with(3, &[2, 3])];
        assert!(super::apart(&halves).is_some());
    }

    #[test]
    fn who_is_not_heard_for_a_moment_keeps_the_role_while_another_one_counts_it_in() {
        let (all, rest) = ([0, 1, 2], [1, 2]);
        let others = |counted: &[usize]| [reader(with(1, counted)), reader(with(2, counted))];
        for unheard in [faint, unresponsive] {
            let members = [vec![writer(unheard(0))], others(&all).to_vec()].concat();
            let decision = made(&members);
            assert!(matches!(&decision.outlook, Outlook::Waits(why) if why.contains("db-0")), "{decision:?}");
            assert!(members.iter().all(|m| decision.labels_of(m) == (m.role.clone(), m.reads)), "{decision:?}");
            let moved = made(&[vec![writer(unheard(0))], others(&rest).to_vec()].concat());
            assert_eq!((moved.writer.as_deref(), moved.reads), (Some("db-1"), set(&["db-1", "db-2"])));
            // Those who say nothing of the others are no witnesses, nor is one that has lost them itself.
            let witnesses = [writer(unheard(0)), reader(synced(1)), reader(cut_off(2))];
            assert_eq!(made(&witnesses).writer.as_deref(), Some("db-1"));
        }
        // Twice not reached, or its own word: nobody else is asked.
        for lost in [silent(0), cut_off(0), joining(0)] {
            let members = [vec![writer(lost)], others(&all).to_vec()].concat();
            assert_eq!(made(&members).writer.as_deref(), Some("db-1"));
        }
    }

    #[test]
    fn another_member_takes_writes_when_a_person_asks_for_it_and_it_is_synced() {
        let ask = |members: &[Seen], to: Option<&str>| {
            let request = super::super::Request {
                id: "1".into(),
                to: to.map(str::to_owned),
                from: Some("db-0".into()),
                ..super::super::Request::default()
            };
            let decision = decide(&View { request: Some(&request), ..view(members, true) });
            (decision.writer.expect("a writer"), decision.answer.expect("an answer").1)
        };
        let whole = [writer(synced(0)), reader(synced(1)), reader(synced(2))];
        assert_eq!(ask(&whole, Some("db-2")), ("db-2".into(), Ok("db-2 takes writes".into())));
        assert_eq!(ask(&whole, None).0, "db-1");
        assert!(ask(&whole, Some("db-0")).1.is_ok());
        let moved = [reader(synced(0)), writer(synced(1)), reader(synced(2))];
        assert_eq!(ask(&moved, None), ("db-1".into(), Ok("db-1 takes writes".into())), "once is enough");
        let (stays, refused) = ask(&[writer(synced(0)), reader(joining(1)), reader(silent(2))], Some("db-1"));
        assert!(stays == "db-0" && refused.is_err(), "{refused:?}");
    }

    #[test]
    fn the_reason_says_what_became_of_the_writer_before() {
        let decision = made(&[writer(silent(0)), reader(synced(1)), reader(synced(2))]);
        assert_eq!(decision.why, "db-0: does not answer; db-1 is synced");
        assert_eq!(made(&[synced(0), synced(1), synced(2)]).why, "nobody had the role; db-0 is synced");
    }
}
