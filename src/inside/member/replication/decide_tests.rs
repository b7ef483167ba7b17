//! What a member of topology `replication` does next, in every situation that it can be in.

use std::sync::LazyLock;

use super::*;
use crate::inside::member::mandate::Term;

const ME: &str = "uuid-me";

fn facts() -> ServerFacts {
    ServerFacts { server_uuid: ME.into(), super_read_only: true, ..ServerFacts::default() }
}

fn following() -> ServerFacts {
    ServerFacts { source_host: Some("db-0.db-members".into()), io_running: true, sql_running: true, ..facts() }
}

fn peer(number: u32, state: State, server: Option<ServerFacts>) -> Peer {
    let status =
        MemberStatus { name: format!("db-{number}"), state, has_data: true, server, ..MemberStatus::default() };
    Peer { name: status.name.clone(), host: format!("db-{number}.db-members"), status: Some(status) }
}

fn silent(number: u32) -> Peer {
    Peer { name: format!("db-{number}"), host: format!("db-{number}.db-members"), status: None }
}

fn source(number: u32) -> Peer {
    newer(source_of_before(number), 5)
}

fn source_of_before(number: u32) -> Peer {
    peer(number, State::Source, Some(ServerFacts { super_read_only: false, semi_sync: true, ..facts() }))
}

fn in_line(number: u64) -> Line {
    Line { term: Term { number, by: "a".into() }, base: String::new() }
}

fn in_term(number: u64, part: Part) -> Mandate {
    Mandate { term: Term { number, by: "a".into() }, part, version: 1, line: in_line(number) }
}

fn follows(source: usize) -> &'static Mandate {
    static ORDERS: LazyLock<[Mandate; 3]> =
        LazyLock::new(|| [0, 1, 2].map(|number| in_term(5, Part::Follows(format!("db-{number}")))));
    &ORDERS[source]
}

fn newer(mut peer: Peer, number: u64) -> Peer {
    peer.status.as_mut().expect("a status").mandate = Some(in_term(number, Part::Source));
    peer
}

fn seen<'a>(data: Data, server: Option<&'a ServerFacts>, peers: &'a [Peer]) -> Observed<'a> {
    let mandate = Some(follows(0));
    Observed { bootstraps: false, lab_initialised: true, data, first: None, mandate, server, peers }
}

#[test]
fn only_the_first_member_of_a_lab_without_data_creates_it() {
    let alone = [silent(1), silent(2)];
    let first = |lab_initialised, peers: &[Peer]| {
        decide(&Observed { bootstraps: true, lab_initialised, mandate: None, ..seen(Data::Empty, None, peers) })
    };
    assert_eq!(first(false, &alone), Action::Bootstrap);
    assert_eq!(first(true, &alone), Action::Prepare);
    assert_eq!(first(false, &[source(1), silent(2)]), Action::Prepare, "the record may be gone, the data is not");
    assert_eq!(decide(&Observed { lab_initialised: false, ..seen(Data::Empty, None, &alone) }), Action::Prepare);
    let told = Observed { bootstraps: true, lab_initialised: false, ..seen(Data::Empty, None, &alone) };
    assert_eq!(decide(&told), Action::Prepare, "whoever has had an order is in no new lab");
}

#[test]
fn an_empty_member_prepares_starts_and_copies_from_the_source_only() {
    let server = facts();
    let current = |peer| newer(peer, 5);
    assert_eq!(decide(&seen(Data::Interrupted, None, &[source(0)])), Action::Prepare);
    assert_eq!(decide(&seen(Data::Fresh, None, &[source(0)])), Action::Start);
    let copies = |peers: &[Peer]| decide(&seen(Data::Fresh, Some(&server), peers));
    let from = Action::Clone { donor: "db-0.db-members".into(), line: in_line(5) };
    assert_eq!(copies(&[current(source(0)), current(peer(2, State::Replica, None))]), from);
    let replicas = [peer(0, State::Connecting, None), peer(2, State::Replica, None)].map(current);
    assert!(matches!(copies(&replicas), Action::Wait(_)), "a replica may lack something");
    assert!(matches!(copies(&[current(peer(0, State::Waiting, None)), silent(2)]), Action::Wait(_)));
    assert!(
        matches!(copies(&[source_of_before(0)]), Action::Wait(_)),
        "it does not know the term that this member obeys"
    );
    let source = [source(0)];
    let unasked = Observed { mandate: None, ..seen(Data::Fresh, Some(&server), &source) };
    assert!(matches!(decide(&unasked), Action::Wait(_)), "the agent says whom to copy");
}

