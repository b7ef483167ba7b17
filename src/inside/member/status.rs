//! What a member says about itself on `GET /status`, to its peers, to `up` and to people. Holds no secrets.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use tokio::{sync::watch, time::Instant};

use super::mandate::{Mandate, Part, Term};
use crate::wire::gtid::GtidSet;

/// What a member is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// mysqld is starting, or has not been started yet.
    #[default]
    Starting,
    /// The data directory is being created.
    Initialising,
    /// Nothing can be done until somebody else does something; [`MemberStatus::note`] says what.
    Waiting,
    /// The data is being copied from another member.
    Cloning,
    /// Open for writes.
    Source,
    /// Follows the source: both replication threads run.
    Replica,
    /// Is set to follow the source, but a replication thread does not run; the server's last error says why.
    Connecting,
    /// Reads the position that its data has reached, before it may say anything about it.
    Recovering,
    /// Starts a Galera cluster, from its own data or with none.
    Bootstrapping,
    /// Joins a Galera cluster; copying its data belongs to that.
    Joining,
    /// A Galera member that has everything.
    Synced,
    /// A Galera member that gives its data to another one.
    Donor,
    /// A Galera member that is cut off from the majority.
    NonPrimary,
    /// A Galera member whose server runs, served until a moment ago, and does not answer.
    Unresponsive,
    /// Needs a decision that nobody has made; [`MemberStatus::note`] says which.
    Stuck,
    /// mysqld is being stopped.
    Stopping,
}

impl State {
    /// The word that JSON and people see.
    pub const fn name(self) -> &'static str {
        match self {
            State::Starting => "starting",
            State::Initialising => "initialising",
            State::Waiting => "waiting",
            State::Cloning => "cloning",
            State::Source => "source",
            State::Replica => "replica",
            State::Connecting => "connecting",
            State::Recovering => "recovering",
            State::Bootstrapping => "bootstrapping",
            State::Joining => "joining",
            State::Synced => "synced",
            State::Donor => "donor",
            State::NonPrimary => "non-primary",
            State::Unresponsive => "unresponsive",
            State::Stuck => "stuck",
            State::Stopping => "stopping",
        }
    }
}

/// One member, as it sees itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// The pod's name.
    pub name: String,
    /// What it is doing.
    pub state: State,
    /// Why, or what it waits for; empty when there is nothing to say.
    #[serde(default)]
    pub note: String,
    /// The members from whose data a person may start the Galera cluster instead of waiting.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub start_from: Vec<String>,
    /// What failed when this was last tried; empty when it went well.
    #[serde(default)]
    pub trouble: String,
    /// Seconds since 1970 at which the state began.
    #[serde(default)]
    pub since: u64,
    /// Whether the volume holds data of the lab, not just a fresh data directory.
    #[serde(default)]
    pub has_data: bool,
    /// What the agent has made of this member of topology `replication`, as its volume remembers; `None` before its first order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mandate: Option<Mandate>,
    /// Which life of the supervisor this is: another one after every start of the container.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub instance: String,
    /// How long that life is, in milliseconds, when this was sent.
    #[serde(default)]
    pub clock_ms: u64,
    /// The transactions that this member has and the member that it is to follow has not, as a GTID set; empty when there are none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub diverged: String,
    /// Whether what this member lacks is no longer in the logs of the member that it follows, so that its data has to be copied.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub needs_copy: bool,
    /// Whether this source has neither had a replica's answer nor heard any other member for so long that it may have been given up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub isolated: bool,
    /// How often in a row its server has ended by itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub falls: u32,
    /// Whether it applies nothing for a moment, because somebody asked for that ([`super::HOLD`]).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub held: bool,
    /// Bytes that are free on its volume, as it answers; `None` in what is told at every change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free: Option<u64>,
    /// How many members there are, as far as this one knows.
    #[serde(default)]
    pub members: u32,
    /// By which recipe this member has made its data itself; empty where it is a copy, or nobody remembers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub recipe: String,
    /// Folders of its volume with what it alone had before its data was copied again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aside: Vec<String>,
    /// What the running server says; `None` while it does not answer.
    #[serde(flatten)]
    pub server: Option<ServerFacts>,
    /// What the running server of a Galera cluster says; `None` while it does not answer, and in the other topology.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub galera: Option<GaleraFacts>,
}

