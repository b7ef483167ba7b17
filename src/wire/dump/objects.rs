//! What of a database is a program: views, routines, triggers, events, each as the statements that make it again. Nobody defines them but
//! whoever loads them, or whom [`load`](super::load()) is told.

use anyhow::{Context, Result};

use super::shape::{Shape, column};
use crate::wire::sql::{Row, Session, literal, name, words::definer};

/// Stands where a definer may be named; a comment for everybody else.
pub(super) const DEFINER: &str = "/*definer*/";

/// Views that have the right columns and nothing else, so that each can be made before those that it reads.
pub(super) fn promises(shape: &Shape) -> Vec<String> {
    let promise = |(view, columns): &(String, Vec<String>)| {
        let columns: Vec<String> = columns.iter().map(|column| format!("1 AS {}", name(column))).collect();
        format!("CREATE VIEW {} AS SELECT {};", name(view), columns.join(","))
    };
    shape.views.iter().map(promise).collect()
}

/// The statements that make everything: functions first, which views may call; triggers after the rows; events, which begin to
/// work, last.
pub(super) async fn statements(session: &mut Session, shape: &Shape) -> Result<String> {
    let mut text = String::new();
    for (kind, routine) in &shape.routines {
        let row = shown(session, kind, routine).await?;
        let label = if kind == "FUNCTION" { "Create Function" } else { "Create Procedure" };
        text += &statement(&row, label, routine)?;
    }
    for (view, _) in &shape.views {
        let row = shown(session, "VIEW", view).await?;
        text += &format!("DROP VIEW {};\n", name(view));
        text += &statement(&row, "Create View", view)?;
    }
    for trigger in &shape.triggers {
        let row = shown(session, "TRIGGER", trigger).await?;
        text += &statement(&row, "SQL Original Statement", trigger)?;
    }
    for event in &shape.events {
        let row = shown(session, "EVENT", event).await?;
        text += &statement(&row, "Create Event", event)?;
    }
    Ok(text)
}

async fn shown(session: &mut Session, kind: &str, of: &str) -> Result<Row> {
    let row = session.row(&format!("SHOW CREATE {kind} {}", name(of))).await;
    row.with_context(|| format!("cannot read {} {of}", kind.to_lowercase()))?.context("the server shows nothing")
}

/// One of them, in the settings in which it was made: they are part of what it does.
fn statement(row: &Row, label: &str, of: &str) -> Result<String> {
    let shown = column(row, label);
    anyhow::ensure!(!shown.is_empty(), "the server does not show {of} to this account");
    let (mut before, mut after) = (String::new(), String::new());
    let mut set = |setting: &str, value: String, usual: &str| {
        before += &format!("SET {setting}={value};\n");
        after += &format!("SET {usual};\n");
    };
    if row.contains_key("sql_mode") {
        set("sql_mode", literal(column(row, "sql_mode")), &format!("sql_mode='{}'", super::SQL_MODE));
    }
    let collation = column(row, "collation_connection");
    if collation.starts_with("utf8mb4_") {
        set("collation_connection", collation.to_owned(), "NAMES utf8mb4");
    }
    if let Some(Some(zone)) = row.get("time_zone") {
        set("time_zone", literal(zone), "time_zone='+00:00'");
    }
    let body = undefined(shown);
    let delimiter = (0..).map(|n| format!("$end{n}$")).find(|end| !body.contains(end)).unwrap_or_default();
    Ok(format!("{before}DELIMITER {delimiter}\n{body}\n{delimiter}\nDELIMITER ;\n{after}"))
}

/// The statement without its definer, and an event as it is where it works: on a replica the server says that it does not.
fn undefined(shown: &str) -> String {
    let shown = shown.replacen("CREATE OR REPLACE ", "CREATE ", 1);
    let mut text = match definer(shown.as_bytes()) {
        Some(at) => format!("{}{DEFINER}{}", &shown[..at.start], &shown[at.end..]),
        None => shown,
    };
    for asleep in [" DISABLE ON SLAVE", " DISABLE ON REPLICA"] {
        if text.contains(" EVENT ") {
            text = text.replacen(asleep, " ENABLE", 1);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_in_particular_defines_it() {
        for (shown, expected) in [
            (
                "CREATE ALGORITHM=UNDEFINED DEFINER=`root`@`%` SQL SECURITY DEFINER VIEW `v` AS select 1",
                "CREATE ALGORITHM=UNDEFINED /*definer*/ SQL SECURITY DEFINER VIEW `v` AS select 1",
            ),
            ("CREATE DEFINER=`a``@ b`@`%` trigger t", "CREATE /*definer*/ trigger t"),
            ("CREATE DEFINER=\"a\"@\"b\" FUNCTION `f`()", "CREATE /*definer*/ FUNCTION `f`()"),
            ("CREATE OR REPLACE DEFINER=a@b PROCEDURE p()", "CREATE /*definer*/ PROCEDURE p()"),
            (
                "CREATE DEFINER=`a`@`b` EVENT `e` ON COMPLETION PRESERVE DISABLE ON SLAVE DO select 1",
                "CREATE /*definer*/ EVENT `e` ON COMPLETION PRESERVE ENABLE DO select 1",
            ),
            ("CREATE DEFINER=`a` PROCEDURE `p`()", "CREATE /*definer*/ PROCEDURE `p`()"),
        ] {
            assert_eq!(undefined(shown), expected);
        }
        let none = "CREATE PROCEDURE `p`(in a_long_name int) select 'DEFINER=x'";
        assert_eq!(undefined(none), none);
    }

    #[test]
    fn a_body_cannot_end_its_block() {
        let row = Row::from([
            ("Create Procedure".to_owned(), Some("CREATE DEFINER=a@b PROCEDURE p()\nselect '$end0$'".to_owned())),
            ("sql_mode".to_owned(), Some("ANSI_QUOTES".to_owned())),
            ("collation_connection".to_owned(), Some("utf8mb4_0900_ai_ci".to_owned())),
        ]);
        let text = statement(&row, "Create Procedure", "p").expect("a statement");
        assert!(
            text.starts_with("SET sql_mode='ANSI_QUOTES';\nSET collation_connection=utf8mb4_0900_ai_ci;\n"),
            "{text}"
        );
        assert!(
            text.contains("DELIMITER $end1$\nCREATE /*definer*/ PROCEDURE p()\nselect '$end0$'\n$end1$\n"),
            "{text}"
        );
        assert!(statement(&Row::new(), "Create View", "v").is_err());
    }
}
