//! Topology `galera`: every synced member could take writes, so the role is only a home for them. It stays where it is as
//! long as that member serves, moves at once when it does not, and does not move back.

use super::{Decision, Outlook, Seen, View, names};
use crate::inside::member::status::GaleraFacts;

pub(super) fn decide(view: &View<'_>) -> Decision {
    let reads = names(view.members, Seen::serves);
    let writer = view.members.iter().find(|member| member.writes());
    let primary: Vec<(&Seen, &GaleraFacts)> = view.members.iter().filter_map(|m| Some((m, primary(m)?))).collect();
    if let Some(alarm) = two_histories(&primary) {
        return Decision::keep(reads, Outlook::Refused(alarm));
    }
    if let Some(doubt) = not_all_seen(&primary) {
        // Also seen for a moment while somebody joins, because members do not report a new view at the same instant.
        return Decision::keep(reads, Outlook::Waits(doubt));
    }
    let serving = |member: &&Seen| member.serves();
    let synced = |member: &&Seen| member.serves() && primary_synced(member);
    let (chosen, why) = match view.members.iter().filter(|member| member.writes()).find(serving) {
        // Of several with the label only one keeps it.
        Some(writer) => (writer, format!("{} is {}", writer.name, state(writer))),
        None => match view.members.iter().find(synced).or_else(|| view.members.iter().find(serving)) {
            Some(next) => {
                let before = writer.map_or_else(|| "nobody had the role".to_owned(), Seen::trouble);
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
    Decision {
        writer: Some(chosen.name.clone()),
        reads,
        open: None,
        exists: true,
        why,
        outlook: if view.members.len() < view.wanted {
            Outlook::Waits(format!("{} of {} members exist", view.members.len(), view.wanted))
        } else {
            Outlook::Settled
        },
    }
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

/// A primary component that is smaller than the number of members that call themselves part of one.
fn not_all_seen(primary: &[(&Seen, &GaleraFacts)]) -> Option<String> {
    let (alone, facts) = primary.iter().find(|(_, facts)| (facts.size as usize) < primary.len())?;
    Some(format!(
        "{} sees a cluster of {}, but {} members call themselves primary",
        alone.name,
        facts.size,
        primary.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::{
        inside::member::status::{MemberStatus, State},
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
        decide(&View { members, wanted: 3, initialised: true })
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
            assert_eq!(decision.open, None, "{case}");
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
    fn two_components_that_do_not_see_each_other_move_nothing() {
        let alone = |number| seen(number, Some(galera("Primary", "Synced", 1, "u")));
        let decision = made(&[writer(silent(0)), reader(alone(1)), reader(alone(2))]);
        assert!(matches!(&decision.outlook, Outlook::Waits(why) if why.contains("a cluster of 1")), "{decision:?}");
        assert_eq!(decision.writer, None);
        let pair = |number| seen(number, Some(galera("Primary", "Synced", 2, "u")));
        assert_eq!(made(&[writer(silent(0)), reader(pair(1)), reader(pair(2))]).writer.as_deref(), Some("db-1"));
    }

    #[test]
    fn the_reason_says_what_became_of_the_writer_before() {
        let decision = made(&[writer(silent(0)), reader(synced(1)), reader(synced(2))]);
        assert_eq!(decision.why, "db-0: does not answer; db-1 is synced");
        assert_eq!(made(&[synced(0), synced(1), synced(2)]).why, "nobody had the role; db-0 is synced");
    }
}
