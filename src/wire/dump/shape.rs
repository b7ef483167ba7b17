//! What there is in a database besides rows: its tables with their columns, and views, routines, triggers, events; and what of it a dump
//! cannot hold, all of it at once.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use wplab_rows::Kind;

use super::refused::{Refused, refused};
use crate::wire::sql::{Row, Session, literal, name};

/// A database without its rows.
#[derive(Debug, Default)]
pub(super) struct Shape {
    pub(super) tables: Vec<Table>,
    /// Each with the names of its columns.
    pub(super) views: Vec<(String, Vec<String>)>,
    /// `FUNCTION` or `PROCEDURE`, and the name.
    pub(super) routines: Vec<(String, String)>,
    pub(super) triggers: Vec<String>,
    pub(super) events: Vec<String>,
}

/// A table, and those of its columns that are not generated.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<(String, Kind)>,
}

impl Table {
    /// What each of its INSERT statements begins with.
    pub(super) fn head(&self) -> String {
        let columns: Vec<String> = self.columns.iter().map(|(column, _)| name(column)).collect();
        format!("INSERT INTO {} ({}) VALUES ", name(&self.name), columns.join(","))
    }

    /// The query for its rows. Servers give them in the order of the primary key, in which they are loaded fastest.
    pub(super) fn query(&self) -> String {
        let columns = self.columns.iter().map(|(column, kind)| match kind {
            // The text of a FLOAT has too few digits, and that of a DOUBLE with a given number of decimals too.
            Kind::Real => format!("{}*1e0", name(column)),
            _ => name(column),
        });
        let columns: Vec<String> = columns.collect();
        let columns = if columns.is_empty() { "NULL".to_owned() } else { columns.join(",") };
        format!("SELECT {columns} FROM {}", name(&self.name))
    }
}

/// Reads what there is.
///
/// # Errors
/// There is something that a dump cannot hold ([`Refused::Undumpable`]), or the server cannot be asked.
pub(super) async fn shape(session: &mut Session, database: &str) -> Result<Shape> {
    let of = literal(database);
    let mut ask = async |query: String| session.rows(&query).await.context("cannot read what there is in the database");
    let engines = ask("SELECT ENGINE AS name FROM information_schema.ENGINES WHERE TRANSACTIONS = 'YES'".to_owned());
    let engines: BTreeSet<String> = engines.await?.iter().map(|row| column(row, "name").to_owned()).collect();
    let tables = ask(format!(
        "SELECT TABLE_NAME AS name, TABLE_TYPE AS kind, ENGINE AS engine FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA = {of} ORDER BY name"
    ));
    let tables = tables.await?;
    let columns = ask(format!(
        "SELECT TABLE_NAME AS owner, COLUMN_NAME AS name, DATA_TYPE AS type, CHARACTER_SET_NAME AS charset, \
         COALESCE(GENERATION_EXPRESSION, '') <> '' AS made FROM information_schema.COLUMNS \
         WHERE TABLE_SCHEMA = {of} ORDER BY owner, ORDINAL_POSITION"
    ));
    let mut by_table: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    for row in columns.await? {
        by_table.entry(column(&row, "owner").to_owned()).or_default().push(row);
    }
    let routines = ask(format!(
        "SELECT ROUTINE_TYPE AS kind, ROUTINE_NAME AS name FROM information_schema.ROUTINES \
         WHERE ROUTINE_SCHEMA = {of} ORDER BY kind, name"
    ));
    let routines = routines.await?;
    let triggers = ask(format!(
        "SELECT TRIGGER_NAME AS name FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = {of} \
         ORDER BY EVENT_OBJECT_TABLE, ACTION_TIMING, EVENT_MANIPULATION, ACTION_ORDER"
    ));
    let triggers = triggers.await?;
    let events = ask(format!(
        "SELECT EVENT_NAME AS name FROM information_schema.EVENTS WHERE EVENT_SCHEMA = {of} ORDER BY name"
    ));
    let events = events.await?;
    let names = |rows: &[Row]| rows.iter().map(|row| column(row, "name").to_owned()).collect();
    let mut shape = Shape { triggers: names(&triggers), events: names(&events), ..Shape::default() };
    let mut why = Vec::new();
    for row in &tables {
        let (table, kind) = (column(row, "name"), column(row, "kind"));
        let columns = by_table.remove(table).unwrap_or_default();
        if columns.iter().map(|row| column(row, "name")).chain([table]).any(|name| name.contains('\n')) {
            why.push(format!("there is a line break in a name of table {}", table.escape_debug()));
            continue;
        }
        match judged(table, kind, row.get("engine").and_then(Option::as_deref), &engines) {
            Some(wrong) => why.push(wrong),
            None if kind == "VIEW" && columns.is_empty() => why.push(format!("view {table} reads what does not exist")),
            None if kind == "VIEW" => shape.views.push((table.to_owned(), names(&columns))),
            None => shape.tables.push(Table { name: table.to_owned(), columns: kinds(&columns) }),
        }
    }
    for row in &routines {
        match (column(row, "kind"), column(row, "name")) {
            (kind @ ("FUNCTION" | "PROCEDURE"), name) => shape.routines.push((kind.to_owned(), name.to_owned())),
            (kind, name) => why.push(format!("{name} is a {}", kind.to_lowercase())),
        }
    }
    match why.is_empty() {
        true => Ok(shape),
        false => Err(refused(Refused::Undumpable { database: database.to_owned(), why })),
    }
}