/// What a running Galera server says about itself and its cluster, from its `wsrep_…` status variables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GaleraFacts {
    /// The identity of the cluster's history (`wsrep_cluster_state_uuid`).
    pub cluster_uuid: String,
    /// The last change that this member has committed (`wsrep_last_committed`); -1 before the first one.
    pub seqno: i64,
    /// Members in the component that this one sees (`wsrep_cluster_size`).
    pub size: u32,
    /// `Primary`, `non-Primary` or `Disconnected` (`wsrep_cluster_status`).
    pub component: String,
    /// `Synced`, `Donor/Desynced`, `Joined`, … (`wsrep_local_state_comment`).
    pub state: String,
    /// Whether the server takes queries (`wsrep_ready`), and nobody has told it to refuse them (`wsrep_reject_queries`).
    pub ready: bool,
    /// The names of the members of its component, in order (`mysql.wsrep_cluster_members`); empty while it does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<String>,
}

impl GaleraFacts {
    /// In the primary component, with everything, taking queries: fit for the role of the writer.
    pub fn synced(&self) -> bool {
        self.component == "Primary" && self.ready && self.state == "Synced"
    }

    /// Whether it is in the primary component, and counts this member as part of it.
    pub fn counts(&self, name: &str) -> bool {
        self.component == "Primary" && self.members.iter().any(|member| member == name)
    }

    /// As [`GaleraFacts::synced`], or giving a copy to another member without being blocked by it.
    pub fn serves(&self) -> bool {
        self.synced() || (self.component == "Primary" && self.ready && self.state == "Donor/Desynced")
    }
}

/// What a running server says about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// The server's own identity, kept in its data directory.
    pub server_uuid: String,
    /// Whether nobody, not even root, can write.
    pub super_read_only: bool,
    /// Whether semi-synchronous replication is on, for the role that this member has.
    pub semi_sync: bool,
    /// Semi-synchronous replicas connected to this member.
    pub clients: u32,
    /// How many replicas must have a write of this source before it is acknowledged, none: nothing waits; `None` for whoever is not
    /// open by an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acks: Option<u32>,
    /// Commits that wait for a replica's answer (`Rpl_semi_sync_source_wait_sessions`).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub waiting: u32,
    /// The transactions that this member has, as a GTID set.
    pub gtid_executed: String,
    /// The transactions that this member was sent since it follows its source, as a GTID set.
    #[serde(default)]
    pub gtid_retrieved: String,
    /// Those of its transactions that are not in its logs, as a GTID set; `None` when it does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gtid_purged: Option<String>,
    /// Whom it is set to follow; `None` when it follows nobody.
    pub source_host: Option<String>,
    /// The identity of the server that it follows, once it was connected.
    pub source_uuid: Option<String>,
    /// Whether the thread that fetches transactions is connected and runs.
    pub io_running: bool,
    /// Whether that thread is trying to connect.
    pub io_connecting: bool,
    /// Whether the thread that applies transactions runs.
    pub sql_running: bool,
    /// Seconds behind the source; `None` when that cannot be known.
    pub lag_seconds: Option<u64>,
    /// The number of the error that stopped the fetching thread, 0 for none.
    pub io_errno: u32,
    /// The number of the error that stopped the applying thread, 0 for none.
    pub sql_errno: u32,
    /// The last replication error; `None` when there is none.
    pub last_error: Option<String>,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The errors with which the applying thread says that a relay log cannot be read.
const DAMAGED_RELAY_LOG: [u32; 2] = [1594, 13121];

impl ServerFacts {
    /// Open for writes.
    pub fn is_open(&self) -> bool {
        !self.super_read_only
    }

