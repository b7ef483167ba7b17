//! Whether the database is healthy and what is wrong when it is not: the one answer, a pure function of what the members say,
//! which roles their labels give them and what the agent has written down. `up` waits for it, `status` shows it, and the
//! checks ask each half by itself. Who gets which role is decided by the agent ([`crate::inside::agent::decide`]).

use std::fmt;

use serde::{Serialize, Serializer};

use super::{
    agent::{Record, Roles},
    members::Member,
};
use crate::{
    inside::member::status::ServerFacts,
    labels::{READER, WRITER},
};

/// Something that keeps the database from being healthy; its text is a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The agent cannot tell safely who must take writes: a person has to decide. The reason is its own.
    Refused(String),
    /// No agent keeps the roles, and why.
    Unkept(String),
    /// What the agent waits for.
    Waits(String),
    /// A member does not serve its role.
    Member {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// Each member serves, but together they are not the database that is wanted.
    Together(String),
    /// The labels and what the agent has written down give the role of the writer to different members.
    Unwritten {
        /// Who has the label.
        writer: String,
        /// Who has been written down; empty while nobody has.
        written: String,
    },
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Refused(why) | Wrong::Unkept(why) | Wrong::Waits(why) | Wrong::Together(why) => f.write_str(why),
            Wrong::Member { name, why } => write!(f, "{name}: {why}"),
            Wrong::Unwritten { writer, written } => {
                write!(f, "{writer} is the writer, but the agent has written down {written:?}")
            }
        }
    }
}

impl Serialize for Wrong {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// The writer of a healthy database.
///
/// # Errors
/// Everything that is wrong, what explains most of the rest first.
pub fn health<'a>(members: &'a [Member], wanted: usize, record: &Record) -> Result<&'a str, Vec<Wrong>> {
    let together = of_members(members, wanted);
    // Only against one writer can the record be held; without one, the members' half says so.
    let agent = match &together {
        Ok(writer) => of_roles(record, &writer.name).err(),
        Err(_) => kept(record).err(),
    };
    match (agent, together) {
        (None, Ok(writer)) => Ok(&writer.name),
        (agent, together) => Err(agent.into_iter().chain(together.err().into_iter().flatten()).collect()),
    }
}

/// The members' half: the one that takes writes, once every wanted one serves its role and together they are one database.
///
/// # Errors
/// Each member that does not serve; or, when all do, what they are not together.
pub fn of_members(members: &[Member], wanted: usize) -> Result<&Member, Vec<Wrong>> {
    let troubled = members.iter().filter_map(|m| Some(Wrong::Member { name: m.name.clone(), why: trouble(m)? }));
    let troubled: Vec<Wrong> = troubled.collect();
    if troubled.is_empty() {
        together(members, wanted).map_err(|why| vec![Wrong::Together(why)])
    } else {
        Err(troubled)
    }
}

/// The agent's half: what it has written down, once nothing is open any more and it says the same as the labels.
///
/// # Errors
/// What is not so.
pub fn of_roles<'a>(record: &'a Record, writer: &str) -> Result<&'a Roles, Wrong> {
    let roles = kept(record)?;
    if roles.writer == writer {
        Ok(roles)
    } else {
        Err(Wrong::Unwritten { writer: writer.to_owned(), written: roles.writer.clone() })
    }
}

/// What was written by an agent that is gone may be long out of date, also that a person has to decide.
fn kept(record: &Record) -> Result<&Roles, Wrong> {
    match record {
        Record::Unkept { why, .. } => Err(Wrong::Unkept(why.clone())),
        Record::Kept(roles) if !roles.refused.is_empty() => Err(Wrong::Refused(roles.refused.clone())),
        Record::Kept(roles) if !roles.waits.is_empty() => Err(Wrong::Waits(roles.waits.clone())),
        Record::Kept(roles) => Ok(roles),
    }
}

/// Why a member does not serve its role; `None` when it does. Its name stands beside it wherever this is shown.
pub fn trouble(member: &Member) -> Option<String> {
    if let Some(reason) = member.unready() {
        return Some(reason);
    }
    // Every synced member of a Galera cluster is open, so there the role is all that tells them apart.
    let open = member.facts().is_some_and(ServerFacts::serves_as_source);
    let fits = |role: &str| member.galera().is_some() || open == (role == WRITER);
    match member.role.as_deref() {
        Some(role @ (WRITER | READER)) if fits(role) => {
            (role == READER && !member.reads).then(|| "is not among those who may be read from".to_owned())
        }
        Some(WRITER) => Some("has the role of the writer but is not open for writes".to_owned()),
        _ if open => Some("is open for writes without the role of the writer".to_owned()),
        _ => Some("has no role yet".to_owned()),
    }
}

/// The writer, if members that serve are enough, have one writer and, in topology `galera`, are one cluster.
fn together(members: &[Member], wanted: usize) -> Result<&Member, String> {
    if members.len() < wanted {
        return Err(format!("{} of {wanted} members exist", members.len()));
    }
    let writers: Vec<&Member> = members.iter().filter(|member| member.role.as_deref() == Some(WRITER)).collect();
    let writer = match writers.as_slice() {
        [writer] => *writer,
        [] => return Err("no member has the role of the writer".to_owned()),
        more => {
            let names: Vec<&str> = more.iter().map(|member| member.name.as_str()).collect();
            return Err(format!("{} have the role of the writer", names.join(" and ")));
        }
    };
    if members.iter().any(|member| member.galera().is_some()) {
        one_cluster(members)?;
    }
    Ok(writer)
}

/// All members synced, in one cluster that consists of just them.
fn one_cluster(members: &[Member]) -> Result<(), String> {
    let mut first = None;
    for member in members {
        let name = &member.name;
        let facts = member.galera().ok_or_else(|| format!("{name} says nothing about its cluster"))?;
        if !facts.synced() {
            return Err(format!("{name} is {}", facts.state.to_lowercase()));
        }
        if facts.size as usize != members.len() {
            return Err(format!("{name} sees a cluster of {}", facts.size));
        }
        let (other, uuid) = *first.get_or_insert((name, &facts.cluster_uuid));
        if *uuid != facts.cluster_uuid {
            return Err(format!("{other} and {name} are of two different clusters"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "health_tests.rs"]
pub(crate) mod tests;
