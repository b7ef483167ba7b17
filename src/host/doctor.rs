//! Stub of the host owner's room, with its signatures.

use std::fmt;

use serde::Serialize;

use crate::{host::HostFacts, spec::LabSpec};

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// As it should be, or nothing to do about it.
    Ok,
    /// A lab will probably work, but better or faster otherwise.
    Warning,
    /// No lab can work like this.
    Blocking,
}

/// What to do about a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cure {
    /// A command to type, or what to do in words where no command does it.
    pub command: String,
    /// `--fix` does it on this machine.
    pub fixable: bool,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// A name that never changes, for programs.
    pub id: &'static str,
    /// What was found, as a sentence.
    pub title: String,
    /// How much it matters.
    pub level: Level,
    /// What it means for a lab; may be empty.
    pub detail: String,
    /// What to do; present whenever the level is not [`Level::Ok`] and something can be done.
    pub cure: Option<Cure>,
}

/// Everything that was found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Diagnosis {
    /// In a fixed order.
    pub findings: Vec<Finding>,
    /// What other rooms decide on.
    pub facts: HostFacts,
}

impl Diagnosis {
    /// The worst level among the findings.
    pub fn worst(&self) -> Level {
        self.findings.iter().map(|f| f.level).max().unwrap_or(Level::Ok)
    }
}

/// Something without which no lab can work is missing on this machine.
#[derive(Clone, Debug)]
pub struct Missing {
    /// Every blocking finding.
    pub findings: Vec<Finding>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this machine is not ready for a lab:")?;
        self.findings.iter().try_for_each(|finding| write!(f, "\n- {}", finding.title))
    }
}

impl std::error::Error for Missing {}

/// Looks at everything; never fails, what cannot be seen is a finding. `mirror` is asked instead of the public registry.
pub async fn examine(_spec: &LabSpec, _mirror: Option<&str>) -> Diagnosis {
    Diagnosis { findings: Vec::new(), facts: HostFacts::default() }
}