    /// Open for writes, each of which waits for a replica to have it, unless none is to be waited for.
    pub fn serves_as_source(&self) -> bool {
        self.is_open() && (self.semi_sync || self.acks == Some(0))
    }

    /// Whether a replica that stopped or was cut off may still be read from: it applies all that it was sent.
    pub fn applies(&self) -> bool {
        self.super_read_only && self.source_host.is_some() && self.sql_running
    }

    /// Whether it fetches transactions, or tries to.
    pub fn fetches(&self) -> bool {
        self.io_running || self.io_connecting
    }

    /// What it has.
    ///
    /// # Errors
    /// The server tells no GTID set.
    pub fn executed(&self) -> anyhow::Result<GtidSet> {
        GtidSet::parse(&self.gtid_executed)
    }

    /// What it has, and what it was sent.
    ///
    /// # Errors
    /// As [`ServerFacts::executed`].
    pub fn everything(&self) -> anyhow::Result<GtidSet> {
        Ok(self.executed()?.with(&GtidSet::parse(&self.gtid_retrieved)?))
    }

    /// Whether what it was sent may be lost: the log that it is in cannot be read.
    pub fn relay_log_damaged(&self) -> bool {
        DAMAGED_RELAY_LOG.contains(&self.sql_errno)
    }

    /// Follows somebody and both threads run.
    pub fn serves_as_replica(&self) -> bool {
        self.super_read_only && self.source_host.is_some() && self.io_running && self.sql_running
    }
}

impl MemberStatus {
    /// Whether this member may take queries, of whatever role.
    pub fn serves(&self) -> bool {
        let replicates = |facts: &ServerFacts| facts.serves_as_source() || facts.serves_as_replica();
        let serves =
            self.server.as_ref().is_some_and(replicates) || self.galera.as_ref().is_some_and(GaleraFacts::serves);
        serves && !self.isolated && self.state != State::Stopping
    }

    /// Whether queries may be sent here: it serves, or nothing is wrong with this member itself, only with the one that it
    /// follows. Visitors go on reading while the source is away.
    pub fn ready(&self) -> bool {
        self.serves() || self.readable()
    }

    /// Whether this replica applies all that it was sent, whether or not its source answers.
    pub fn readable(&self) -> bool {
        let part = self.mandate.as_ref().map(|mandate| &mandate.part);
        matches!(part, Some(Part::Follows(_) | Part::Learns(_) | Part::Revoked))
            && self.server.as_ref().is_some_and(ServerFacts::applies)
            && self.diverged.is_empty()
            && self.has_data
            && self.state != State::Stopping
    }

    /// What it is by the last order that it accepted.
    pub fn part(&self) -> Option<&Part> {
        self.mandate.as_ref().map(|mandate| &mandate.part)
    }

    /// The last decision that it has heard of; none before any.
    pub fn term(&self) -> Option<&Term> {
        self.mandate.as_ref().map(|mandate| &mandate.term)
    }

    /// Why this member does not serve its role; `None` when it does.
    pub fn unready(&self) -> Option<String> {
        if self.serves() {
            return None;
        }
        let error = self.server.as_ref().and_then(|facts| facts.last_error.as_deref()).unwrap_or_default();
        let isolated = if self.isolated { "no replica acknowledges and no other member answers" } else { "" };
        let parts = [self.note.as_str(), isolated, self.trouble.as_str(), error];
        let reason = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        Some(if reason.is_empty() { self.state.name().to_owned() } else { format!("{}: {reason}", self.state.name()) })
    }

    /// Reads what [`MemberStatus`] was written as.
    ///
    /// # Errors
    /// It is not a member's status.
    pub fn parse(json: &str) -> serde_json::Result<MemberStatus> {
        serde_json::from_str(json)
    }
}

/// The status that the supervisor writes and the HTTP server reads. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Board(watch::Sender<MemberStatus>, Instant);

impl Board {
    pub(super) fn new(name: &str) -> Board {
        let instance = format!("{:016x}", rand::random::<u64>());
        let status = MemberStatus { name: name.to_owned(), since: now(), instance, ..MemberStatus::default() };
        Board(watch::Sender::new(status), Instant::now())
    }

