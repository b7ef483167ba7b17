//! A database as SQL text, written and read by ourselves: all of it from one snapshot, with a hash of every table from the same one, without
//! a program in the server's image, and the same on MySQL, Percona and MariaDB.
//!
//! ```text
//! -- wplab dump 1 of mysql 9.7.4               what wrote it, and from which server
//! SET NAMES utf8mb4; …                         one statement a line: everybody's `mysql` client can read it, too
//! CREATE TABLE `wp_posts` ( …                  all tables, before the first row
//! INSERT INTO `wp_posts` (`ID`,…) VALUES …     at most 1 MiB each, unless one row is longer
//! CREATE VIEW … DELIMITER … CREATE TRIGGER …   what is a program, each in a block of its own
//! -- complete: 12 tables, 345 rows             without this line it is none
//! ```
//!
//! There is no `DROP TABLE`: it is loaded into a database that has no such tables, and never takes anything away. Nobody is named as the
//! definer of views, routines, triggers and events. Rows are streamed; of a table of any size no more than a few statements are in
//! memory, or a few of its longest row.
//!
//! `shape` reads what there is, the crate `wplab-rows` makes rows statements and hashes, `objects` is for what is a program; `split` and `fits`
//! are for loading into the same or the other kind of server. `pipe` leads from and to threads.

mod fits;
mod load;
mod objects;
mod pipe;
mod refused;
mod shape;
mod split;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
pub use load::load;
pub use pipe::{Feed, Reader, Sink, Source, drain, feed};
pub use refused::Refused;

use wplab_rows::Inserts;

use self::{refused::refused, shape::Shape};
use crate::wire::{
    backup::manifest::Table,
    sql::{self, Session, name},
};

/// What a dump begins with; a version and the server follow.
const TITLE: &str = "-- wplab dump 1 of ";
/// What it ends with; how much it was follows.
const COMPLETE: &str = "-- complete: ";
/// In which everything that can be in a table can be put into one: zeros that are no request for a number, dates that never were.
/// Escapes with backslashes and names between backticks mean what they should in it.
const SQL_MODE: &str = "ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,NO_ENGINE_SUBSTITUTION";

/// What takes a snapshot, and gives one up that there is.
const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// The database as it was at one moment, seen by one session until this is dropped.
#[derive(Debug)]
pub struct Snapshot<'s> {
    session: &'s mut Session,
}

impl<'s> Snapshot<'s> {
    /// Takes it, with a transaction that reads only. Whoever needs the position that belongs to it keeps writers away meanwhile, and asks
    /// [`Snapshot::session`].
    ///
    /// # Errors
    /// The server refuses, or cannot be asked.
    pub async fn begin(session: &'s mut Session) -> Result<Snapshot<'s>> {
        let mariadb = sql::is_mariadb(&session.version().await?);
        let limit = if mariadb { "max_statement_time" } else { "max_execution_time" };
        for statement in [
            // Who reads may be slower than who sends: a store takes its time.
            "SET SESSION net_write_timeout=86400, net_read_timeout=86400, wait_timeout=86400",
            &format!("SET SESSION {limit}=0"),
            "SET NAMES utf8mb4",
            "SET SESSION time_zone='+00:00'",
            &format!("SET SESSION sql_mode='{SQL_MODE}'"),
            "SET SESSION sql_quote_show_create=1",
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
            BEGIN,
        ] {
            session.run(statement).await.with_context(|| format!("cannot begin to dump: {statement}"))?;
        }
        Ok(Snapshot { session })
    }

    /// Takes it once more, of a later moment.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn again(&mut self) -> Result<()> {
        self.session.run(BEGIN).await.context("cannot take another snapshot")
    }

    /// The session, to be asked for what belongs to this moment.
    pub fn session(&mut self) -> &mut Session {
        self.session
    }

