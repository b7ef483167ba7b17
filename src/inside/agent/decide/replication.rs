//! Topology `replication`: one member is open, the others follow it. Conservative: an open member stays, a former writer
//! comes first, and where data could be lost nobody is chosen.
//!
//! Members start shut and stay shut until they are opened from here. Only the former writer is, or the first member of a
//! new lab; promoting another one is for [`no_writer`] to add, with what the members say about their transactions.

use super::{Decision, Outlook, Seen, View, names};
use crate::{
    inside::member::status::{MemberStatus, ServerFacts, State},
    wire::gtid::GtidSet,
};

/// The member that creates the data of a new lab.
const FIRST: &str = "db-0";

pub(super) fn decide(view: &View<'_>) -> Decision {
    let reads =
        names(view.members, |member| member.serves() && server(member).is_some_and(ServerFacts::serves_as_replica));
    let pick = |pick: fn(&MemberStatus) -> bool| -> Vec<&Seen> {
        view.members.iter().filter(|member| member.status().is_some_and(pick)).collect()
    };
    let open = pick(|status| status.state == State::Source);
    let former = pick(|status| status.was_writer);
    let all = |members: &[&Seen]| members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(" and ");
    match (open.as_slice(), former.as_slice()) {
        ([one], _) => Decision {
            writer: Some(one.name.clone()),
            reads,
            open: None,
            exists: true,
            why: format!("{} is open for writes", one.name),
            outlook: Outlook::Settled,
        },
        ([_, _, ..], _) => {
            Decision::keep(reads, Outlook::Refused(format!("{} are open for writes at the same time", all(&open))))
        }
        ([], [_, _, ..]) => {
            Decision::keep(reads, Outlook::Refused(format!("{} each say that they were the writer", all(&former))))
        }
        ([], [one]) => {
            let why = format!("{} was the writer", one.name);
            giving(one, reads, why, may_reopen(one, view))
        }
        ([], []) => no_writer(view, reads),
    }
}

/// The role goes to this member, whose server is opened if it may be.
fn giving(member: &Seen, reads: std::collections::BTreeSet<String>, why: String, may: Open) -> Decision {
    let name = &member.name;
    let (open, outlook) = match may {
        Open::Yes => (Some(name.clone()), Outlook::Waits(format!("{name} is being opened for writes"))),
        Open::NotYet(reason) => (None, Outlook::Waits(reason)),
        Open::No(reason) => (None, Outlook::Refused(reason)),
    };
    Decision { writer: Some(name.clone()), reads, open, exists: false, why, outlook }
}

/// Nobody is open, and nobody who answers was the writer.
fn no_writer(view: &View<'_>, reads: std::collections::BTreeSet<String>) -> Decision {
    let waits = |reason: String| Decision::keep(reads.clone(), Outlook::Waits(reason));
    let refuses = |what: &str| Decision::keep(reads.clone(), Outlook::Refused(what.to_owned()));
    if let Some(silent) = view.members.iter().find(|member| member.status().is_none()) {
        // It may be the writer: nothing is decided without it.
        return waits(silent.trouble());
    }
    if view.members.len() < view.wanted {
        return waits(format!("{} of {} members exist", view.members.len(), view.wanted));
    }
    let with_data: Vec<&Seen> =
        view.members.iter().filter(|member| member.status().is_some_and(|status| status.has_data)).collect();
    match with_data.as_slice() {
        [] if view.initialised => refuses("no member has data any more"),
        _ if view.initialised => refuses("no member was the writer, so what it had last is lost"),
        [] => waits(view.members.iter().find(|member| member.name == FIRST).map_or(FIRST.to_owned(), Seen::trouble)),
        [only] if only.name == FIRST => match server(only) {
            Some(_) => giving(only, reads, format!("{FIRST} has made the data of a new lab"), Open::Yes),
            None => waits(only.trouble()),
        },
        _ => refuses("there is data, but no member was the writer"),
    }
}

/// Whether a member may be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Open {
    /// Nothing can be lost by it.
    Yes,
    /// Too little is known.
    NotYet(String),
    /// Somebody else has, or claims, the role, or has what this one has not.
    No(String),
}

