//! What the commands around backups report, as text for people.

use std::fmt::Write;

use jiff::Timestamp;
use wplab::{
    actions::backup::{
        Created,
        restore::{RestoreReport, Restored},
        runs::Runs,
        shelves::{Deleted, Shown, Summary},
        verify::Proven,
    },
    wire::backup::{manifest::Manifest, verified::Verified},
};

use super::{
    super::spell::Asked,
    Paint,
    tables::{bytes, checks},
};

/// A backup that was made.
pub(crate) fn created(made: &Created) -> String {
    let Summary { id, lab, rows, files, stored, seconds, .. } = &made.summary;
    format!(
        "backup {id} of lab {lab}: {rows} rows and {files} files, {} in {seconds:.1} s\n  at  {}\n",
        bytes(*stored),
        made.destination
    )
}

/// When backups are made, and what became of them; without a line's end.
pub(crate) fn status(runs: &Runs) -> String {
    let moment = |at: &Timestamp| at.strftime("%Y-%m-%d %H:%M UTC").to_string();
    let last =
        runs.last.as_ref().map_or_else(|| "none yet".to_owned(), |(at, id)| format!("last {id} ({})", moment(at)));
    let next = runs.next.as_ref().map_or_else(|| "none is due".to_owned(), |at| format!("next {}", moment(at)));
    let mut text = format!("backups     {last}, {next}");
    if let Some(archive) = &runs.archive {
        let reached = archive
            .reached
            .map_or_else(|| "nothing yet".to_owned(), |at| format!("up to {}", at.strftime("%H:%M:%S UTC")));
        let lag = archive.lag(Timestamp::now()).map(|lag| format!(", {lag:.0} s behind")).unwrap_or_default();
        let _ = write!(text, "\n            archived {reached}{lag}");
    }
    for wrong in &runs.wrong {
        let _ = write!(text, "\n            × {wrong}");
    }
    text
}

/// What was restored, and the checks.
pub(crate) fn restored(done: &RestoreReport, paint: Paint) -> String {
    let Restored { id, of, rows, files, seconds, to, missing } = &done.restored;
    let to = to.as_ref().map(|to| format!(" and what followed up to {to}")).unwrap_or_default();
    let mut text = format!(
        "{}\nlab {} has backup {id} of lab {of}{to}: {rows} rows and {files} files, loaded in {seconds:.1} s and each compared with what it was\n",
        checks(&done.smoke, &Asked::Other, paint),
        done.name
    );
    for path in missing {
        let _ = writeln!(text, "  the file of attachment {path} was in no backup, and is there no more");
    }
    text
}

/// A backup that was proven.
pub(crate) fn proven(proven: &Proven) -> String {
    let Proven { id, of, tables, rows, files, seconds } = proven;
    format!(
        "backup {id} of lab {of} is whole: {rows} rows of {tables} tables and {files} files are what they were\na restore would take about {:.0} s, and what it takes to write the files\n",
        seconds.ceil()
    )
}

/// What a backup says of itself, and what came of proving it, for people.
pub(crate) fn shown(shown: &Shown) -> String {
    let Shown { manifest, verified } = shown;
    let Manifest { id, lab, database, wordpress, streams, .. } = manifest;
    let exactly = if database.exact { "" } else { ", and perhaps a little more" };
    let readers = match manifest.recipients.is_empty() {
        true => "everybody".to_owned(),
        false => manifest.recipients.join(" "),
    };
    let rows = database.rows();
    let mut text = format!("backup {id} of lab {}\n", lab.name);
    for (what, value) in [
        ("begun", manifest.begun.to_string()),
        ("took", format!("{:.1} s", manifest.seconds.get("all").copied().unwrap_or_default())),
        ("server", format!("{} {}, read at {}", database.server, database.version, database.member)),
        ("position", format!("{}{exactly}", database.position)),
        ("database", format!("{rows} rows of {} tables", database.tables.len())),
        (
            "wordpress",
            format!(
                "{} (tables {}), {} files, {}",
                wordpress.version, wordpress.db_version, wordpress.files, wordpress.url
            ),
        ),
        ("read by", readers),
        ("size", bytes(manifest.stored())),
        ("verified", verdict(verified.as_ref())),
    ] {
        text += &format!("  {what:<10}{value}\n");
    }
    for (name, stream) in streams {
        let parts = stream.parts.len();
        text += &format!(
            "  {name:<10}{} in {parts} objects, {} when unpacked\n",
            bytes(stream.stored()),
            bytes(stream.bytes)
        );
    }
    text
}

/// What came of proving a backup, in a line.
fn verdict(verified: Option<&Verified>) -> String {
    match verified {
        None => "never".to_owned(),
        Some(Verified { at, wrong: None, seconds, by }) => format!("{at} in {seconds:.1} s, by version {by}"),
        Some(Verified { at, wrong: Some(wrong), .. }) => format!("FAILED at {at}: {wrong}"),
    }
}

/// What was removed of a store.
pub(crate) fn deleted(gone: &Deleted) -> String {
    let lines: String = gone.ids.iter().map(|id| format!("removed backup {id}\n")).collect();
    format!("{lines}{} are free\n", bytes(gone.freed))
}

#[cfg(test)]
mod tests {
    use wplab::{spec::LabName, wire::backup::manifest::BackupId};

    use super::*;

    #[test]
    fn what_came_of_proving_a_backup_is_told_in_a_line() {
        let verified = |wrong: Option<&str>| Verified {
            at: "2026-11-30T12:00:00Z".parse().expect("a time"),
            wrong: wrong.map(str::to_owned),
            seconds: 1.3,
            by: "0.1.0".to_owned(),
        };
        assert_eq!(verdict(None), "never");
        assert_eq!(verdict(Some(&verified(None))), "2026-11-30T12:00:00Z in 1.3 s, by version 0.1.0");
        let failed = verdict(Some(&verified(Some("index.00000 is missing"))));
        assert_eq!(failed, "FAILED at 2026-11-30T12:00:00Z: index.00000 is missing");
        let id = BackupId::new("20261130T113000Z-4f2a").expect("a name");
        let done = Proven { id, of: LabName::default(), tables: 12, rows: 163, files: 232, seconds: 0.3 };
        let told = proven(&done);
        assert!(told.contains("163 rows of 12 tables and 232 files are what they were"), "{told}");
        assert!(told.contains("a restore would take about 1 s"), "no restore takes no time: {told}");
    }
}
