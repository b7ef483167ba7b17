//! MySQL connections for both ends: the member's supervisor through the unix socket, the tool through a port-forward with
//! TLS under the lab's own authority. The only room that names mysql_async; `rows` is for what is too much to be held at once, `words` for what stands in statements.

pub mod logs;
mod rows;
pub(crate) mod words;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use mysql_async::{Conn, Opts, OptsBuilder, SslOpts, Value, prelude::Queryable};

/// A name that every server's certificate holds for.
pub const CERTIFICATE_NAME: &str = "db";

/// A row by column name; NULL is `None`.
pub type Row = BTreeMap<String, Option<String>>;

/// Where a server is and how it is reached.
#[derive(Clone, Debug)]
pub enum Way {
    /// The server's unix socket, from inside its pod.
    Socket(PathBuf),
    /// An address of our own (a port-forward), with TLS. The certificate must come from this authority (PEM) and hold for
    /// `db`, the name that every member's does; a forwarded local port has no name of its own.
    Forward {
        /// The local end.
        addr: SocketAddr,
        /// The lab's authority, PEM.
        ca: String,
    },
    /// An address, with no encryption: to see that nobody is served so.
    Open(SocketAddr),
}

/// One connection. A statement that fails or is cut off leaves it unusable: connect again.
#[derive(Debug)]
pub struct Session {
    conn: Conn,
    patience: Duration,
}

impl Session {
    /// Connects and logs in; every later statement has `patience` too.
    ///
    /// # Errors
    /// Nobody listens, the login is refused, or `patience` has passed.
    pub async fn connect(
        way: &Way,
        user: &str,
        password: &str,
        database: Option<&str>,
        patience: Duration,
    ) -> Result<Session> {
        let opts = OptsBuilder::default().user(Some(user)).pass(Some(password)).db_name(database);
        let opts: Opts = match way {
            Way::Socket(path) => opts.socket(Some(path.to_string_lossy())).prefer_socket(true).into(),
            Way::Forward { addr, ca } => {
                let tls = SslOpts::default()
                    .with_root_certs(vec![ca.clone().into_bytes().into()])
                    .with_disable_built_in_roots(true)
                    .with_danger_tls_hostname_override(Some(CERTIFICATE_NAME));
                let opts = opts.ip_or_hostname(addr.ip().to_string()).tcp_port(addr.port());
                opts.prefer_socket(false).ssl_opts(tls).into()
            }
            Way::Open(addr) => {
                opts.ip_or_hostname(addr.ip().to_string()).tcp_port(addr.port()).prefer_socket(false).into()
            }
        };
        let conn = bounded(patience, Conn::new(opts)).await.context("cannot connect to MySQL")?;
        Ok(Session { conn, patience })
    }

    /// The connection with another limit for every statement.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Session {
        self.patience = patience;
        self
    }

    /// Runs a statement that returns no rows. The statement's text never becomes part of an error: it may hold a password.
    ///
    /// # Errors
    /// The server refuses it, the connection is lost, or the limit has passed.
    pub async fn run(&mut self, statement: &str) -> Result<()> {
        bounded(self.patience, self.conn.query_drop(statement)).await
    }

    /// Runs a query and returns its rows by column name.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn rows(&mut self, query: &str) -> Result<Vec<Row>> {
        let rows: Vec<mysql_async::Row> = bounded(self.patience, self.conn.query(query)).await?;
        Ok(rows.into_iter().map(by_name).collect())
    }

    /// The first row of a query, if there is one.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn row(&mut self, query: &str) -> Result<Option<Row>> {
        Ok(self.rows(query).await?.into_iter().next())
    }

    /// The first column of the first row.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn value(&mut self, query: &str) -> Result<Option<String>> {
        let row: Option<mysql_async::Row> = bounded(self.patience, self.conn.query_first(query)).await?;
        Ok(row.and_then(|row| text(row.unwrap().into_iter().next()?)))
    }

    /// What the server says it is, such as `8.4.10` or `11.8.9-MariaDB-deb13`.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub async fn version(&mut self) -> Result<String> {
        self.value("SELECT VERSION()").await?.context("the server does not say what it is")
    }
}

/// Whether a server of this version is a MariaDB: each of them has the name in its version, and no other server has.
pub fn is_mariadb(version: &str) -> bool {
    version.contains("MariaDB")
}

/// The number of the MySQL error somewhere in this chain, if the server gave one.
pub fn error_code(error: &anyhow::Error) -> Option<u16> {
    error.chain().find_map(|cause| match cause.downcast_ref::<mysql_async::Error>() {
        Some(mysql_async::Error::Server(server)) => Some(server.code),
        _ => None,
    })
}

/// What the server said when it refused, if it did.
pub fn refusal(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| match cause.downcast_ref::<mysql_async::Error>() {
        Some(mysql_async::Error::Server(server)) => Some(format!("{} ({})", server.message, server.code)),
        _ => None,
    })
}

/// A name as SQL has it between backticks.
pub fn name(text: &str) -> String {
    format!("`{}`", text.replace('`', "``"))
}

/// A text as an SQL string literal, in the server's default `sql_mode`.
pub fn literal(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('\'');
    for c in text.chars() {
        match c {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\0' => quoted.push_str("\\0"),
            other => quoted.push(other),
        }
    }
    quoted.push('\'');
    quoted
}

async fn bounded<T>(patience: Duration, work: impl Future<Output = mysql_async::Result<T>>) -> Result<T> {
    let answer = tokio::time::timeout(patience, work).await;
    Ok(answer.with_context(|| format!("MySQL did not answer within {} s", patience.as_secs()))??)
}

fn by_name(row: mysql_async::Row) -> Row {
    let names: Vec<String> = row.columns_ref().iter().map(|column| column.name_str().into_owned()).collect();
    names.into_iter().zip(row.unwrap().into_iter().map(text)).collect()
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Int(number) => Some(number.to_string()),
        Value::UInt(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Double(number) => Some(number.to_string()),
        other => Some(other.as_sql(true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_cannot_be_left() {
        assert_eq!(literal("plain"), "'plain'");
        assert_eq!(literal(r"it's\"), r"'it''s\\'");
        assert_eq!(literal("two\nlines"), r"'two\nlines'");
    }
}
