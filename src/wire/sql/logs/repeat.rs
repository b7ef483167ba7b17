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
    MAGIC, bytes,
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
    /// It begins with its name: no event of its own says so.
    begun: bool,
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
            open = Some(Kept { gtid, committed, head: head.clone(), begun: !standalone, events: Vec::new() });
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
                open = Some(Kept { gtid, committed, head: head.clone(), begun: false, events: Vec::new() });
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
    if kept.begun {
        all.push(b"BEGIN".to_vec());
    }
    for event in &kept.events {
        let kind = event.header().event_type();
        match kind {
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
    Ok(all)
}
