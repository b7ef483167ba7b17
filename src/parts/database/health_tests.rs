//! Tests of [`super`]: members and records as data, and what is wrong with them.

use super::*;
use crate::inside::member::status::{GaleraFacts, MemberStatus, State};

pub(crate) fn source() -> ServerFacts {
    ServerFacts { semi_sync: true, ..ServerFacts::default() }
}

pub(crate) fn replica(lag: Option<u64>) -> ServerFacts {
    let source_host = Some("db-0".to_owned());
    ServerFacts {
        super_read_only: true,
        source_host,
        io_running: true,
        sql_running: true,
        lag_seconds: lag,
        ..source()
    }
}

pub(crate) fn member(name: &str, role: &str, server: ServerFacts) -> Member {
    let status = MemberStatus { name: name.into(), server: Some(server), ..MemberStatus::default() };
    let role = (!role.is_empty()).then(|| role.to_owned());
    Member { name: name.into(), node: None, role, reads: true, pod_waits: None, status: Some(status) }
}

/// Member `db-NUMBER` of topology `replication`, whose server answers or does not.
pub(crate) fn serving(number: usize, role: &str, serves: bool) -> Member {
    let server = if role == WRITER { source() } else { replica(None) };
    let mut member = member(&format!("db-{number}"), role, server);
    let status = member.status.as_mut().expect("a status");
    status.server = status.server.take().filter(|_| serves);
    member
}

/// A member of a Galera cluster of this size, with this history.
pub(crate) fn synced(name: &str, role: &str, size: u32, uuid: &str) -> Member {
    let facts = GaleraFacts {
        cluster_uuid: uuid.into(),
        seqno: 7,
        size,
        component: "Primary".into(),
        state: "Synced".into(),
        ready: true,
        members: Vec::new(),
    };
    let status = MemberStatus { name: name.into(), galera: Some(facts), ..MemberStatus::default() };
    Member { status: Some(status), ..member(name, role, source()) }
}

/// The same, doing something else.
fn doing(state: &str, mut member: Member) -> Member {
    member.status.as_mut().and_then(|status| status.galera.as_mut()).expect("of a cluster").state = state.into();
    member
}

pub(crate) fn record(writer: &str) -> Roles {
    Roles {
        writer: writer.into(),
        since: "2026-01-01T00:00:00Z".into(),
        why: "db-0: does not answer; db-1 is synced".into(),
        leader: "agent-x".into(),
        ..Roles::default()
    }
}

fn sentences(wrong: Vec<Wrong>) -> Vec<String> {
    wrong.iter().map(Wrong::to_string).collect()
}

/// Every way in which two members of topology `replication` can be beside what they should be, with what is told of it.
fn pairs() -> Vec<(Vec<Member>, Vec<&'static str>)> {
    let (writer, reader) = (member("db-0", "writer", source()), member("db-1", "reader", replica(Some(0))));
    let beside = |other: Member| vec![writer.clone(), other];
    let unready = Member { pod_waits: Some("no node".into()), ..reader.clone() };
    let silent = Member { status: None, ..reader.clone() };
    let stopping = {
        let mut stopping = reader.clone();
        stopping.status.as_mut().expect("a status").state = State::Stopping;
        stopping
    };
    vec![
        (beside(reader.clone()), vec![]),
        (beside(unready), vec!["db-1: no node"]),
        (beside(silent), vec!["db-1: its supervisor does not answer"]),
        (beside(stopping), vec!["db-1: stopping"]),
        (beside(Member { reads: false, ..reader.clone() }), vec!["db-1: is not among those who may be read from"]),
        (beside(Member { role: None, ..reader.clone() }), vec!["db-1: has no role yet"]),
        (beside(Member { role: Some("guest".into()), ..reader.clone() }), vec!["db-1: has no role yet"]),
        (beside(member("db-1", "", source())), vec!["db-1: is open for writes without the role of the writer"]),
        (beside(member("db-1", "reader", source())), vec!["db-1: is open for writes without the role of the writer"]),
        (beside(member("db-1", "writer", source())), vec!["db-0 and db-1 have the role of the writer"]),
        (
            vec![member("db-0", "writer", replica(None)), reader.clone()],
            vec!["db-0: has the role of the writer but is not open for writes"],
        ),
        (
            vec![member("db-0", "", replica(None)), Member { reads: false, ..reader.clone() }],
            vec!["db-0: has no role yet", "db-1: is not among those who may be read from"],
        ),
        (vec![member("db-0", "reader", replica(None)), reader.clone()], vec!["no member has the role of the writer"]),
        (vec![writer.clone()], vec!["1 of 2 members exist"]),
        (vec![], vec!["0 of 2 members exist"]),
    ]
}

