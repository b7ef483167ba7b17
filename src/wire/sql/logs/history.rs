//! How a server names its transactions, so that others can tell which ones they have. MySQL has GTID sets. The members of a MariaDB Galera
//! cluster count the cluster's transactions in one domain ([`DOMAIN`], `wsrep_gtid_mode`), each by itself: here such a number is told as one
//! of the cluster's UUID (`3e11fa47-…:1-24` for `0-1-24` in MariaDB's words), so that nobody takes it for one of another cluster.

use anyhow::{Context, Result, ensure};

use crate::wire::{
    gtid::GtidSet,
    sql::{Session, is_mariadb},
};

/// The domain in which members count what the cluster commits; as in `manifests/database/mariadb-fixed.cnf`. What one of them does
/// for itself alone is in another one.
pub(super) const DOMAIN: u32 = 0;
/// The number by which each member names the maker of what the cluster commits.
const SERVER: u32 = 1;

/// A server's way to name transactions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum History {
    /// MySQL's.
    Gtids,
    /// MariaDB's, as a member of the cluster of this UUID.
    Cluster(String),
}

impl History {
    /// Of this server.
    ///
    /// # Errors
    /// It cannot be asked; or it is a MariaDB that is in no cluster, or that keeps no binary log.
    pub async fn of(session: &mut Session) -> Result<History> {
        let version = session.version().await?;
        if !is_mariadb(&version) {
            return Ok(History::Gtids);
        }
        let logs = session.value("SELECT @@global.log_bin AND @@global.wsrep_gtid_mode").await?;
        ensure!(
            logs.as_deref() == Some("1"),
            "the server keeps no log of the cluster's transactions: its lab was made before members did"
        );
        let uuid = status(session, "wsrep_cluster_state_uuid").await?;
        Ok(History::Cluster(uuid.context("the server is in no cluster")?))
    }

    /// What the server has committed.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn executed(&self, session: &mut Session) -> Result<GtidSet> {
        match self {
            History::Gtids => set(session, "@@global.gtid_executed").await,
            History::Cluster(uuid) => Ok(upto(uuid, last(&value(session, "@@global.gtid_binlog_pos").await?)?)),
        }
    }

    /// What the server has committed and has no longer in its binary log. The account needs `BINLOG MONITOR` at MariaDB.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn purged(&self, session: &mut Session) -> Result<GtidSet> {
        let History::Cluster(uuid) = self else { return set(session, "@@global.gtid_purged").await };
        let oldest = session.row("SHOW BINARY LOGS").await?.and_then(|row| row.get("Log_name").cloned().flatten());
        let oldest = oldest.context("the server has no binary log")?;
        let events = session.rows(&format!("SHOW BINLOG EVENTS IN '{oldest}' LIMIT 3")).await?;
        let is = |row: &&super::super::Row| row.get("Event_type").and_then(Option::as_deref) == Some("Gtid_list");
        let before = events.iter().find(is).and_then(|row| row.get("Info").cloned().flatten());
        let before = before.with_context(|| format!("{oldest} does not say what came before it"))?;
        Ok(upto(uuid, last(before.trim_matches(['[', ']']))?))
    }

    /// What is in the snapshot that this session has just taken; nothing where the server does not know.
    ///
    /// # Errors
    /// It cannot be asked.
    pub async fn of_snapshot(&self, session: &mut Session) -> Result<Option<GtidSet>> {
        let History::Cluster(uuid) = self else { return Ok(None) };
        let file = status(session, "binlog_snapshot_file").await?.filter(|file| !file.is_empty());
        let Some((file, at)) = file.zip(status(session, "binlog_snapshot_position").await?) else { return Ok(None) };
        let position = session.value(&format!("SELECT BINLOG_GTID_POS('{file}', {at})")).await?;
        Ok(position.map(|position| last(&position)).transpose()?.map(|number| upto(uuid, number)))
    }

    /// The number of the last transaction of the cluster in a set; 0 where there is none. MySQL's have no such number.
    pub fn last_in(&self, set: &GtidSet) -> Option<u64> {
        match self {
            History::Gtids => None,
            History::Cluster(uuid) => Some(set.last_of(uuid).unwrap_or_default()),
        }
    }

    /// A transaction of the cluster; MySQL's have no such number.
    pub fn one(&self, number: u64) -> GtidSet {
        match self {
            History::Gtids => GtidSet::default(),
            History::Cluster(uuid) => GtidSet::of(uuid, number, number),
        }
    }

    /// Whether a set has transactions of another cluster, or of another one's life.
    pub fn is_foreign(&self, set: &GtidSet) -> bool {
        match self {
            History::Gtids => false,
            History::Cluster(uuid) => set.makers().any(|maker| maker != uuid),
        }
    }

    /// What is to be said to a MariaDB so that it begins behind this number; `position` is where it is. What members did for themselves
    /// is not asked for.
    pub(super) fn beginning(position: &str, number: u64) -> String {
        let others = position.split(',').map(str::trim).filter(|gtid| !gtid.is_empty() && domain(gtid) != Some(DOMAIN));
        let ours = (number > 0).then(|| format!("{DOMAIN}-{SERVER}-{number}"));
        others.map(str::to_owned).chain(ours).collect::<Vec<_>>().join(",")
    }
}

