//! What is asked of the member's own server, through its socket.

use std::time::Duration;

use anyhow::Result;

use super::config::Paths;
use crate::{
    inside::member::status::GaleraFacts,
    wire::sql::{Row, Session, Way, refusal},
};

/// How long the server may take for a look.
const PATIENCE: Duration = Duration::from_secs(2);
const QUERY: &str = "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_cluster_state_uuid', 'wsrep_last_committed', \
                     'wsrep_cluster_size', 'wsrep_cluster_status', 'wsrep_local_state_comment', 'wsrep_ready', \
                     'wsrep_connected')";
/// Who is in the component, by name: Galera's own numbers are new with every start.
const MEMBERS: &str = "SELECT node_name FROM mysql.wsrep_cluster_members";

/// Connects as root.
///
/// # Errors
/// The server does not answer (yet): it does not while it joins.
pub(super) async fn connect(paths: &Paths) -> Result<Session> {
    let way = Way::Socket(paths.run.join("mysqld.sock"));
    Session::connect(&way, "root", &paths.password("root")?, None, PATIENCE).await
}

/// What the server says about itself and its cluster.
///
/// # Errors
/// It does not answer.
pub(super) async fn look(session: &mut Session) -> Result<GaleraFacts> {
    let rows = session.rows(QUERY).await?;
    let refuses = session.value("SELECT @@global.wsrep_reject_queries").await?;
    let mut facts = facts(rows, refuses.as_deref());
    // A server that takes no queries does not let its tables be read either.
    if facts.component == "Primary" && facts.ready {
        facts.members = match session.rows(MEMBERS).await {
            Ok(rows) => names(rows),
            Err(error) if refusal(&error).is_some() => Vec::new(),
            Err(error) => return Err(error),
        };
    }
    Ok(facts)
}

/// In one order, whatever the table's is: who watches is woken by every difference.
fn names(rows: Vec<Row>) -> Vec<String> {
    let mut names: Vec<String> = rows.into_iter().filter_map(|mut row| row.remove("node_name")?).collect();
    names.sort();
    names
}

/// Rows come in the server's own order, so they are read by name.
fn facts(rows: Vec<Row>, refuses: Option<&str>) -> GaleraFacts {
    let mut values: Row =
        rows.into_iter().filter_map(|mut row| Some((row.remove("Variable_name")??, row.remove("Value")?))).collect();
    let mut take = |name: &str| values.remove(name).flatten().unwrap_or_default();
    // A server whose provider has closed may go on saying what it was before.
    let closed = take("wsrep_connected") == "OFF";
    GaleraFacts {
        cluster_uuid: take("wsrep_cluster_state_uuid"),
        seqno: take("wsrep_last_committed").parse().unwrap_or(-1),
        size: take("wsrep_cluster_size").parse().unwrap_or(0),
        component: if closed { "Disconnected".to_owned() } else { take("wsrep_cluster_status") },
        state: take("wsrep_local_state_comment"),
        ready: take("wsrep_ready") == "ON" && refuses == Some("NONE"),
        members: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(pairs: &[(&str, &str)]) -> Vec<Row> {
        let row = |(name, value): &(&str, &str)| {
            let cell = |text: &str| Some(text.to_owned());
            Row::from([("Variable_name".to_owned(), cell(name)), ("Value".to_owned(), cell(value))])
        };
        pairs.iter().map(row).collect()
    }

    #[test]
    fn rows_are_read_by_name_in_whatever_order_they_come() {
        let rows = rows(&[
            ("wsrep_ready", "ON"),
            ("wsrep_local_state_comment", "Synced"),
            ("wsrep_last_committed", "42"),
            ("wsrep_cluster_status", "Primary"),
            ("wsrep_cluster_size", "3"),
            ("wsrep_cluster_state_uuid", "3786e29b-e582-11f1-a1dc-3a885dfb5510"),
        ]);
        let seen = facts(rows.clone(), Some("NONE"));
        assert_eq!((seen.seqno, seen.size), (42, 3));
        assert!(seen.synced());
        assert!(!facts(rows.clone(), Some("ALL")).serves(), "it was told to refuse queries");
        assert!(!facts(rows, None).serves());
    }

    #[test]
    fn members_are_told_in_one_order() {
        let row = |name: &str| Row::from([("node_name".to_owned(), Some(name.to_owned()))]);
        assert_eq!(names(vec![row("db-2"), row("db-0"), Row::new()]), ["db-0", "db-2"]);
        let facts =
            GaleraFacts { component: "Primary".into(), members: names(vec![row("db-1")]), ..GaleraFacts::default() };
        assert!(facts.counts("db-1") && !facts.counts("db-0"));
        assert!(!GaleraFacts { component: "non-Primary".into(), ..facts }.counts("db-1"), "what it saw last is over");
    }

    #[test]
    fn a_closed_provider_is_seen_whatever_the_server_says_of_its_component() {
        let seen = facts(rows(&[("wsrep_cluster_status", "non-Primary"), ("wsrep_connected", "OFF")]), Some("NONE"));
        assert_eq!(seen.component, "Disconnected");
    }

    #[test]
    fn a_server_that_says_nothing_serves_nobody() {
        let seen = facts(Vec::new(), Some("NONE"));
        assert_eq!((seen.seqno, seen.size, seen.serves()), (-1, 0, false));
    }
}