/// Why a table cannot be dumped.
fn judged(table: &str, kind: &str, engine: Option<&str>, transactional: &BTreeSet<String>) -> Option<String> {
    match (kind, engine) {
        ("VIEW", _) => None,
        ("BASE TABLE", Some(engine)) if transactional.contains(engine) => None,
        ("BASE TABLE", Some(engine)) => Some(format!("table {table} is kept by {engine}, which has no snapshots")),
        ("BASE TABLE", None) => Some(format!("table {table} cannot be read")),
        (other, _) => Some(format!("{table} is a {}", other.to_lowercase())),
    }
}

fn kinds(columns: &[Row]) -> Vec<(String, Kind)> {
    let own = columns.iter().filter(|row| column(row, "made") != "1");
    own.map(|row| {
        let charset = row.get("charset").and_then(Option::as_deref);
        (column(row, "name").to_owned(), Kind::of(column(row, "type"), charset))
    })
    .collect()
}

/// A column of an answer; empty where there is none.
pub(super) fn column<'r>(row: &'r Row, name: &str) -> &'r str {
    row.get(name).and_then(Option::as_deref).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_a_snapshot_is_dumped() {
        let engines = BTreeSet::from(["InnoDB".to_owned()]);
        let judge = |kind, engine| judged("t", kind, engine, &engines);
        assert_eq!(judge("BASE TABLE", Some("InnoDB")), None);
        assert_eq!(judge("VIEW", None), None);
        let wrong = judge("BASE TABLE", Some("MyISAM")).expect("refused");
        assert_eq!(wrong, "table t is kept by MyISAM, which has no snapshots");
        assert_eq!(judge("BASE TABLE", None).expect("refused"), "table t cannot be read");
        assert_eq!(judge("SYSTEM VERSIONED", Some("InnoDB")).expect("refused"), "t is a system versioned");
        assert_eq!(judge("SEQUENCE", Some("InnoDB")).expect("refused"), "t is a sequence");
    }

    #[test]
    fn generated_columns_are_left_out_and_floats_read_whole() {
        let column = |name: &str, kind: &str, made: &str| {
            Row::from([("name", name), ("type", kind), ("made", made)].map(|(k, v)| (k.to_owned(), Some(v.to_owned()))))
        };
        let columns = kinds(&[column("a", "int", "0"), column("g", "int", "1"), column("f`", "float", "0")]);
        let table = Table { name: "t".to_owned(), columns };
        assert_eq!(table.head(), "INSERT INTO `t` (`a`,`f```) VALUES ");
        assert_eq!(table.query(), "SELECT `a`,`f```*1e0 FROM `t`");
        assert_eq!(Table { name: "t".to_owned(), columns: vec![] }.query(), "SELECT NULL FROM `t`");
    }
}
