//! Who is the source, and what members are told, in the situations that a lab of three can be in.

use super::{replication::decide, testing::*, *};
use crate::{
    inside::member::{
        mandate::{Line, Mandate, Part},
        status::{ServerFacts, State},
    },
    labels::READER,
};

/// The server of the source in most of these, and of another one.
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

fn in_line(number: u64) -> Line {
    Line { term: Term { number, by: "agent".into() }, base: String::new() }
}

fn says(number: usize, state: State, mandate: Option<(u64, Part)>, server: Option<ServerFacts>) -> Seen {
    let line = |number: u64| in_line(number.min(5));
    let mandate = mandate.map(|(number, part)| Mandate {
        term: Term { number, by: "agent".into() },
        part,
        version: 1,
        line: line(number),
    });
    seen(number, Some(MemberStatus { state, has_data: true, mandate, server, ..MemberStatus::default() }))
}

fn changed(mut member: Seen, change: impl FnOnce(&mut MemberStatus)) -> Seen {
    if let Answer::Says(status) = &mut member.answer {
        change(status);
    }
    member
}

fn empty(number: usize) -> Seen {
    changed(says(number, State::Waiting, None, Some(facts(""))), |status| status.has_data = false)
}

/// Has the data of a new lab, and no order.
fn made(number: usize) -> Seen {
    says(number, State::Waiting, None, Some(facts("")))
}

fn open(number: usize) -> Seen {
    let server = ServerFacts { super_read_only: false, semi_sync: true, clients: 2, acks: Some(1), ..facts("ME:1-9") };
    says(number, State::Source, Some((5, Part::Source)), Some(server))
}

/// The source of term 5, started again.
fn shut(number: usize) -> Seen {
    says(number, State::Waiting, Some((5, Part::Source)), Some(facts("ME:1-9")))
}

fn follows_server(gtids: &str, received: &str) -> ServerFacts {
    ServerFacts {
        source_host: Some("db-0.db-members".into()),
        source_uuid: Some(ME.into()),
        io_running: true,
        semi_sync: true,
        sql_running: true,
        lag_seconds: Some(0),
        gtid_retrieved: received.replace("ME", ME),
        ..facts(gtids)
    }
}

fn follows(number: usize) -> Seen {
    says(number, State::Replica, Some((5, Part::Follows("db-0".into()))), Some(follows_server("ME:1-9", "ME:1-9")))
}

/// Follows, and does not reach its source any more.
fn calls(number: usize) -> Seen {
    changed(follows(number), |status| {
        status.state = State::Connecting;
        let server = status.server.as_mut().expect("a server");
        (server.io_running, server.io_connecting, server.lag_seconds) = (false, true, None);
    })
}

fn revoked(number: usize, gtids: &str, received: &str) -> Seen {
    let server = ServerFacts { io_running: false, ..follows_server(gtids, received) };
    says(number, State::Waiting, Some((6, Part::Revoked)), Some(server))
}

fn gone(number: usize) -> Seen {
    Seen { gone: true, ..seen(number, None) }
}

fn of(members: &[Seen]) -> Decision {
    decide(&view(members, true))
}

fn told(decision: &Decision) -> Vec<(String, u64, &What)> {
    decision.orders.iter().map(|order| (order.member.clone(), order.term.number, &order.what)).collect()
}

fn told_to<'a>(decision: &'a Decision, member: &str) -> Option<(u64, &'a What)> {
    told(decision).into_iter().find(|(name, ..)| name == member).map(|(_, number, what)| (number, what))
}

