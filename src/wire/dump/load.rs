//! Loading a dump, statement by statement, into a database that has none of its tables.

use anyhow::{Context, Result};

use super::{
    fits::{self, Kind},
    objects::DEFINER,
    pipe::Source,
    refused::{Refused, refused},
    split::{Said, Splitter, no_dump},
};
use crate::wire::sql::{self, Session, name};

/// Loads a dump into a database, which may have another name than it had. Each statement is committed by itself; that all of it arrived is
/// known at the end only, and that it is right by comparing [`Snapshot::hashes`](super::Snapshot::hashes).
///
/// Views, routines, triggers and events belong to `definer`, an account as SQL has it (`'wordpress'@'%'`); otherwise to this session's.
///
/// # Errors
/// It is no dump, or not a whole one; this server cannot have the tables (then none was made), or refuses a statement ([`Refused`]); or
/// the server breaks off. What was loaded by then stays.
pub async fn load(session: &mut Session, database: &str, source: Source, definer: Option<&str>) -> Result<()> {
    session.run(&format!("USE {}", name(database))).await.context("cannot use the database")?;
    let target = super::server(session).await?;
    let to = Kind::of(&target).context("the server is of no known kind")?;
    if to == Kind::MariaDb {
        // What a character set's collation is where none is named: as in MySQL and in older MariaDBs, which name others.
        session.run("SET SESSION character_set_collations=''").await?;
    }
    session.run("SET SESSION net_write_timeout=86400, net_read_timeout=86400, wait_timeout=86400").await?;
    let mut loading = Loading { session, to, from: None, tables: Vec::new(), number: 0, definer };
    loading.all(source).await?;
    session.run("SET foreign_key_checks=1, unique_checks=1").await
}

struct Loading<'a> {
    session: &'a mut Session,
    to: Kind,
    from: Option<Kind>,
    /// Statements that make tables, until all are known: then all that is wrong with them can be said.
    tables: Vec<String>,
    /// Of the statement that is under way.
    number: u64,
    definer: Option<&'a str>,
}

impl Loading<'_> {
    async fn all(&mut self, mut source: Source) -> Result<()> {
        let mut splitter = Splitter::default();
        while let Some(mut piece) = source.next().await {
            while let Some(said) = splitter.next(&mut piece)? {
                match said {
                    Said::From(server) => {
                        self.from = Some(Kind::of(&server).ok_or_else(|| no_dump("it is of no known server"))?);
                    }
                    Said::Statement(statement) => self.statement(statement).await?,
                    Said::Complete => self.make_tables().await?,
                }
            }
        }
        splitter.end()
    }

    async fn statement(&mut self, statement: Vec<u8>) -> Result<()> {
        if statement.starts_with(b"INSERT INTO ") {
            self.make_tables().await?;
            return self.run(&statement).await;
        }
        let statement = String::from_utf8(statement).map_err(|_| no_dump("it has a statement that is no text"))?;
        if statement.starts_with("CREATE TABLE ") {
            self.tables.push(statement);
            return Ok(());
        }
        self.make_tables().await?;
        let mut unfit = Vec::new();
        let mut statement = fits::other(&statement, self.from.unwrap_or(self.to), self.to, &mut unfit);
        if !unfit.is_empty() {
            let why = unfit.iter().map(|why| format!("{}: {why}", about(statement.as_bytes()))).collect();
            return Err(refused(Refused::Unfit { why }));
        }
        if let Some(definer) = self.definer {
            statement = statement.replacen(DEFINER, &format!("DEFINER={definer}"), 1);
        }
        self.run(statement.as_bytes()).await
    }

    async fn make_tables(&mut self) -> Result<()> {
        let (from, to, mut unfit) = (self.from.unwrap_or(self.to), self.to, Vec::new());
        let tables = std::mem::take(&mut self.tables);
        let tables: Vec<String> = tables.iter().map(|table| fits::table(table, from, to, &mut unfit)).collect();
        if !unfit.is_empty() {
            return Err(refused(Refused::Unfit { why: unfit }));
        }
        for table in tables {
            self.run(table.as_bytes()).await?;
        }
        Ok(())
    }

    async fn run(&mut self, statement: &[u8]) -> Result<()> {
        self.number += 1;
        let Err(error) = self.session.run_bytes(statement).await else { return Ok(()) };
        let (number, about) = (self.number, about(statement));
        Err(match sql::error_code(&error) {
            Some(code) => {
                // What the server says of a row may hold some of it.
                let said = (!statement.starts_with(b"INSERT ")).then(|| sql::refusal(&error)).flatten();
                refused(Refused::Statement { number, about, code, said })
            }
            None => error.context(format!("statement {number} ({about}) was not run")),
        })
    }
}

/// What a statement does, without a value of it.
fn about(statement: &[u8]) -> String {
    let begin = String::from_utf8_lossy(&statement[..statement.len().min(300)]);
    if let Some(rest) = begin.strip_prefix("INSERT INTO ") {
        return format!("rows of {}", rest.split(" (`").next().unwrap_or_default());
    }
    let words: Vec<&str> = begin.split_whitespace().take_while(|word| *word != "(" && *word != "AS").collect();
    // CREATE, what, and its name; before that there may be how a view is computed.
    words.into_iter().filter(|word| !word.contains('=') && *word != DEFINER).take(5).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_named_without_its_values() {
        assert_eq!(about(b"INSERT INTO `my table` (`a`) VALUES ('secret')"), "rows of `my table`");
        assert_eq!(about(b"CREATE TABLE `t` ( `a` int DEFAULT 7)"), "CREATE TABLE `t`");
        let view = "CREATE ALGORITHM=UNDEFINED /*definer*/ SQL SECURITY DEFINER VIEW `v` AS select 1";
        assert_eq!(about(view.as_bytes()), "CREATE SQL SECURITY DEFINER VIEW");
        assert_eq!(about("INSERT INTO `ü".repeat(60).as_bytes()).len().min(10), 10);
    }
}
