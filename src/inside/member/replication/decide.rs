//! What a member does next: a pure function from what it sees to one action. Nobody opens itself: the
//! agent does that, by executing `wplab member promote` in the pod.

use crate::inside::member::status::{MemberStatus, ServerFacts, State};

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
    /// Whether the volume says that this member was opened for writes last.
    pub was_writer: bool,
    /// The running server; `None` while mysqld does not run.
    pub server: Option<&'a ServerFacts>,
    /// The other members, as far as they answer.
    pub peers: &'a [Peer],
    /// Whether every transaction of ours is also at the source; `None` when that was not asked or cannot be told.
    pub within_source: Option<bool>,
}

/// Another member.
#[derive(Clone, Debug, PartialEq)]
pub struct Peer {
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
    /// Copy the data of this member.
    Clone {
        /// Its host name.
        donor: String,
    },
    /// Take the fresh data directory for the lab's data: it is what the source's was before its first transaction, and the
    /// source still has all of them. Then follow.
    Adopt,
    /// Follow the source, from our own position on.
    Follow,
    /// Let the replication threads run again.
    Resume,
    /// Throw the data away and copy the source's: it has all of ours, and we cannot catch up from its logs.
    Recopy {
        /// The source's host name.
        donor: String,
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
    match (seen.data, seen.server) {
        // Even without a record: a peer with data means that the lab has data, and a second creation would fork it.
        (Data::Empty, _) if seen.bootstraps && !seen.lab_initialised && !seen.peers.iter().any(has_data) => {
            Action::Bootstrap
        }
        (Data::Empty | Data::Interrupted, _) => Action::Prepare,
        (_, None) => Action::Start,
        (Data::Fresh, Some(facts)) if begins_with_the_source(facts, seen) => Action::Adopt,
        (Data::Fresh, Some(_)) => match donor(seen.peers) {
            Some(donor) => Action::Clone { donor },
            None => Action::Wait("no healthy member to copy the data from".to_owned()),
        },
        (Data::Present, Some(facts)) if !facts.super_read_only => Action::Be(State::Source),
        // When another has taken over, this one may hold transactions that nobody acknowledged. Telling those apart and
        // copying anew belongs to failover; until then it does not follow, so that nothing is mixed or lost.
        (Data::Present, Some(_)) if seen.was_writer => Action::Wait("for the agent to open it".to_owned()),
        (Data::Present, Some(facts)) => replica(facts, seen),
    }
}

/// Whether the source began with what this member has made too, and has every transaction since then in its logs. A lab
/// that is known to have had data is no new one: whoever is empty there has lost a volume or came later, and copies.
fn begins_with_the_source(facts: &ServerFacts, seen: &Observed<'_>) -> bool {
    let Some(recipe) = seen.first.filter(|recipe| !recipe.is_empty()) else { return false };
    let source = seen.peers.iter().filter(|peer| is_source(peer)).find_map(|peer| peer.status.as_ref());
    let whole = |source: &ServerFacts| source.gtid_purged.as_deref() == Some("");
    facts.gtid_executed.is_empty()
        && facts.source_host.is_none()
        && source.is_some_and(|source| source.recipe == recipe && source.server.as_ref().is_some_and(whole))
}

fn replica(facts: &ServerFacts, seen: &Observed<'_>) -> Action {
    let writer = seen.peers.iter().find(|peer| is_source(peer));
    if facts.source_host.is_none() {
        return match writer {
            Some(_) => Action::Follow,
            None => Action::Wait("no member is open for writes".to_owned()),
        };
    }
    if facts.serves_as_replica() {
        return Action::Be(State::Replica);
    }
    if LOST_POSITION.contains(&facts.io_errno) {
        return match (seen.within_source, writer) {
            (Some(true), Some(writer)) => Action::Recopy { donor: writer.host.clone() },
            (Some(false), _) => Action::Stay("this member has transactions that the source has not".to_owned()),
            _ => Action::Wait("cannot compare this member's transactions with the source's".to_owned()),
        };
    }
    match facts {
        // An applier that stopped with an error would stop with it again: the copies differ, and a person should know.
        facts if facts.sql_errno != 0 => Action::Stay("applying the source's transactions failed".to_owned()),
        // The server goes on trying by itself.
        facts if facts.sql_running && facts.io_connecting => Action::Be(State::Connecting),
        _ => Action::Resume,
    }
}

/// Whom to copy from: the source if one is open, else a replica that is up to date with nobody missing.
pub fn donor(peers: &[Peer]) -> Option<String> {
    let replica = |peer: &&Peer| peer.status.as_ref().is_some_and(|status| status.state == State::Replica);
    peers.iter().find(|peer| is_source(peer)).or_else(|| peers.iter().find(replica)).map(|peer| peer.host.clone())
}

fn is_source(peer: &Peer) -> bool {
    peer.status.as_ref().is_some_and(|status| status.state == State::Source)
}

fn has_data(peer: &Peer) -> bool {
    peer.status.as_ref().is_some_and(|status| status.has_data)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: &str = "uuid-me";

    fn facts() -> ServerFacts {
        ServerFacts { server_uuid: ME.into(), super_read_only: true, ..ServerFacts::default() }
    }

    fn following() -> ServerFacts {
        ServerFacts { source_host: Some("db".into()), io_running: true, sql_running: true, ..facts() }
    }

    fn peer(number: u32, state: State, server: Option<ServerFacts>) -> Peer {
        let status =
            MemberStatus { name: format!("db-{number}"), state, has_data: true, server, ..MemberStatus::default() };
        Peer { host: format!("db-{number}.db-members"), status: Some(status) }
    }

    fn silent(number: u32) -> Peer {
        Peer { host: format!("db-{number}.db-members"), status: None }
    }

    fn source(number: u32) -> Peer {
        peer(number, State::Source, Some(ServerFacts { super_read_only: false, semi_sync: true, ..facts() }))
    }

    fn seen<'a>(data: Data, server: Option<&'a ServerFacts>, peers: &'a [Peer]) -> Observed<'a> {
        Observed {
            bootstraps: false,
            lab_initialised: true,
            data,
            first: None,
            was_writer: false,
            server,
            peers,
            within_source: None,
        }
    }

    #[test]
    fn only_the_first_member_of_a_lab_without_data_creates_it() {
        let alone = [silent(1), silent(2)];
        let first = |lab_initialised, peers: &[Peer]| {
            decide(&Observed { bootstraps: true, lab_initialised, ..seen(Data::Empty, None, peers) })
        };
        assert_eq!(first(false, &alone), Action::Bootstrap);
        assert_eq!(first(true, &alone), Action::Prepare);
        assert_eq!(first(false, &[source(1), silent(2)]), Action::Prepare, "the record may be gone, the data is not");
        assert_eq!(decide(&Observed { lab_initialised: false, ..seen(Data::Empty, None, &alone) }), Action::Prepare);
    }

    #[test]
    fn an_empty_member_prepares_starts_and_copies_from_the_source_or_a_healthy_replica() {
        let server = facts();
        assert_eq!(decide(&seen(Data::Interrupted, None, &[source(0)])), Action::Prepare);
        assert_eq!(decide(&seen(Data::Fresh, None, &[source(0)])), Action::Start);
        let copies = |peers: &[Peer]| decide(&seen(Data::Fresh, Some(&server), peers));
        let from = |host: &str| Action::Clone { donor: host.to_owned() };
        assert_eq!(copies(&[peer(0, State::Replica, None), source(2)]), from("db-2.db-members"));
        assert_eq!(copies(&[peer(0, State::Connecting, None), peer(2, State::Replica, None)]), from("db-2.db-members"));
        assert!(matches!(copies(&[peer(0, State::Waiting, None), silent(2)]), Action::Wait(_)));
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
            let mut peer = peer(0, State::Source, Some(server));
            peer.status.as_mut().expect("a status").recipe = recipe.to_owned();
            [peer, silent(2)]
        };
        let own = facts();
        let with = |first: Option<&str>, server: &ServerFacts, peers: &[Peer]| {
            decide(&Observed { first, ..seen(Data::Fresh, Some(server), peers) })
        };
        let copies = Action::Clone { donor: "db-0.db-members".into() };
        assert_eq!(with(Some("r"), &own, &open("r", Some(""))), Action::Adopt);
        let table = [
            ("the lab has had data", None, own.clone(), open("r", Some(""))),
            ("nobody knows how this one was made", Some(""), own.clone(), open("", Some(""))),
            ("the source was made otherwise", Some("r"), own.clone(), open("s", Some(""))),
            ("the source is a copy", Some("r"), own.clone(), open("", Some(""))),
            ("the source has thrown logs away", Some("r"), own.clone(), open("r", Some("other:1-2"))),
            ("the source does not say", Some("r"), own.clone(), open("r", None)),
            (
                "this one is not empty",
                Some("r"),
                ServerFacts { gtid_executed: "me:1".into(), ..own.clone() },
                open("r", Some("")),
            ),
            (
                "this one follows somebody",
                Some("r"),
                ServerFacts { source_host: Some("db".into()), ..own.clone() },
                open("r", Some("")),
            ),
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

    #[test]
    fn a_member_that_was_killed_while_it_began_is_followed_up_or_made_anew() {
        let server = facts();
        let peers = [source(0)];
        let after = decide(&Observed { first: Some("r"), ..seen(Data::Present, Some(&server), &peers) });
        assert_eq!(after, Action::Follow, "its data counts before it follows");
        assert_eq!(decide(&seen(Data::Interrupted, None, &peers)), Action::Prepare, "it did not count yet");
    }

    #[test]
    fn a_replica_follows_once_there_is_a_source_and_then_is_left_alone() {
        let table = [
            (facts(), vec![silent(0)], Action::Wait("no member is open for writes".into())),
            (facts(), vec![source(0)], Action::Follow),
            (following(), vec![source(0)], Action::Be(State::Replica)),
            (following(), vec![silent(0)], Action::Be(State::Replica)),
            (
                ServerFacts { io_running: false, io_connecting: true, ..following() },
                vec![],
                Action::Be(State::Connecting),
            ),
            (ServerFacts { io_running: false, sql_running: false, ..following() }, vec![], Action::Resume),
            (ServerFacts { io_running: false, ..following() }, vec![source(0)], Action::Resume),
            (ServerFacts { super_read_only: false, ..facts() }, vec![source(0)], Action::Be(State::Source)),
        ];
        for (server, peers, wanted) in table {
            assert_eq!(decide(&seen(Data::Present, Some(&server), &peers)), wanted, "{server:?}");
        }
    }

    #[test]
    fn a_replica_that_cannot_catch_up_is_copied_again_only_when_nothing_is_lost_by_it() {
        let lost = ServerFacts { io_running: false, io_errno: 13114, ..following() };
        let peers = [source(0)];
        let with = |within_source| decide(&Observed { within_source, ..seen(Data::Present, Some(&lost), &peers) });
        assert_eq!(with(Some(true)), Action::Recopy { donor: "db-0.db-members".into() });
        assert!(matches!(with(Some(false)), Action::Stay(_)));
        assert!(matches!(with(None), Action::Wait(_)));
        let differs = ServerFacts { sql_running: false, sql_errno: 1062, ..following() };
        assert!(matches!(decide(&seen(Data::Present, Some(&differs), &peers)), Action::Stay(_)));
    }

    #[test]
    fn a_former_writer_stays_shut_and_follows_nobody() {
        let server = facts();
        for peers in [vec![silent(1), silent(2)], vec![source(1), silent(2)]] {
            let action = decide(&Observed { was_writer: true, ..seen(Data::Present, Some(&server), &peers) });
            assert_eq!(action, Action::Wait("for the agent to open it".into()));
        }
    }
}
