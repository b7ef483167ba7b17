//! Who has which role: pure functions, one for each topology, from what was observed to what every member's labels should
//! be. Nothing here looks at a clock or at its own earlier decisions: whoever leads next decides the same from the same.

mod galera;
mod replication;

use std::{collections::BTreeSet, time::Duration};

use crate::{
    inside::member::status::MemberStatus,
    labels::{READER, WRITER},
    spec::Topology,
};

/// What a member was heard to say.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Nobody has tried yet. Nothing is decided while there is one of these, because it may be anything.
    Unknown,
    /// The connection broke, or nothing came over it any more; whether it can be made again is not known yet.
    Faint,
    /// It does not answer: no connection could be made, nor a second one.
    Silent,
    /// The last it said, over a connection that lives.
    Says(Box<MemberStatus>),
}

/// A member, as observed.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// The pod's name.
    pub name: String,
    /// The role that the pod's label gives it.
    pub role: Option<String>,
    /// Whether its label lets it be read from.
    pub reads: bool,
    /// What its supervisor says.
    pub answer: Answer,
}

impl Seen {
    /// Its status, if it answers.
    pub fn status(&self) -> Option<&MemberStatus> {
        match &self.answer {
            Answer::Says(status) => Some(status),
            Answer::Unknown | Answer::Faint | Answer::Silent => None,
        }
    }

    /// Whether it takes queries.
    pub fn serves(&self) -> bool {
        self.status().is_some_and(MemberStatus::serves)
    }

    fn writes(&self) -> bool {
        self.role.as_deref() == Some(WRITER)
    }

    /// Why it does not serve, with its name.
    fn trouble(&self) -> String {
        let reason = self.status().map(|status| status.unready().unwrap_or_else(|| "serves".to_owned()));
        format!("{}: {}", self.name, reason.unwrap_or_else(|| "does not answer".to_owned()))
    }
}

/// Everything that a decision is made from.
#[derive(Clone, Debug)]
pub struct View<'a> {
    /// The members whose pods exist, by ordinal.
    pub members: &'a [Seen],
    /// How many there should be.
    pub wanted: usize,
    /// Whether the lab has had a writer before (ConfigMap `db-state`).
    pub initialised: bool,
    /// How long [`apart`] has been so.
    pub apart: Duration,
}

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// There is a writer, and it serves.
    Settled,
    /// Something is still to come, by itself.
    Waits(String),
    /// Nothing can be done without a person's decision.
    Refused(String),
}

/// What should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Who has the role of the writer; everybody else is a reader. `None` leaves all roles as they are.
    pub writer: Option<String>,
    /// Who may be read from.
    pub reads: BTreeSet<String>,
    /// Who is to be opened for writes, by executing `wplab member promote` in its pod.
    pub open: Option<String>,
    /// Whether the lab's data is known to exist now.
    pub exists: bool,
    /// Why the writer is who it is.
    pub why: String,
    /// How things stand.
    pub outlook: Outlook,
}

impl Decision {
    /// Roles stay as they are, for a reason.
    fn keep(reads: BTreeSet<String>, outlook: Outlook) -> Decision {
        Decision { writer: None, reads, open: None, exists: false, why: String::new(), outlook }
    }

    /// The labels that this member should have: its role, and whether it may be read from.
    pub fn labels_of(&self, member: &Seen) -> (Option<String>, bool) {
        let role = match self.writer.as_deref() {
            Some(writer) if writer == member.name => Some(WRITER.to_owned()),
            Some(_) => Some(READER.to_owned()),
            None => member.role.clone(),
        };
        (role, self.reads.contains(&member.name))
    }
}

/// Whether members of a Galera cluster contradict each other about who is in it: for a moment while somebody comes or goes,
/// for longer where there are two components.
pub fn apart(members: &[Seen]) -> bool {
    galera::apart(members).is_some()
}

/// Decides for a topology.
pub fn decide(topology: Topology, view: &View<'_>) -> Decision {
    if let Some(unknown) = view.members.iter().find(|member| member.answer == Answer::Unknown) {
        let reads = view.members.iter().filter(|member| member.reads).map(|member| member.name.clone()).collect();
        return Decision::keep(reads, Outlook::Waits(format!("{} has not been asked yet", unknown.name)));
    }
    match topology {
        Topology::Replication => replication::decide(view),
        Topology::Galera => galera::decide(view),
    }
}

/// The names of the members that a test picks.
fn names(members: &[Seen], pick: impl Fn(&Seen) -> bool) -> BTreeSet<String> {
    members.iter().filter(|member| pick(member)).map(|member| member.name.clone()).collect()
}

#[cfg(test)]
mod testing {
    use super::*;

    pub(super) fn seen(number: usize, answer: Option<MemberStatus>) -> Seen {
        Seen {
            name: format!("db-{number}"),
            role: None,
            reads: false,
            answer: answer.map_or(Answer::Silent, |status| {
                Answer::Says(Box::new(MemberStatus { name: format!("db-{number}"), ..status }))
            }),
        }
    }

    pub(super) fn with_role(role: &str, member: Seen) -> Seen {
        Seen { role: Some(role.to_owned()), reads: true, ..member }
    }

    pub(super) fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{testing::*, *};

    #[test]
    fn nothing_is_decided_before_everybody_was_asked() {
        for topology in [Topology::Replication, Topology::Galera] {
            let mut unknown = with_role(WRITER, seen(1, None));
            unknown.answer = Answer::Unknown;
            let members = [seen(0, None), unknown.clone(), with_role(READER, seen(2, None))];
            let decision =
                decide(topology, &View { members: &members, wanted: 3, initialised: true, apart: Duration::ZERO });
            assert!(matches!(decision.outlook, Outlook::Waits(_)));
            assert!(members.iter().all(|m| decision.labels_of(m) == (m.role.clone(), m.reads)), "{decision:?}");
        }
    }
}