#[test]
fn a_new_lab_begins_with_its_first_member_when_everybody_is_there() {
    let decision = decide(&view(&[made(0), empty(1), empty(2)], false));
    let what = What::Promote { acks: 1, holds: String::new() };
    assert_eq!(told(&decision), [("db-0".to_owned(), 1, &what)]);
    for members in
        [vec![], vec![made(0), empty(1)], vec![made(0), empty(1), seen(2, None)], vec![empty(0), empty(1), empty(2)]]
    {
        let decision = decide(&view(&members, false));
        assert!(decision.orders.is_empty() && matches!(decision.outlook, Outlook::Waits(_)), "{decision:?}");
    }
    let refused = [
        (vec![empty(0), empty(1), empty(2)], true),
        (vec![made(0), empty(1), empty(2)], true),
        (vec![empty(0), made(1), empty(2)], false),
    ];
    for (members, initialised) in refused {
        let decision = decide(&view(&members, initialised));
        assert!(decision.orders.is_empty() && matches!(decision.outlook, Outlook::Refused(_)), "{decision:?}");
    }
}

#[test]
fn the_others_are_told_to_follow_and_the_role_is_given_when_enough_acknowledge() {
    let alone = changed(open(0), |status| status.server.as_mut().expect("a server").clients = 0);
    let decision = of(&[alone.clone(), empty(1), revoked(2, "ME:1-9", "")]);
    let follow = What::Follow { source: "db-0".into(), learns: false };
    // One has heard of a newer term: whoever began it has to go on first.
    assert_ne!(told_to(&decision, "db-2"), Some((5, &follow)));
    let decision = of(&[alone.clone(), empty(1), empty(2)]);
    assert_eq!(told(&decision), [("db-1".to_owned(), 5, &follow)], "one copy at a time");
    let new = decide(&view(&[alone.clone(), empty(1), empty(2)], false));
    assert_eq!(told(&new), [("db-1".to_owned(), 5, &follow), ("db-2".to_owned(), 5, &follow)], "nobody copies");
    assert_eq!(decision.writer, None, "nobody acknowledges yet");
    assert!(matches!(decision.outlook, Outlook::Waits(_)));
    let had_it = of(&[with_role(WRITER, alone), empty(1), empty(2)]);
    assert_eq!(had_it.writer.as_deref(), Some("db-0"), "it keeps what it has");
    let settled = of(&[open(0), follows(1), follows(2)]);
    assert_eq!((settled.writer.as_deref(), &settled.outlook), (Some("db-0"), &Outlook::Settled));
    assert!(settled.orders.is_empty() && settled.exists);
    assert_eq!(settled.reads, set(&["db-1", "db-2"]));
}

#[test]
fn what_is_too_old_is_read_only_while_there_is_no_writer() {
    let late = |seconds, member| {
        changed(member, |status| status.server.as_mut().expect("a server").lag_seconds = Some(seconds))
    };
    assert_eq!(of(&[open(0), follows(1), late(10, follows(2))]).reads, set(&["db-1", "db-2"]));
    assert_eq!(of(&[open(0), follows(1), late(11, follows(2))]).reads, set(&["db-1"]));
    assert_eq!(of(&[open(0), late(60, follows(1)), late(60, follows(2))]).reads, set(&[]));
    let without = of(&[seen(0, None), late(60, follows(1)), late(60, follows(2))]);
    assert_eq!(without.reads, set(&["db-1", "db-2"]));
}

