//! Starts a Galera cluster again on a person's decision, when it does not start by itself: after all members have ended,
//! nothing is started while one's position is unknown, and only a person knows whether it will ever come back.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    actions::standing,
    cluster::Cluster,
    inside::member::{
        galera::{
            decide::{Position, Snapshot},
            registry,
        },
        status::GaleraFacts,
    },
    parts::{
        database::{self, CONTAINER},
        discovery::{self, Way},
    },
    run::{
        Run, Stepped,
        advice::{Advise, Blame, Hint, Trouble},
        event::StepId,
        wait::Look,
    },
    spec::{LabName, Topology},
};

/// How long a cluster may take to serve again, from one member's data.
const LIMIT: Duration = Duration::from_secs(300);
/// How often its member is asked.
const EVERY: Duration = Duration::from_secs(1);

/// How far a member's data goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Standing {
    /// The member.
    pub member: String,
    /// How far its data goes; `None` when it has not reported.
    pub position: Option<Position>,
    /// What it does, or that nothing is known of it.
    pub state: String,
}

impl Standing {
    fn seqno(&self) -> Option<i64> {
        self.position.as_ref()?.data().map(|(_, seqno)| seqno)
    }
}

/// A decision that cannot be carried out, or must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRecovery {
    /// The lab that it is about.
    pub lab: LabName,
    /// Why.
    pub why: String,
}

impl fmt::Display for NoRecovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl Advise for NoRecovery {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Status { lab: self.lab.clone() }]
    }
}

/// What is decided, and what it costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Choice {
    /// Every member.
    pub standings: Vec<Standing>,
    /// What is lost, in one sentence.
    pub consequence: String,
}

/// Looks how far each member is and says what starting from `member` would lose.
///
/// # Errors
/// [`NoRecovery`] when it must not be done; [`crate::actions::standing::NoSuchLab`]; etcd or the cluster does not answer.
pub async fn look(lab: &LabName, member: &str) -> Result<Choice> {
    let impossible = |why| Trouble::from(NoRecovery { lab: lab.clone(), why });
    let cluster = standing::open(lab).await?;
    let spec = cluster.lab_file().await?;
    if spec.database.topology != Topology::Galera {
        return Err(impossible(format!(
            "lab {lab} has topology {}, which has nothing to bootstrap",
            spec.database.topology.name()
        ))
        .into());
    }
    let names = database::names(spec.database.members);
    let seen = snapshot(&cluster).await?;
    let serving = database::members(&cluster).await?;
    let serves =
        serving.iter().filter(|m| m.status.as_ref().and_then(|s| s.galera.as_ref()).is_some_and(GaleraFacts::serves));
    if let Some(one) = serves.map(|m| &m.name).next() {
        return Err(impossible(format!("{one} serves: the cluster runs, and the others join it by themselves")).into());
    }
    let standings: Vec<Standing> = names.iter().map(|name| standing(name, &seen)).collect();
    let consequence = consequence(member, &standings).map_err(impossible)?;
    Ok(Choice { standings, consequence })
}

/// Lets the cluster start from `member`'s data and waits until that member serves.
///
/// # Errors
/// The member refuses, or does not serve in time: with the last reason.
pub async fn recover(run: &Run, lab: &LabName, member: &str) -> Result<GaleraFacts> {
    run.step(StepId::Database, async |cx| {
        let cluster = standing::open(lab).await?;
        cluster.exec(member, CONTAINER, &["/tools/wplab", "member", "bootstrap"]).await?;
        let what = format!("{member} to serve");
        let facts = cx.until(&what, LIMIT, EVERY, || look_at(&cluster, member)).await?;
        let detail = format!("{member} serves, at {}", facts.seqno);
        Ok(Stepped::done(facts, detail))
    })
    .await
}

async fn look_at(cluster: &Cluster, member: &str) -> Result<Look<GaleraFacts>> {
    let members = database::members(cluster).await?;
    let member = members.iter().find(|m| m.name == member).context("its pod is gone")?;
    let facts = member.status.as_ref().and_then(|status| status.galera.clone()).filter(GaleraFacts::synced);
    let waits = || format!("{}: {}", member.name, member.unready().unwrap_or_else(|| "not synced yet".to_owned()));
    Ok(facts.map_or_else(|| Look::NotYet(waits()), Look::Ready))
}

