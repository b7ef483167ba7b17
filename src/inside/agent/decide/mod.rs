//! Who has which role: pure functions, one for each topology, from what was observed to what every member's labels should
//! be. Nothing here looks at a clock or at its own earlier decisions: whoever leads next decides the same from the same.

mod count;
mod evidence;
mod failover;
#[cfg(test)]
mod failover_tests;
mod galera;
mod replication;
#[cfg(test)]
mod replication_tests;

use std::{collections::BTreeSet, time::Duration};

use super::count::{Count, Target};
use crate::{
    inside::member::{
        mandate::{Term, What},
        status::MemberStatus,
    },
    labels::{READER, WRITER},
    spec::Topology,
    wire::gtid::GtidSet,
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
    /// It has been silent for so long, and so many fresh tries to reach its supervisor and its server have failed, that it is
    /// taken for dead. It may be cut off only, and live.
    pub gone: bool,
    /// Its supervisor has said for so long that there is no server that the server is given up.
    pub down: bool,
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

    /// The number in its name.
    fn ordinal(&self) -> usize {
        self.name.rsplit_once('-').and_then(|(_, digits)| digits.parse().ok()).unwrap_or(usize::MAX)
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
    /// What people ask for: how many there should be.
    pub target: Target,
    /// Who counts in topology `replication`, as was written down.
    pub count: &'a Count,
    /// What the source had when it was first seen to go by this version in this term: whoever is to count on its replicas alone
    /// waits until they have it.
    pub mark: Option<&'a Mark>,
    /// Whether the lab has had a writer before (ConfigMap `db-state`).
    pub initialised: bool,
    /// The newest term in which anybody may have been made the source, as was written down before (ConfigMap `db-state`): members
    /// that have lost their volume have forgotten what they promised.
    pub decided: Option<&'a Term>,
    /// How long [`apart`] has been so.
    pub apart: Duration,
    /// The agent that decides, and which life of it: what another one has begun is begun anew.
    pub me: &'a str,
    /// What a person asks for.
    pub request: Option<&'a Request>,
    /// The newest term in which this life of the agent has ordered anything of its own.
    pub used: Option<&'a Term>,
    /// Whom this life of the agent has ordered to be the source, and in which term: in that term it is nobody else.
    pub chosen: Option<&'a (Term, String)>,
}

/// Another member is to be the source.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// What the answer is to carry.
    pub id: String,
    /// Which member; `None` leaves it to the agent.
    pub to: Option<String>,
    /// Who was the source when it was asked for.
    pub from: Option<String>,
    /// Where the source is lost, go on with the members that are there, also when they may lack what it has acknowledged.
    pub accept_loss: bool,
    /// Whether it is too late to begin, or to go on waiting.
    pub expired: bool,
}

impl Request {
    /// Whether it is what was asked for that this member is the source.
    fn is_met_by(&self, source: &str) -> bool {
        match &self.to {
            Some(to) => to == source,
            None => self.from.as_deref().is_some_and(|from| from != source),
        }
    }
}

/// What a source had, not before this version was in force there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// In which term.
    pub term: Term,
    /// Which version of [`Count`].
    pub version: u64,
    /// What it had.
    pub executed: GtidSet,
}

/// An order that a member is to be given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub member: String,
    /// The decision that it belongs to.
    pub term: Term,
    /// Which version of [`Count`] it was decided from.
    pub version: u64,
    /// What it is to do.
    pub what: What,
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
    /// Who has the role of the writer; everybody else is a reader. `None` leaves all roles as they are, unless [`Self::vacant`].
    pub writer: Option<String>,
    /// Whether nobody may have the role for now: whoever has it loses it.
    pub vacant: bool,
    /// Who may be read from.
    pub reads: BTreeSet<String>,
    /// What members are to be told, all at once.
    pub orders: Vec<Wanted>,
    /// In which term one of them is made the source: to be written down before anybody is told.
    pub decides: Option<Term>,
    /// What is to count from now on: to be written down before anything that is decided from it.
    pub counts: Option<Count>,
    /// To be kept in mind until another one takes its place.
    pub mark: Option<Mark>,
    /// What has become of the request, with its id: what was done, or why not.
    pub answer: Option<(String, Result<String, String>)>,
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
        Decision {
            writer: None,
            vacant: false,
            reads,
            orders: Vec::new(),
            decides: None,
            counts: None,
            mark: None,
            answer: None,
            exists: false,
            why: String::new(),
            outlook,
        }
    }

    /// The labels that this member should have: its role, and whether it may be read from.
    pub fn labels_of(&self, member: &Seen) -> (Option<String>, bool) {
        let role = match self.writer.as_deref() {
            Some(writer) if writer == member.name => Some(WRITER.to_owned()),
            Some(_) => Some(READER.to_owned()),
            None if self.vacant && member.writes() => Some(READER.to_owned()),
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
            gone: false,
            down: false,
            answer: answer.map_or(Answer::Silent, |status| {
                Answer::Says(Box::new(MemberStatus { name: format!("db-{number}"), ..status }))
            }),
        }
    }

    pub(super) fn with_role(role: &str, member: Seen) -> Seen {
        Seen { role: Some(role.to_owned()), reads: true, ..member }
    }

    pub(super) static THREE: Count = Count { version: 1, members: 3, acks: 1, leaving: None };

    pub(super) fn view(members: &[Seen], initialised: bool) -> View<'_> {
        View {
            members,
            target: Target::new(3, true),
            count: &THREE,
            mark: None,
            initialised,
            apart: Duration::ZERO,
            me: "agent",
            request: None,
            decided: None,
            used: None,
            chosen: None,
        }
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
            let decision = decide(topology, &view(&members, true));
            assert!(matches!(decision.outlook, Outlook::Waits(_)));
            assert!(members.iter().all(|m| decision.labels_of(m) == (m.role.clone(), m.reads)), "{decision:?}");
        }
    }
}