#[test]
fn a_member_of_a_new_lab_begins_with_the_source_only_if_nothing_can_differ() {
    let open = |recipe: &str, purged: Option<&str>| {
        let server = ServerFacts {
            super_read_only: false,
            semi_sync: true,
            gtid_executed: "other:1-9".into(),
            gtid_purged: purged.map(str::to_owned),
            ..facts()
        };
        let mut peer = newer(peer(0, State::Source, Some(server)), 5);
        peer.status.as_mut().expect("a status").recipe = recipe.to_owned();
        [peer, silent(2)]
    };
    let own = facts();
    let with = |first: Option<&str>, server: &ServerFacts, peers: &[Peer]| {
        decide(&Observed { first, ..seen(Data::Fresh, Some(server), peers) })
    };
    let copies = Action::Clone { donor: "db-0.db-members".into(), line: in_line(5) };
    let line = in_line(5);
    let adopts = Action::Adopt { source: "db-0.db-members".into(), line };
    assert_eq!(with(Some("r"), &own, &open("r", Some(""))), adopts);
    let gtids = ServerFacts { gtid_executed: "me:1".into(), ..own.clone() };
    let of_another = ServerFacts { source_host: Some("db".into()), ..own.clone() };
    let table = [
        ("the lab has had data", None, own.clone(), open("r", Some(""))),
        ("nobody knows how this one was made", Some(""), own.clone(), open("", Some(""))),
        ("the source was made otherwise", Some("r"), own.clone(), open("s", Some(""))),
        ("the source is a copy", Some("r"), own.clone(), open("", Some(""))),
        ("the source has thrown logs away", Some("r"), own.clone(), open("r", Some("other:1-2"))),
        ("the source does not say", Some("r"), own.clone(), open("r", None)),
        ("this one is not empty", Some("r"), gtids, open("r", Some(""))),
        ("this one follows somebody", Some("r"), of_another, open("r", Some(""))),
    ];
    for (case, first, server, peers) in table {
        assert_eq!(with(first, &server, &peers), copies, "{case}");
    }
    let shut = {
        let mut peers = open("r", Some(""));
        peers[0].status.as_mut().expect("a status").state = State::Waiting;
        peers
    };
    assert!(matches!(with(Some("r"), &own, &shut), Action::Wait(_)), "only an open one has begun the lab");
}

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn at(numbers: &str, server: ServerFacts) -> ServerFacts {
    ServerFacts { gtid_executed: format!("{A}:{numbers}"), ..server }
}

fn source_at(number: u32, numbers: &str) -> Peer {
    let server = ServerFacts { super_read_only: false, semi_sync: true, ..at(numbers, facts()) };
    newer(peer(number, State::Source, Some(server)), 5)
}

#[test]
fn a_replica_follows_whom_it_is_told_to_and_then_is_left_alone() {
    let connecting = ServerFacts { io_running: false, io_connecting: true, ..following() };
    let line = in_line(5);
    let follow = Action::Follow { source: "db-0.db-members".into(), line };
    let table = [
        (facts(), vec![silent(0)], Action::Wait("db-0 does not say that it is the source".into())),
        (facts(), vec![source_of_before(0)], Action::Wait("db-0 does not say that it is the source".into())),
        (facts(), vec![source(0)], follow.clone()),
        (following(), vec![source(0)], Action::Be(State::Replica)),
        (following(), vec![silent(0)], Action::Be(State::Replica)),
        (connecting, vec![silent(0)], Action::Be(State::Connecting)),
        (ServerFacts { io_running: false, sql_running: false, ..following() }, vec![silent(0)], Action::Resume),
        (ServerFacts { io_running: false, ..following() }, vec![source(0)], Action::Resume),
        (ServerFacts { sql_running: false, sql_errno: 13121, ..following() }, vec![source(0)], follow),
    ];
    for (server, peers, wanted) in table {
        assert_eq!(decide(&seen(Data::Present, Some(&server), &peers)), wanted, "{server:?}");
    }
    let damaged = ServerFacts { sql_running: false, sql_errno: 13121, ..following() };
    let stays = decide(&seen(Data::Present, Some(&damaged), &[silent(0)]));
    assert!(matches!(stays, Action::Stay(_)), "what it was sent may be nowhere else: {stays:?}");
}

