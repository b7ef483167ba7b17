//! A server's binary log, transaction by transaction, as a replica is sent it; and transactions that were kept, told to another server
//! (`repeat`). MySQL's and MariaDB's differ in how transactions are named (`history`) and what else there is in them (`mariadb`).

mod history;
mod mariadb;
mod repeat;
mod settings;
mod statement;

use std::{str::FromStr, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use futures_util::StreamExt;
use jiff::Timestamp;
use mysql_async::{
    BinlogStream, BinlogStreamRequest, Sid,
    binlog::{
        BinlogVersion::Version4,
        EventType,
        events::{Event, GtidEvent, QueryEvent},
    },
};

use self::{
    history::DOMAIN,
    mariadb::{Mark, Named},
};
pub use self::{
    history::History,
    repeat::{Kept, Repeater, transactions},
};
use super::{Session, bounded};
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
    /// Whether it is one statement, with no `COMMIT`; MySQL says so by what it begins with.
    standalone: Option<bool>,
    /// What a cluster's did so far.
    mark: Option<Mark>,
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
        if let Some(mark) = &mut open.mark {
            mariadb::known(event)?;
            mark.add(event)?;
        }
        Ok(if ends(event, &mut open.standalone)? { self.open.take().map(Open::whole) } else { None })
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
            return Ok(Some(Some(Open { transaction, standalone: None, mark: None })));
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
        Ok(Some(Some(Open { transaction, standalone: Some(standalone), mark: Some(Mark::default()) })))
    }
}

impl Open {
    fn whole(self) -> Transaction {
        let mark = self.mark.map(Mark::text).unwrap_or_default();
        Transaction { mark, ..self.transaction }
    }
}

/// Whether an event is the last one of its transaction: what commits it, or, where it is one statement, that one.
///
/// # Errors
/// It cannot be read.
fn ends(event: &Event, standalone: &mut Option<bool>) -> Result<bool> {
    match event.header().event_type() {
        Ok(EventType::XID_EVENT) => Ok(true),
        Ok(EventType::QUERY_EVENT) => {
            let query: QueryEvent<'_> = event.read_event().context("a statement cannot be read")?;
            Ok(*standalone.get_or_insert(query.query_raw() != b"BEGIN")
                || matches!(query.query_raw(), b"COMMIT" | b"ROLLBACK"))
        }
        _ => Ok(false),
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

/// The name of a transaction, and when it was committed.
fn named(event: &Event) -> Result<(String, Timestamp)> {
    let gtid: GtidEvent = event.read_event().context("a transaction's name cannot be read")?;
    let micros = i64::try_from(gtid.original_commit_timestamp())?;
    let committed = Timestamp::from_microsecond(micros).context("a transaction has no time")?;
    Ok((format!("{}:{}", uuid(gtid.sid()), gtid.gno()), committed))
}

#[cfg(test)]
mod tests {
    use mysql_async::binlog::{
        BinlogChecksumAlg,
        events::{BinlogEventFooter, FormatDescriptionEvent},
    };

    use super::*;

    pub(super) fn event(kind: u8, data: &[u8]) -> Event {
        let mut bytes = 1_796_077_315_u32.to_le_bytes().to_vec();
        bytes.push(kind);
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(u32::try_from(19 + data.len()).expect("short").to_le_bytes());
        bytes.extend([0; 6]);
        bytes.extend(data);
        let described = FormatDescriptionEvent::new(Version4)
            .with_footer(BinlogEventFooter::new(BinlogChecksumAlg::BINLOG_CHECKSUM_ALG_OFF));
        Event::read(&described, &bytes[..]).expect("an event")
    }

    pub(super) fn query(text: &str) -> Event {
        let mut data = vec![0; 8];
        data.extend([2, 0, 0, 0, 0]);
        data.extend(b"wp\0");
        data.extend(text.bytes());
        event(2, &data)
    }

    #[test]
    fn a_transaction_ends_where_it_is_committed() {
        let commit = event(16, &[0; 8]);
        for (standalone, events, end) in [
            // MySQL says with its first statement whether there is a second one.
            (None, vec![query("BEGIN"), query("SAVEPOINT a"), query("ROLLBACK TO a"), commit.clone()], 4),
            (
                None,
                vec![query("BEGIN"), query("CREATE TABLE a (b INT) START TRANSACTION"), event(19, &[]), commit.clone()],
                4,
            ),
            (None, vec![query("BEGIN"), query("COMMIT")], 2),
            (None, vec![query("CREATE TABLE a (b INT)"), query("BEGIN")], 1),
            (Some(true), vec![query("CREATE TABLE a (b INT)"), query("COMMIT")], 1),
            (Some(false), vec![query("CREATE TABLE a (b INT)"), query("SAVEPOINT a"), commit], 3),
            (Some(false), vec![query("SAVEPOINT a"), query("ROLLBACK")], 2),
        ] {
            let mut says = standalone;
            let found = events.iter().position(|event| ends(event, &mut says).expect("read"));
            assert_eq!(found.map(|at| at + 1), Some(end), "{standalone:?} {events:?}");
        }
    }
}
