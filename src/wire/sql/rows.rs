//! Rows as the server sends them, none of them kept: what a dump of tables of any size reads.

use anyhow::{Context, Result};
use mysql_async::prelude::Queryable;
use wplab_rows::{Inserts, Passed, pass};

use super::{Session, bounded};

/// What a query still has to give.
pub(in crate::wire) struct Rows<'s> {
    stream: wplab_rows::Rows<'s>,
    patience: std::time::Duration,
}

impl Session {
    /// Begins a query whose rows are read one after the other.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub(in crate::wire) async fn stream(&mut self, query: String) -> Result<Rows<'_>> {
        let stream = bounded(self.patience, self.conn.query_stream(query)).await?;
        Ok(Rows { stream, patience: self.patience })
    }

    /// Runs a statement that need not be text, and returns no rows. As in [`Session::run`], nothing of it becomes part of an error.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub(in crate::wire) async fn run_bytes(&mut self, statement: &[u8]) -> Result<()> {
        bounded(self.patience, self.conn.query_drop(statement)).await
    }
}

impl Rows<'_> {
    /// Passes rows on until a statement is whole, or for a while. The session's limit holds for all of them together, because a timer
    /// for each would cost more than the row.
    ///
    /// # Errors
    /// The server breaks off, the connection is lost, or the limit has passed.
    pub(in crate::wire) async fn pass(&mut self, inserts: &mut Inserts) -> Result<Passed> {
        bounded(self.patience, pass(&mut self.stream, inserts)).await.context("the rows broke off")
    }
}
