//! The statements of a dump, one after the other, as its text arrives in pieces. That is simple because of how we write it: a line is
//! a statement, or one of a block whose end it names.

use anyhow::{Result, bail};
use bytes::{Buf, Bytes};

use super::{
    COMPLETE, TITLE,
    refused::{Refused, refused},
};

/// Longer than any server takes.
const LONGEST: usize = 1 << 30;

/// What a line, or a block, says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// It begins, and was written from this server.
    From(String),
    /// A statement, without its end.
    Statement(Vec<u8>),
    /// It is whole.
    Complete,
}

/// Where in a dump we are.
#[derive(Default)]
pub(super) struct Splitter {
    line: Vec<u8>,
    /// The line that ends the block, and the block.
    block: Option<(Vec<u8>, Vec<u8>)>,
    begun: bool,
    complete: bool,
}

impl Splitter {
    /// Takes from a piece as much as the next thing needs; `None` when it needs more than is there.
    ///
    /// # Errors
    /// This is no dump ([`Refused::NoDump`]).
    pub(super) fn next(&mut self, piece: &mut Bytes) -> Result<Option<Said>> {
        while !piece.is_empty() {
            let end = memchr::memchr(b'\n', piece);
            self.line.extend_from_slice(&piece[..end.unwrap_or(piece.len())]);
            if self.line.len() > LONGEST {
                return Err(no_dump("it has a line that no server takes"));
            }
            let Some(end) = end else {
                piece.clear();
                return Ok(None);
            };
            piece.advance(end + 1);
            let line = std::mem::take(&mut self.line);
            if let Some(said) = self.line(line)? {
                return Ok(Some(said));
            }
        }
        Ok(None)
    }

    /// The text is at its end.
    ///
    /// # Errors
    /// The dump is not.
    pub(super) fn end(&self) -> Result<()> {
        match (self.begun, self.complete && self.line.is_empty()) {
            (true, true) => Ok(()),
            (false, _) => Err(no_dump("it does not begin like one")),
            (true, false) => Err(no_dump("its end is missing")),
        }
    }

    fn line(&mut self, mut line: Vec<u8>) -> Result<Option<Said>> {
        if let Some((end, mut block)) = self.block.take() {
            if line == end {
                // Without the last line break, which is ours.
                block.pop();
                return Ok(Some(Said::Statement(block)));
            }
            block.extend_from_slice(&line);
            block.push(b'\n');
            if block.len() > LONGEST {
                return Err(no_dump("it has a block that no server takes"));
            }
            self.block = Some((end, block));
            return Ok(None);
        }
        if !self.begun {
            let Some(server) = line.strip_prefix(TITLE.as_bytes()) else {
                bail!(no_dump("it does not begin like one"))
            };
            self.begun = true;
            return Ok(Some(Said::From(String::from_utf8_lossy(server).into_owned())));
        }
        if line.is_empty() {
            return Ok(None);
        }
        if self.complete {
            return Err(no_dump("something follows its end"));
        }
        if line.starts_with(COMPLETE.as_bytes()) {
            self.complete = true;
            return Ok(Some(Said::Complete));
        }
        if let Some(end) = line.strip_prefix(b"DELIMITER ") {
            if end != b";" {
                self.block = Some((end.to_vec(), Vec::new()));
            }
            return Ok(None);
        }
        match line.pop() {
            Some(b';') => Ok(Some(Said::Statement(line))),
            _ => Err(no_dump("it has a line that is no statement")),
        }
    }
}

pub(super) fn no_dump(how: &str) -> anyhow::Error {
    refused(Refused::NoDump { how: how.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "-- wplab dump 1 of mysql 9.7.4\nSET a=1;\nINSERT INTO `t` (`a`) VALUES ('x;\\n');\n\n\
                        DELIMITER $end0$\nCREATE TRIGGER t\nbegin\n\n  -- x;\nend\n$end0$\nDELIMITER ;\n\
                        SET b=2;\n-- complete: 1 tables, 1 rows\n";

    fn split(text: &str, piece: usize) -> Result<Vec<Said>> {
        let (mut splitter, mut all) = (Splitter::default(), Vec::new());
        for piece in text.as_bytes().chunks(piece) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(said) = splitter.next(&mut piece)? {
                all.push(said);
            }
            assert!(piece.is_empty());
        }
        splitter.end().map(|()| all)
    }

    #[test]
    fn statements_are_the_same_in_whatever_pieces_they_come() {
        let statement = |text: &str| Said::Statement(text.as_bytes().to_vec());
        let expected = [
            Said::From("mysql 9.7.4".to_owned()),
            statement("SET a=1"),
            statement("INSERT INTO `t` (`a`) VALUES ('x;\\n')"),
            statement("CREATE TRIGGER t\nbegin\n\n  -- x;\nend"),
            statement("SET b=2"),
            Said::Complete,
        ];
        for piece in [1, 2, 7, 64, 1000] {
            assert_eq!(split(TEXT, piece).expect("a dump"), expected, "{piece}");
        }
    }

    #[test]
    fn what_is_cut_anywhere_is_refused() {
        for length in 0..TEXT.len() {
            let error = split(&TEXT[..length], 16).expect_err("not whole");
            let refused = crate::run::advice::find::<Refused>(&error).expect("typed");
            assert!(matches!(refused, Refused::NoDump { .. }), "{length}: {refused}");
        }
        for text in ["", "CREATE TABLE t (a int);\n", "-- MySQL dump 10.13\n", &format!("{TEXT}SET c=1;\n")] {
            assert!(split(text, 16).is_err(), "{text}");
        }
        assert!(split(&TEXT.replace("SET a=1;", "SET a=1"), 16).is_err());
    }
}
