//! What is done to every row of a dump: taken from the connection, written as SQL, added up. A crate of its own for one reason: it is
//! optimised in every profile, which the rest of wplab is not.

mod insert;
mod sum;

use std::{future::Future, pin::Pin};

use futures_util::TryStreamExt;
pub use insert::{Inserts, Kind};
use mysql_async::{ResultSetStream, Row, TextProtocol};
pub use sum::Sum;

/// Rows of a query as the server sends them.
pub type Rows<'s> = ResultSetStream<'s, 's, 'static, Row, TextProtocol>;

/// Rows after which [`pass`] comes back also without a statement.
const AT_ONCE: u32 = 10_000;

/// What became of some rows.
#[derive(Debug)]
pub struct Passed {
    /// A statement that is whole.
    pub statement: Option<Vec<u8>>,
    /// Whether there may be more rows.
    pub more: bool,
}

/// Passes rows on until a statement is whole, or for a while. A box, because its code is then that of this crate and not of its caller.
pub fn pass<'a>(
    rows: &'a mut Rows<'_>,
    inserts: &'a mut Inserts,
) -> Pin<Box<dyn Future<Output = mysql_async::Result<Passed>> + Send + 'a>> {
    Box::pin(async move {
        for _ in 0..AT_ONCE {
            let Some(row) = rows.try_next().await? else {
                return Ok(Passed { statement: inserts.last(), more: false });
            };
            let statement = inserts.row(&row.unwrap());
            if statement.is_some() {
                return Ok(Passed { statement, more: true });
            }
        }
        Ok(Passed { statement: None, more: true })
    })
}
