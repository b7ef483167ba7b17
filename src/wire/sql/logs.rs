//! A server's binary log, transaction by transaction, as a replica is sent it; and transactions that were kept, told to another server.

use std::{str::FromStr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::StreamExt;
use jiff::Timestamp;
use mysql_async::{
    BinlogStream, BinlogStreamRequest, Sid,
    binlog::{
        BinlogVersion::Version4,
        EventType, RowsEventFlags,
        events::{Event, EventData, FormatDescriptionEvent, GtidEvent, QueryEvent, TableMapEvent},
    },
};

use super::{Session, bounded, name};
use crate::wire::gtid::GtidSet;

/// What a file of a binary log begins with.
pub const MAGIC: [u8; 4] = [0xfe, b'b', b'i', b'n'];
/// How often a server that has nothing new says that it is still there, in nanoseconds.
const HEARTBEAT: u64 = 2_000_000_000;
/// How long it may say nothing at all.
const SILENCE: Duration = Duration::from_secs(15);
/// The longest transaction that is kept whole in memory; nobody's site writes one.
const LONGEST: usize = 1 << 30;

/// A transaction of a binary log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its name, as `uuid:number`.
    pub gtid: String,
    /// When it was committed at the server that made it.
    pub committed: Timestamp,
    /// Its events, as they are in a file.
    pub events: Vec<u8>,
}

/// What a server sends of its binary log.
pub struct Logs {
    stream: BinlogStream,
    /// What describes the events of this stream; the first event of a file.
    head: Vec<u8>,
    open: Option<Transaction>,
}

impl Session {
    /// Turns this session into a stream of all transactions that are not in `but`: those that the server has now, and those to come.
    /// No two readers of one server have the same number.
    ///
    /// # Errors
    /// The server refuses. That it no longer has what is asked for shows with the first transaction.
    pub async fn logs(mut self, number: u32, but: &GtidSet) -> Result<Logs> {
        self.run(&format!("SET @source_heartbeat_period = {HEARTBEAT}, @master_heartbeat_period = {HEARTBEAT}"))
            .await?;
        let text = but.to_string();
        let sids = text.split(',').filter(|part| !part.is_empty()).map(Sid::from_str);
        let sids: Vec<Sid<'_>> = sids.collect::<Result<_, _>>().context("these GTIDs cannot be asked for")?;
        let request = BinlogStreamRequest::new(number).with_gtid().with_gtid_set(sids);
        let stream = bounded(self.patience, self.conn.get_binlog_stream(request)).await?;
        Ok(Logs { stream, head: Vec::new(), open: None })
    }
}

impl Logs {
    /// The beginning of a file of these transactions.
    pub fn head(&self) -> Vec<u8> {
        [&MAGIC[..], &self.head].concat()
    }

    /// The next transaction, whenever it comes. Whoever stops waiting loses nothing.
    ///
    /// # Errors
    /// The server lacks what was asked for, breaks off, or says nothing any more; or there is something in its log that cannot be kept.
    pub async fn next(&mut self) -> Result<Transaction> {
        loop {
            let event = tokio::time::timeout(SILENCE, self.stream.next()).await;
            let event = event.with_context(|| format!("the server said nothing for {} s", SILENCE.as_secs()))?;
            let event = event.context("the server ended its log")??;
            if let Some(whole) = self.take(&event)? {
                return Ok(whole);
            }
        }
    }

    /// Takes an event; returns a transaction with its last one.
    fn take(&mut self, event: &Event) -> Result<Option<Transaction>> {
        let kind = event.header().event_type();
        let Ok(kind) = kind else { return Ok(None) };
        match kind {
            EventType::FORMAT_DESCRIPTION_EVENT => {
                self.head = bytes(event)?;
                return Ok(None);
            }
            EventType::GTID_EVENT => {
                ensure!(self.open.is_none(), "a transaction has no end");
                let (gtid, committed) = named(event)?;
                self.open = Some(Transaction { gtid, committed, events: bytes(event)? });
                return Ok(None);
            }
            EventType::TRANSACTION_PAYLOAD_EVENT | EventType::XA_PREPARE_LOG_EVENT | EventType::INCIDENT_EVENT => {
                bail!("the log has an event that cannot be kept: {kind:?}");
            }
            _ => {}
        }
        // Signs of life, names of files, what earlier files had.
        let Some(open) = &mut self.open else { return Ok(None) };
        open.events.extend(bytes(event)?);
        ensure!(open.events.len() < LONGEST, "transaction {} is too long to be kept", open.gtid);
        let last = match kind {
            EventType::XID_EVENT => true,
            EventType::QUERY_EVENT => {
                event.read_event::<QueryEvent<'_>>().context("a statement cannot be read")?.query_raw() != b"BEGIN"
            }
            _ => false,
        };
        Ok(if last { self.open.take() } else { None })
    }
}

