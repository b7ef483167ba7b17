//! What a statement of a binary log is about. Statements are not understood here, only looked at word by word: whoever is not sure lets the
//! server decide, which refuses what it cannot do.

use std::borrow::Cow;

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
    let mut tokens = Tokens(text);
    if tokens.next().and_then(Token::word).is_none_or(|word| word != "CREATE" && word != "ALTER") {
        return text.into();
    }
    let mut begin = text.len() - tokens.0.len();
    // Before it there may be whether it replaces another one, and how a view is computed.
    for _ in 0..8 {
        let (Some(token), mut account) = (tokens.next(), Tokens(tokens.0)) else { break };
        if token.word().is_some_and(|word| word == "DEFINER") && account.next() == Some(Token::Sign(b'=')) {
            account.next();
            let mut end = account.0;
            if account.next() == Some(Token::Sign(b'@')) {
                account.next();
                end = account.0;
            }
            return [&text[..begin], end].concat().into();
        }
        begin = text.len() - tokens.0.len();
    }
    text.into()
}

/// A piece of a statement. Comments are none, but what a server does in spite of being in one (`/*!50003 … */`) is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a [u8]),
    /// Between backticks; or between double quotes, where it may be a text as well.
    Name(&'a [u8]),
    Text,
    Sign(u8),
}

impl Token<'_> {
    /// In capitals, if it is a word.
    fn word(self) -> Option<String> {
        match self {
            Token::Word(word) => Some(String::from_utf8_lossy(word).to_ascii_uppercase()),
            _ => None,
        }
    }
}

/// The pieces of a statement, of which this is what is left.
struct Tokens<'a>(&'a [u8]);

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.0 = self.0.trim_ascii_start();
            let skipped = match self.0 {
                [b'/', b'*', b'!' | b'M', ..] => {
                    3 + self.0.iter().skip(3).take_while(|byte| byte.is_ascii_digit() || **byte == b'!').count()
                }
                [b'/', b'*', rest @ ..] => 2 + end(rest, b"*/"),
                [b'*', b'/', ..] => 2,
                [b'#', rest @ ..] => 1 + end(rest, b"\n"),
                [b'-', b'-', b' ' | b'\t' | b'\n', rest @ ..] => 3 + end(rest, b"\n"),
                _ => break,
            };
            self.0 = &self.0[skipped..];
        }
        let first = *self.0.first()?;
        let (token, length) = match first {
            quote @ (b'`' | b'"' | b'\'') => {
                let length = quoted(self.0, quote);
                let inside = self.0[1..length].strip_suffix(&[quote]).unwrap_or(&self.0[1..length]);
                (if quote == b'\'' { Token::Text } else { Token::Name(inside) }, length)
            }
            _ if is_word(first) => {
                let length = self.0.iter().take_while(|byte| is_word(**byte)).count();
                (Token::Word(&self.0[..length]), length)
            }
            sign => (Token::Sign(sign), 1),
        };
        self.0 = &self.0[length..];
        Some(token)
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | 0x80..)
}

/// How far it is to behind this.
fn end(text: &[u8], of: &[u8]) -> usize {
    text.windows(of.len()).position(|found| found == of).map_or(text.len(), |at| at + of.len())
}

/// How long what stands between quotation marks is, with them. A doubled one is part of it.
fn quoted(text: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < text.len() {
        match text[at] {
            b'\\' if quote != b'`' => at += 2,
            byte if byte == quote && text.get(at + 1) == Some(&quote) => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    text.len()
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
            ("INSERT INTO t SET DEFINER=1", "INSERT INTO t SET DEFINER=1"),
        ] {
            assert_eq!(String::from_utf8_lossy(&without_definer(text.as_bytes())), left);
        }
    }
}