    /// Writes a database, and returns what it wrote of each table.
    ///
    /// # Errors
    /// There is something that a dump cannot hold (then nothing was written), or a table was changed meanwhile ([`Refused`]); the server
    /// breaks off, or nobody reads any more. The reader sees an error then, and no end.
    pub async fn write(&mut self, database: &str, mut feed: Feed) -> Result<BTreeMap<String, Table>> {
        let shape = self.look(database).await?;
        let mut text = format!("{TITLE}{}\n", server(self.session).await?);
        text += "SET NAMES utf8mb4;\nSET time_zone='+00:00';\nSET foreign_key_checks=0;\nSET unique_checks=0;\n";
        text += &format!("SET sql_mode='{SQL_MODE}';\n");
        for table in &shape.tables {
            let shown = self.session.row(&format!("SHOW CREATE TABLE {}", name(&table.name))).await;
            let shown = shown.map_err(|error| meanwhile(error, &table.name))?.context("the server shows nothing")?;
            text += &fits::one_line(shape::column(&shown, "Create Table"));
            text += ";\n";
        }
        feed.give(text.into_bytes()).await?;
        let tables = self.rows(&shape, Some(&mut feed)).await?;
        let mut text = objects::promises(&shape).join("\n");
        text.push('\n');
        text +=
            &objects::statements(self.session, &shape).await.map_err(|error| meanwhile(error, "a view or routine"))?;
        let rows: u64 = tables.values().map(|table| table.rows).sum();
        text += &format!("{COMPLETE}{} tables, {rows} rows\n", tables.len());
        feed.give(text.into_bytes()).await?;
        feed.end().await?;
        Ok(tables)
    }

    /// What [`Snapshot::write`] would return, without writing.
    ///
    /// # Errors
    /// As there.
    pub async fn hashes(&mut self, database: &str) -> Result<BTreeMap<String, Table>> {
        let shape = self.look(database).await?;
        self.rows(&shape, None).await
    }

    async fn look(&mut self, database: &str) -> Result<Shape> {
        // What is shown names the database only where it is not this one.
        self.session.run(&format!("USE {}", name(database))).await.context("cannot use the database")?;
        shape::shape(self.session, database).await
    }

    async fn rows(&mut self, shape: &Shape, mut feed: Option<&mut Feed>) -> Result<BTreeMap<String, Table>> {
        let mut tables = BTreeMap::new();
        for table in &shape.tables {
            // A table that was read stays locked against changes until the transaction goes back behind it.
            self.session.run("SAVEPOINT before_table").await?;
            let kinds = table.columns.iter().map(|(_, kind)| *kind).collect();
            let mut inserts = Inserts::new(feed.is_some().then(|| table.head()), kinds);
            let read = self.table(table.query(), &mut inserts, feed.as_deref_mut()).await;
            read.map_err(|error| meanwhile(error, &table.name))?;
            self.session.run("ROLLBACK TO SAVEPOINT before_table").await?;
            let sum = inserts.sum();
            tables.insert(table.name.clone(), Table { rows: sum.rows(), hash: sum.hash() });
        }
        Ok(tables)
    }

    async fn table(&mut self, query: String, inserts: &mut Inserts, mut feed: Option<&mut Feed>) -> Result<()> {
        let mut rows = self.session.stream(query).await?;
        loop {
            let passed = rows.pass(inserts).await?;
            if let (Some(feed), Some(statement)) = (feed.as_deref_mut(), passed.statement) {
                feed.give(statement).await?;
            }
            if !passed.more {
                return Ok(());
            }
        }
    }
}

/// An error while something was read; typed where it was changed since the snapshot, or is no longer there.
fn meanwhile(error: anyhow::Error, what: &str) -> anyhow::Error {
    /// `ER_TABLE_DEF_CHANGED`, `ER_NO_SUCH_TABLE`, `ER_SP_DOES_NOT_EXIST`, `ER_TRG_DOES_NOT_EXIST`, `ER_EVENT_DOES_NOT_EXIST`.
    const CHANGED: [u16; 5] = [1412, 1146, 1305, 1360, 1539];
    match sql::error_code(&error) {
        Some(code) if CHANGED.contains(&code) => refused(Refused::Changed { what: what.to_owned() }),
        _ => error.context(format!("cannot read {what}")),
    }
}

/// `mysql VERSION` or `mariadb VERSION`.
async fn server(session: &mut Session) -> Result<String> {
    let version = session.version().await?;
    let kind = if sql::is_mariadb(&version) { "mariadb" } else { "mysql" };
    Ok(format!("{kind} {version}"))
}
