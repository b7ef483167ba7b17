//! What a member does next: a pure function from what it sees to one action. Nobody opens itself, and nobody chooses whom to
//! follow: the agent's orders do that, and what was ordered last is the member's mandate.

use crate::{
    inside::member::{
        mandate::{Line, Mandate, Part},
        status::{MemberStatus, ServerFacts, State},
    },
    wire::gtid::GtidSet,
};

/// What the volume holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// Nothing, or an initialisation that was cut off: both are made anew.
    Empty,
    /// A data directory that this supervisor made, to be replaced by a copy of another member's; or, in a new lab, to become
    /// the lab's data by following the source from the very beginning.
    Fresh,
    /// The same, but the server has stopped since, perhaps in the middle of the copy. Nothing of the lab is in it.
    Interrupted,
    /// The lab's data.
    Present,
}

/// What a member sees.
#[derive(Clone, Debug)]
pub struct Observed<'a> {
    /// Whether this is the member that may create the lab's data.
    pub bootstraps: bool,
    /// Whether the lab is known to have data, here or elsewhere.
    pub lab_initialised: bool,
    /// What the volume holds.
    pub data: Data,
    /// By which recipe a fresh data directory was made, if the lab had no data yet then; `None` where it had, or may have.
    pub first: Option<&'a str>,
    /// What the agent has ordered; `None` before its first order.
    pub mandate: Option<&'a Mandate>,
    /// The running server; `None` while mysqld does not run.
    pub server: Option<&'a ServerFacts>,
    /// The other members, as far as they answer.
    pub peers: &'a [Peer],
}

/// Another member.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
    /// The pod's name.
    pub name: String,
    /// Its host name.
    pub host: String,
    /// What it says; `None` when it does not answer.
    pub status: Option<MemberStatus>,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create the lab's data, here and only here.
    Bootstrap,
    /// Create a data directory that a copy will replace; whatever is in the volume is of no worth.
    Prepare,
    /// Start mysqld.
    Start,
    /// Copy the data of the source.
    Clone {
        /// Its host name.
        donor: String,
        /// Whose history the copy is.
        line: Line,
    },
    /// Take the fresh data directory for the lab's data: it is what the source's was before its first transaction, and the
    /// source still has all of them. Then follow.
    Adopt {
        /// The source's host name.
        source: String,
        /// Whose history the data is from then on.
        line: Line,
    },
    /// Follow this member, from our own position on.
    Follow {
        /// Its host name.
        source: String,
        /// Whose history our data is from then on.
        line: Line,
    },
    /// Fetch nothing more, and apply what was received.
    Drain,
    /// Let the replication threads run again.
    Resume,
    /// End the server at once and start it shut: others have gone on without it.
    Fence(String),
    /// Nothing by itself: what is here and what the source has do not fit.
    Differ {
        /// What this member alone has; empty when it only lacks what nobody can send any more.
        diverged: String,
        /// The same for people.
        why: String,
    },
    /// Nothing; this is what the member is.
    Be(State),
    /// Nothing until somebody else does something.
    Wait(String),
    /// Nothing until somebody decides.
    Stay(String),
}

/// The errors of the fetching thread (one, with two numbers) after which it never recovers: the source's logs do not hold
/// what we lack, or we have what the source has not. Which of the two, the GTID sets tell, not the message.
const LOST_POSITION: [u32; 2] = [1236, 13114];

/// What to do now.
pub fn decide(seen: &Observed<'_>) -> Action {
    let part = seen.mandate.map(|mandate| &mandate.part);
    match (seen.data, seen.server) {
        // Even without a record: a peer with data means that the lab has data, and a second creation would fork it.
        (Data::Empty, _)
            if seen.bootstraps && !seen.lab_initialised && part.is_none() && !seen.peers.iter().any(has_data) =>
        {
            Action::Bootstrap
        }
        (Data::Empty | Data::Interrupted, _) => Action::Prepare,
        (_, None) => Action::Start,
        (Data::Fresh, Some(facts)) => match part.and_then(Part::follows) {
            Some(source) => fresh(facts, source, seen),
            None => Action::Wait("for the agent to say whom to copy".to_owned()),
        },
        (Data::Present, Some(facts)) if facts.is_open() => open(seen),
        (Data::Present, Some(facts)) => match part {
            None => Action::Wait("for the agent's first order".to_owned()),
            Some(Part::Source) => Action::Wait("for the agent to open it".to_owned()),
            Some(Part::Revoked | Part::Closed) => revoked(facts),
            Some(Part::Follows(source) | Part::Learns(source)) => replica(facts, source, seen),
        },
    }
}

