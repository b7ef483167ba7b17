//! What is MariaDB's own in a binary log: how a transaction is named, where it ends, and by what it is known again at another member. The
//! library knows MySQL's events; MariaDB's others have numbers that MySQL does not use (source: `sql/log_event.h`).

use anyhow::{Context, Result, bail, ensure};
use jiff::{Timestamp, ToSpan};
use mysql_async::binlog::{
    EventType,
    events::{Event, QueryEvent, TableMapEvent},
};
use sha2::{Digest, Sha256};

use crate::wire::hex;

/// A statement as it was written, before the rows that it changed.
const ANNOTATE_ROWS: u8 = 160;
const GTID: u8 = 162;
/// A transaction that is one statement, with no `COMMIT`.
const STANDALONE: u8 = 1;
/// What stands before the columns of an event of rows: the table's number at this server, and flags that members set differently.
const ROWS_HEADER: usize = 8;

/// The name of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) domain: u32,
    pub(super) number: u64,
    /// It ends with its first statement.
    pub(super) standalone: bool,
    /// The end of the second in which its last statement began: the log knows no more.
    pub(super) committed: Timestamp,
}

impl Named {
    /// What an event names; nothing if it is another one.
    ///
    /// # Errors
    /// It breaks off.
    pub(super) fn read(event: &Event) -> Result<Option<Named>> {
        if event.header().event_type_raw() != GTID {
            return Ok(None);
        }
        let (number, rest) = event.data().split_first_chunk().context("a transaction's name breaks off")?;
        let (domain, rest) = rest.split_first_chunk().context("a transaction's domain breaks off")?;
        let flags = rest.first().context("a transaction's flags break off")?;
        let second = Timestamp::from_second(event.header().timestamp().into()).context("a transaction has no time")?;
        Ok(Some(Named {
            domain: u32::from_le_bytes(*domain),
            number: u64::from_le_bytes(*number),
            standalone: flags & STANDALONE != 0,
            committed: second + 999_999.microseconds(),
        }))
    }
}

/// Refuses what only a MariaDB could read.
///
/// # Errors
/// It cannot be kept.
pub(super) fn known(event: &Event) -> Result<()> {
    let kind = event.header().event_type_raw();
    ensure!(
        event.header().event_type().is_ok() || kind == ANNOTATE_ROWS,
        "the log has an event that cannot be kept: {kind}"
    );
    Ok(())
}

/// What a transaction did, as a hash that is the same at every member that did it: without what is a server's own, however it cut the
/// rows into events.
#[derive(Clone, Default)]
pub(super) struct Mark {
    hash: Sha256,
    /// What the last rows were done to, and how.
    to: Vec<u8>,
    table: Vec<u8>,
}

impl Mark {
    /// Adds an event.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn add(&mut self, event: &Event) -> Result<()> {
        match event.header().event_type() {
            Ok(EventType::QUERY_EVENT) => {
                let query: QueryEvent<'_> = event.read_event().context("a statement cannot be read")?;
                self.hash.update(query.schema_raw());
                self.hash.update([0]);
                self.hash.update(query.query_raw());
                self.to.clear();
            }
            Ok(EventType::TABLE_MAP_EVENT) => {
                let table: TableMapEvent<'_> = event.read_event().context("a table cannot be read")?;
                self.table = [table.database_name_raw(), b".", table.table_name_raw()].concat();
            }
            Ok(
                kind @ (EventType::WRITE_ROWS_EVENT_V1
                | EventType::UPDATE_ROWS_EVENT_V1
                | EventType::DELETE_ROWS_EVENT_V1),
            ) => {
                let images = if kind == EventType::UPDATE_ROWS_EVENT_V1 { 2 } else { 1 };
                let (columns, rows) = rows(event.data(), images)?;
                let to = [&[kind as u8], &self.table[..], columns].concat();
                if to != self.to {
                    self.hash.update(&to);
                    self.to = to;
                }
                self.hash.update(rows);
            }
            _ => {}
        }
        Ok(())
    }

    /// The hash, cut short: it is to tell neighbours apart.
    pub(super) fn text(self) -> String {
        hex(&self.hash.finalize()[..8])
    }
}

/// Which columns an event of rows has, and its rows.
fn rows(data: &[u8], images: usize) -> Result<(&[u8], &[u8])> {
    let rest = data.get(ROWS_HEADER..).context("rows break off")?;
    let (count, width) = match rest {
        [count @ 0..=250, ..] => (usize::from(*count), 1),
        [252, low, high, ..] => (usize::from(u16::from_le_bytes([*low, *high])), 3),
        _ => bail!("rows break off"),
    };
    let columns = width + images * count.div_ceil(8);
    ensure!(rest.len() >= columns, "rows break off");
    Ok(rest.split_at(columns))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::event, *};

    fn unhex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> =
            text.bytes().map(|c| u8::try_from((c as char).to_digit(16).expect("one")).expect("one")).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }

    #[test]
    fn a_transaction_is_named_by_domain_and_number_and_its_second_is_over() {
        let mut data = 24_u64.to_le_bytes().to_vec();
        data.extend(1_u32.to_le_bytes());
        data.push(41);
        let named = Named::read(&event(GTID, &data)).expect("read").expect("a name");
        assert_eq!((named.domain, named.number, named.standalone), (1, 24, true));
        assert_eq!(named.committed.to_string(), "2026-11-30T22:21:55.999999Z");
        assert_eq!(Named::read(&event(16, &[0; 8])).expect("read"), None);
        Named::read(&event(GTID, &data[..9])).expect_err("it breaks off");
    }

    #[test]
    fn what_only_a_mariadb_could_read_is_refused() {
        known(&event(ANNOTATE_ROWS, b"INSERT")).expect("a comment");
        known(&event(16, &[0; 8])).expect("a commit");
        assert!(known(&event(165, b"compressed")).is_err());
    }

    /// One row, as the log of the member that was written to has it and as another one's has it.
    #[test]
    fn a_transaction_is_known_again_at_another_member() {
        let mark = |rows: &[&str]| {
            let mut mark = Mark { table: b"wordpress.t".to_vec(), ..Mark::default() };
            for text in rows {
                mark.add(&event(23, &unhex(text))).expect("read");
            }
            mark.text()
        };
        let (here, there) =
            ("21000000000001000203fc04000000056166746572", "1a000000000005000203fc04000000056166746572");
        assert_eq!(mark(&[here]), mark(&[there]));
        assert_ne!(mark(&[here]), mark(&["1a000000000005000203fc05000000056166746572"]), "another row");
        let next = "fc05000000056166746572";
        assert_eq!(
            mark(&[&format!("{here}{next}")]),
            mark(&[there, &format!("1a00000000000500{}{next}", "0203")]),
            "in one event or in two"
        );
        assert!(Mark::default().add(&event(23, &unhex("210000000000010002"))).is_err());
    }
}