/// Whether the former writer may be opened again: it and the members that are known make a majority; none of these is open
/// or has followed another server than this one; and it holds every transaction that one of them has, or has been sent.
/// A commit is acknowledged only when a replica was sent it, so with a majority nothing acknowledged is missing.
///
/// A member is known once its server has answered (then it says whom it followed) or when it has no data at all.
fn may_reopen(member: &Seen, view: &View<'_>) -> Open {
    let Some(own) = server(member) else { return Open::NotYet(member.trouble()) };
    let others = view.members.iter().filter(|other| other.name != member.name);
    let known: Vec<&Seen> = others
        .filter(|other| other.status().is_some_and(|status| status.server.is_some() || !status.has_data))
        .collect();
    let mut peers = Vec::new();
    for peer in &known {
        let Some((status, facts)) = peer.status().and_then(|s| Some((s, s.server.as_ref()?))) else { continue };
        if !status.has_data {
            continue;
        }
        if !facts.super_read_only {
            return Open::No(format!("{} is open for writes", peer.name));
        }
        if facts.source_uuid.as_deref().is_some_and(|uuid| !uuid.is_empty() && uuid != own.server_uuid) {
            return Open::No(format!("{} has followed another source since {} was the writer", peer.name, member.name));
        }
        peers.push((&peer.name, facts));
    }
    let (all, here) = (view.wanted.max(view.members.len()), known.len() + 1);
    if 2 * here <= all {
        return Open::NotYet(format!(
            "{} was the writer; only {here} of {all} members are known; a majority must say that nobody took over",
            member.name
        ));
    }
    for (name, facts) in peers {
        match holds(own, facts) {
            Ok(true) => {}
            Ok(false) => return Open::No(format!("{name} has transactions that {} has not", member.name)),
            Err(error) => return Open::NotYet(format!("cannot compare {name} with {}: {error:#}", member.name)),
        }
    }
    Open::Yes
}

/// Whether everything that the other has, or was sent, is here.
fn holds(own: &ServerFacts, other: &ServerFacts) -> anyhow::Result<bool> {
    let own = GtidSet::parse(&own.gtid_executed)?;
    let (executed, received) = (GtidSet::parse(&other.gtid_executed)?, GtidSet::parse(&other.gtid_retrieved)?);
    Ok(own.contains(&executed) && own.contains(&received))
}

fn server(member: &Seen) -> Option<&ServerFacts> {
    member.status()?.server.as_ref()
}

#[cfg(test)]
mod tests {
    use super::{super::testing::*, *};
    use crate::labels::{READER, WRITER};

    const ME: &str = "11111111-1111-1111-1111-111111111111";
    const OTHER: &str = "22222222-2222-2222-2222-222222222222";

    fn facts(gtids: &str) -> ServerFacts {
        ServerFacts {
            server_uuid: ME.into(),
            super_read_only: true,
            gtid_executed: gtids.replace("ME", ME).replace("OTHER", OTHER),
            ..ServerFacts::default()
        }
    }

    fn says(number: usize, state: State, has_data: bool, was_writer: bool, server: Option<ServerFacts>) -> Seen {
        seen(number, Some(MemberStatus { state, has_data, was_writer, server, ..MemberStatus::default() }))
    }

    fn empty(number: usize) -> Seen {
        says(number, State::Waiting, false, false, Some(facts("")))
    }

    fn shut(number: usize) -> Seen {
        says(number, State::Waiting, true, false, Some(facts("")))
    }

    fn follows(number: usize) -> Seen {
        replica(number, "ME:1-9", "", ME)
    }

    fn replica(number: usize, gtids: &str, received: &str, of: &str) -> Seen {
        let server = ServerFacts {
            server_uuid: format!("replica {number}"),
            source_host: Some("db".into()),
            source_uuid: Some(of.into()),
            io_running: true,
            sql_running: true,
            gtid_retrieved: received.replace("ME", ME),
            ..facts(gtids)
        };
        says(number, State::Replica, true, false, Some(server))
    }

    fn open(number: usize) -> Seen {
        let server = ServerFacts { super_read_only: false, semi_sync: true, ..facts("ME:1-9") };
        says(number, State::Source, true, true, Some(server))
    }

    fn former(number: usize) -> Seen {
        says(number, State::Waiting, true, true, Some(facts("ME:1-9")))
    }

    fn silent(number: usize) -> Seen {
        seen(number, None)
    }

    fn made(members: &[Seen], initialised: bool) -> Decision {
        decide(&View { members, wanted: 3, initialised, apart: std::time::Duration::ZERO })
    }