#[test]
fn a_source_that_was_started_again_is_opened_when_a_majority_knows_of_nobody_else() {
    let promote = What::Promote { acks: 1, holds: String::new() };
    let two = of(&[with_role(WRITER, shut(0)), calls(1), seen(2, None)]);
    assert_eq!(told(&two), [("db-0".to_owned(), 5, &promote)]);
    assert_eq!(two.writer.as_deref(), Some("db-0"));
    assert_eq!(two.reads, set(&["db-1"]), "visitors go on reading");
    let alone = of(&[with_role(WRITER, shut(0)), seen(1, None), seen(2, None)]);
    assert!(alone.orders.is_empty() && matches!(alone.outlook, Outlook::Waits(_)), "{alone:?}");
    let lacks = of(&[shut(0), changed(calls(1), |s| s.server = Some(follows_server("ME:1-10", ""))), calls(2)]);
    assert!(lacks.orders.is_empty() && matches!(lacks.outlook, Outlook::Refused(_)), "{lacks:?}");
    let other_way = changed(calls(1), |status| {
        status.mandate.as_mut().expect("one").line = in_line(4);
        status.diverged = format!("{OTHER}:1");
        status.server = Some(follows_server("ME:1-9,OTHER:1", ""));
    });
    let goes_on = of(&[shut(0), other_way, calls(2)]);
    assert_eq!(
        told_to(&goes_on, "db-0"),
        Some((5, &promote)),
        "what only one has that went another way was never acknowledged"
    );
    let starting = changed(shut(0), |status| status.server = None);
    let waits = of(&[starting.clone(), calls(1), calls(2)]);
    assert!(waits.orders.is_empty() && matches!(waits.outlook, Outlook::Waits(_)));
    let given_up = of(&[Seen { down: true, ..starting }, calls(1), calls(2)]);
    assert!(told(&given_up).iter().all(|(_, number, what)| (*number, *what) == (6, &What::Revoke)));
    assert_eq!(given_up.orders.len(), 3, "also the one whose supervisor answers");
}

#[test]
fn a_lost_source_is_given_up_only_if_nobody_hears_it_and_enough_can_be_asked() {
    let lost = of(&[with_role(WRITER, gone(0)), calls(1), calls(2)]);
    assert_eq!(told(&lost), [("db-1".to_owned(), 6, &What::Revoke), ("db-2".to_owned(), 6, &What::Revoke)]);
    assert!(lost.vacant && lost.writer.is_none());
    assert_eq!(lost.labels_of(&with_role(WRITER, gone(0))).0.as_deref(), Some(READER));
    assert_eq!(lost.reads, set(&["db-1", "db-2"]));
    let waits = [
        ("it is only silent", vec![seen(0, None), calls(1), calls(2)]),
        ("somebody still hears it", vec![gone(0), follows(1), calls(2)]),
        ("one more is away", vec![gone(0), calls(1), seen(2, None)]),
        ("one more has lost its data", vec![gone(0), calls(1), empty(2)]),
        (
            "a relay log is damaged",
            vec![
                gone(0),
                calls(1),
                changed(calls(2), |status| {
                    status.server.as_mut().expect("a server").sql_errno = 13121;
                }),
            ],
        ),
    ];
    for (case, members) in waits {
        let decision = of(&members);
        assert!(decision.orders.is_empty() && !decision.vacant, "{case}: {decision:?}");
        assert!(matches!(decision.outlook, Outlook::Waits(_)), "{case}: {decision:?}");
    }
    let without_data = of(&[changed(empty(0), |status| status.mandate = None), calls(1), calls(2)]);
    assert_eq!(without_data.orders.len(), 3, "an empty source is a lost one: {without_data:?}");
    let without_pod = of(&[calls(1), calls(2)]);
    assert_eq!(without_pod.orders.len(), 2, "{without_pod:?}");
}

#[test]
fn whoever_accepts_loss_goes_on_with_fewer() {
    let request = Request { id: "1".into(), accept_loss: true, from: Some("db-0".into()), ..Request::default() };
    let members = [gone(0), calls(1), seen(2, None)];
    let decision = decide(&View { request: Some(&request), ..view(&members, true) });
    assert_eq!(told(&decision), [("db-1".to_owned(), 6, &What::Revoke)]);
    let members = [gone(0), revoked(1, "ME:1-9", ""), seen(2, None)];
    let decision = decide(&View { request: Some(&request), ..view(&members, true) });
    assert!(matches!(told_to(&decision, "db-1"), Some((6, What::Promote { .. }))), "{decision:?}");
    // Nobody is left to acknowledge what it takes: that is said, and nobody waits for it.
    let alone = changed(open(1), |status| {
        status.mandate.as_mut().expect("one").term.number = 6;
        status.server.as_mut().expect("a server").clients = 0;
    });
    let members = [gone(0), alone, seen(2, None)];
    let decision = decide(&View { request: Some(&request), ..view(&members, true) });
    assert_eq!(decision.writer.as_deref(), Some("db-1"), "{decision:?}");
    assert_eq!(decision.answer, Some(("1".into(), Ok("db-1 is the source".into()))));
    assert!(matches!(&decision.outlook, Outlook::Waits(why) if why.starts_with("0 of 1 replicas")), "{decision:?}");
    let other = Request { accept_loss: false, ..request };
    let decision = decide(&View { request: Some(&other), ..view(&members, true) });
    assert_eq!((decision.writer, decision.answer), (None, None));
}

