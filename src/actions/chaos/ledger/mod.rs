//! Writers at the database, each of whom writes row after row at a steady rate: every row that is acknowledged is written
//! down outside the cluster as it comes ([`book`]), and looked for afterwards at every member ([`audit`]).

pub(super) mod audit;
pub(super) mod book;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, interval, timeout_at},
};

use self::{audit::Found, book::Book};
use super::{clock::Clock, sums::Sample};
use crate::{
    cluster::Cluster,
    parts::database::{Connection, connect_within},
    wire::sql::{error_code, literal},
};

/// The table that rows go to; it exists only during a round.
const TABLE: &str = "wplab_chaos";
/// Writers side by side.
pub(super) const SESSIONS: u32 = 2;
/// The time between two rows of one writer.
const EVERY: Duration = Duration::from_millis(100);
/// The time between two rows of whichever writer, in seconds.
pub(super) const PACE: f64 = 0.1;
/// A row that takes longer counts as failed; whether it is there is then unknown.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long statements of ours may take that are no probes.
const LONG: Duration = Duration::from_secs(30);

/// Writers at work, until they are told to stop.
pub(super) struct Ledger {
    sessions: JoinSet<Vec<Sample>>,
    pub(super) book: Arc<Book>,
}

/// Makes an empty table at the writer.
///
/// # Errors
/// The writer does not answer or refuses.
pub(super) async fn prepare(cluster: &Cluster, writer: &str) -> Result<()> {
    let mut at = connect_within(cluster, writer, LONG).await?;
    at.sql.run(&format!("DROP TABLE IF EXISTS {TABLE}")).await?;
    let columns = "session INT UNSIGNED NOT NULL, seq BIGINT UNSIGNED NOT NULL, saw BIGINT UNSIGNED NOT NULL, \
                   payload CHAR(32) NOT NULL, PRIMARY KEY (session, seq)";
    at.sql
        .run(&format!("CREATE TABLE {TABLE} ({columns}) ENGINE=InnoDB"))
        .await
        .context("cannot make the ledger's table")
}

/// Removes the table.
///
/// # Errors
/// The writer does not answer or refuses.
pub(super) async fn remove(cluster: &Cluster, writer: &str) -> Result<()> {
    let mut at = connect_within(cluster, writer, LONG).await?;
    at.sql.run(&format!("DROP TABLE IF EXISTS {TABLE}")).await
}

/// Every row that a member has.
///
/// # Errors
/// It does not answer.
pub(super) async fn rows(cluster: &Cluster, member: &str) -> Result<Vec<Found>> {
    let mut at = connect_within(cluster, member, LONG).await?;
    let rows = at.sql.rows(&format!("SELECT session, seq, saw, payload FROM {TABLE} ORDER BY session, seq")).await?;
    rows.into_iter()
        .map(|mut row| {
            let mut text =
                |column: &str| row.remove(column).flatten().with_context(|| format!("a row without {column}"));
            let number = |text: String| text.parse::<u64>().context("a number that is none");
            let session = u32::try_from(number(text("session")?)?).context("a session that is none")?;
            Ok(Found { session, seq: number(text("seq")?)?, saw: number(text("saw")?)?, payload: text("payload")? })
        })
        .collect()
}

impl Ledger {
    /// Begins. `writer` says which member takes writes now; whoever writes goes there at every change, but for one who stays
    /// where it is connected.
    pub(super) fn open(
        cluster: &Cluster,
        clock: Clock,
        book: Arc<Book>,
        writer: &watch::Receiver<Option<String>>,
        stop: &watch::Receiver<bool>,
    ) -> Ledger {
        let mut sessions = JoinSet::new();
        for number in 0..SESSIONS {
            let session = Session {
                number,
                cluster: cluster.clone(),
                clock,
                book: book.clone(),
                writer: writer.clone(),
                at: None,
                told: 0,
                keeps: number + 1 == SESSIONS,
            };
            sessions.spawn(session.write(stop.clone()));
        }
        Ledger { sessions, book }
    }