#[test]
fn whoever_changes_the_source_has_applied_what_it_was_sent_and_alone_has_nothing() {
    let peers = [source_at(1, "1-9"), silent(0)];
    let with = |server: &ServerFacts| {
        decide(&Observed { mandate: Some(follows(1)), ..seen(Data::Present, Some(server), &peers) })
    };
    assert_eq!(with(&at("1-9", following())), Action::Drain, "it still fetches from the one of before");
    let rests = ServerFacts { io_running: false, gtid_retrieved: format!("{A}:1-9"), ..following() };
    assert!(matches!(with(&at("1-8", rests.clone())), Action::Wait(_)), "it applies");
    let stopped = ServerFacts { sql_running: false, ..rests.clone() };
    assert_eq!(with(&at("1-8", stopped.clone())), Action::Drain, "it is to apply");
    let failed = ServerFacts { sql_errno: 1062, ..stopped };
    assert!(matches!(with(&at("1-8", failed)), Action::Stay(_)));
    let line = in_line(5);
    assert_eq!(with(&at("1-9", rests.clone())), Action::Follow { source: "db-1.db-members".into(), line });
    let more = with(&at("1-10", rests));
    assert!(matches!(&more, Action::Differ { diverged, .. } if *diverged == format!("{A}:10")), "{more:?}");
}

#[test]
fn whoever_follows_the_same_one_in_a_newer_term_is_compared_again() {
    let newer = in_term(6, Part::Follows("db-0".into()));
    let before = Mandate { line: in_line(5), ..newer };
    let source = {
        let mut source = source_at(0, "1-9");
        source.status.as_mut().expect("a status").mandate = Some(in_term(6, Part::Source));
        [source]
    };
    let with = |server: &ServerFacts| {
        decide(&Observed { mandate: Some(&before), ..seen(Data::Present, Some(server), &source) })
    };
    assert_eq!(with(&at("1-9", following())), Action::Drain);
    let rests = ServerFacts { io_running: false, ..following() };
    assert!(matches!(with(&at("1-9", rests.clone())), Action::Follow { line, .. } if line.term.number == 6));
    assert!(matches!(with(&at("1-10", rests)), Action::Differ { .. }));
}

#[test]
fn a_replica_that_cannot_catch_up_says_whether_something_would_be_lost_by_a_copy() {
    let lost = ServerFacts { io_running: false, io_errno: 13114, ..following() };
    let with = |own: &str, peers: &[Peer]| decide(&seen(Data::Present, Some(&at(own, lost.clone())), peers));
    assert!(matches!(with("1-5", &[source_at(0, "1-9")]), Action::Differ { diverged, .. } if diverged.is_empty()));
    assert!(matches!(with("1-10", &[source_at(0, "1-9")]), Action::Differ { diverged, .. } if !diverged.is_empty()));
    assert!(matches!(with("1-5", &[silent(0)]), Action::Wait(_)));
    let differs = ServerFacts { sql_running: false, sql_errno: 1062, ..following() };
    assert!(matches!(decide(&seen(Data::Present, Some(&differs), &[source(0)])), Action::Stay(_)));
}

#[test]
fn a_member_opens_nothing_by_itself_and_ends_what_is_open_without_right() {
    let with = |mandate: Option<Mandate>, server: ServerFacts, peers: &[Peer]| {
        decide(&Observed { mandate: mandate.as_ref(), ..seen(Data::Present, Some(&server), peers) })
    };
    let open = || ServerFacts { super_read_only: false, semi_sync: true, ..facts() };
    let source_of = |number| Some(in_term(number, Part::Source));
    assert_eq!(with(None, facts(), &[]), Action::Wait("for the agent's first order".into()));
    assert_eq!(with(source_of(5), facts(), &[]), Action::Wait("for the agent to open it".into()));
    assert_eq!(with(source_of(5), open(), &[silent(1)]), Action::Be(State::Source));
    assert_eq!(with(source_of(5), open(), &[newer(peer(1, State::Replica, None), 5)]), Action::Be(State::Source));
    let deposed = with(source_of(5), open(), &[newer(peer(1, State::Waiting, None), 6)]);
    assert!(matches!(deposed, Action::Fence(_)), "others have gone on: {deposed:?}");
    for part in [Part::Revoked, Part::Closed, Part::Follows("db-1".into())] {
        let action = with(Some(in_term(6, part.clone())), open(), &[]);
        assert!(matches!(action, Action::Fence(_)), "{part:?}: {action:?}");
    }
}

#[test]
fn whoever_is_to_fetch_nothing_applies_what_it_has_and_waits() {
    let revoked = in_term(6, Part::Revoked);
    let with =
        |server: &ServerFacts| decide(&Observed { mandate: Some(&revoked), ..seen(Data::Present, Some(server), &[]) });
    assert_eq!(with(&following()), Action::Drain);
    let rests = ServerFacts { io_running: false, ..following() };
    assert!(matches!(with(&rests), Action::Wait(_)));
    assert_eq!(with(&ServerFacts { sql_running: false, ..rests }), Action::Drain, "after a restart");
    assert!(matches!(with(&facts()), Action::Wait(_)), "it followed nobody");
}
