//! Transactions that were kept, done once more at another server, as far as they are about one database.

use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use mysql_async::binlog::{
    BinlogVersion::Version4,
    EventType, RowsEventFlags,
    events::{Event, EventData, FormatDescriptionEvent, QueryEvent, TableMapEvent},
};

use super::{
    MAGIC, bytes, ends,
    mariadb::Named,
    named,
    settings::settings,
    statement::{About, without_definer},
};
use crate::wire::sql::{Session, name};

/// Where every account may be, and nobody's table is: a statement that names its database may be made before there is that one.
const NOWHERE: &str = "information_schema";

/// A transaction that was kept.
pub struct Kept {
    /// Its name.
    pub gtid: String,
    /// When it was committed.
    pub committed: Timestamp,
    /// What describes its events.
    head: Arc<Vec<u8>>,
    /// Whether it is one statement, as its name says. MySQL's does not.
    standalone: Option<bool>,
    events: Vec<Event>,
}

/// Reads a file of transactions. Those of a cluster have no maker in it but the one that is given.
///
/// # Errors
/// It is no file of a binary log, or it breaks off.
pub fn transactions(file: &[u8], cluster: &str) -> Result<Vec<Kept>> {
    let mut rest = file.strip_prefix(&MAGIC[..]).context("it does not begin like a binary log")?;
    let (mut described, mut head) = (FormatDescriptionEvent::new(Version4), Arc::<Vec<u8>>::default());
    let (mut kept, mut open) = (Vec::new(), None::<Kept>);
    while !rest.is_empty() {
        // The library would not get over an event that breaks off.
        let length = rest.get(9..13).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        ensure!((19..=rest.len()).contains(&length), "it breaks off");
        let event = Event::read(&described, &rest[..length]).context("an event cannot be read")?;
        rest = &rest[length..];
        if let Some(Named { number, standalone, committed, .. }) = Named::read(&event)? {
            kept.extend(open.take());
            let gtid = format!("{cluster}:{number}");
            open = Some(Kept { gtid, committed, head: head.clone(), standalone: Some(standalone), events: Vec::new() });
            continue;
        }
        match event.header().event_type() {
            Ok(EventType::FORMAT_DESCRIPTION_EVENT) => {
                head = Arc::new(bytes(&event)?);
                let found: FormatDescriptionEvent<'_> = event.read_event().context("the description cannot be read")?;
                described = found.into_owned().with_footer(event.footer());
            }
            Ok(EventType::GTID_EVENT) => {
                kept.extend(open.take());
                let (gtid, committed) = named(&event)?;
                open = Some(Kept { gtid, committed, head: head.clone(), standalone: None, events: Vec::new() });
            }
            _ => {
                if let Some(open) = &mut open {
                    open.events.push(event);
                }
            }
        }
    }
    kept.extend(open);
    Ok(kept)
}

/// Does once more what transactions did in one database; what they did elsewhere is left out. The account has to be allowed to (in
/// MySQL: `REPLICATION_APPLIER`, in MariaDB: `BINLOG REPLAY`).
pub struct Repeater<'s> {
    session: &'s mut Session,
    database: &'s str,
    /// What the server is.
    mariadb: bool,
    /// What the server knows events to be like.
    described: Arc<Vec<u8>>,
}

impl<'s> Repeater<'s> {
    /// In this session.
    pub fn new(session: &'s mut Session, database: &'s str, mariadb: bool) -> Repeater<'s> {
        Repeater { session, database, mariadb, described: Arc::default() }
    }

    /// Does one once more.
    ///
    /// # Errors
    /// The server refuses: it has not what the transaction was done to.
    pub async fn repeat(&mut self, kept: &Kept) -> Result<()> {
        let transaction = || format!("transaction {}", kept.gtid);
        if self.described != kept.head {
            let describe = format!("BINLOG '{}'", STANDARD.encode(&*kept.head));
            self.session.run(&describe).await.with_context(transaction)?;
            if !self.mariadb {
                // After that MySQL waits to be told a name, which is its own business here.
                self.session.run("SET @@session.gtid_next = 'AUTOMATIC'").await.with_context(transaction)?;
            }
            self.described = kept.head.clone();
        }
        for statement in statements(kept, self.database, self.mariadb).with_context(transaction)? {
            self.session.run_bytes(&statement).await.with_context(transaction)?;
        }
        Ok(())
    }
}