/// A server that takes writes: only while this member is the source, and nobody has heard that another one is. A commit that
/// waits would keep the server from being shut, so it is ended.
fn open(seen: &Observed<'_>) -> Action {
    let Some(own) = seen.mandate.filter(|mandate| mandate.part == Part::Source) else {
        return Action::Fence("it is open and not the source".to_owned());
    };
    let newer =
        seen.peers.iter().filter_map(|peer| peer.status.as_ref()).find(|status| status.term() > Some(&own.term));
    match newer {
        Some(status) => {
            let heard = status.term().map(ToString::to_string).unwrap_or_default();
            Action::Fence(format!("{} has heard of term {heard}, this is the source of term {}", status.name, own.term))
        }
        None => Action::Be(State::Source),
    }
}

/// Whoever is not to fetch anything still applies what it has.
fn revoked(facts: &ServerFacts) -> Action {
    if facts.fetches() || (facts.source_host.is_some() && !facts.sql_running && facts.sql_errno == 0) {
        return Action::Drain;
    }
    Action::Wait("for the agent to choose the source".to_owned())
}

/// A data directory that holds nothing of the lab yet.
fn fresh(facts: &ServerFacts, source: &str, seen: &Observed<'_>) -> Action {
    if let Some((source, line)) = begins_with_the_source(facts, source, seen) {
        return Action::Adopt { source, line };
    }
    // Only from the source: a copy of a replica may lack what this member itself has acknowledged before it lost its volume.
    let peer = seen.peers.iter().find(|peer| peer.name == source && is_source(peer));
    match peer.and_then(|peer| Some((peer.host.clone(), line_of(peer, seen)?))) {
        Some((donor, line)) => Action::Clone { donor, line },
        None => Action::Wait(format!("{source} to be open, to copy its data")),
    }
}

/// The source's host name and line, if it began with what this member has made too, and has every transaction since then in its logs. A
/// lab that is known to have had data is no new one: whoever is empty there has lost a volume or came later, and copies.
fn begins_with_the_source(facts: &ServerFacts, source: &str, seen: &Observed<'_>) -> Option<(String, Line)> {
    let recipe = seen.first.filter(|recipe| !recipe.is_empty())?;
    let peer = seen.peers.iter().find(|peer| peer.name == source && is_source(peer))?;
    let status = peer.status.as_ref()?;
    let whole = status.server.as_ref()?.gtid_purged.as_deref() == Some("");
    let same = facts.gtid_executed.is_empty() && facts.source_host.is_none() && status.recipe == recipe;
    let line = line_of(peer, seen)?;
    (whole && same).then(|| (peer.host.clone(), line))
}

/// The line of the source that this member is to follow, once that knows itself that it is the source.
fn line_of(source: &Peer, seen: &Observed<'_>) -> Option<Line> {
    let theirs = source.status.as_ref()?.mandate.as_ref()?;
    let own = seen.mandate?;
    (theirs.is(&Part::Source, &own.term)).then(|| theirs.line.clone())
}

