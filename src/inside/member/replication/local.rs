//! What is said to the member's own server, through its socket: looking, opening, following, copying.

use std::time::Duration;

use anyhow::{Context, Result};

use super::config::{CA, Config, MYSQL_PORT, REPLICATION_USER, password};
use crate::{
    inside::member::{HELD_FOR, HOLD, status::ServerFacts},
    wire::sql::{Row, Session, Way, literal},
};

/// How long the server may take for a look or a switch.
const PATIENCE: Duration = Duration::from_secs(5);
/// What the server calls a connection that sends its logs to a replica.
const DUMP: &str = "Binlog Dump";
/// The account of the site.
const WORDPRESS_USER: &str = "wordpress";
/// How long copying another member's data may take.
const COPYING: Duration = Duration::from_secs(3600);

/// Connects as root.
///
/// # Errors
/// The server does not answer (yet).
pub(super) async fn connect() -> Result<Session> {
    Session::connect(&Way::Socket(Config::socket()), "root", &password("root")?, None, PATIENCE).await
}

/// What the server says about itself.
///
/// # Errors
/// It does not answer.
pub(super) async fn look(session: &mut Session) -> Result<ServerFacts> {
    // The semi-synchronous variables are read as status: their plugins may be missing, and then "off" is the answer.
    let own = session
        .row(
            "SELECT @@server_uuid AS uuid, @@global.super_read_only AS shut, @@global.gtid_executed AS gtids, \
             @@global.gtid_purged AS purged",
        )
        .await?
        .context("the server gave no row")?;
    let semi: Row = session
        .rows("SHOW GLOBAL STATUS LIKE 'Rpl\\_semi\\_sync\\_%'")
        .await?
        .into_iter()
        .filter_map(|mut row| Some((row.remove("Variable_name")??, row.remove("Value")?)))
        .collect();
    let replica = session.row("SHOW REPLICA STATUS").await?;
    Ok(facts(&own, &semi, replica.as_ref()))
}

fn facts(own: &Row, semi: &Row, replica: Option<&Row>) -> ServerFacts {
    let text = |row: &Row, name: &str| row.get(name).cloned().flatten().filter(|text| !text.is_empty());
    let number = |row: &Row, name: &str| text(row, name).and_then(|text| text.parse().ok()).unwrap_or(0);
    let super_read_only = text(own, "shut").is_some_and(|shut| shut == "1");
    let semi_sync =
        text(semi, if super_read_only { "Rpl_semi_sync_replica_status" } else { "Rpl_semi_sync_source_status" });
    let mut facts = ServerFacts {
        server_uuid: text(own, "uuid").unwrap_or_default(),
        super_read_only,
        semi_sync: semi_sync.is_some_and(|value| value == "ON"),
        clients: number(semi, "Rpl_semi_sync_source_clients"),
        waiting: number(semi, "Rpl_semi_sync_source_wait_sessions"),
        gtid_executed: text(own, "gtids").unwrap_or_default().replace('\n', ""),
        gtid_purged: own.get("purged").cloned().flatten().map(|gtids| gtids.replace('\n', "")),
        ..ServerFacts::default()
    };
    if let Some(row) = replica {
        facts.gtid_retrieved = text(row, "Retrieved_Gtid_Set").unwrap_or_default().replace('\n', "");
        facts.source_host = text(row, "Source_Host");
        facts.source_uuid = text(row, "Source_UUID");
        facts.io_running = text(row, "Replica_IO_Running").is_some_and(|value| value == "Yes");
        facts.io_connecting = text(row, "Replica_IO_Running").is_some_and(|value| value == "Connecting");
        facts.sql_running = text(row, "Replica_SQL_Running").is_some_and(|value| value == "Yes");
        facts.lag_seconds = text(row, "Seconds_Behind_Source").and_then(|value| value.parse().ok());
        facts.io_errno = number(row, "Last_IO_Errno");
        facts.sql_errno = number(row, "Last_SQL_Errno");
        facts.last_error = text(row, "Last_SQL_Error").or_else(|| text(row, "Last_IO_Error"));
    }
    facts
}

/// Whether somebody has taken the lock that stops this replica's applier for a moment.
///
/// # Errors
/// The server does not answer.
pub(super) async fn is_to_hold(session: &mut Session) -> Result<bool> {
    Ok(session.value(&format!("SELECT IS_USED_LOCK('{HOLD}')")).await?.is_some())
}

/// Applies nothing until that lock is let go, or [`HELD_FOR`] has passed; `held` hears when it stands still. Fetching goes on, and
/// so do acknowledgements. A server that breaks off in the middle is put right by the next turn.
///
/// # Errors
/// The server refuses or does not answer.
pub(super) async fn hold(session: &mut Session, held: impl FnOnce()) -> Result<()> {
    run(session, &["STOP REPLICA SQL_THREAD"]).await?;
    held();
    let waited = session.value(&format!("SELECT GET_LOCK('{HOLD}', {})", HELD_FOR.as_secs())).await;
    run(session, &["DO RELEASE_ALL_LOCKS()", "START REPLICA SQL_THREAD"]).await?;
    waited.map(drop).context("cannot wait for whoever holds this replica")
}

