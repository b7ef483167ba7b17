//! The election: every combination of three members' states against what must never happen, and the cases that did.

use super::*;

const NAMES: [&str; 3] = ["db-0", "db-1", "db-2"];
const U: &str = "11111111-aaaa-11ee-8000-000000000001";
const V: &str = "22222222-bbbb-11ee-8000-000000000002";

fn at(uuid: &str, seqno: i64) -> Position {
    Position::At { uuid: uuid.to_owned(), seqno }
}

fn record(phase: Phase, position: Position) -> Record {
    Record { phase, position, address: "10.244.1.12".to_owned(), safe: false, known: BTreeSet::new() }
}

fn waiting(position: Position) -> Option<Record> {
    Some(record(Phase::Waiting, position))
}

fn names() -> Vec<String> {
    NAMES.map(str::to_owned).to_vec()
}

fn seen(records: [Option<Record>; 3]) -> Snapshot {
    let members = NAMES.into_iter().zip(records);
    let members = members.filter_map(|(name, r)| Some((name.to_owned(), Seen { record: r?, modified: 1 })));
    Snapshot { members: members.collect(), ..Snapshot::default() }
}

/// A cluster that was up, with all three having had data.
fn after_an_outage(records: [Option<Record>; 3]) -> Snapshot {
    Snapshot { initialised: Some(U.to_owned()), known: names().into_iter().collect(), ..seen(records) }
}

fn all(seen: &Snapshot) -> [Decision; 3] {
    NAMES.map(|me| decide(me, &names(), seen))
}

fn starts(seen: &Snapshot) -> Vec<&'static str> {
    NAMES.into_iter().zip(all(seen)).filter(|(_, d)| *d == Decision::Bootstrap).map(|(name, _)| name).collect()
}

fn wait(text: &str) -> Decision {
    Decision::Wait(text.into())
}

fn refuse(text: &str, start_from: &[&str]) -> Decision {
    Decision::Refuse(Reason::or_from(text.to_owned(), start_from))
}

