//! Events as plain lines, for logs and pipes: one line per event, with the seconds since the start; what is said often
//! is said now and then.

use std::{collections::HashMap, time::Duration};

use wplab::{
    actions::smoke::{CheckResult, Verdict},
    run::{
        advice::Hint,
        event::{Amount, Event, Outcome, StepId},
    },
};

use super::{
    super::spell,
    paint::{Paint, span, tame},
    tables::bytes,
};

/// A piece of work whose amount changes is told again after this long.
const AGAIN: Duration = Duration::from_secs(10);

/// How much is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Volume {
    /// Warnings and failures.
    Quiet,
    /// What happens.
    Normal,
    /// Also every check and the end of every task.
    Verbose,
}

/// What was said last of a step or task, and when.
type Said = (String, Duration);

/// Turns events into lines.
#[derive(Debug)]
pub(crate) struct Lines {
    paint: Paint,
    volume: Volume,
    said: HashMap<(StepId, Option<String>), Said>,
}

impl Lines {
    pub(crate) fn new(paint: Paint, volume: Volume) -> Lines {
        Lines { paint, volume, said: HashMap::new() }
    }

    /// The line for an event that happened `at` after the start, if it deserves one.
    pub(crate) fn line(&mut self, at: Duration, event: &Event) -> Option<String> {
        let (step, text) = match event {
            Event::Warning { text, hints } => return Some(warning(self.paint, text, hints)),
            Event::Checked(check) => {
                return checked(self.paint, self.volume, check).map(|text| stamped(at, StepId::Smoke, &text));
            }
            Event::Failed { step, took } => (*step, failed(self.paint, *took)),
            _ if self.volume == Volume::Quiet => return None,
            Event::Started { step } => (*step, "started".to_owned()),
            Event::Finished { step, took, outcome, detail } => (*step, finished(self.paint, *took, *outcome, detail)),
            Event::Progress { step, task, note, amount } => {
                (*step, self.progress(at, *step, task.as_deref(), note, amount.as_ref())?)
            }
            Event::TaskDone { step, task, note } => {
                self.said.remove(&(*step, Some(task.clone())));
                let note = tame(note);
                let note = if note.is_empty() { "done".to_owned() } else { note };
                (*step, format!("{}: {note}", tame(task)))
            }
        };
        Some(stamped(at, step, &text))
    }

    fn progress(
        &mut self,
        at: Duration,
        step: StepId,
        task: Option<&str>,
        note: &str,
        amount: Option<&Amount>,
    ) -> Option<String> {
        let note = tame(note);
        let said = self.said.get(&(step, task.map(str::to_owned)));
        let due = said
            .is_none_or(|(before, when)| *before != note || (amount.is_some() && at.saturating_sub(*when) >= AGAIN));
        if !due {
            return None;
        }
        self.said.insert((step, task.map(str::to_owned)), (note.clone(), at));
        let amount = amount.map(|amount| format!(" ({})", plain_amount(amount))).unwrap_or_default();
        Some(match task {
            Some(task) => format!("{}: {note}{amount}", tame(task)),
            None => format!("{note}{amount}"),
        })
    }
}

fn stamped(at: Duration, step: StepId, text: &str) -> String {
    format!("{:>7} {:<10} {text}", span(at.as_secs_f64()), step.name())
}

fn plain_amount(amount: &Amount) -> String {
    match amount {
        Amount::Bytes { done, total: Some(total) } => format!("{} of {}", bytes(*done), bytes(*total)),
        Amount::Bytes { done, total: None } => bytes(*done),
        Amount::Items { done, total } => format!("{done} of {total}"),
        Amount::Estimate { seconds } => {
            format!("about {}", span(std::time::Duration::from_secs(*seconds).as_secs_f64()))
        }
    }
}

/// A warning is told in full: its lines may be many.
pub(crate) fn warning(paint: Paint, text: &str, hints: &[Hint]) -> String {
    let lines: Vec<String> = text.lines().map(tame).chain(hints.iter().map(spell::in_passing)).collect();
    format!("{} {}", paint.warning("warning:"), lines.join("\n         "))
}

pub(crate) fn finished(paint: Paint, took: Duration, outcome: Outcome, detail: &str) -> String {
    let detail = tame(detail);
    let took = paint.dim(&format!("({})", span(took.as_secs_f64())));
    match outcome {
        Outcome::Done => format!("{} {detail} {took}", paint.good("√")),
        Outcome::AlreadyThere => format!("{} already there: {detail} {took}", paint.good("√")),
    }
}

pub(crate) fn failed(paint: Paint, took: Duration) -> String {
    format!("{} failed {}", paint.bad("×"), paint.dim(&format!("({})", span(took.as_secs_f64()))))
}

/// A check as it happens: failures always, the others when much is told, because the table comes at the end.
pub(crate) fn checked(paint: Paint, volume: Volume, check: &CheckResult) -> Option<String> {
    let sentence = tame(&check.sentence);
    match &check.verdict {
        Verdict::Failed { reason, .. } => Some(format!("{} {sentence}: {}", paint.bad("×"), tame(reason))),
        _ if volume < Volume::Verbose => None,
        Verdict::Passed { .. } => Some(format!("{} {sentence}", paint.good("√"))),
        Verdict::Skipped { reason } => Some(format!("{} {sentence}: {}", paint.warning("-"), tame(reason))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn pulling(done: u64) -> Event {
        let amount = Some(Amount::Bytes { done, total: Some(1 << 20) });
        Event::Progress { step: StepId::Images, task: Some("nfs".into()), note: "pulling".into(), amount }
    }

    #[test]
    fn a_line_has_the_time_the_step_and_what_happened() {
        let mut lines = Lines::new(Paint::off(), Volume::Normal);
        let finished =
            Event::Finished { step: StepId::Cluster, took: at(35), outcome: Outcome::Done, detail: "4 nodes".into() };
        assert_eq!(
            lines.line(at(3), &Event::Started { step: StepId::Cluster }).as_deref(),
            Some("   3.0s cluster    started")
        );
        assert_eq!(lines.line(at(38), &finished).as_deref(), Some("  38.0s cluster    √ 4 nodes (35.0s)"));
    }

    #[test]
    fn bytes_are_told_now_and_then_and_a_new_note_at_once() {
        let mut lines = Lines::new(Paint::off(), Volume::Normal);
        let shown: Vec<bool> =
            [0, 1, 5, 9, 10, 11].map(|second| lines.line(at(second), &pulling(1 << second)).is_some()).into();
        assert_eq!(shown, [true, false, false, false, true, false]);
        let verify =
            Event::Progress { step: StepId::Images, task: Some("nfs".into()), note: "verifying".into(), amount: None };
        assert_eq!(lines.line(at(12), &verify).as_deref(), Some("  12.0s images     nfs: verifying"));
        assert_eq!(
            lines.line(at(13), &pulling(1024)).as_deref(),
            Some("  13.0s images     nfs: pulling (1.0 KiB of 1.0 MiB)")
        );
    }

    #[test]
    fn quiet_leaves_warnings_and_failures() {
        let mut lines = Lines::new(Paint::off(), Volume::Quiet);
        assert_eq!(lines.line(at(1), &pulling(1)), None);
        assert_eq!(
            lines
                .line(at(1), &Event::Warning { text: "careful\nnow".into(), hints: vec![Hint::words("stop")] })
                .as_deref(),
            Some("warning: careful\n         now\n         stop")
        );
        assert!(lines.line(at(1), &Event::Failed { step: StepId::Load, took: at(1) }).is_some());
    }
}