    #[test]
    fn the_writer_and_who_is_opened_for_every_situation() {
        type Row = (&'static str, Vec<Seen>, bool, Option<&'static str>, Option<&'static str>);
        let starting = says(1, State::Starting, true, true, None);
        let table: [Row; 9] = [
            ("a new lab", vec![shut(0), empty(1), empty(2)], false, Some("db-0"), Some("db-0")),
            ("healthy", vec![open(0), follows(1), follows(2)], true, Some("db-0"), None),
            ("another is open", vec![follows(0), open(1), silent(2)], true, Some("db-1"), None),
            ("killed before the record", vec![open(0), empty(1), empty(2)], false, Some("db-0"), None),
            ("restarted", vec![former(0), follows(1), follows(2)], true, Some("db-0"), Some("db-0")),
            ("restarted with one silent", vec![silent(0), former(1), follows(2)], true, Some("db-1"), Some("db-1")),
            ("killed in promotion", vec![former(0), empty(1), empty(2)], false, Some("db-0"), Some("db-0")),
            ("its server does not run yet", vec![follows(0), starting, follows(2)], true, Some("db-1"), None),
            ("alone, too little is known", vec![silent(0), former(1), silent(2)], true, Some("db-1"), None),
        ];
        for (case, members, initialised, writer, opens) in table {
            let decision = made(&members, initialised);
            assert_eq!((decision.writer.as_deref(), decision.open.as_deref()), (writer, opens), "{case}: {decision:?}");
            assert!(!matches!(decision.outlook, Outlook::Refused(_)), "{case}: {decision:?}");
        }
    }

    #[test]
    fn what_must_be_waited_for_changes_no_role() {
        let labelled = |member: Seen| with_role(WRITER, member);
        let waits: [(&str, Vec<Seen>, bool); 5] = [
            ("nobody yet", vec![], false),
            (
                "the first is not done",
                vec![says(0, State::Initialising, false, false, None), empty(1), empty(2)],
                false,
            ),
            ("one is not there", vec![shut(0), empty(1)], false),
            ("the writer may be the silent one", vec![labelled(silent(0)), follows(1), follows(2)], true),
            (
                "the first server does not run",
                vec![says(0, State::Starting, true, false, None), empty(1), empty(2)],
                false,
            ),
        ];
        for (case, members, initialised) in waits {
            let decision = made(&members, initialised);
            assert!(matches!(decision.outlook, Outlook::Waits(_)), "{case}: {decision:?}");
            assert!(members.iter().all(|m| decision.labels_of(m).0 == m.role), "{case}: {decision:?}");
            assert_eq!(decision.open, None, "{case}");
        }
    }

    #[test]
    fn what_needs_a_person_is_refused() {
        let refuses: [(&str, Vec<Seen>, bool); 8] = [
            ("two are open", vec![open(0), open(1), follows(2)], true),
            ("two claim it", vec![former(0), former(1), follows(2)], true),
            ("the writer's volume is gone", vec![empty(0), follows(1), follows(2)], true),
            ("all volumes are gone", vec![empty(0), empty(1), empty(2)], true),
            ("data of unknown origin", vec![empty(0), follows(1), follows(2)], false),
            ("somebody followed another", vec![former(0), replica(1, "", "", OTHER), follows(2)], true),
            ("somebody has more", vec![former(0), replica(1, "ME:1-10", "", ME), follows(2)], true),
            ("somebody was sent more", vec![former(0), replica(1, "ME:1-9", "ME:1-10", ME), follows(2)], true),
        ];
        for (case, members, initialised) in refuses {
            let decision = made(&members, initialised);
            assert!(matches!(decision.outlook, Outlook::Refused(_)), "{case}: {decision:?}");
            assert_eq!(decision.open, None, "{case}");
        }
    }

    #[test]
    fn replicas_that_serve_are_read_and_the_writer_is_not() {
        let connecting = {
            let server = ServerFacts { source_host: Some("db".into()), io_connecting: true, ..facts("ME:1-9") };
            says(2, State::Connecting, true, false, Some(server))
        };
        let members = [with_role(WRITER, open(0)), with_role(READER, follows(1)), with_role(READER, connecting)];
        let decision = made(&members, true);
        assert_eq!(decision.reads, set(&["db-1"]));
        assert_eq!(decision.labels_of(&members[2]), (Some(READER.to_owned()), false));
    }

    #[test]
    fn what_cannot_be_compared_is_waited_for() {
        let decision = made(&[former(0), replica(1, "nonsense", "", ME), follows(2)], true);
        assert!(matches!(&decision.outlook, Outlook::Waits(why) if why.contains("cannot compare")), "{decision:?}");
    }

    #[test]
    fn a_first_member_that_is_not_done_says_what_it_does() {
        let members = [says(0, State::Initialising, false, false, None), empty(1)];
        let decision =
            decide(&View { members: &members, wanted: 2, initialised: false, apart: std::time::Duration::ZERO });
        assert_eq!(decision.outlook, Outlook::Waits("db-0: initialising".into()));
    }
}
