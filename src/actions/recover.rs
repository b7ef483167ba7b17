//! Starts a Galera cluster again on a person's decision, when it does not start by itself: after all members have ended,
//! nothing is started while one's position is unknown, and only a person knows whether it will ever come back.

use std::{fmt, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use crate::{
    actions::standing::{self, Impossible},
    cluster::Cluster,
    inside::member::{
        galera::{
            decide::{Position, Snapshot},
            registry,
        },
        status::GaleraFacts,
    },
    parts::{
        database::{self, CONTAINER, Member},
        discovery::{self, EtcdSilent, Way},
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

/// Members that may run a server and cannot be asked: the cluster may be there, behind a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked {
    /// The lab that it is about.
    pub lab: LabName,
    /// The member to start from.
    pub member: String,
    /// Each that may run, and why it cannot be asked.
    pub silent: Vec<(String, String)>,
    /// Those that are said to be dead, and need not be asked.
    pub dead: Vec<String>,
}

impl fmt::Display for Unasked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<String> = self.silent.iter().map(|(name, why)| format!("{name}: {why}")).collect();
        let (who, each) = (if each.len() == 1 { "a member" } else { "members" }, each.join("; "));
        write!(
            f,
            "{who} that may run cannot be asked ({each}), and a second cluster beside one that runs is never undone"
        )
    }
}

impl Advise for Unasked {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        let dead = self.dead.iter().chain(self.silent.iter().map(|(name, _)| name)).cloned().collect();
        let without = Hint::RecoverWithout { lab: self.lab.clone(), member: self.member.clone(), dead };
        vec![Hint::Status { lab: self.lab.clone() }, without]
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

/// Looks how far each member is and says what starting from `member` would lose. Whoever is in `dead` has ended for good, by a
/// person's word, and is not asked.
///
/// # Errors
/// [`standing::Impossible`] when it must not be done; [`Unasked`] when nobody knows whether it may be; [`EtcdSilent`];
/// [`crate::actions::standing::NoSuchLab`]; the cluster does not answer.
pub async fn look(lab: &LabName, member: &str, dead: &[String]) -> Result<Choice> {
    let impossible = |why| Trouble::from(Impossible { lab: lab.clone(), why, hints: Vec::new() });
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
    let there = database::members(&cluster).await?;
    let runs = |member: &&Member| member.galera().is_some_and(|facts| facts.component == "Primary");
    if let Some(one) = there.iter().find(runs) {
        let why = format!("{} serves: the cluster runs, and the others join it by themselves", one.name);
        return Err(impossible(why).into());
    }
    let silent = may_run(member, &names, &there, dead).map_err(impossible)?;
    if !silent.is_empty() {
        let (lab, member, dead) = (lab.clone(), member.to_owned(), dead.to_vec());
        return Err(Trouble::from(Unasked { lab, member, silent, dead }).into());
    }
    let seen = snapshot(&cluster).await?;
    let standings: Vec<Standing> = names.iter().map(|name| standing(name, &seen)).collect();
    let consequence = consequence(member, &standings).map_err(impossible)?;
    Ok(Choice { standings, consequence })
}

/// Lets the cluster start from `member`'s data and waits until that member serves. It asks the others itself once more, but for
/// those in `dead`.
///
/// # Errors
/// The member refuses, or does not serve in time: with the last reason.
pub async fn recover(run: &Run, lab: &LabName, member: &str, dead: &[String]) -> Result<GaleraFacts> {
    run.step(StepId::Database, async |cx| {
        let cluster = standing::open(lab).await?;
        let dead: Vec<String> = dead.iter().map(|name| format!("--dead={name}")).collect();
        let command = ["/tools/wplab", "member", "bootstrap"].into_iter().chain(dead.iter().map(String::as_str));
        cluster.exec(member, CONTAINER, &command.collect::<Vec<_>>()).await?;
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
    let silent = Trouble::from(EtcdSilent { lab: cluster.lab.clone() });
    Err(match last {
        Some(error) => silent.because(error),
        None => silent,
    }
    .into())
}

/// Those of `names` whose pod is on a node and says nothing: a server may run there, also where Kubernetes has lost the node.
/// With why it cannot be asked.
///
/// # Errors
/// Somebody is called dead who is not.
fn may_run(member: &str, names: &[String], there: &[Member], dead: &[String]) -> Result<Vec<(String, String)>, String> {
    for name in dead {
        let answers = there.iter().any(|found| found.name == *name && found.status.is_some());
        match () {
            () if !names.contains(name) => {
                return Err(format!("there is no member {name}; there are {}", names.join(", ")));
            }
            () if name == member => return Err(format!("the cluster cannot start from {name} when that is dead")),
            () if answers => return Err(format!("{name} answers, so it is not dead")),
            () => {}
        }
    }
    let silent = |found: &Member| {
        let node = found.node.as_ref().filter(|_| found.status.is_none())?;
        Some((found.name.clone(), format!("its supervisor, on node {node}, does not answer")))
    };
    let may = |found: &&Member| found.name != member && names.contains(&found.name) && !dead.contains(&found.name);
    Ok(there.iter().filter(may).filter_map(silent).collect())
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
    use crate::inside::member::status::MemberStatus;

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
    fn who_may_run_and_cannot_be_asked_is_named_unless_a_person_says_that_it_is_dead() {
        let names: Vec<String> = (0..3).map(|number| format!("db-{number}")).collect();
        let found = |number: usize, node: Option<&str>, answers: bool| Member {
            name: names[number].clone(),
            node: node.map(str::to_owned),
            role: None,
            reads: false,
            pod_waits: None,
            status: answers.then(MemberStatus::default),
        };
        let judge = |there: &[Member], dead: &[&str]| {
            let dead: Vec<String> = dead.iter().map(|name| (*name).to_owned()).collect();
            may_run("db-0", &names, there, &dead)
                .map(|silent| silent.into_iter().map(|(name, _)| name).collect::<Vec<_>>())
        };
        let (own, answers) = (found(0, Some("n"), true), found(1, Some("n"), true));
        let lost = found(2, Some("n"), false);
        assert_eq!(judge(&[own.clone(), answers.clone(), lost.clone()], &[]).as_deref(), Ok(&["db-2".to_owned()][..]));
        assert_eq!(judge(&[own.clone(), answers.clone(), lost.clone()], &["db-2"]), Ok(Vec::new()));
        assert_eq!(judge(&[own.clone(), answers.clone()], &[]), Ok(Vec::new()), "it has no pod");
        assert_eq!(
            judge(&[own.clone(), found(1, None, false), answers.clone()], &[]),
            Ok(Vec::new()),
            "it is on no node"
        );
        let all = [own, answers, lost];
        assert_eq!(judge(&all, &["db-1"]), Err("db-1 answers, so it is not dead".to_owned()));
        assert_eq!(judge(&all, &["db-0"]), Err("the cluster cannot start from db-0 when that is dead".to_owned()));
        assert_eq!(judge(&all, &["db-7"]), Err("there is no member db-7; there are db-0, db-1, db-2".to_owned()));
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