#[test]
fn the_next_source_has_everything_that_anybody_has_and_applies_it_first() {
    let decision = of(&[gone(0), revoked(1, "ME:1-7", "ME:1-8"), revoked(2, "ME:1-7", "ME:1-9")]);
    assert!(decision.orders.is_empty() && decision.vacant);
    assert!(matches!(&decision.outlook, Outlook::Waits(why) if why.starts_with("db-2")), "{decision:?}");
    let decision = of(&[gone(0), revoked(1, "ME:1-8", "ME:1-8"), revoked(2, "ME:1-9", "ME:1-9")]);
    let holds = format!("{ME}:1-9");
    assert_eq!(told(&decision), [("db-2".to_owned(), 6, &What::Promote { acks: 1, holds })]);
    let one = of(&[gone(0), revoked(1, "ME:1-9", ""), calls(2)]);
    assert_eq!(told(&one), [("db-2".to_owned(), 6, &What::Revoke)], "one has not given up the old one yet");
    let fetching = changed(revoked(2, "ME:1-9", ""), |s| s.server.as_mut().expect("a server").io_running = true);
    let one = of(&[gone(0), revoked(1, "ME:1-9", ""), fetching]);
    assert!(told(&one).is_empty(), "one still fetches: {one:?}");
    let apart = of(&[gone(0), revoked(1, "ME:1-9,OTHER:1", ""), revoked(2, "ME:1-10", "")]);
    assert!(matches!(&apart.outlook, Outlook::Refused(why) if why.contains(OTHER)), "{apart:?}");
    assert!(apart.orders.is_empty());
    let broken = changed(revoked(1, "ME:1-9", ""), |s| s.server.as_mut().expect("a server").sql_errno = 1062);
    let decision = of(&[gone(0), broken, revoked(2, "ME:1-9", "")]);
    assert!(matches!(told_to(&decision, "db-2"), Some((6, What::Promote { .. }))), "{decision:?}");
}

#[test]
fn what_an_older_line_has_beyond_the_newer_one_was_never_acknowledged() {
    let of_before = |number, gtids: &str| {
        changed(revoked(number, gtids, ""), |status| {
            status.mandate.as_mut().expect("one").line = in_line(4);
        })
    };
    let newer = |number, gtids: &str| {
        changed(revoked(number, gtids, ""), |status| {
            status.mandate.as_mut().expect("one").line.base = format!("{ME}:1-5");
        })
    };
    // The source of before has a commit that nobody else had when the next one was promoted.
    let decision = of(&[of_before(0, "ME:1-5,OTHER:1"), newer(1, "ME:1-9"), gone(2)]);
    let holds = format!("{ME}:1-9");
    assert_eq!(told(&decision), [("db-1".to_owned(), 6, &What::Promote { acks: 1, holds })]);
    // What the newer line began with was perhaps acknowledged, also where only an older one still has it.
    let behind = of(&[of_before(0, "ME:1-5"), newer(1, "ME:1-3"), gone(2)]);
    assert!(matches!(told_to(&behind, "db-0"), Some((6, What::Promote { .. }))), "{behind:?}");
    let neither = of(&[of_before(0, "ME:1-5,OTHER:1"), newer(1, "ME:1-3,ME:7"), gone(2)]);
    assert!(matches!(&neither.outlook, Outlook::Refused(why) if why.contains("db-1 lacks")), "{neither:?}");
}

