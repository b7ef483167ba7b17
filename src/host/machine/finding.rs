//! One thing that was found out about this machine, with its cure; and all of them.

use std::fmt;

use serde::Serialize;

use crate::{
    host::HostFacts,
    run::advice::{Advise, Blame, Hint},
};

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
    /// Somebody else's command, words, or what a command of ours does.
    #[serde(flatten)]
    pub by: Hint,
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

    /// The findings of one level.
    pub fn of(&self, level: Level) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |f| f.level == level)
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
        for Finding { title, detail, .. } in &self.findings {
            write!(f, "\n- {title}")?;
            if !detail.is_empty() {
                write!(f, ": {detail}")?;
            }
        }
        Ok(())
    }
}

impl Advise for Missing {
    fn blame(&self) -> Blame {
        Blame::Machine
    }

    fn hints(&self) -> Vec<Hint> {
        let cure = |found: &Finding| {
            let Cure { by, fixable } = found.cure.clone()?;
            Some(Hint::Cure { of: found.title.clone(), by: Box::new(by), fixable })
        };
        self.findings.iter().filter_map(cure).chain([Hint::Fix, Hint::Doctor]).collect()
    }
}

/// All is well.
pub(super) fn fine(id: &'static str, title: impl Into<String>, detail: impl Into<String>) -> Finding {
    Finding { id, title: title.into(), level: Level::Ok, detail: detail.into(), cure: None }
}

impl Finding {
    /// The same, mattering so much.
    pub(super) fn at(mut self, level: Level) -> Finding {
        self.level = level;
        self
    }

    /// The same, with what to do about it in words or with somebody else's command.
    pub(super) fn cured_by(self, words: impl Into<String>, fixable: bool) -> Finding {
        self.cured(Hint::words(words), fixable)
    }

    /// The same, with what to do about it with a command of ours.
    pub(super) fn cured(mut self, by: Hint, fixable: bool) -> Finding {
        self.cure = Some(Cure { by, fixable });
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_all_at_once_with_its_cure() {
        let finding = |title: &str, detail: &str, cure: Option<Cure>| Finding {
            id: "x",
            title: title.into(),
            level: Level::Blocking,
            detail: detail.into(),
            cure,
        };
        let by = || Hint::words("apt-get install x");
        let missing = Missing {
            findings: vec![
                finding("There is no x", "a lab needs it", Some(Cure { by: by(), fixable: true })),
                finding("No y", "", None),
            ],
        };
        assert_eq!(
            missing.to_string(),
            "this machine is not ready for a lab:\n- There is no x: a lab needs it\n- No y"
        );
        let cure = Hint::Cure { of: "There is no x".into(), by: Box::new(by()), fixable: true };
        assert_eq!(missing.hints(), [cure, Hint::Fix, Hint::Doctor]);
    }
}
