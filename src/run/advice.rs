//! Whose fault an error is and what can be done about it, as data. A room says both of its own errors ([`Advise`]), the
//! errors travel in one type ([`Trouble`]), and the command line alone spells the commands and the exit code. A leaf.

use std::{any::Any, error::Error, fmt};

use serde::Serialize;

use crate::spec::{ImageSource, LabName, SnapshotName, load::SpecError};

/// Who can do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blame {
    /// Whoever asked: for what does not exist, cannot be, or belongs to somebody else.
    User,
    /// Whoever looks after this machine: something is missing without which nothing begins.
    Machine,
    /// Nobody in particular: a step failed or took too long. Also where the machine is why (a full disk, an engine that went
    /// away): what is there by then is kept, and diagnostics are saved.
    Step,
}

/// What can be done: each names the lab that it is about. How it is typed is the command line's to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "do")]
pub enum Hint {
    /// Bring the lab up, which also starts what is stopped and completes what is missing.
    Up {
        /// Which.
        lab: LabName,
    },
    /// Bring the lab up as it is, in a setting that it cannot change.
    Keep {
        /// Which.
        lab: LabName,
        /// The setting: `topology`, `flavour` or `workers`.
        setting: &'static str,
        /// What the lab has.
        has: String,
    },
    /// Ask for the same with images from another source.
    Images {
        /// The lab that they are for; `None` where whoever gives the advice works for no particular one.
        lab: Option<LabName>,
        /// Where from.
        source: ImageSource,
    },
    /// Ask for the same with another registry.
    Mirror,
    /// Thaw the lab.
    Resume {
        /// Which.
        lab: LabName,
    },
    /// Start the lab's nodes, with everything that they had.
    Start {
        /// Which.
        lab: LabName,
    },
    /// Remove the lab.
    Down {
        /// Which.
        lab: LabName,
    },
    /// Remove the lab with all that is in it, and make a new one.
    Anew {
        /// Which.
        lab: LabName,
    },
    /// Start the lab's Galera cluster from one member's data.
    Recover {
        /// Which.
        lab: LabName,
        /// The member.
        member: String,
    },
    /// The same, without members that nobody can ask.
    RecoverWithout {
        /// Which.
        lab: LabName,
        /// The member.
        member: String,
        /// Those of which nothing runs any more.
        dead: Vec<String>,
    },
    /// Rebuild the lab's etcd from what the database's members report.
    RepairEtcd {
        /// Which.
        lab: LabName,
    },
    /// Let another member of the lab's database take writes.
    Failover {
        /// Which lab.
        lab: LabName,
    },
    /// Give a database member up with its volume, and make it anew on another node.
    Replace {
        /// Which lab.
        lab: LabName,
        /// The member.
        member: String,
        /// The node that it is to leave.
        node: String,
    },
    /// Give the lab another number of something.
    Scale {
        /// Which lab.
        lab: LabName,
        /// Of what: `db`, `wordpress` or `workers`.
        what: &'static str,
        /// How many.
        to: String,
    },
    /// Put a backup in the place of what the lab has.
    Restore {
        /// Which lab.
        lab: LabName,
        /// The backup, as it is named.
        from: String,
    },
    /// Look at the lab.
    Status {
        /// Which.
        lab: LabName,
    },
    /// Read what the lab's containers have written.
    Logs {
        /// Which.
        lab: LabName,
        /// Of one part (`database`, `storage`, …); `None` is all of them.
        of: Option<&'static str>,
    },
    /// Prove the lab once more.
    Smoke {
        /// Which.
        lab: LabName,
    },
    /// Look which drills there are.
    Scenarios {
        /// In which lab.
        lab: LabName,
    },
    /// Give what others have declared in the lab the lab file's values.
    TakeOver {
        /// Which.
        lab: LabName,
    },
    /// Look which labs there are.
    List,
    /// Look which snapshots there are.
    Snapshots,
    /// Remove a snapshot.
    DeleteSnapshot {
        /// Which.
        name: SnapshotName,
    },
    /// Choose another name for the lab.
    OtherName,
    /// Look at what this machine has and lacks.
    Doctor,
    /// Let this machine be given what it lacks.
    Fix,
    /// Cure something that was found out about this machine.
    Cure {
        /// What was found, as a sentence.
        of: String,
        /// What to do.
        by: Box<Hint>,
        /// [`Hint::Fix`] does it, too.
        fixable: bool,
    },
    /// Get the image for a role.
    GetImage {
        /// The role's name.
        role: &'static str,
    },
    /// Hold the image for a role against its contract.
    CheckImage {
        /// The role's name.
        role: &'static str,
    },
    /// Write a bundle of images.
    SaveBundle,
    /// Try in a shell the command that the error names.
    Paste,
    /// Something that no command of ours does, in words or as somebody else's command.
    Words {
        /// What to do.
        text: String,
    },
}

impl Hint {
    /// Something that no command of ours does.
    pub fn words(text: impl Into<String>) -> Hint {
        Hint::Words { text: text.into() }
    }

