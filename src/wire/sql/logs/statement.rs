//! What a statement of a binary log is about. Statements are not understood here, only looked at word by word: whoever is not sure lets the
//! server decide, which refuses what it cannot do.

use std::borrow::Cow;

use crate::wire::sql::words::{Token, Tokens, definer};

/// What a statement does, as far as one database is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    /// A transaction begins, ends, or goes back to where it was.
    Transaction,
    /// Something in the database, whose name may be left out: it is in use.
    Content,
    /// Something in the database, by its full name.
    ByName,
    /// Accounts, rights, the server itself, or another database.
    Elsewhere,
}

impl About {
    /// Of a statement that was made in a database, or in none.
    pub(super) fn of(text: &[u8], within: &[u8], database: &[u8]) -> About {
        let words: Vec<String> = Tokens(text).map_while(Token::word).take(4).collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["BEGIN" | "COMMIT" | "ROLLBACK" | "SAVEPOINT" | "RELEASE", ..] | ["START", "TRANSACTION", ..] => {
                About::Transaction
            }
            [
                "GRANT" | "REVOKE" | "SET" | "FLUSH" | "ANALYZE" | "OPTIMIZE" | "REPAIR" | "INSTALL" | "UNINSTALL",
                ..,
            ]
            | ["CREATE" | "ALTER" | "DROP" | "RENAME", "USER" | "ROLE" | "SERVER" | "TABLESPACE" | "UNDO", ..]
            | ["CREATE", "OR", "REPLACE", "USER" | "ROLE" | "SERVER"] => About::Elsewhere,
            // There is none to be used before it is made, and none after it is gone.
            ["CREATE" | "DROP", "DATABASE" | "SCHEMA", ..] if within == database => About::ByName,
            ["CREATE", "OR", "REPLACE", "DATABASE" | "SCHEMA"] if within == database => About::ByName,
            _ if within == database => About::Content,
            _ if names(text, database) => About::ByName,
            _ => About::Elsewhere,
        }
    }
}

/// Whether a text has the full name of something in a database: `` `site` . `t` ``.
fn names(text: &[u8], database: &[u8]) -> bool {
    let mut tokens = Tokens(text).peekable();
    while let Some(token) = tokens.next() {
        let (Token::Word(name) | Token::Name(name)) = token else { continue };
        if name == database && tokens.peek() == Some(&Token::Sign(b'.')) {
            return true;
        }
    }
    false
}

/// The statement without the account that a view, a routine, a trigger or an event belongs to: it is then whoever runs it.
pub(super) fn without_definer(text: &[u8]) -> Cow<'_, [u8]> {
    match definer(text) {
        Some(at) => [text[..at.start].trim_ascii_end(), &text[at.end..]].concat().into(),
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(text: &str, within: &str) -> About {
        About::of(text.as_bytes(), within.as_bytes(), b"site")
    }

    #[test]
    fn a_statement_is_about_the_database_that_is_in_use_or_named() {
        for text in ["BEGIN", "COMMIT", "rollback", "ROLLBACK TO `s`", "SAVEPOINT s", "RELEASE SAVEPOINT s"] {
            assert_eq!((about(text, "site"), about(text, "")), (About::Transaction, About::Transaction), "{text}");
        }
        for (text, elsewhere) in [
            ("CREATE TABLE t (a int)", About::Elsewhere),
            ("TRUNCATE t", About::Elsewhere),
            ("ALTER TABLE site.t ADD COLUMN a int", About::ByName),
            ("/* a plugin */ ALTER TABLE `site` . `t` ADD COLUMN a int", About::ByName),
            ("DROP TABLE IF EXISTS \"site\".\"t\"", About::ByName),
            ("RENAME TABLE other.t TO site.t", About::ByName),
            ("/*!50001 CREATE VIEW site.v AS SELECT 1 */", About::ByName),
            ("CREATE TABLE t (a varchar(9) DEFAULT 'site.t')", About::Elsewhere),
            ("CREATE TABLE my_site.t (a int) /* not site.t */ -- nor site.t", About::Elsewhere),
            ("CREATE TABLE t (site int)", About::Elsewhere),
        ] {
            assert_eq!((about(text, "site"), about(text, "other")), (About::Content, elsewhere), "{text}");
        }
    }

    #[test]
    fn accounts_and_the_server_itself_are_left_out_and_the_database_has_none_around_it() {
        for text in [
            "GRANT ALL ON site.* TO a@b",
            "create user a@b",
            "CREATE OR REPLACE ROLE a",
            "SET PASSWORD FOR a@b = 'c'",
            "DROP USER IF EXISTS a@b",
            "ANALYZE TABLE site.t",
        ] {
            assert_eq!((about(text, "site"), about(text, "")), (About::Elsewhere, About::Elsewhere), "{text}");
        }
        for text in ["CREATE DATABASE site", "DROP SCHEMA IF EXISTS site", "CREATE OR REPLACE DATABASE site"] {
            assert_eq!((about(text, "site"), about(text, "more")), (About::ByName, About::Elsewhere), "{text}");
        }
    }

    #[test]
    fn a_statement_that_is_no_whole_one_is_read_to_its_end() {
        for text in ["", "/*", "'a", "`site", "CREATE TABLE `a``b\\", "\"a\\", "CREATE /*!"] {
            about(text, "");
            assert_eq!(*without_definer(text.as_bytes()), *text.as_bytes());
        }
    }

    #[test]
    fn nobody_is_the_definer() {
        for (text, left) in [
            ("CREATE DEFINER=`root`@`%` TRIGGER t BEFORE", "CREATE TRIGGER t BEFORE"),
            ("CREATE DEFINER = 'a''b' @ localhost PROCEDURE p()", "CREATE PROCEDURE p()"),
            ("CREATE DEFINER=CURRENT_USER FUNCTION f()", "CREATE FUNCTION f()"),
            (
                "CREATE OR REPLACE ALGORITHM=UNDEFINED DEFINER=`a`@`b` SQL SECURITY DEFINER VIEW v",
                "CREATE OR REPLACE ALGORITHM=UNDEFINED SQL SECURITY DEFINER VIEW v",
            ),
            ("CREATE TABLE t (DEFINER int)", "CREATE TABLE t (DEFINER int)"),
            ("CREATE TABLE t (DEFINER int CHECK (DEFINER=1))", "CREATE TABLE t (DEFINER int CHECK (DEFINER=1))"),
            ("ALTER DEFINER=`a-b`@`%` EVENT e", "ALTER EVENT e"),
            ("INSERT INTO t SET DEFINER=1", "INSERT INTO t SET DEFINER=1"),
        ] {
            assert_eq!(String::from_utf8_lossy(&without_definer(text.as_bytes())), left);
        }
    }
}