#[test]
fn what_another_agent_has_begun_is_begun_anew() {
    let members = [gone(0), revoked(1, "ME:1-9", ""), revoked(2, "ME:1-9", "")];
    let decision = decide(&View { me: "another", ..view(&members, true) });
    assert!(told(&decision).iter().all(|(_, number, what)| (*number, *what) == (7, &What::Revoke)), "{decision:?}");
    assert_eq!(decision.orders.iter().map(|order| order.term.by.as_str()).collect::<Vec<_>>(), ["another"; 2]);
    let (term, name) = (Term { number: 6, by: "agent".into() }, "db-2".to_owned());
    let chosen = (term, name);
    let same = decide(&View { chosen: Some(&chosen), ..view(&members, true) });
    assert!(matches!(told_to(&same, "db-2"), Some((6, What::Promote { .. }))), "whom it has chosen before: {same:?}");
    let members = [gone(0), revoked(1, "ME:1-9", ""), shut(2), revoked(3, "ME:1-9", "")];
    let four = Count { members: 4, acks: 2, ..THREE.clone() };
    let other = decide(&View { chosen: Some(&chosen), count: &four, ..view(&members, true) });
    assert!(told(&other).iter().all(|(_, number, what)| (*number, *what) == (7, &What::Revoke)), "{other:?}");
}

#[test]
fn what_was_decided_once_is_not_forgotten_with_a_volume() {
    let decided = Term { number: 6, by: "agent".into() };
    // The source of term 6 has lost its volume, the one who follows it is away, and the source of before is back.
    let members = [open(0), empty(1), seen(2, None)];
    let decision = decide(&View { decided: Some(&decided), ..view(&members, true) });
    assert!(decision.orders.is_empty() && decision.writer.is_none(), "{decision:?}");
    assert!(matches!(&decision.outlook, Outlook::Waits(why) if why.contains("db-2")), "{decision:?}");
    let begun = decide(&View { decided: Some(&decided), ..view(&[gone(0), calls(1), revoked(2, "ME:1-9", "")], true) });
    assert!(begun.orders.iter().all(|order| order.term.number == 6 && order.what == What::Revoke), "{begun:?}");
    let promoted = of(&[gone(0), revoked(1, "ME:1-9", ""), revoked(2, "ME:1-9", "")]);
    assert_eq!(promoted.decides, Some(decided), "it is written down before anybody is told");
}

#[test]
fn two_agents_with_one_number_are_told_apart() {
    let by = |member, name: &str| {
        let term = Term { number: 6, by: name.into() };
        changed(member, |status| status.mandate.as_mut().expect("one").term = term)
    };
    // Both have made somebody the source; the later name is the newer term, and the other one follows.
    let one = by(open(0), "agent");
    let other = by(changed(open(1), |status| status.mandate.as_mut().expect("one").line = in_line(6)), "another");
    let decision = of(&[one, other, calls(2)]);
    let follow = What::Follow { source: "db-1".into(), learns: false };
    assert_eq!(told(&decision), [("db-0".to_owned(), 6, &follow), ("db-2".to_owned(), 6, &follow)]);
    assert_eq!(decision.writer.as_deref(), Some("db-1"));
}

#[test]
fn the_source_of_before_follows_the_new_one() {
    let new = changed(open(1), |status| status.mandate.as_mut().expect("one").term.number = 6);
    let decision = of(&[with_role(WRITER, shut(0)), new.clone(), revoked(2, "ME:1-9", "")]);
    let follow = What::Follow { source: "db-1".into(), learns: false };
    assert_eq!(told(&decision), [("db-0".to_owned(), 6, &follow), ("db-2".to_owned(), 6, &follow)]);
    assert_eq!(decision.writer.as_deref(), Some("db-1"));
    assert_eq!(decision.reads, set(&["db-2"]), "it has not been told yet, and has all that it was sent");
    let still_open = of(&[open(0), new, calls(2)]);
    assert_eq!(still_open.writer.as_deref(), Some("db-1"), "whoever was cut off is no source");
}

