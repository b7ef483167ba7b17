//! What a member measures of itself, for Prometheus. Its name and its role are added by whoever asks: they are its pod's.

use super::status::{MemberStatus, State};
use crate::inside::figures::{Page, number};

/// Room on the member's volume, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// Free for the server.
    pub(super) free: u64,
    /// In all.
    pub(super) size: u64,
}

/// The text of `/metrics`.
pub(super) fn text(status: &MemberStatus, room: Option<Room>) -> String {
    let (server, galera) = (status.server.as_ref(), status.galera.as_ref());
    let open = status.state == State::Source && server.is_some_and(|facts| !facts.super_read_only)
        || galera.is_some_and(|facts| facts.synced());
    let mut page = Page::default();
    let state = vec![(format!("{{state=\"{}\"}}", status.state.name()), "1".to_owned())];
    page.add("wplab_member_state", "gauge", "What the member is doing.", state);
    page.gauge("wplab_member_state_since_seconds", "When that began.", Some(status.since.to_string()));
    page.gauge("wplab_member_serves", "Whether it takes queries.", Some(number(status.serves())));
    page.gauge("wplab_member_open", "Whether it takes writes.", Some(number(open)));
    let lag = server.and_then(|facts| facts.lag_seconds).map(|lag| lag.to_string());
    page.gauge("wplab_member_lag_seconds", "Seconds behind the source.", lag);
    let acks = server.and_then(|facts| facts.acks);
    let help = "How many replicas must have a write before it is acknowledged.";
    page.gauge("wplab_member_acks", help, acks.map(|acks| acks.to_string()));
    // Of whoever is no source they mean nothing.
    let source = server.filter(|_| acks.is_some());
    let replicas = source.map(|facts| facts.clients.to_string());
    page.gauge("wplab_member_semi_sync_replicas", "Replicas that acknowledge its writes.", replicas);
    let waiting = source.map(|facts| facts.waiting.to_string());
    page.gauge("wplab_member_waiting_commits", "Commits that wait for a replica.", waiting);
    let size = galera.map(|facts| facts.size.to_string());
    page.gauge("wplab_member_cluster_size", "Members that it sees in its Galera cluster.", size);
    let seqno = galera.map(|facts| facts.seqno.to_string());
    page.gauge("wplab_member_seqno", "The last change that it has committed in its Galera cluster.", seqno);
    let (free, size) = (room.map(|room| room.free.to_string()), room.map(|room| room.size.to_string()));
    page.gauge("wplab_member_volume_free_bytes", "Bytes that are free on its volume.", free);
    page.gauge("wplab_member_volume_size_bytes", "Bytes of its volume in all.", size);
    page.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::member::status::{GaleraFacts, ServerFacts};

    fn values(status: &MemberStatus) -> Vec<String> {
        let page = text(status, Some(Room { free: 5, size: 9 }));
        page.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn a_source_tells_of_its_replicas_and_a_replica_of_its_lag() {
        let facts = ServerFacts { acks: Some(1), clients: 2, semi_sync: true, ..ServerFacts::default() };
        let source = MemberStatus { state: State::Source, since: 7, server: Some(facts), ..MemberStatus::default() };
        assert_eq!(
            values(&source),
            [
                "wplab_member_state{state=\"source\"} 1",
                "wplab_member_state_since_seconds 7",
                "wplab_member_serves 1",
                "wplab_member_open 1",
                "wplab_member_acks 1",
                "wplab_member_semi_sync_replicas 2",
                "wplab_member_waiting_commits 0",
                "wplab_member_volume_free_bytes 5",
                "wplab_member_volume_size_bytes 9",
            ]
        );
        let facts = ServerFacts { super_read_only: true, lag_seconds: Some(3), ..ServerFacts::default() };
        let replica = MemberStatus { state: State::Replica, server: Some(facts), ..MemberStatus::default() };
        let values = values(&replica);
        assert!(values.contains(&"wplab_member_lag_seconds 3".to_owned()), "{values:?}");
        assert!(values.contains(&"wplab_member_open 0".to_owned()), "{values:?}");
        assert!(!values.iter().any(|line| line.starts_with("wplab_member_acks")), "{values:?}");
    }

    #[test]
    fn a_member_whose_server_does_not_answer_says_only_that() {
        let galera = GaleraFacts {
            component: "Primary".into(),
            state: "Synced".into(),
            ready: true,
            size: 3,
            ..GaleraFacts::default()
        };
        let synced = MemberStatus { state: State::Synced, galera: Some(galera), ..MemberStatus::default() };
        assert!(values(&synced).contains(&"wplab_member_open 1".to_owned()));
        assert!(values(&synced).contains(&"wplab_member_cluster_size 3".to_owned()));
        let starting = values(&MemberStatus::default());
        assert!(starting.contains(&"wplab_member_serves 0".to_owned()), "{starting:?}");
        assert_eq!(starting.len(), 6, "{starting:?}");
    }
}