fn bytes(event: &Event) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    event.write(Version4, &mut bytes).context("an event cannot be written")?;
    Ok(bytes)
}

fn uuid(sid: [u8; 16]) -> String {
    let hex: String = sid.iter().map(|byte| format!("{byte:02x}")).collect();
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// A transaction that was kept.
pub struct Kept {
    /// Its name.
    pub gtid: String,
    /// When it was committed.
    pub committed: Timestamp,
    /// What describes its events.
    head: Arc<Vec<u8>>,
    events: Vec<Event>,
}

/// Reads a file of transactions.
///
/// # Errors
/// It is no file of a binary log, or it breaks off.
pub fn transactions(file: &[u8]) -> Result<Vec<Kept>> {
    let mut rest = file.strip_prefix(&MAGIC[..]).context("it does not begin like a binary log")?;
    let (mut described, mut head) = (FormatDescriptionEvent::new(Version4), Arc::default());
    let (mut kept, mut open) = (Vec::new(), None::<Kept>);
    while !rest.is_empty() {
        // The library would not get over an event that breaks off.
        let length = rest.get(9..13).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
        let length = length.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        ensure!((19..=rest.len()).contains(&length), "it breaks off");
        let event = Event::read(&described, &rest[..length]).context("an event cannot be read")?;
        rest = &rest[length..];
        match event.header().event_type() {
            Ok(EventType::FORMAT_DESCRIPTION_EVENT) => {
                head = Arc::new(bytes(&event)?);
                let found: FormatDescriptionEvent<'_> = event.read_event().context("the description cannot be read")?;
                described = found.into_owned().with_footer(event.footer());
            }
            Ok(EventType::GTID_EVENT) => {
                kept.extend(open.take());
                let (gtid, committed) = named(&event)?;
                open = Some(Kept { gtid, committed, head: head.clone(), events: Vec::new() });
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

/// The name of a transaction, and when it was committed.
fn named(event: &Event) -> Result<(String, Timestamp)> {
    let gtid: GtidEvent = event.read_event().context("a transaction's name cannot be read")?;
    let micros = i64::try_from(gtid.original_commit_timestamp())?;
    let committed = Timestamp::from_microsecond(micros).context("a transaction has no time")?;
    Ok((format!("{}:{}", uuid(gtid.sid()), gtid.gno()), committed))
}

/// Does once more what transactions did in one database; what they did elsewhere is left out. The account has to be allowed to (in
/// MySQL: `REPLICATION_APPLIER`).
pub struct Repeater<'s> {
    session: &'s mut Session,
    database: &'s str,
    /// What the server knows events to be like.
    described: Arc<Vec<u8>>,
}

impl<'s> Repeater<'s> {
    /// In this session.
    pub fn new(session: &'s mut Session, database: &'s str) -> Repeater<'s> {
        Repeater { session, database, described: Arc::default() }
    }

    /// Does one once more.
    ///
    /// # Errors
    /// The server refuses: it has not what the transaction was done to.
    pub async fn repeat(&mut self, kept: &Kept) -> Result<()> {
        let transaction = || format!("transaction {}", kept.gtid);
        if self.described != kept.head {
            let describe = format!("BINLOG '{}'", STANDARD.encode(&*kept.head));
            // After that the server waits to be told a name, which is its own business here.
            for statement in [describe.as_str(), "SET @@session.gtid_next = 'AUTOMATIC'"] {
                self.session.run(statement).await.with_context(transaction)?;
            }
            self.described = kept.head.clone();
        }
        for statement in statements(kept, self.database).with_context(transaction)? {
            self.session.run_bytes(&statement).await.with_context(transaction)?;
        }
        Ok(())
    }
}

/// What is to be told to a server for a transaction.
fn statements(kept: &Kept, database: &str) -> Result<Vec<Vec<u8>>> {
    let mut all: Vec<Vec<u8>> = Vec::new();
    let mut rows = Vec::new();
    for event in &kept.events {
        match event.header().event_type() {
            Ok(EventType::QUERY_EVENT) => {
                let query: QueryEvent<'_> = event.read_event().context("a statement cannot be read")?;
                match query.query_raw() {
                    b"BEGIN" => all.push(b"BEGIN".to_vec()),
                    b"COMMIT" => all.push(b"COMMIT".to_vec()),
                    _ if query.schema_raw() != database.as_bytes() => {}
                    text => {
                        all.push(format!("USE {}", name(database)).into_bytes());
                        all.push(format!("SET TIMESTAMP = {}", event.header().timestamp()).into_bytes());
                        all.push(text.to_vec());
                        all.push(b"SET TIMESTAMP = DEFAULT".to_vec());
                    }
                }
            }
            Ok(EventType::XID_EVENT) => all.push(b"COMMIT".to_vec()),
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