#[test]
fn no_combination_makes_two_clusters_or_loses_data() {
    let states: Vec<Option<Record>> = [
        None,
        waiting(Position::Empty),
        waiting(Position::Unusable),
        waiting(at(U, 5)),
        waiting(at(U, 9)),
        waiting(at(U, 9)).map(|r| Record { safe: true, ..r }),
        waiting(at(U, -1)),
        waiting(at(V, 7)),
    ]
    .into_iter()
    .chain([Phase::Bootstrapping, Phase::Joining, Phase::Primary, Phase::NonPrimary, Phase::Broken].map(|phase| {
        // The newest position, so that a bug that judged it would show.
        Some(record(phase, at(U, 11)))
    }))
    .collect();
    let (mut judged, mut started) = (0_u32, 0_u32);
    for a in &states {
        for b in &states {
            for c in &states {
                // Who had data is told by etcd, or by a volume: it must be the same.
                for (known, by_volume) in (0..8_usize).flat_map(|known| [(known, false), (known, true)]) {
                    let known = (0..3).filter(|i| known & (1 << i) != 0).map(|i| NAMES[i].to_owned()).collect();
                    let mut snapshot = seen([a.clone(), b.clone(), c.clone()]);
                    match snapshot.members.values_mut().next_back() {
                        Some(last) if by_volume => last.record.known = known,
                        _ => snapshot.known = known,
                    }
                    for initialised in [None, Some(U), Some(V)] {
                        snapshot.initialised = initialised.map(str::to_owned);
                        for force in [None, Some("db-0"), Some("db-1"), Some("db-2")] {
                            snapshot.force = force.map(str::to_owned);
                            for lock in [None, Some("db-1")] {
                                snapshot.bootstrap = lock.map(str::to_owned);
                                started += u32::from(check(&snapshot));
                                judged += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(judged == 13 * 13 * 13 * 16 * 24 && started > 1000, "{judged} judged, {started} started");
}

/// What must hold for every snapshot; says whether somebody starts. Written from the rules, not from the code.
fn check(s: &Snapshot) -> bool {
    let decisions = all(s);
    let records: Vec<(&str, &Record)> = s.members.iter().map(|(n, s)| (n.as_str(), &s.record)).collect();
    let known = |name: &str| s.known.contains(name) || records.iter().any(|(_, r)| r.known.contains(name));
    let seqno = |r: &Record| match &r.position {
        Position::At { seqno, .. } if *seqno >= 0 => Some(*seqno),
        _ => None,
    };
    let everybody_waits = records.len() == 3 && records.iter().all(|(_, r)| r.phase == Phase::Waiting);
    let nobody_has_data = records.iter().all(|(_, r)| seqno(r).is_none());
    let started_before = s.initialised.is_some() || NAMES.into_iter().any(known);
    let uuids: BTreeSet<&str> = records.iter().filter_map(|(_, r)| r.position.data()).map(|(uuid, _)| uuid).collect();

    let starters: Vec<usize> = (0..3).filter(|&i| decisions[i] == Decision::Bootstrap).collect();
    assert!(starters.len() <= 1, "two clusters: {s:#?}");
    for (i, decision) in decisions.iter().enumerate() {
        let elsewhere = records.iter().filter(|(name, r)| *name != NAMES[i] && r.phase == Phase::Primary).count();
        match decision {
            Decision::Join { peers } => assert!(elsewhere > 0 && peers.len() == elsewhere, "{s:#?}"),
            _ => assert_eq!(elsewhere, 0, "{} does not join: {s:#?}", NAMES[i]),
        }
    }
    let Some(&starter) = starters.first() else {
        // No lock-up either: a complete picture of one history is acted upon.
        let lost = records.iter().any(|(n, r)| known(n) && seqno(r).is_none() && r.position != Position::Unusable);
        let one_history = uuids.len() == 1 && s.initialised.as_deref().is_none_or(|u| uuids.contains(u));
        let free = everybody_waits && s.bootstrap.is_none() && s.force.is_none();
        assert!(!(free && one_history && !lost), "nobody starts: {s:#?}");
        let fresh = !started_before && records.iter().any(|(_, r)| r.position != Position::Unusable);
        assert!(!(free && nobody_has_data && fresh), "nobody starts first: {s:#?}");
        return false;
    };
    let me = NAMES[starter];
    let own = &s.members.get(me).expect("who starts has a record").record;
    assert!(s.bootstrap.is_none() && own.phase == Phase::Waiting && own.position != Position::Unusable, "{s:#?}");
    let calm = |p: Phase| matches!(p, Phase::Waiting | Phase::Broken);
    assert!(records.iter().all(|(_, r)| calm(r.phase)), "a server runs: {s:#?}");
    if seqno(own).is_none() {
        assert!(nobody_has_data && records.len() == 3, "data would be thrown away: {s:#?}");
    }
    if let Some(chosen) = &s.force {
        assert_eq!(chosen, me);
        return true;
    }
    assert!(everybody_waits, "somebody is missing: {s:#?}");
    assert!(records.iter().all(|(_, r)| seqno(r) <= seqno(own)), "a lower position: {s:#?}");
    assert!(uuids.len() <= 1, "two histories: {s:#?}");
    if nobody_has_data {
        assert!(!started_before, "data is missing: {s:#?}");
    } else {
        assert!(s.initialised.as_deref().is_none_or(|u| uuids.contains(u)), "another cluster: {s:#?}");
        let empty = |r: &Record| seqno(r).is_none() && r.position != Position::Unusable;
        assert!(!records.iter().any(|(n, r)| known(n) && empty(r)), "a position is unknown: {s:#?}");
    }
    true
}

#[test]
fn the_first_start_of_three_at_once() {
    let fresh = seen([waiting(Position::Empty), waiting(Position::Empty), waiting(Position::Empty)]);
    let first = wait("first start: db-0 starts the cluster");
    assert_eq!(all(&fresh), [Decision::Bootstrap, first.clone(), first]);
    let early = seen([waiting(Position::Empty), None, waiting(Position::Empty)]);
    assert_eq!(decide("db-0", &names(), &early), wait("db-1 has not reported"));
    let zeros = waiting(at(NO_CLUSTER, -1));
    assert_eq!(starts(&seen([zeros.clone(), zeros.clone(), zeros])), ["db-0"]);
    // The very first installation was cut off: another member begins.
    assert_eq!(
        starts(&seen([waiting(Position::Unusable), waiting(Position::Empty), waiting(Position::Empty)])),
        ["db-1"]
    );
}

#[test]
fn all_killed_at_once_the_highest_position_starts_then_who_stopped_last_then_the_lowest_name() {
    let stopped = [(35263, false), (35404, true), (35310, false)]
        .map(|(seqno, safe)| waiting(at(U, seqno)).map(|r| Record { safe, ..r }));
    assert_eq!(starts(&after_an_outage(stopped)), ["db-1"]);
    let equal = after_an_outage([waiting(at(U, 7)), waiting(at(U, 7)), waiting(at(U, 7))]);
    let best = wait("db-0 has the newest data and starts the cluster");
    assert_eq!(all(&equal), [Decision::Bootstrap, best.clone(), best]);
    let safe_but_older = waiting(at(U, 6)).map(|r| Record { safe: true, ..r });
    assert_eq!(starts(&after_an_outage([safe_but_older, waiting(at(U, 7)), waiting(at(U, 5))])), ["db-1"]);
}

#[test]
fn two_come_back_and_wait_for_the_third() {
    let two = after_an_outage([waiting(at(U, 7)), None, waiting(at(U, 9))]);
    let waits = Decision::Wait(Reason::or_from("db-1 has not reported".to_owned(), &["db-2"]));
    assert_eq!((decide("db-0", &names(), &two), decide("db-2", &names(), &two)), (waits.clone(), waits));
    let chosen = Snapshot { force: Some("db-2".into()), ..two };
    let waits = wait("the operator chose db-2, which has not started the cluster yet");
    assert_eq!((decide("db-0", &names(), &chosen), starts(&chosen)), (waits, vec!["db-2"]));
}

#[test]
fn two_of_three_are_killed_and_the_survivor_stops_to_take_part() {
    let killed = || waiting(at(U, 3300));
    let survivor = Some(record(Phase::NonPrimary, at(U, 3382)));
    let before = after_an_outage([survivor, killed(), killed()]);
    let text = "db-0 runs without the others";
    assert_eq!(decide("db-1", &names(), &before), wait(text));
    assert_eq!(
        starts(&Snapshot { force: Some("db-1".into()), ..before }),
        [""; 0],
        "a server that runs is not ignored"
    );
    assert_eq!(starts(&after_an_outage([waiting(at(U, 3382)), killed(), killed()])), ["db-0"]);
}

#[test]
fn a_cluster_is_scattered_when_everybody_says_what_it_does_and_nobody_is_in_one() {
    let phase = |phase| Some(record(phase, at(U, 7)));
    let lost = || phase(Phase::NonPrimary);
    let judged = |others: [Option<Record>; 2]| {
        let [one, two] = others;
        scattered("db-0", &names(), &seen([lost(), one, two]))
    };
    assert!(
        judged([lost(), lost()]) && judged([lost(), phase(Phase::Joining)]) && judged([phase(Phase::Waiting), lost()])
    );
    assert!(!judged([lost(), None]), "it may be in one");
    assert!(!judged([lost(), phase(Phase::Primary)]) && !judged([phase(Phase::Bootstrapping), lost()]));
    assert!(scattered("db-0", &names(), &seen([None, lost(), lost()])), "its own record says nothing of the others");
}

#[test]
fn a_volume_lost_in_an_outage_is_the_operators_decision() {
    let lost = after_an_outage([waiting(at(U, 7)), waiting(Position::Empty), waiting(at(U, 9))]);
    let refused = refuse("db-1 lost its data, which may have been the newest", &["db-2"]);
    assert_eq!(all(&lost), [refused.clone(), refused.clone(), refused]);
    assert_eq!(starts(&Snapshot { force: Some("db-2".into()), ..lost.clone() }), ["db-2"]);
    let empty = Snapshot { force: Some("db-1".into()), ..lost.clone() };
    let refused = refuse("db-1 was chosen, but has no data; there is some at db-0 and db-2", &["db-0", "db-2"]);
    assert_eq!(decide("db-1", &names(), &empty), refused);
    // etcd lost everything too: a volume remembers.
    let mut forgotten = Snapshot { initialised: None, known: BTreeSet::new(), ..lost };
    assert_eq!(starts(&forgotten), ["db-2"]);
    forgotten.members.get_mut("db-0").expect("there").record.known.insert("db-1".into());
    assert_eq!(starts(&forgotten), [""; 0]);
}

#[test]
fn a_joiner_that_was_cut_off_knows_nothing_that_the_others_do_not() {
    let cut = after_an_outage([waiting(at(U, 9)), waiting(Position::Unusable), waiting(at(U, 7))]);
    assert_eq!(starts(&cut), ["db-0"]);
    let nobody = after_an_outage([waiting(Position::Empty), waiting(Position::Unusable), waiting(Position::Empty)]);
    let text = "db-0, db-1, db-2 had data, and nobody has any now; the cluster can only begin with an empty database";
    assert_eq!(decide("db-2", &names(), &nobody), refuse(text, &["db-0"]));
    assert_eq!(starts(&Snapshot { force: Some("db-0".into()), ..nobody.clone() }), ["db-0"]);
    let unfinished = decide("db-1", &names(), &Snapshot { force: Some("db-1".into()), ..nobody });
    assert!(matches!(unfinished, Decision::Refuse(reason) if reason.why.contains("unfinished copy")));
}

#[test]
fn two_histories_are_the_operators_decision() {
    let two = after_an_outage([waiting(at(U, 7)), waiting(at(V, 9)), waiting(at(U, 7))]);
    let text = "the data is of different clusters (db-0 11111111:7, db-1 22222222:9, db-2 11111111:7)";
    assert_eq!(decide("db-0", &names(), &two), refuse(text, &["db-0", "db-1", "db-2"]));
    let elsewhere = after_an_outage([waiting(at(V, 7)), waiting(at(V, 9)), waiting(at(V, 7))]);
    assert!(matches!(decide("db-1", &names(), &elsewhere), Decision::Refuse(_)));
}

#[test]
fn a_primary_is_joined_by_whoever_is_not_in_it() {
    let primary = |address: &str| Some(Record { address: address.into(), ..record(Phase::Primary, Position::Empty) });
    let up = after_an_outage([primary("10.0.0.1"), waiting(Position::Empty), primary("10.0.0.3")]);
    let peers = vec![("db-0".to_owned(), "10.0.0.1".to_owned()), ("db-2".to_owned(), "10.0.0.3".to_owned())];
    assert_eq!(decide("db-1", &names(), &up), Decision::Join { peers: peers.clone() });
    // Not even the operator can start a second one.
    assert_eq!(decide("db-1", &names(), &Snapshot { force: Some("db-1".into()), ..up }), Decision::Join { peers });
}

#[test]
fn a_member_that_is_not_on_the_list_counts_once_it_has_a_record() {
    let mut scaled = after_an_outage([waiting(at(U, 7)), waiting(at(U, 7)), waiting(at(U, 7))]);
    scaled.members.insert("db-3".into(), Seen { record: record(Phase::Waiting, at(U, 8)), modified: 1 });
    assert_eq!((starts(&scaled), decide("db-3", &names(), &scaled)), (vec![], Decision::Bootstrap));
    scaled.members.get_mut("db-3").expect("there").record.phase = Phase::Joining;
    assert_eq!(starts(&scaled), [""; 0]);
}
