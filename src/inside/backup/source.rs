//! Whose log an archive goes on with: a member that still has everything that is not archived, and for a cluster's one at which what was
//! archived last is the same (docs/decisions/0036-a-clusters-transactions-have-names.md).

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use super::{
    Runner,
    reader::{self, Chosen},
};
use crate::wire::{
    backup::archive::Piece,
    gtid::GtidSet,
    sql::logs::{History, Logs},
};

/// How a server knows this reader from its replicas: their numbers are small.
const NUMBER: u32 = 900_000_000;

/// A member whose log is read.
pub(super) struct Source {
    pub(super) member: String,
    pub(super) history: History,
    /// From behind what is archived.
    pub(super) logs: Logs,
    /// What it has removed before it was archived.
    pub(super) gap: GtidSet,
}

/// A member that still has everything, or else one that has not. `last` is the last piece that was archived.
///
/// # Errors
/// None serves; or none of those that do can be gone on with, as the first of them says.
pub(super) async fn find(runner: &Runner, archived: &GtidSet, last: Option<&Piece>) -> Result<Source> {
    let (mut tried, mut trouble, mut lacking) = (BTreeSet::new(), None, None);
    while let Some(chosen) = reader::choose(&runner.cluster, &tried).await? {
        match open(runner, &chosen, archived, last).await {
            Ok(source) if source.gap.is_empty() => return Ok(source),
            Ok(source) => lacking = lacking.or(Some(source)),
            Err(error) => trouble = trouble.or(Some(error.context(format!("at {}", chosen.name)))),
        }
        tried.insert(chosen.name);
    }
    match (lacking, trouble) {
        (Some(source), _) => Ok(source),
        (None, Some(trouble)) => Err(trouble),
        (None, None) => bail!("no member of the database serves"),
    }
}

async fn open(runner: &Runner, chosen: &Chosen, archived: &GtidSet, last: Option<&Piece>) -> Result<Source> {
    let mut session = runner.follower.connect(chosen.address, None).await?;
    let history = History::of(&mut session).await?;
    if history.is_foreign(archived) {
        bail!("the newest backup is of another cluster; the next backup begins anew");
    }
    let purged = history.purged(&mut session).await?;
    let gap = purged.without(archived);
    let had = archived.with(&purged);
    let number = NUMBER + rand::random_range(0..100_000_000);
    // Each member of a cluster counts for itself. What was archived last is sent once more, to see that it is the same here.
    let known = last.filter(|piece| !piece.mark.is_empty()).zip(history.last_in(&had));
    let Some((piece, last)) = known.filter(|(_, last)| history.last_in(&purged) < Some(*last)) else {
        let logs = session.logs(number, &history, &had).await?;
        return Ok(Source { member: chosen.name.clone(), history, logs, gap });
    };
    let before = had.without(&history.one(last));
    let mut logs = session.logs(number, &history, &before).await?;
    let again = logs.next().await?;
    if history.last_in(&again.covers) != Some(last) || again.mark != piece.mark {
        bail!("it has something else as transaction {last} than what was archived; the next backup begins anew");
    }
    Ok(Source { member: chosen.name.clone(), history, logs, gap })
}