#[test]
fn one_member_is_copied_again_at_a_time() {
    let broken = |number| {
        changed(follows(number), |status| {
            (status.state, status.needs_copy) = (State::Stuck, true);
        })
    };
    let decision = of(&[open(0), broken(1), broken(2)]);
    assert_eq!(told(&decision), [("db-1".to_owned(), 5, &What::Copy { source: "db-0".into(), learns: false })]);
    let copying = changed(follows(1), |status| (status.state, status.has_data) = (State::Cloning, false));
    assert!(of(&[open(0), copying, broken(2)]).orders.is_empty());
}

#[test]
fn nobody_acknowledging_is_said_with_what_waits() {
    let waits = changed(open(0), |status| {
        let server = status.server.as_mut().expect("a server");
        (server.clients, server.waiting) = (0, 3);
    });
    let decision = of(&[with_role(WRITER, waits), seen(1, None), seen(2, None)]);
    assert!(matches!(&decision.outlook, Outlook::Waits(why) if why.starts_with("3 commits")), "{decision:?}");
}

fn request(to: Option<&str>) -> Request {
    Request { id: "1".into(), to: to.map(str::to_owned), from: Some("db-0".into()), ..Request::default() }
}

fn asked(members: &[Seen], request: &Request) -> Decision {
    decide(&View { request: Some(request), ..view(members, true) })
}

#[test]
fn a_switch_over_closes_the_source_lets_the_next_one_catch_up_and_promotes_it() {
    let to = request(Some("db-2"));
    let begun = asked(&[with_role(WRITER, open(0)), follows(1), follows(2)], &to);
    assert_eq!(told(&begun), [("db-0".to_owned(), 6, &What::Close)]);
    assert_eq!(begun.writer.as_deref(), Some("db-0"), "until it is closed");
    let closed = says(0, State::Waiting, Some((6, Part::Closed)), Some(facts("ME:1-12")));
    let behind = asked(&[with_role(WRITER, closed.clone()), follows(1), follows(2)], &to);
    assert!(behind.orders.is_empty() && behind.vacant, "it may fetch the rest: {behind:?}");
    let fails = changed(follows(2), |status| status.server.as_mut().expect("a server").sql_errno = 1062);
    let never = asked(&[with_role(WRITER, closed.clone()), follows(1), fails], &to);
    assert_eq!(told_to(&never, "db-2"), Some((6, &What::Revoke)), "nobody waits for it: {never:?}");
    let caught_up = changed(follows(2), |status| status.server = Some(follows_server("ME:1-12", "ME:1-12")));
    let revokes = asked(&[closed.clone(), follows(1), caught_up], &to);
    assert_eq!(told(&revokes), [("db-1".to_owned(), 6, &What::Revoke), ("db-2".to_owned(), 6, &What::Revoke)]);
    let other_first = asked(&[closed.clone(), revoked(1, "ME:1-12", ""), follows(2)], &to);
    assert!(!matches!(told_to(&other_first, "db-1"), Some((_, What::Promote { .. }))), "{other_first:?}");
    let promotes = asked(&[closed.clone(), revoked(1, "ME:1-12", ""), revoked(2, "ME:1-12", "")], &to);
    assert!(matches!(told_to(&promotes, "db-2"), Some((6, What::Promote { .. }))), "{promotes:?}");
    let new = changed(open(2), |status| status.mandate.as_mut().expect("one").term.number = 6);
    let done = asked(&[closed.clone(), revoked(1, "ME:1-12", ""), new], &to);
    assert_eq!(done.answer, Some(("1".into(), Ok("db-2 is the source".into()))));
    let late = Request { expired: true, ..to };
    let back = asked(&[closed, revoked(1, "ME:1-9", ""), revoked(2, "ME:1-9", "")], &late);
    assert!(matches!(told_to(&back, "db-0"), Some((6, What::Promote { .. }))), "the old one goes on: {back:?}");
    let over = asked(&[open(0), follows(1), follows(2)], &late);
    assert!(over.answer.is_some_and(|(_, result)| result.is_err()));
}

