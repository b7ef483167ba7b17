//! How a command ends: the exit codes (this is the only place that has them), and the error chain, told once, with a
//! hint that says what to do.

use std::{fmt, process::ExitCode};

use anyhow::Error;
use wplab::{
    actions::{recover, standing::NoSuchLab, up::OtherData},
    host::{machine::Missing, nodes::NotOurs, process::CommandFailed},
    run::wait::TimedOut,
    spec::{LabName, load::SpecError},
};

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

impl std::error::Error for Misused {}

/// What a command says about the lab when it does not end well.
#[derive(Debug)]
pub(super) enum Plea {
    /// `up` of a lab: what is there is kept.
    Up {
        /// The command that goes on.
        again: String,
        /// The lab; what it is called is known once its file is read.
        name: LabName,
    },
    /// `down` of a lab.
    Down(LabName),
    /// Everything else leaves a lab as it is.
    Other,
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

/// A typed error, be it context or cause.
fn find<E: std::error::Error + Send + Sync + 'static>(error: &Error) -> Option<&E> {
    error.downcast_ref::<E>().or_else(|| error.chain().find_map(|cause| cause.downcast_ref::<E>()))
}

/// Puts an error into words.
pub(super) fn tell(error: &Error, plea: &Plea) -> Told {
    // These say everything by themselves; the steps on the way to them would only be in the way.
    let alone = |ending, error: &dyn std::fmt::Display, hints| Told {
        ending,
        error: error.to_string(),
        causes: Vec::new(),
        hints,
    };
    if let Some(wrong) = find::<SpecError>(error) {
        return alone(Ending::Usage, wrong, Vec::new());
    }
    if let Some(unknown) = find::<NoSuchLab>(error) {
        return alone(
            Ending::Usage,
            unknown,
            vec!["`wplab list` shows the labs on this machine, `wplab up` makes one".into()],
        );
    }
    if let Some(refused) = find::<recover::NoRecovery>(error) {
        return alone(Ending::Usage, refused, Vec::new());
    }
    if let Some(not_ours) = find::<NotOurs>(error) {
        return alone(Ending::Usage, not_ours, Vec::new());
    }
    if let Some(other_data) = find::<OtherData>(error) {
        return alone(Ending::Usage, other_data, Vec::new());
    }
    if let Some(misused) = find::<Misused>(error) {
        return alone(Ending::Usage, misused, Vec::new());
    }
    if let Some(missing) = find::<Missing>(error) {
        let fix = match plea {
            Plea::Up { again, .. } => format!("`{again} --fix` installs what it can; `wplab doctor` shows everything"),
            _ => "`wplab doctor --fix` installs what it can; `wplab doctor` shows everything".to_owned(),
        };
        return alone(Ending::Missing, missing, vec![fix]);
    }
    if let Some(interrupted) = find::<Interrupted>(error) {
        return alone(Ending::Interrupted, interrupted, hints(error, plea));
    }
    let mut sentences: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        // A cause that its context repeats word for word is told once.
        if !sentences.iter().any(|said| said.contains(&cause)) {
            sentences.push(cause);
        }
    }
    let mut sentences = sentences.into_iter();
    let first = sentences.next().unwrap_or_default();
    Told { ending: Ending::StepFailed, error: first, causes: sentences.collect(), hints: hints(error, plea) }
}

fn hints(error: &Error, plea: &Plea) -> Vec<String> {
    let mut hints = Vec::new();
    match plea {
        Plea::Up { again, name } => {
            let down = command("down", name);
            hints.push(format!("what is there is kept: `{again}` continues, `{down}` removes it"));
        }
        Plea::Down(name) => hints.push(format!("`{}` again removes the rest", command("down", name))),
        Plea::Other => {}
    }
    if find::<TimedOut>(error).is_some_and(|timed_out| timed_out.what == WHOLE) {
        hints.push("a longer --timeout gives it more time".into());
    }
    if find::<CommandFailed>(error).is_some() {
        hints.push("the command between the backquotes can be pasted into a shell".into());
    }
    hints
}

/// A command as one types it for a lab.
pub(super) fn command(verb: &str, lab: &LabName) -> String {
    if *lab == LabName::default() { format!("wplab {verb}") } else { format!("wplab {verb} {lab}") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use anyhow::{Context, Result, anyhow};
    use wplab::host::machine::Finding;

    use super::*;

    fn through_a_step(error: impl Into<Error>) -> Error {
        Result::<()>::Err(error.into()).context("looking at it").context("step preflight failed").expect_err("an error")
    }

    fn lab() -> Plea {
        Plea::Up { again: "wplab up -f lab.yaml".into(), name: LabName::new("demo").expect("a name") }
    }

    #[test]
    fn every_typed_error_has_its_code_however_deep_it_lies() {
        let name = LabName::default();
        let spec = SpecError { file: "lab.yaml".into(), problems: Vec::new() };
        let ending = |error: Error| tell(&error, &lab()).ending;
        assert_eq!(ending(through_a_step(spec)), Ending::Usage);
        assert_eq!(ending(through_a_step(NoSuchLab { name, others: Vec::new() })), Ending::Usage);
        assert_eq!(ending(through_a_step(Missing { findings: Vec::<Finding>::new() })), Ending::Missing);
        assert_eq!(ending(through_a_step(anyhow!("broken"))), Ending::StepFailed);
        let timed_out = TimedOut { what: "x".into(), after: Duration::from_secs(1), last: "cold".into() };
        assert_eq!(ending(through_a_step(timed_out)), Ending::StepFailed);
        assert_eq!(ending(anyhow!("why").context(Missing { findings: Vec::new() })), Ending::Missing);
    }

    #[test]
    fn the_chain_is_told_from_the_outside_in_and_ends_in_what_to_type() {
        let told = tell(&through_a_step(anyhow!("db-1 is not ready")), &lab());
        assert_eq!(told.error, "step preflight failed");
        assert_eq!(told.causes, ["looking at it", "db-1 is not ready"]);
        assert_eq!(
            told.hints,
            ["what is there is kept: `wplab up -f lab.yaml` continues, `wplab down demo` removes it"]
        );
    }

    #[test]
    fn what_a_context_repeats_is_told_once() {
        let told = tell(&anyhow!("disk full").context("cannot write: disk full"), &Plea::Other);
        assert_eq!((told.error.as_str(), told.causes.len()), ("cannot write: disk full", 0));
    }
}