/// Opens the server for writes, each of which waits until `acks` replicas have it. Does nothing twice. What was received must
/// have been applied: the logs that it is in are removed.
///
/// # Errors
/// The server refuses. It is then still shut, because opening comes last.
pub(super) async fn open(session: &mut Session, acks: u32) -> Result<()> {
    run(session, &["STOP REPLICA", "RESET REPLICA ALL", "SET GLOBAL rpl_semi_sync_replica_enabled = OFF"]).await?;
    wait_for(session, acks).await?;
    run(session, &["SET GLOBAL super_read_only = OFF", "SET GLOBAL read_only = OFF"]).await
}

/// From now on each write waits until `acks` replicas have it; with none, also those go on that wait now.
///
/// # Errors
/// The server refuses.
pub(super) async fn wait_for(session: &mut Session, acks: u32) -> Result<()> {
    let count = format!("SET GLOBAL rpl_semi_sync_source_wait_for_replica_count = {}", acks.max(1));
    let protects = format!("SET GLOBAL rpl_semi_sync_source_enabled = {}", if acks > 0 { "ON" } else { "OFF" });
    run(session, &[&count, &protects]).await
}

async fn run(session: &mut Session, statements: &[&str]) -> Result<()> {
    for statement in statements {
        session.run(statement).await.with_context(|| format!("the server refused {statement}"))?;
    }
    Ok(())
}

/// Takes no more writes: whatever was being committed is done, or this fails within `patience` and everything is as before.
/// A commit that waits for a replica keeps it from being done, so it is tried on a connection of its own, which is ended.
///
/// # Errors
/// Something waits for longer, or the server does not answer.
pub(super) async fn close(session: &mut Session, patience: Duration) -> Result<()> {
    let mut other = connect().await?.patient(patience);
    let id = other.value("SELECT CONNECTION_ID()").await?.context("the server gave no connection's number")?;
    let closed = other.run("SET GLOBAL super_read_only = ON").await;
    if closed.is_err() {
        // Left alone it would wait on, hold up every write meanwhile, and close the server when nobody expects it any more.
        session.run(&format!("KILL {id}")).await.context("cannot end what closes the server")?;
    }
    closed.with_context(|| format!("writes did not end within {} s", patience.as_secs()))
}

/// Ends every client's connection: those who come back find who takes writes now. Replicas' connections and our own stay.
///
/// # Errors
/// The server does not answer.
pub(super) async fn end_clients(session: &mut Session) -> Result<()> {
    end(session, |user, command| user == WORDPRESS_USER && !command.starts_with(DUMP)).await
}

/// Fetches nothing more from the source, and applies what was received.
///
/// # Errors
/// The server refuses.
pub(super) async fn drain(session: &mut Session) -> Result<()> {
    stop_fetching(session).await?;
    session.run("START REPLICA SQL_THREAD").await.context("the server refused START REPLICA SQL_THREAD")
}

/// Fetches nothing more; does not wait for what is being applied.
///
/// # Errors
/// The server refuses.
pub(super) async fn stop_fetching(session: &mut Session) -> Result<()> {
    session.run("STOP REPLICA IO_THREAD").await.context("the server refused STOP REPLICA IO_THREAD")
}

/// Sets the server to follow the source from its own position on, over TLS under the lab's authority, and starts it; whether it
/// `acknowledges` what it is sent is for the source to count on.
///
/// # Errors
/// The server refuses; that it cannot reach the source is no error here.
pub(super) async fn follow(session: &mut Session, source: &str, acknowledges: bool) -> Result<()> {
    let change = follow_sql(source, &password("replication")?);
    session.run("STOP REPLICA").await.context("the server refused STOP REPLICA")?;
    session.run("SET GLOBAL rpl_semi_sync_source_enabled = OFF").await.context("cannot leave the source's role")?;
    session.run(&change).await.context("the server refused CHANGE REPLICATION SOURCE")?;
    resume(session, acknowledges).await
}

fn follow_sql(source: &str, password: &str) -> String {
    // Intervals are short so that a lost source is noticed within seconds; the server never gives up by itself.
    format!(
        "CHANGE REPLICATION SOURCE TO SOURCE_HOST={}, SOURCE_PORT={MYSQL_PORT}, SOURCE_USER={}, SOURCE_PASSWORD={}, \
         SOURCE_AUTO_POSITION=1, SOURCE_SSL=1, SOURCE_SSL_CA={}, SOURCE_SSL_VERIFY_SERVER_CERT=1, \
         SOURCE_CONNECT_RETRY=1, SOURCE_RETRY_COUNT=4294967295, SOURCE_HEARTBEAT_PERIOD=1",
        literal(source),
        literal(REPLICATION_USER),
        literal(password),
        literal(CA),
    )
}