#[test]
fn a_switch_over_that_cannot_be_is_refused_before_anything_is_done() {
    let lags = changed(follows(2), |status| status.server.as_mut().expect("a server").lag_seconds = Some(30));
    let table = [
        (
            "nobody of that name",
            request(Some("db-7")),
            vec![open(0), follows(1), follows(2)],
            "there is no member db-7",
        ),
        ("far behind", request(Some("db-2")), vec![open(0), follows(1), lags], "db-2 is 30 s behind db-0"),
        ("not following", request(Some("db-2")), vec![open(0), follows(1), calls(2)], "db-2: connecting"),
        ("nobody else would follow", request(Some("db-2")), vec![open(0), seen(1, None), follows(2)], "only 0 other"),
        ("nobody could", request(None), vec![open(0), calls(1), calls(2)], "no replica is up to date"),
    ];
    for (case, request, members, words) in table {
        let decision = asked(&members, &request);
        assert!(decision.orders.is_empty(), "{case}: {decision:?}");
        let why = decision.answer.expect("an answer").1.expect_err("refused");
        assert!(why.contains(words), "{case}: {why}");
    }
    let already = asked(&[open(0), follows(1), follows(2)], &request(Some("db-0")));
    assert!(already.answer.is_some_and(|(_, result)| result.is_ok()) && already.orders.is_empty());
}

#[test]
fn a_source_that_is_to_go_is_relieved_also_where_a_replica_is_lost() {
    let source = || changed(open(2), |status| status.server.as_mut().expect("a server").clients = 1);
    let follows_2 = changed(follows(0), |status| {
        status.mandate.as_mut().expect("one").part = Part::Follows("db-2".into());
        status.server.as_mut().expect("a server").source_host = Some("db-2.db-members".into());
    });
    let members = [follows_2, seen(1, None), with_role(WRITER, source())];
    let one = Target::new(1, true);
    // It would be alone with writes that wait for somebody: first they wait for nobody.
    let begun = decide(&View { target: one, ..view(&members, true) });
    assert_eq!(begun.counts.as_ref().map(|count| (count.members, count.acks)), Some((3, 0)), "{begun:?}");
    assert!(matches!(&begun.outlook, Outlook::Waits(why) if why.contains("only 0 other replicas")), "{begun:?}");
    assert!(told_to(&begun, "db-2").is_none() && begun.answer.is_none(), "{begun:?}");
    let count = Count { version: 2, acks: 0, ..THREE.clone() };
    let closes = decide(&View { target: one, count: &count, ..view(&members, true) });
    assert_eq!(told_to(&closes, "db-2"), Some((6, &What::Close)), "{closes:?}");
    // Where nobody is lost it is relieved first.
    let all = [members[0].clone(), Seen { name: "db-1".into(), ..members[0].clone() }, with_role(WRITER, open(2))];
    let closes = decide(&View { target: one, ..view(&all, true) });
    assert_eq!((told_to(&closes, "db-2"), &closes.counts), (Some((6, &What::Close)), &None), "{closes:?}");
}

#[test]
fn what_cannot_be_compared_is_waited_for() {
    let nonsense = changed(calls(1), |status| status.server.as_mut().expect("a server").gtid_executed = "x".into());
    let decision = of(&[shut(0), nonsense, calls(2)]);
    assert!(matches!(&decision.outlook, Outlook::Waits(why) if why.contains("cannot compare")), "{decision:?}");
}