/// What the members have told etcd, through whichever of etcd's members answers.
async fn snapshot(cluster: &Cluster) -> Result<Snapshot> {
    let identity = discovery::identity(cluster).await?;
    let mut last = None;
    for number in 0..discovery::MEMBERS {
        let asked = async { registry::read(&Way::to(cluster, &identity, number).await?.etcd).await };
        match asked.await {
            Ok(seen) => return Ok(seen),
            Err(error) => last = Some(error),
        }
    }
    Err(last
        .context("etcd has no members")?
        .context("no member of etcd answers, and without it nobody can be told to start"))
}

fn standing(name: &str, seen: &Snapshot) -> Standing {
    let Some(record) = seen.members.get(name).map(|seen| &seen.record) else {
        return Standing { member: name.to_owned(), position: None, state: "has not reported".into() };
    };
    let state = match (&record.position, record.position.data()) {
        (_, Some((_, seqno))) => format!("has data up to {seqno}"),
        (Position::Unusable, None) => "has an unfinished copy".to_owned(),
        (_, None) => "has no data".to_owned(),
    };
    Standing { member: name.to_owned(), position: Some(record.position.clone()), state }
}

/// What starting from `member` loses; why not, when it must not be done.
fn consequence(member: &str, standings: &[Standing]) -> Result<String, String> {
    let names = || standings.iter().map(|s| s.member.as_str()).collect::<Vec<_>>().join(", ");
    let chosen = standings.iter().find(|s| s.member == member);
    let chosen = chosen.ok_or_else(|| format!("there is no member {member}; there are {}", names()))?;
    let best = standings.iter().filter(|s| s.seqno().is_some()).max_by_key(|s| s.seqno());
    let silent: Vec<&Standing> = standings.iter().filter(|s| s.position.is_none()).collect();
    let Some(seqno) = chosen.seqno() else {
        if best.is_none() && silent.is_empty() && chosen.position == Some(Position::Empty) {
            return Ok(format!("the cluster starts from {member} with an empty database; all that was in it is lost"));
        }
        let instead = best.map_or(String::new(), |best| format!("; {} has data", best.member));
        return Err(format!("{member} {}, so nothing can start from it{instead}", chosen.state));
    };
    let mut lost = Vec::new();
    for other in standings.iter().filter(|s| s.member != member) {
        match other.seqno() {
            Some(further) if further > seqno => {
                lost.push(format!("the {} changes that {} has beyond it are lost", further - seqno, other.member));
            }
            Some(_) => {}
            None if other.position == Some(Position::Unusable) => {}
            None => lost.push(format!("{} {}: whatever it had beyond {seqno} is lost", other.member, other.state)),
        }
    }
    let lost = if lost.is_empty() { "no member is known to have more".to_owned() } else { lost.join("; ") };
    Ok(format!("the cluster starts from {member}, at {seqno}; {lost}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standings(seqnos: [Option<i64>; 3]) -> Vec<Standing> {
        let of = |(number, seqno): (usize, Option<i64>)| Standing {
            member: format!("db-{number}"),
            position: seqno.map(|seqno| Position::At { uuid: "u".into(), seqno }),
            state: seqno.map_or("has not reported".to_owned(), |seqno| format!("has data up to {seqno}")),
        };
        seqnos.into_iter().enumerate().map(of).collect()
    }

    #[test]
    fn what_is_lost_is_told_before_anything_is_done() {
        let sentence = consequence("db-1", &standings([Some(12), Some(10), None])).expect("possible");
        assert_eq!(
            sentence,
            "the cluster starts from db-1, at 10; the 2 changes that db-0 has beyond it are lost; \
             db-2 has not reported: whatever it had beyond 10 is lost"
        );
        let sentence = consequence("db-0", &standings([Some(3), Some(3), Some(2)])).expect("possible");
        assert_eq!(sentence, "the cluster starts from db-0, at 3; no member is known to have more");
        let mut empty = standings([None; 3]);
        empty.iter_mut().for_each(|standing| standing.position = Some(Position::Empty));
        assert!(consequence("db-2", &empty).expect("possible").ends_with("all that was in it is lost"));
    }

    #[test]
    fn what_cannot_be_done_is_refused() {
        let why = |member: &str, seqnos| consequence(member, &standings(seqnos)).expect_err("refused");
        assert_eq!(why("db-7", [Some(1), None, None]), "there is no member db-7; there are db-0, db-1, db-2");
        assert_eq!(
            why("db-2", [Some(1), Some(3), None]),
            "db-2 has not reported, so nothing can start from it; db-1 has data"
        );
        assert_eq!(why("db-0", [None; 3]), "db-0 has not reported, so nothing can start from it");
    }
}
