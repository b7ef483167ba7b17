//! What a member alone has is kept before its data is thrown away: the binary logs that hold it, and its GTID set. Nobody was
//! told that these transactions were committed, but a person may want to look at them (`mysqlbinlog`).

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use super::datadir::Volume;
use crate::{
    inside::member::mandate::Term,
    wire::{
        gtid::GtidSet,
        sql::{Session, literal},
    },
};

/// Keeps the logs that hold these transactions, under a folder of the volume's that is returned.
///
/// # Errors
/// The server does not tell its logs, or the volume cannot be written; then nothing must be thrown away.
pub(super) async fn keep(session: &mut Session, volume: &Volume, term: &Term, diverged: &GtidSet) -> Result<PathBuf> {
    // From here on nothing is added to the log that was written to.
    session.run("FLUSH LOCAL BINARY LOGS").await.context("the server refused to begin a new log")?;
    let mut logs = Vec::new();
    for row in session.rows("SHOW BINARY LOGS").await.context("the server does not tell its logs")? {
        let name = row.get("Log_name").cloned().flatten().context("a log without a name")?;
        let before = before(session, &name).await?;
        logs.push((name, before));
    }
    let folder = volume.aside(term)?;
    for name in holding(&logs, diverged) {
        keep_file(&volume.datadir(), &folder, name)?;
    }
    fs::write(folder.join("gtids.txt"), format!("{diverged}\n")).context("cannot write which transactions they are")?;
    for path in [&folder, &folder.join("gtids.txt")] {
        File::open(path).and_then(|file| file.sync_all()).with_context(|| format!("cannot sync {}", path.display()))?;
    }
    Ok(folder)
}

/// The second name of the same file, which stays when the server removes its own.
fn keep_file(datadir: &Path, folder: &Path, name: &str) -> Result<()> {
    let name = Path::new(name).file_name().context("a log without a name")?;
    fs::hard_link(datadir.join(name), folder.join(name)).with_context(|| format!("cannot keep {}", name.display()))
}

/// What had been committed before a log was begun: its second event says.
async fn before(session: &mut Session, log: &str) -> Result<GtidSet> {
    let events = session.rows(&format!("SHOW BINLOG EVENTS IN {} LIMIT 2", literal(log))).await;
    let events = events.with_context(|| format!("cannot read the log {log}"))?;
    let text = |row: &crate::wire::sql::Row, name: &str| row.get(name).cloned().flatten().unwrap_or_default();
    let says = events.iter().find(|row| text(row, "Event_type") == "Previous_gtids");
    GtidSet::parse(&says.map(|row| text(row, "Info")).unwrap_or_default())
}

/// The logs, told with what was there before each of them, that hold any of these transactions. The last one counts always:
/// how far it goes only its end tells.
fn holding<'a>(logs: &'a [(String, GtidSet)], wanted: &GtidSet) -> Vec<&'a str> {
    let after = logs.iter().skip(1).map(|(_, before)| Some(before)).chain([None]);
    let holds = |((_, before), after): &(&'a (String, GtidSet), Option<&GtidSet>)| {
        // What this log brought, of those that are wanted.
        after.is_none_or(|after| wanted.without(before) != wanted.without(before).without(after))
    };
    logs.iter().zip(after).filter(holds).map(|((name, _), _)| name.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn set(numbers: &str) -> GtidSet {
        GtidSet::parse(&if numbers.is_empty() { String::new() } else { format!("{A}:{numbers}") }).expect("a set")
    }

    #[test]
    fn the_logs_that_hold_a_transaction_are_told_by_what_was_there_before_each() {
        let logs = [("1", ""), ("2", "1-9"), ("3", "1-20"), ("4", "1-20")];
        let logs = logs.map(|(name, before)| (format!("binlog.{name}"), set(before)));
        let table = [
            ("21", vec!["binlog.4"]),
            ("10", vec!["binlog.2", "binlog.4"]),
            ("9-10", vec!["binlog.1", "binlog.2", "binlog.4"]),
            ("20-21", vec!["binlog.2", "binlog.4"]),
        ];
        for (wanted, logs_of_it) in table {
            assert_eq!(holding(&logs, &set(wanted)), logs_of_it, "{wanted}");
        }
        assert!(holding(&[], &set("1")).is_empty());
    }

    #[test]
    fn a_log_that_is_kept_outlives_the_servers_own() {
        let root = tempfile::tempdir().expect("a folder");
        let (datadir, folder) = (root.path().join("data"), root.path().join("aside"));
        fs::create_dir(&datadir).expect("made");
        fs::create_dir(&folder).expect("made");
        fs::write(datadir.join("binlog.000001"), "transactions").expect("written");
        keep_file(&datadir, &folder, "./binlog.000001").expect("kept");
        fs::remove_dir_all(&datadir).expect("removed");
        assert_eq!(fs::read_to_string(folder.join("binlog.000001")).expect("there"), "transactions");
        keep_file(&datadir, &folder, "binlog.000002").expect_err("there is none");
    }
}