/// Every way in which the agent can be beside what it should be.
fn records() -> Vec<(Record, Option<&'static str>)> {
    let gone = |last| Record::Unkept { why: "agent-x, which led last: it ends".into(), last };
    let refused = Roles { refused: "two are open".into(), ..record("db-0") };
    vec![
        (Record::Kept(record("db-0")), None),
        (gone(None), Some("agent-x, which led last: it ends")),
        (gone(Some(record("db-0"))), Some("agent-x, which led last: it ends")),
        // What it refused may have passed since.
        (gone(Some(refused.clone())), Some("agent-x, which led last: it ends")),
        (Record::Kept(Roles { waits: "db-1 is being opened".into(), ..record("db-0") }), Some("db-1 is being opened")),
        (Record::Kept(refused), Some("two are open")),
    ]
}

#[test]
fn everything_that_is_wrong_with_either_half_is_told_and_nothing_else() {
    for (members, of_members) in pairs() {
        assert_eq!(super::of_members(&members, 2).err().map(sentences).unwrap_or_default(), of_members, "{members:?}");
        for (record, of_record) in records() {
            let seen = health(&members, 2, &record);
            let wanted: Vec<&str> = of_record.into_iter().chain(of_members.iter().copied()).collect();
            match seen {
                Ok(writer) => assert!(wanted.is_empty() && writer == "db-0", "{members:?} {record:?}"),
                Err(wrong) => assert_eq!(sentences(wrong), wanted, "{members:?} {record:?}"),
            }
        }
    }
}

#[test]
fn what_is_written_down_must_be_what_the_labels_say() {
    let members = [member("db-0", "writer", source()), member("db-1", "reader", replica(Some(0)))];
    let wrong = health(&members, 2, &Record::Kept(record("db-1"))).expect_err("another one");
    assert_eq!(sentences(wrong), [r#"db-0 is the writer, but the agent has written down "db-1""#]);
    assert!(health(&members, 2, &Record::Kept(record(""))).is_err(), "nobody has been written down");
    assert_eq!(of_roles(&Record::Kept(record("db-0")), "db-0"), Ok(&record("db-0")));
    assert!(matches!(of_roles(&Record::Kept(record("db-0")), "db-1"), Err(Wrong::Unwritten { .. })));
}

#[test]
fn more_members_than_are_wanted_are_no_harm() {
    let members = [member("db-0", "writer", source()), member("db-1", "reader", replica(None))];
    assert_eq!(health(&members, 1, &Record::Kept(record("db-0"))), Ok("db-0"));
}

#[test]
fn a_galera_cluster_is_one_and_consists_of_all_members() {
    let (one, two) = (synced("db-0", "writer", 2, "u"), synced("db-1", "reader", 2, "u"));
    let seen = |other: Member| {
        let members = [one.clone(), other];
        super::of_members(&members, 2).map(|writer| writer.name.clone()).map_err(|wrong| sentences(wrong).join("; "))
    };
    let wrong = |text: &str| Err(text.to_owned());
    assert_eq!(seen(two.clone()), Ok("db-0".into()));
    assert_eq!(seen(synced("db-1", "reader", 1, "u")), wrong("db-1 sees a cluster of 1"));
    assert_eq!(seen(synced("db-1", "reader", 2, "v")), wrong("db-0 and db-1 are of two different clusters"));
    assert_eq!(seen(doing("Donor/Desynced", two.clone())), wrong("db-1 is donor/desynced"));
    assert_eq!(seen(doing("Joined", two.clone())), wrong("db-1: starting"));
    assert_eq!(seen(member("db-1", "reader", replica(None))), wrong("db-1 says nothing about its cluster"));
    assert_eq!(seen(Member { reads: false, ..two.clone() }), wrong("db-1: is not among those who may be read from"));
    // Every member is open, so only the labels tell who is the writer.
    assert_eq!(seen(Member { role: Some("writer".into()), ..two }), wrong("db-0 and db-1 have the role of the writer"));
}

#[test]
fn a_lag_is_known_of_replicas_only() {
    let lag = |server| member("db-0", "reader", server).lag();
    assert_eq!((lag(source()), lag(replica(Some(3))), lag(replica(None))), (None, Some(3), None));
    assert_eq!(Member { status: None, ..member("db-0", "reader", replica(Some(3))) }.lag(), None);
}