/// Lets the replication threads run; one that runs already goes on as it is.
///
/// # Errors
/// The server refuses.
pub(super) async fn resume(session: &mut Session, acknowledges: bool) -> Result<()> {
    let role = format!("SET GLOBAL rpl_semi_sync_replica_enabled = {}", if acknowledges { "ON" } else { "OFF" });
    session.run(&role).await.context("cannot take the replica's role")?;
    session.run("START REPLICA").await.context("the server refused START REPLICA")
}

/// Replaces this server's data by `donor`'s. On success the server ends itself to be started again, so a lost connection
/// says nothing: the caller looks at how mysqld ended.
///
/// # Errors
/// The copy failed, or the connection was lost at its end.
pub(super) async fn copy_from(donor: &str) -> Result<()> {
    let password = password("replication")?;
    let mut session = connect().await?.patient(COPYING);
    session.run("STOP REPLICA").await.context("the server refused STOP REPLICA")?;
    session.run("SET GLOBAL super_read_only = OFF").await.context("cannot make the copy's target writable")?;
    let list = format!("SET GLOBAL clone_valid_donor_list = {}", literal(&format!("{donor}:{MYSQL_PORT}")));
    session.run(&list).await.context("cannot name the donor")?;
    let (user, host, password) = (literal(REPLICATION_USER), literal(donor), literal(&password));
    let copy = format!("CLONE INSTANCE FROM {user}@{host}:{MYSQL_PORT} IDENTIFIED BY {password} REQUIRE SSL");
    session.run(&copy).await.with_context(|| format!("cannot copy from {donor}"))
}

/// Ends the connections of replicas, without which a stopping server waits ten seconds for them. They come back by
/// themselves. Only for a server that is shut: where a commit waits, ending the last of them would acknowledge it.
///
/// # Errors
/// The server does not answer.
pub(super) async fn release_replicas(session: &mut Session) -> Result<()> {
    end(session, |_, command| command.starts_with(DUMP)).await
}

async fn end(session: &mut Session, pick: impl Fn(&str, &str) -> bool) -> Result<()> {
    for row in session.rows("SHOW PROCESSLIST").await? {
        let text = |name: &str| row.get(name).cloned().flatten().unwrap_or_default();
        if pick(&text("User"), &text("Command")) {
            // One that has gone by itself meanwhile is what we want.
            let _ = session.run(&format!("KILL {}", text("Id"))).await;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(pairs: &[(&str, Option<&str>)]) -> Row {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
    }

    #[test]
    fn a_source_reports_its_own_semi_sync_and_its_clients() {
        let own = row(&[("uuid", Some("u")), ("shut", Some("0")), ("gtids", Some("u:1-2,\nv:1"))]);
        let semi = row(&[
            ("Rpl_semi_sync_source_status", Some("ON")),
            ("Rpl_semi_sync_replica_status", Some("OFF")),
            ("Rpl_semi_sync_source_clients", Some("2")),
        ]);
        let facts = facts(&own, &semi, None);
        assert!(facts.serves_as_source());
        assert_eq!((facts.clients, facts.gtid_executed.as_str(), facts.source_host), (2, "u:1-2,v:1", None));
    }

    #[test]
    fn a_replica_reports_threads_lag_and_the_error_that_matters() {
        let own = row(&[("uuid", Some("u")), ("shut", Some("1")), ("gtids", Some(""))]);
        let status = row(&[
            ("Source_Host", Some("db")),
            ("Replica_IO_Running", Some("Connecting")),
            ("Replica_SQL_Running", Some("Yes")),
            ("Seconds_Behind_Source", None),
            ("Last_IO_Errno", Some("2003")),
            ("Last_IO_Error", Some("cannot reach db")),
            ("Last_SQL_Error", Some("")),
        ]);
        let facts = facts(&own, &Row::new(), Some(&status));
        assert!(!facts.serves_as_replica() && facts.io_connecting && facts.sql_running && !facts.semi_sync);
        assert_eq!(
            (facts.io_errno, facts.lag_seconds, facts.last_error.as_deref()),
            (2003, None, Some("cannot reach db"))
        );
    }

    #[test]
    fn following_is_by_gtid_over_verified_tls_with_the_password_quoted() {
        let sql = follow_sql("db", "it's");
        for part in ["SOURCE_HOST='db'", "SOURCE_AUTO_POSITION=1", "SOURCE_SSL_VERIFY_SERVER_CERT=1", "'it''s'"] {
            assert!(sql.contains(part), "{part} in {sql}");
        }
    }
}
