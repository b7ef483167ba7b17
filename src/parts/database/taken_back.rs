//! Why a change of the database is not made, or not any more.

use std::fmt;

use super::declared::Declared;
use crate::{
    run::advice::{Advise, Blame, Hint},
    spec::LabName,
};

/// A change was given to one member, which was not well with it; the members have again what they had.
#[derive(Clone, Debug, PartialEq)]
pub struct TakenBack {
    /// The lab.
    pub lab: LabName,
    /// The member that was to prove the change.
    pub member: String,
    /// What its server complained about last; empty where it did not.
    pub said: String,
    /// What was to be different, as the lab file has it; empty where only the program itself is another one.
    pub changes: Vec<String>,
    /// Whether all is well again.
    pub well: bool,
    /// What the members were made of before, and are again; `None` where nobody has written that down.
    pub stands: Option<Declared>,
}

impl fmt::Display for TakenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TakenBack { member, said, changes, well, .. } = self;
        let what = if changes.is_empty() { "what is new".to_owned() } else { changes.join(", ") };
        write!(f, "{member} does not become well with {what}")?;
        if !said.is_empty() {
            write!(f, "; it said: {said}")?;
        }
        let now = if *well { "and all is well again" } else { "and is not well yet" };
        write!(f, ". Nobody else was restarted, the database has again what it had, {now}")
    }
}

impl Advise for TakenBack {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::words("change that in the lab file, and `up` again"), Hint::Status { lab: self.lab.clone() }]
    }
}

/// The volume of a single member cannot grow: nobody else has its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alone {
    /// The lab.
    pub lab: LabName,
}

impl fmt::Display for Alone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the one member of lab {} would have to be made anew for a larger volume, and nobody else has its data",
            self.lab
        )
    }
}

impl Advise for Alone {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Scale { lab: self.lab.clone(), what: "db", to: "2".to_owned() }]
    }
}