/// What is to be told to a server for a transaction.
///
/// # Errors
/// It cannot be read, or depends on what was not kept.
fn statements(kept: &Kept, database: &str, mariadb: bool) -> Result<Vec<Vec<u8>>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut rows = Vec::new();
    // What the next statement depends on.
    let mut depends = None;
    let (mut standalone, mut ended) = (kept.standalone, false);
    if standalone == Some(false) {
        // Its name begins it, and no event does.
        all.push(b"BEGIN".to_vec());
    }
    for event in &kept.events {
        ended = ends(event, &mut standalone)?;
        match event.header().event_type() {
            Ok(EventType::QUERY_EVENT) => {
                let query: QueryEvent<'_> = event.read_event().context("a statement cannot be read")?;
                let about = About::of(query.query_raw(), query.schema_raw(), database.as_bytes());
                let within = match about {
                    About::Transaction => None,
                    About::Content => Some(database),
                    About::ByName => Some(NOWHERE),
                    About::Elsewhere => {
                        depends = None;
                        continue;
                    }
                };
                if let Some(what) = depends {
                    bail!(
                        "a statement was logged instead of its rows, and depends on what only its session knew ({what:?})"
                    );
                }
                if let Some(within) = within {
                    all.push(format!("USE {}", name(within)).into_bytes());
                    all.push(settings(&query, event.header().timestamp(), mariadb).into_bytes());
                }
                all.push(without_definer(query.query_raw()).into_owned());
            }
            Ok(EventType::XID_EVENT) => all.push(b"COMMIT".to_vec()),
            Ok(
                what @ (EventType::INTVAR_EVENT
                | EventType::RAND_EVENT
                | EventType::USER_VAR_EVENT
                | EventType::BEGIN_LOAD_QUERY_EVENT
                | EventType::EXECUTE_LOAD_QUERY_EVENT),
            ) => depends = Some(what),
            Ok(EventType::TABLE_MAP_EVENT) => {
                let table: TableMapEvent<'_> = event.read_event().context("a table cannot be read")?;
                if table.database_name_raw() == database.as_bytes() {
                    rows.push(bytes(event)?);
                }
            }
            _ => match event.read_data().context("rows cannot be read")? {
                Some(EventData::RowsEvent(data)) if !rows.is_empty() => {
                    rows.push(bytes(event)?);
                    // The last one of a statement: the tables are named anew after it.
                    if data.flags().contains(RowsEventFlags::STMT_END) {
                        let rows: Vec<String> = rows.drain(..).map(|event: Vec<u8>| STANDARD.encode(&event)).collect();
                        all.push(format!("BINLOG '{}'", rows.join("\n")).into_bytes());
                    }
                }
                _ => {}
            },
        }
    }
    ensure!(ended, "it has no end");
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{event, query},
        *,
    };

    fn told(standalone: Option<bool>, events: Vec<Event>) -> Result<Vec<String>> {
        let kept =
            Kept { gtid: "a:1".to_owned(), committed: Timestamp::UNIX_EPOCH, head: Arc::default(), standalone, events };
        let all = statements(&kept, "wp", standalone.is_some())?;
        Ok(all.into_iter().map(|text| String::from_utf8(text).expect("a text")).collect())
    }

    fn commit() -> Event {
        event(16, &[0; 8])
    }

    #[test]
    fn a_transaction_is_told_from_its_beginning_to_its_end() {
        let text = |events| told(None, events).expect("told").join("; ");
        assert_eq!(text(vec![query("BEGIN"), query("SAVEPOINT a"), commit()]), "BEGIN; SAVEPOINT a; COMMIT");
        let made = told(None, vec![query("CREATE DEFINER=`a`@`b` VIEW v AS SELECT 1")]).expect("told");
        assert_eq!((made[0].as_str(), made[2].as_str()), ("USE `wp`", "CREATE VIEW v AS SELECT 1"));
        assert!(made[1].starts_with("SET timestamp = 1796077315.000000, "), "{made:?}");
        assert_eq!(text(vec![query("DROP USER a@b")]), "", "an account");
        let text = told(Some(false), vec![query("SAVEPOINT a"), commit()]).expect("told").join("; ");
        assert_eq!(text, "BEGIN; SAVEPOINT a; COMMIT", "a MariaDB's");
    }

    #[test]
    fn what_cannot_be_told_is_refused() {
        let refused = |events| told(None, events).expect_err("refused").to_string();
        assert_eq!(refused(vec![query("BEGIN"), query("SAVEPOINT a")]), "it has no end");
        assert_eq!(refused(Vec::new()), "it has no end");
        let number = event(5, &[2, 7, 0, 0, 0, 0, 0, 0, 0]);
        let why = refused(vec![query("BEGIN"), number.clone(), query("INSERT INTO t VALUES (NULL)"), commit()]);
        assert!(why.contains("only its session knew"), "{why}");
        let elsewhere = vec![query("BEGIN"), number, query("DROP USER a@b"), commit()];
        assert_eq!(told(None, elsewhere).expect("told"), ["BEGIN", "COMMIT"]);
    }
}