    /// The status as it is sent.
    pub(super) fn read(&self) -> MemberStatus {
        MemberStatus { clock_ms: self.clock_ms(), ..self.0.borrow().clone() }
    }

    /// How long this supervisor lives.
    pub(super) fn clock_ms(&self) -> u64 {
        u64::try_from(self.1.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the member does what it is there for.
    pub(super) fn serves(&self) -> bool {
        self.0.borrow().serves()
    }

    /// Tells of every change from now on.
    pub(super) fn watch(&self) -> watch::Receiver<MemberStatus> {
        self.0.subscribe()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut MemberStatus)) {
        // Who watches is woken only when there is something new to see.
        self.0.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            *status != before
        });
    }

    /// A new state and note; logs what is new, so that the pod's log tells the story.
    pub(super) fn enter(&self, state: State, note: &str) {
        self.undecided(state, note, &[]);
    }

    /// As [`Board::enter`], where a person may start the cluster from one of these members.
    pub(super) fn undecided(&self, state: State, note: &str, start_from: &[String]) {
        self.change(|status| {
            start_from.clone_into(&mut status.start_from);
            if status.state == state && status.note == note {
                return;
            }
            let colon = if note.is_empty() { "" } else { ": " };
            crate::inside::log(&format!("{}{colon}{note}", state.name()));
            if status.state != state {
                status.since = now();
            }
            status.state = state;
            note.clone_into(&mut status.note);
        });
    }

    /// What failed, or with an empty text that nothing did; logged when it is new.
    pub(super) fn trouble(&self, text: &str) {
        self.change(|status| {
            if status.trouble != text && !text.is_empty() {
                crate::inside::log(text);
            }
            text.clone_into(&mut status.trouble);
        });
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replica() -> ServerFacts {
        ServerFacts {
            super_read_only: true,
            source_host: Some("db".into()),
            io_running: true,
            sql_running: true,
            ..ServerFacts::default()
        }
    }

    #[test]
    fn ready_means_open_with_semi_sync_or_following_with_both_threads() {
        let status = |server| MemberStatus { state: State::Replica, server, ..MemberStatus::default() };
        let source = ServerFacts { semi_sync: true, ..ServerFacts::default() };
        assert_eq!(status(Some(replica())).unready(), None);
        assert_eq!(status(Some(source.clone())).unready(), None);
        assert!(status(None).unready().is_some());
        assert!(
            status(Some(ServerFacts { semi_sync: false, ..source })).unready().is_some(),
            "writes would not be safe"
        );
        assert!(status(Some(ServerFacts { io_running: false, ..replica() })).unready().is_some());
        let stopping = MemberStatus { state: State::Stopping, server: Some(replica()), ..MemberStatus::default() };
        assert!(stopping.unready().is_some());
    }

    #[test]
    fn an_unready_member_says_why() {
        let server = Some(ServerFacts { io_running: false, last_error: Some("no route".into()), ..replica() });
        let status =
            MemberStatus { state: State::Connecting, note: "not connected".into(), server, ..MemberStatus::default() };
        assert_eq!(status.unready().as_deref(), Some("connecting: not connected; no route"));
    }

    #[test]
    fn a_status_survives_json_with_and_without_a_server() {
        for server in [None, Some(replica())] {
            let status = MemberStatus {
                name: "db-1".into(),
                state: State::Cloning,
                since: 7,
                server,
                ..MemberStatus::default()
            };
            let json = serde_json::to_string(&status).expect("json");
            assert_eq!(MemberStatus::parse(&json).expect("parsed"), status, "{json}");
        }
        assert!(MemberStatus::parse("<html>").is_err());
    }

    #[test]
    fn the_state_is_one_word_in_json() {
        for state in [State::Starting, State::Source, State::Connecting, State::Stuck, State::Initialising] {
            assert_eq!(serde_json::to_string(&state).expect("json"), format!("\"{}\"", state.name()));
        }
    }
}