/// All of a cluster's transactions to this one.
fn upto(uuid: &str, number: u64) -> GtidSet {
    if number == 0 { GtidSet::default() } else { GtidSet::of(uuid, 1, number) }
}

fn domain(gtid: &str) -> Option<u32> {
    gtid.split('-').next()?.parse().ok()
}

/// The last number of the cluster's domain in a position of MariaDB's (`0-1-24,11-1-3`); 0 where it has none.
fn last(position: &str) -> Result<u64> {
    let ours = position.split(',').map(str::trim).find(|gtid| domain(gtid) == Some(DOMAIN));
    let Some(gtid) = ours else { return Ok(0) };
    let number = gtid.rsplit('-').next().and_then(|number| number.parse().ok());
    number.with_context(|| format!("{gtid:?} is no position"))
}

async fn set(session: &mut Session, of: &str) -> Result<GtidSet> {
    GtidSet::parse(&value(session, of).await?)
}

pub(super) async fn value(session: &mut Session, of: &str) -> Result<String> {
    session.value(&format!("SELECT {of}")).await?.with_context(|| format!("the server does not say its {of}"))
}

async fn status(session: &mut Session, name: &str) -> Result<Option<String>> {
    let row = session.row(&format!("SHOW STATUS WHERE Variable_name = '{name}'")).await?;
    Ok(row.and_then(|row| row.get("Value").cloned().flatten()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn only_what_the_cluster_counts_is_counted() {
        for (position, number) in [("", 0), ("0-1-24", 24), ("11-1-3,0-1-24", 24), ("11-1-3", 0)] {
            assert_eq!(last(position).expect("a position"), number, "{position}");
        }
        assert!(last("0-1-x").is_err());
        assert_eq!(upto(UUID, last("0-1-24").expect("one")).to_string(), format!("{UUID}:1-24"));
        assert!(upto(UUID, 0).is_empty());
    }

    #[test]
    fn a_reader_begins_behind_what_it_has_and_wants_nothing_else() {
        assert_eq!(History::beginning("0-1-24,11-1-3", 20), "11-1-3,0-1-20");
        assert_eq!(History::beginning("0-1-24", 0), "");
        assert_eq!(History::beginning("", 7), "0-1-7");
    }

    #[test]
    fn another_clusters_numbers_are_no_numbers_of_this_one() {
        let cluster = History::Cluster(UUID.to_owned());
        let other = UUID.replace('3', "4");
        let set = |text: &str| GtidSet::parse(text).expect("a set");
        let (ours, theirs) = (set(&format!("{UUID}:1-9")), set(&format!("{other}:1-99")));
        assert_eq!((cluster.last_in(&ours), cluster.last_in(&theirs)), (Some(9), Some(0)));
        assert!(!cluster.is_foreign(&ours) && cluster.is_foreign(&ours.with(&theirs)));
        assert!(!History::Gtids.is_foreign(&theirs));
    }
}
