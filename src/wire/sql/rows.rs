//! Rows as the server sends them, none of them kept: what a dump of tables of any size reads.

use anyhow::{Context, Result};
use futures_util::TryStreamExt;
use mysql_async::{ResultSetStream, TextProtocol, Value, prelude::Queryable};

use super::{Session, bounded};

/// What a query still has to give.
pub(in crate::wire) struct Rows<'s> {
    stream: ResultSetStream<'s, 's, 'static, mysql_async::Row, TextProtocol>,
    patience: std::time::Duration,
}

/// One row: each column as the server writes it, NULL is `None`.
pub(in crate::wire) struct Cells(Vec<Value>);

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
    /// Passes rows on until `enough` says so (`true`: there may be more) or there are no more (`false`). The session's limit
    /// holds for all of them together, because a timer for each would cost more than the row.
    ///
    /// # Errors
    /// The server breaks off, the connection is lost, or the limit has passed.
    pub(in crate::wire) async fn until(&mut self, mut enough: impl FnMut(&Cells) -> bool) -> Result<bool> {
        let stream = &mut self.stream;
        let some = async move {
            while let Some(row) = stream.try_next().await? {
                if enough(&Cells(row.unwrap())) {
                    return Ok(true);
                }
            }
            Ok(false)
        };
        bounded(self.patience, some).await.context("the rows broke off")
    }
}

impl Cells {
    /// The columns, in the query's order.
    pub(in crate::wire) fn iter(&self) -> impl Iterator<Item = Option<&[u8]>> {
        self.0.iter().map(|value| match value {
            Value::Bytes(bytes) => Some(bytes.as_slice()),
            // The text protocol has nothing else.
            _ => None,
        })
    }

    /// These columns, for tests of what is made of them.
    #[cfg(test)]
    pub(in crate::wire) fn of(columns: &[Option<&[u8]>]) -> Cells {
        Cells(columns.iter().map(|column| column.map_or(Value::NULL, |bytes| Value::Bytes(bytes.to_vec()))).collect())
    }
}
