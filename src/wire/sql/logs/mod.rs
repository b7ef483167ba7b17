//! A server's binary log, transaction by transaction, as a replica is sent it; and transactions that were kept, told to another server.
//! MySQL's and MariaDB's differ in how transactions are named (`history`) and where they end (`mariadb`).

mod history;
mod mariadb;

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

pub use self::history::History;
use self::{
    history::DOMAIN,
    mariadb::{Mark, Named},
};
use super::{Session, bounded, name};
use crate::wire::{gtid::GtidSet, hex};

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
    /// Its name and, of a cluster's, the numbers before it that no transaction has: a statement that failed has used them up.
    pub covers: GtidSet,
    /// When it was committed at the server that made it. MariaDB's log knows the second, of which this is the end.
    pub committed: Timestamp,
    /// Its events, as they are in a file.
    pub events: Vec<u8>,
    /// By what a cluster's transaction is known again at another member, which may number them otherwise; of MySQL's nothing.
    pub mark: String,
}

/// What a server sends of its binary log.
pub struct Logs {
    stream: BinlogStream,
    history: History,
    /// The last number of a cluster's that was sent.
    last: u64,
    /// What describes the events of this stream; the first event of a file.
    head: Vec<u8>,
    open: Option<Open>,
}

/// A transaction whose end is still to come.
struct Open {
    transaction: Transaction,
    /// Of a cluster's: whether it is one statement, and what it did so far.
    cluster: Option<(bool, Mark)>,
}

impl Session {
    /// Turns this session into a stream of all transactions that are not in `but`: those that the server has now, and those to come.
    /// No two readers of one server have the same number.
    ///
    /// # Errors
    /// The server refuses. That it no longer has what is asked for shows with the first transaction.
    pub async fn logs(mut self, number: u32, history: &History, but: &GtidSet) -> Result<Logs> {
        self.run(&format!("SET @source_heartbeat_period = {HEARTBEAT}, @master_heartbeat_period = {HEARTBEAT}"))
            .await?;
        let (text, last) = (but.to_string(), history.last_in(but));
        let request = match last {
            None => {
                let sids = text.split(',').filter(|part| !part.is_empty()).map(Sid::from_str);
                let sids: Vec<Sid<'_>> = sids.collect::<Result<_, _>>().context("these GTIDs cannot be asked for")?;
                BinlogStreamRequest::new(number).with_gtid().with_gtid_set(sids)
            }
            Some(last) => {
                // MariaDB is told by variables what its reader knows (4: GTIDs) and where it begins.
                let position = history::value(&mut self, "@@global.gtid_binlog_pos").await?;
                let begin = History::beginning(&position, last);
                self.run(&format!("SET @mariadb_slave_capability = 4, @slave_connect_state = '{begin}'")).await?;
                BinlogStreamRequest::new(number).with_pos(4)
            }
        };
        let stream = bounded(self.patience, self.conn.get_binlog_stream(request)).await?;
        let last = last.unwrap_or_default();
        Ok(Logs { stream, history: history.clone(), last, head: Vec::new(), open: None })
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
        let kind = event.header().event_type().ok();
        match kind {
            Some(EventType::FORMAT_DESCRIPTION_EVENT) => {
                self.head = bytes(event)?;
                return Ok(None);
            }
            Some(kind @ (EventType::XA_PREPARE_LOG_EVENT | EventType::INCIDENT_EVENT)) => {
                bail!("the log has an event that cannot be kept: {kind:?}");
            }
            // MariaDB uses its number for something else.
            Some(kind @ EventType::TRANSACTION_PAYLOAD_EVENT) if self.history == History::Gtids => {
                bail!("the log has an event that cannot be kept: {kind:?}");
            }
            _ => {}
        }
        if let Some(named) = self.named(event)? {
            ensure!(self.open.is_none(), "a transaction has no end");
            self.open = named;
            return Ok(None);
        }
        // Signs of life, names of files, what earlier files had.
        let Some(open) = &mut self.open else { return Ok(None) };
        let Transaction { gtid, events, .. } = &mut open.transaction;
        events.extend(bytes(event)?);
        ensure!(events.len() < LONGEST, "transaction {gtid} is too long to be kept");
        let ends = match &mut open.cluster {
            Some((standalone, mark)) => {
                mark.add(event)?;
                mariadb::ends(event, *standalone)?
            }
            None if kind == Some(EventType::QUERY_EVENT) => {
                event.read_event::<QueryEvent<'_>>().context("a statement cannot be read")?.query_raw() != b"BEGIN"
            }
            None => kind == Some(EventType::XID_EVENT),
        };
        Ok(if ends { self.open.take().map(Open::whole) } else { None })
    }

    /// What begins with this event: a transaction, or one that is not asked for; nothing if it names none.
    #[expect(clippy::option_option, reason = "a name, and whether what it names is wanted")]
    fn named(&mut self, event: &Event) -> Result<Option<Option<Open>>> {
        let History::Cluster(uuid) = &self.history else {
            if event.header().event_type() != Ok(EventType::GTID_EVENT) {
                return Ok(None);
            }
            let (gtid, committed) = named(event)?;
            let (covers, events) = (GtidSet::parse(&gtid)?, bytes(event)?);
            let transaction = Transaction { gtid, covers, committed, events, mark: String::new() };
            return Ok(Some(Some(Open { transaction, cluster: None })));
        };
        let Some(Named { domain, number, standalone, committed }) = Named::read(event)? else { return Ok(None) };
        if domain != DOMAIN {
            // A member's own.
            return Ok(Some(None));
        }
        ensure!(number > self.last, "the server counts back, from {} to {number}", self.last);
        let covers = GtidSet::of(uuid, self.last + 1, number);
        let (gtid, events) = (format!("{uuid}:{number}"), bytes(event)?);
        self.last = number;
        let transaction = Transaction { gtid, covers, committed, events, mark: String::new() };
        Ok(Some(Some(Open { transaction, cluster: Some((standalone, Mark::default())) })))
    }
}

impl Open {
    fn whole(self) -> Transaction {
        let mark = self.cluster.map(|(_, mark)| mark.text()).unwrap_or_default();
        Transaction { mark, ..self.transaction }
    }
}

fn bytes(event: &Event) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    event.write(Version4, &mut bytes).context("an event cannot be written")?;
    Ok(bytes)
}

fn uuid(sid: [u8; 16]) -> String {
    let hex = hex(&sid);
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

/// The name of a transaction, and when it was committed.
fn named(event: &Event) -> Result<(String, Timestamp)> {
    let gtid: GtidEvent = event.read_event().context("a transaction's name cannot be read")?;
    let micros = i64::try_from(gtid.original_commit_timestamp())?;
    let committed = Timestamp::from_microsecond(micros).context("a transaction has no time")?;
    Ok((format!("{}:{}", uuid(gtid.sid()), gtid.gno()), committed))
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
    if kept.begun {
        all.push(b"BEGIN".to_vec());
    }
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