    /// Waits until everybody has stopped, and returns what they met.
    pub(super) async fn close(self) -> Vec<Sample> {
        self.sessions.join_all().await.into_iter().flatten().collect()
    }
}

struct Session {
    number: u32,
    cluster: Cluster,
    clock: Clock,
    book: Arc<Book>,
    writer: watch::Receiver<Option<String>>,
    at: Option<Connection>,
    /// The last of its rows that was acknowledged.
    told: u64,
    /// Whether it goes on writing where it is connected when the role moves: a member that is the writer no more must not
    /// acknowledge anything that the next one does not have.
    keeps: bool,
}

impl Session {
    async fn write(mut self, mut stop: watch::Receiver<bool>) -> Vec<Sample> {
        // What was due while nobody answered comes all the same, each with its own time.
        let mut beat = interval(EVERY);
        let (mut samples, mut seq) = (Vec::new(), 0);
        loop {
            let due = tokio::select! {
                due = beat.tick() => due,
                _ = stop.wait_for(|stop| *stop) => return samples,
            };
            // What is overdue is not sent any more; what is sent has its full time, or a session that is once late would be late
            // for ever.
            let error = if due.elapsed() >= PATIENCE {
                Some("not sent, because the one before was not answered".to_owned())
            } else {
                seq += 1;
                match self.one(seq, Instant::now() + PATIENCE).await {
                    Ok(()) => {
                        self.told = seq;
                        None
                    }
                    Err(error) => {
                        self.at = None;
                        Some(kind(&error))
                    }
                }
            };
            samples.push(self.clock.sample(due, error));
        }
    }

    /// Writes one row that says what this session could see before it.
    async fn one(&mut self, seq: u64, end: Instant) -> Result<()> {
        let mut writer = self.writer.clone();
        let name = writer.borrow_and_update().clone();
        if !self.keeps || self.at.is_none() {
            ensure!(name.is_some(), NO_WRITER);
        }
        let work = async {
            if let (None, Some(name)) = (&self.at, name) {
                self.at = Some(connect_within(&self.cluster, &name, PATIENCE).await?);
            }
            let at = self.at.as_mut().context("no connection")?;
            let payload = format!("{:032x}", rand::random::<u128>());
            let session = self.number;
            self.book.tried(session, seq, &payload, self.told);
            let row = format!(
                "INSERT INTO {TABLE} SELECT {session}, {seq}, COALESCE(MAX(seq), 0), {} FROM {TABLE} WHERE session = {session}",
                literal(&payload)
            );
            at.sql.run(&row).await?;
            self.book.acknowledged(session, seq, self.clock.now())
        };
        tokio::select! {
            done = timeout_at(end, work) => done.unwrap_or_else(|_| Err(anyhow!(SILENT))),
            _ = writer.changed(), if !self.keeps => Err(anyhow!(MOVED)),
        }
    }
}

const NO_WRITER: &str = "no member has the writer's role";
const SILENT: &str = "no answer in time";
const MOVED: &str = "the writer's role moved meanwhile";

/// What kind of failure this is, in few words, so that the same ones can be counted together.
fn kind(error: &anyhow::Error) -> String {
    let said = error.to_string();
    if [NO_WRITER, SILENT, MOVED].contains(&said.as_str()) {
        return said;
    }
    match error_code(error) {
        Some(code) => format!("the server refuses (error {code})"),
        None if format!("{error:#}").contains("did not answer") => SILENT.to_owned(),
        None => "no connection".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_one_kind_are_counted_together() {
        assert_eq!(kind(&anyhow!(NO_WRITER)), NO_WRITER);
        assert_eq!(kind(&anyhow!("MySQL did not answer within 3 s")), SILENT);
        assert_eq!(kind(&anyhow!("connection refused").context("cannot log in to db-1")), "no connection");
    }
}