    /// The lab that it is about.
    pub fn lab(&self) -> Option<&LabName> {
        match self {
            Hint::Up { lab }
            | Hint::Keep { lab, .. }
            | Hint::Resume { lab }
            | Hint::Start { lab }
            | Hint::Down { lab }
            | Hint::Anew { lab }
            | Hint::Recover { lab, .. }
            | Hint::RecoverWithout { lab, .. }
            | Hint::RepairEtcd { lab }
            | Hint::Failover { lab }
            | Hint::Replace { lab, .. }
            | Hint::Scale { lab, .. }
            | Hint::Restore { lab, .. }
            | Hint::Status { lab }
            | Hint::Logs { lab, .. }
            | Hint::Scenarios { lab }
            | Hint::TakeOver { lab }
            | Hint::Smoke { lab } => Some(lab),
            Hint::Images { lab, .. } => lab.as_ref(),
            Hint::Cure { by, .. } => by.lab(),
            Hint::Mirror
            | Hint::List
            | Hint::Snapshots
            | Hint::DeleteSnapshot { .. }
            | Hint::OtherName
            | Hint::Doctor
            | Hint::Fix
            | Hint::GetImage { .. }
            | Hint::CheckImage { .. }
            | Hint::SaveBundle
            | Hint::Paste
            | Hint::Words { .. } => None,
        }
    }
}

/// An error that knows whose fault it is and what can be done. Its text says what is wrong and names no command of ours.
///
/// What implements this is no [`Error`] by itself, so that it cannot travel without its advice: only as [`Trouble`].
pub trait Advise: Any + fmt::Debug + fmt::Display + Send + Sync {
    /// Whose fault it is.
    fn blame(&self) -> Blame;

    /// What can be done, the best first; empty where the text says it all.
    fn hints(&self) -> Vec<Hint>;
}

/// The one error with advice: what went wrong, and perhaps what led to it.
#[derive(Debug)]
pub struct Trouble {
    what: Box<dyn Advise>,
    cause: Option<anyhow::Error>,
}

impl<E: Advise> From<E> for Trouble {
    fn from(what: E) -> Trouble {
        Trouble { what: Box::new(what), cause: None }
    }
}

impl Trouble {
    /// The same, with what led to it.
    #[must_use]
    pub fn because(self, cause: impl Into<anyhow::Error>) -> Trouble {
        Trouble { cause: Some(cause.into()), ..self }
    }

    /// What went wrong, if it is of this type.
    pub fn is_a<E: Advise>(&self) -> Option<&E> {
        let what: &dyn Any = &*self.what;
        what.downcast_ref()
    }

    /// Whose fault it is.
    pub fn blame(&self) -> Blame {
        self.what.blame()
    }

    /// What can be done.
    pub fn hints(&self) -> Vec<Hint> {
        self.what.hints()
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.what.fmt(f)
    }
}

impl Error for Trouble {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_ref().map(|cause| -> &(dyn Error + 'static) { cause.as_ref() })
    }
}

/// Every trouble in an error, outermost first.
pub fn troubles(error: &anyhow::Error) -> impl Iterator<Item = &Trouble> {
    error.chain().filter_map(|cause| cause.downcast_ref())
}

/// The trouble of this type in an error, however deep it lies.
pub fn find<E: Advise>(error: &anyhow::Error) -> Option<&E> {
    troubles(error).find_map(Trouble::is_a)
}

/// Here because the lab file is read below this floor: each problem has its cure beside it.
impl Advise for SpecError {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context, Result, anyhow};

    use super::*;

    #[derive(Debug)]
    struct Full(LabName);

    impl fmt::Display for Full {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} is full", self.0)
        }
    }

    impl Advise for Full {
        fn blame(&self) -> Blame {
            Blame::Machine
        }

        fn hints(&self) -> Vec<Hint> {
            vec![Hint::Down { lab: self.0.clone() }]
        }
    }

    #[test]
    fn a_trouble_is_found_however_deep_it_lies_and_tells_its_cause_once() {
        let lab = LabName::new("demo").expect("a name");
        let full = Trouble::from(Full(lab.clone())).because(anyhow!("no space").context("cannot write"));
        let error = Result::<()>::Err(full.into()).context("step load failed").expect_err("an error");
        assert_eq!(format!("{error:#}"), "step load failed: demo is full: cannot write: no space");
        assert_eq!(find::<Full>(&error).map(|full| &full.0), Some(&lab));
        assert!(find::<SpecError>(&error).is_none());
        let all: Vec<_> = troubles(&error).map(|trouble| (trouble.blame(), trouble.hints())).collect();
        assert_eq!(all, [(Blame::Machine, vec![Hint::Down { lab }])]);
    }

    #[test]
    fn one_trouble_may_lead_to_another() {
        let lab = LabName::default();
        let inner = Trouble::from(SpecError { file: "lab.yaml".into(), problems: Vec::new() });
        let error = anyhow::Error::from(Trouble::from(Full(lab)).because(inner));
        assert_eq!(troubles(&error).map(Trouble::blame).collect::<Vec<_>>(), [Blame::Machine, Blame::User]);
        assert!(find::<SpecError>(&error).is_some());
    }
}
