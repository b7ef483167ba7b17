//! How a command ends: the exit codes (this is the only place that has them), and the error chain, told once, with
//! hints that say what to do.

use std::{fmt, process::ExitCode};

use anyhow::Error;
use wplab::run::{
    advice::{self, Advise, Blame, Hint, Trouble},
    wait::TimedOut,
};

use super::spell::{self, Asked, command};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// Done, and every check passed.
    Done,
    /// The lab is up, but a check failed.
    CheckFailed,
    /// Wrong usage or wrong lab file; also a name that belongs to somebody else or to nobody.
    Usage,
    /// Something is missing on this machine.
    Missing,
    /// A step failed or timed out; the lab is kept.
    StepFailed,
    /// Interrupted.
    Interrupted,
}

impl Ending {
    /// The exit code.
    pub(super) fn number(self) -> u8 {
        match self {
            Ending::Done => 0,
            Ending::CheckFailed => 1,
            Ending::Usage => 2,
            Ending::Missing => 3,
            Ending::StepFailed => 4,
            Ending::Interrupted => 130,
        }
    }

    pub(super) fn code(self) -> ExitCode {
        ExitCode::from(self.number())
    }

    /// Done, or a check failed.
    pub(super) fn checked(passed: bool) -> Ending {
        if passed { Ending::Done } else { Ending::CheckFailed }
    }
}

/// What was waited for when the user's timeout ends the work.
pub(super) const WHOLE: &str = "the whole command";

/// The user pressed Ctrl-C, or somebody asked this process to end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interrupted(pub(super) &'static str);

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "interrupted by {}", self.0)
    }
}

impl std::error::Error for Interrupted {}

/// Flags that do not go together, in a way that only the command itself can tell; what to do is in the sentence.
#[derive(Debug)]
pub(super) struct Misused(pub(super) String);

impl fmt::Display for Misused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Advise for Misused {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        Vec::new()
    }
}

/// An error as it is told.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) ending: Ending,
    /// The first sentence, or the one typed error that says it all.
    pub(super) error: String,
    /// The sentences below it, outermost first.
    pub(super) causes: Vec<String>,
    /// What to do.
    pub(super) hints: Vec<String>,
}

/// An error of this type, be it context or cause.
fn find<E: std::error::Error + Send + Sync + 'static>(error: &Error) -> Option<&E> {
    error.downcast_ref::<E>().or_else(|| error.chain().find_map(|cause| cause.downcast_ref::<E>()))
}

/// Puts an error into words.
pub(super) fn tell(error: &Error, asked: &Asked) -> Told {
    if let Some(interrupted) = find::<Interrupted>(error) {
        let hints = afterwards(asked).into_iter().collect();
        // What could not be put right afterwards is said by whoever tried.
        let causes =
            error.chain().map(ToString::to_string).take_while(|said| *said != interrupted.to_string()).collect();
        return Told { ending: Ending::Interrupted, error: interrupted.to_string(), causes, hints };
    }
    // Whoever can do something about it decides; the steps on the way there would only be in the way.
    let decides = advice::troubles(error).find(|trouble| trouble.blame() != Blame::Step);
    let above = |cause: &&(dyn std::error::Error + 'static)| {
        decides.is_some_and(|decides| cause.downcast_ref::<Trouble>().is_none_or(|it| !std::ptr::eq(it, decides)))
    };
    let mut sentences: Vec<String> = Vec::new();
    let mut hints: Vec<Hint> = Vec::new();
    for cause in error.chain().skip_while(above) {
        // What its context repeats word for word is told once.
        let said = cause.to_string();
        if !sentences.iter().any(|before| before.contains(&said)) {
            sentences.push(said);
        }
        for hint in cause.downcast_ref().map(Trouble::hints).unwrap_or_default() {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
    }
    let ending = match decides.map_or(Blame::Step, Trouble::blame) {
        Blame::User => Ending::Usage,
        Blame::Machine => Ending::Missing,
        Blame::Step => Ending::StepFailed,
    };
    let mut sentences = sentences.into_iter();
    let first = sentences.next().unwrap_or_default();
    Told { ending, error: first, causes: sentences.collect(), hints: spelled(ending, error, &hints, asked) }
}

fn spelled(ending: Ending, error: &Error, hints: &[Hint], asked: &Asked) -> Vec<String> {
    let mut spelled: Vec<String> = hints.iter().map(|hint| spell::hint(hint, asked)).collect();
    if ending == Ending::StepFailed {
        // An error that says what to do with the lab knows better.
        let knows = hints.iter().any(|hint| {
            matches!(hint, Hint::Up { .. } | Hint::Anew { .. } | Hint::Recover { .. } | Hint::RecoverWithout { .. })
        });
        spelled.extend(afterwards(asked).filter(|_| !knows));
        if find::<TimedOut>(error).is_some_and(|timed_out| timed_out.what == WHOLE) {
            spelled.push("a longer --timeout gives it more time".into());
        }
    }
    spelled
}

/// What a command leaves behind when it is cut short.
fn afterwards(asked: &Asked) -> Option<String> {
    match asked {
        Asked::Up { wanted, lab } => {
            let (again, down) = (wanted.again(), command("down", lab));
            Some(format!("what is there is kept: `{again}` continues, `{down}` removes it"))
        }
        Asked::Save(lab) => {
            Some(format!("should lab {lab} still stand still, `{}` lets it go on", command("resume", lab)))
        }
        Asked::Break(lab) => {
            Some(format!("should anything still be broken, `{}` puts it right", spell::chaos("heal", lab)))
        }
        Asked::Down(lab) => Some(format!("`{}` again removes the rest", command("down", lab))),
        Asked::Other => None,
    }
}

#[cfg(test)]
#[path = "failure_tests.rs"]
mod tests;
