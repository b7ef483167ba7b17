//! What a backup says of itself, in `manifest.json`. It is written last and read first; nothing in it is secret.

use std::{collections::BTreeMap, fmt};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::spec::{LabSpec, Topology};

/// The format that this version writes. It reads this one and all before.
pub const FORMAT: u32 = 1;

/// A backup's name: when it was begun (UTC, to the second) and four hexadecimal digits, so that names sort by time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct BackupId(String);

impl BackupId {
    /// The name of one that begins now, told from others of this second by `salt`.
    pub fn at(when: Timestamp, salt: u16) -> BackupId {
        BackupId(format!("{}-{salt:04x}", when.strftime("%Y%m%dT%H%M%SZ")))
    }

    /// Reads a name.
    ///
    /// # Errors
    /// A sentence that says what one looks like.
    pub fn new(text: &str) -> Result<BackupId, String> {
        let fits = |(index, c): (usize, char)| match index {
            8 => c == 'T',
            15 => c == 'Z',
            16 => c == '-',
            17.. => matches!(c, '0'..='9' | 'a'..='f'),
            _ => c.is_ascii_digit(),
        };
        match text.len() == 21 && text.chars().enumerate().all(fits) {
            true => Ok(BackupId(text.to_owned())),
            false => {
                Err(format!("'{}' is no backup's name: one looks like 20261130T113000Z-4f2a", text.escape_debug()))
            }
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BackupId {
    type Error = String;

    fn try_from(text: String) -> Result<BackupId, String> {
        BackupId::new(&text)
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// All that a backup says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Manifest {
    /// [`FORMAT`] of whoever wrote it.
    pub format: u32,
    /// The version of wplab that made it.
    pub made_by: String,
    /// Its name.
    pub id: BackupId,
    /// When it was begun.
    pub begun: Timestamp,
    /// When its last part had arrived.
    pub finished: Timestamp,
    /// The lab that it is of, as its lab file was.
    pub lab: LabSpec,
    /// The database's server and where in its history the dump is.
    pub database: DatabaseFacts,
    /// The site.
    pub wordpress: WordpressFacts,
    /// Whether the lab's schedule made it, so that the lab's rule says how long it is kept.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scheduled: bool,
    /// For whom it is encrypted, as age's public keys; empty: for everybody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// What is in it, by its name: `database` (SQL), `files` (a tar of `wp-content`), `index` (a line of JSON for each file).
    pub streams: BTreeMap<String, Stream>,
    /// How long things took, in seconds, by their names.
    pub seconds: BTreeMap<String, f64>,
}

/// The database's server and its dump.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DatabaseFacts {
    /// How its members kept their copies.
    pub topology: Topology,
    /// `mysql`, `mariadb` or `percona`.
    pub server: String,
    /// As the server says.
    pub version: String,
    /// The member that was read from.
    pub member: String,
    /// What the dump contains: a GTID set in topology `replication`, `UUID:SEQNO` in a Galera cluster.
    pub position: String,
    /// Whether it contains nothing that is not in the position; the first backups do not say so.
    #[serde(default)]
    pub exact: bool,
    /// Every table, by its name.
    pub tables: BTreeMap<String, Table>,
}

impl DatabaseFacts {
    /// How many rows all its tables have.
    pub fn rows(&self) -> u64 {
        self.tables.values().map(|table| table.rows).sum()
    }
}

/// A table as the dump has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Table {
    /// How many rows it has.
    pub rows: u64,
    /// A hash of all its rows, whatever their order and whichever server computes it.
    pub hash: String,
}

/// The site as it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WordpressFacts {
    /// WordPress's version.
    pub version: String,
    /// The version of its tables; a WordPress that expects a later one upgrades them, an older one cannot use them.
    pub db_version: u64,
    /// Its address, which stands in what users wrote.
    pub url: String,
    /// How many files `wp-content` has.
    pub files: u64,
}

/// Something that was sent in parts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stream {
    /// Bytes that went in.
    pub bytes: u64,
    /// SHA-256 of them, in hexadecimal digits.
    pub sha256: String,
    /// What it lies in, in this order.
    pub parts: Vec<Part>,
}

impl Stream {
    /// Bytes in the store.
    pub fn stored(&self) -> u64 {
        self.parts.iter().map(|part| part.bytes).sum()
    }
}

/// One object of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Part {
    /// Its name beside the manifest.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// SHA-256 of it, in hexadecimal digits.
    pub sha256: String,
}

impl Manifest {
    /// Bytes in the store, without the manifest.
    pub fn stored(&self) -> u64 {
        self.streams.values().map(Stream::stored).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_time_and_nothing_else_is_one() {
        let at = |text: &str| BackupId::at(text.parse().expect("a time"), 0x4f2a);
        let first = at("2026-11-30T11:30:00Z");
        assert_eq!(first.as_str(), "20261130T113000Z-4f2a");
        assert!(
            first < at("2026-11-30T12:00:00.9+01:00".replace("12:00", "12:30").as_str())
                || first < at("2026-12-01T00:00:00Z")
        );
        assert_eq!(BackupId::new(first.as_str()), Ok(first));
        for text in ["", "20261130T113000Z", "20261130T113000Z-4F2A", "../../etc/passwd/xxxx", "20261130T113000Z-4f2a/"]
        {
            assert!(BackupId::new(text).is_err(), "{text}");
        }
    }
}