fn replica(facts: &ServerFacts, source: &str, seen: &Observed<'_>) -> Action {
    let Some(peer) = seen.peers.iter().find(|peer| peer.name == source) else {
        return Action::Stay(format!("it is to follow {source}, which is no other member"));
    };
    // Who follows it has perhaps done so in another term, and others in between.
    let in_line = seen.mandate.is_some_and(|own| own.line.term == own.term);
    if in_line && facts.source_host.as_deref() == Some(&peer.host) {
        return following(facts, peer, seen);
    }
    if facts.fetches() {
        return Action::Drain;
    }
    match has_applied(facts) {
        Ok(true) => {}
        Ok(false) if facts.sql_errno != 0 => return Action::Stay("applying what it was sent failed".to_owned()),
        Ok(false) if !facts.sql_running => return Action::Drain,
        Ok(false) => return Action::Wait(format!("it applies what it was sent before it follows {source}")),
        Err(error) => return Action::Wait(format!("cannot read its own position: {error:#}")),
    }
    let Some(line) = line_of(peer, seen) else {
        return Action::Wait(format!("{source} does not say that it is the source"));
    };
    match only_here(facts, peer) {
        Some(Ok(diverged)) if diverged.is_empty() => Action::Follow { source: peer.host.clone(), line },
        Some(Ok(diverged)) => differ(&diverged, source),
        Some(Err(error)) => Action::Wait(format!("cannot compare it with {source}: {error:#}")),
        None => Action::Wait(format!("{source} does not say what it has")),
    }
}

/// Set to follow the right one.
fn following(facts: &ServerFacts, source: &Peer, seen: &Observed<'_>) -> Action {
    if facts.serves_as_replica() {
        return Action::Be(State::Replica);
    }
    if LOST_POSITION.contains(&facts.io_errno) {
        return match only_here(facts, source) {
            Some(Ok(diverged)) => differ(&diverged, &source.name),
            _ => Action::Wait("cannot compare this member's transactions with the source's".to_owned()),
        };
    }
    match facts {
        // What it was sent can be sent again: the source has it.
        facts if facts.relay_log_damaged() && is_source(source) => match line_of(source, seen) {
            Some(line) => Action::Follow { source: source.host.clone(), line },
            None => Action::Wait(format!("{} does not say that it is the source", source.name)),
        },
        // An applier that stopped with an error would stop with it again: the copies differ, and a person should know.
        facts if facts.sql_errno != 0 => Action::Stay("applying the source's transactions failed".to_owned()),
        // The server goes on trying by itself.
        facts if facts.sql_running && facts.io_connecting => Action::Be(State::Connecting),
        _ => Action::Resume,
    }
}

fn differ(diverged: &GtidSet, source: &str) -> Action {
    let why = if diverged.is_empty() {
        format!("what it lacks is no longer in the logs of {source}, so its data is to be copied again")
    } else {
        format!(
            "it has transactions that {source} has not ({diverged}); they are kept aside before its data is copied again"
        )
    };
    Action::Differ { diverged: diverged.to_string(), why }
}

/// What this member has and the other one has not; `None` while that one does not say.
fn only_here(facts: &ServerFacts, source: &Peer) -> Option<anyhow::Result<GtidSet>> {
    let theirs = source.status.as_ref()?.server.as_ref()?;
    let compare = || Ok(facts.executed()?.without(&theirs.executed()?));
    Some(compare())
}

fn has_applied(facts: &ServerFacts) -> anyhow::Result<bool> {
    Ok(facts.executed()?.contains(&facts.everything()?))
}

fn is_source(peer: &Peer) -> bool {
    peer.status.as_ref().is_some_and(|status| status.state == State::Source)
}

fn has_data(peer: &Peer) -> bool {
    peer.status.as_ref().is_some_and(|status| status.has_data)
}

#[cfg(test)]
mod tests {
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
        assert!(
            matches!(with("1-10", &[source_at(0, "1-9")]), Action::Differ { diverged, .. } if !diverged.is_empty())
        );
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
        let with = |server: &ServerFacts| {
            decide(&Observed { mandate: Some(&revoked), ..seen(Data::Present, Some(server), &[]) })
        };
        assert_eq!(with(&following()), Action::Drain);
        let rests = ServerFacts { io_running: false, ..following() };
        assert!(matches!(with(&rests), Action::Wait(_)));
        assert_eq!(with(&ServerFacts { sql_running: false, ..rests }), Action::Drain, "after a restart");
        assert!(matches!(with(&facts()), Action::Wait(_)), "it followed nobody");
    }
}
