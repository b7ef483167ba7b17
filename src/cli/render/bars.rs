//! Events on a terminal: a line per running step, below it a line per task with its amount, rate and estimate; what has
//! ended scrolls away above them.

use std::{
    collections::BTreeMap,
    fmt::Write,
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use wplab::run::event::{Amount, Event, StepId};

use super::{
    lines::{self, Volume},
    paint::{Paint, span, tame},
    tables::bytes,
};

/// How often running lines are drawn again.
pub(crate) const EVERY: Duration = Duration::from_millis(100);
/// Between the name of a step and its note.
const STEP: &str = "{spinner} {prefix:<10} {took:>6} {wide_msg}";
/// The same for a task.
const TASK: &str = "    {prefix:<20!} {amount}{wide_msg}";

/// Below everything: the time of the whole run.
const FOOT: &str = "  {took} in all";

/// The running lines.
#[derive(Debug)]
pub(crate) struct Bars {
    all: MultiProgress,
    foot: ProgressBar,
    began: Instant,
    steps: BTreeMap<StepId, Step>,
    paint: Paint,
    volume: Volume,
}

#[derive(Debug)]
struct Step {
    line: ProgressBar,
    /// By name, in the order in which they began, which is also that on the screen.
    tasks: Vec<(String, Task)>,
}

#[derive(Debug)]
struct Task {
    line: ProgressBar,
    /// What the style was made for; another kind of amount needs another style.
    kind: Option<std::mem::Discriminant<Amount>>,
}

impl Bars {
    /// Draws to standard error.
    pub(crate) fn new(paint: Paint, volume: Volume) -> Bars {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(15));
        Bars { all, foot: ProgressBar::hidden(), began: Instant::now(), steps: BTreeMap::new(), paint, volume }
    }

    pub(crate) fn show(&mut self, event: &Event) {
        match event {
            Event::Started { step } => self.start(*step),
            Event::Progress { step, task: None, note, .. } => {
                if let Some(step) = self.steps.get(step) {
                    step.line.set_message(tame(note));
                }
            }
            Event::Progress { step, task: Some(task), note, amount } => self.task(*step, task, note, amount.as_ref()),
            Event::TaskDone { step, task, note } => {
                if let Some(step) = self.steps.get_mut(step)
                    && let Some(index) = step.tasks.iter().position(|(name, _)| name == task)
                {
                    let (_, done) = step.tasks.remove(index);
                    self.all.remove(&done.line);
                }
                if self.volume == Volume::Verbose {
                    self.above(&format!("    {:<20} {}", tame(task), tame(note)));
                }
            }
            Event::Warning { text, hints } => self.above(&lines::warning(self.paint, text, hints)),
            Event::Finished { step, took, outcome, detail } => {
                self.end(*step, &lines::finished(self.paint, *took, *outcome, detail));
            }
            Event::Failed { step, took } => self.end(*step, &lines::failed(self.paint, *took)),
            Event::Checked(check) => {
                if let Some(smoke) = self.steps.get(&StepId::Smoke) {
                    smoke.line.set_message(tame(&check.sentence));
                }
                if let Some(line) = lines::checked(self.paint, self.volume, check) {
                    self.above(&format!("    {line}"));
                }
            }
        }
    }

    /// Draws everything again, with the time that has passed.
    pub(crate) fn tick(&self) {
        for step in self.steps.values() {
            step.line.tick();
            step.tasks.iter().for_each(|(_, task)| task.line.tick());
        }
        self.foot.tick();
    }

    /// Takes the running lines off the screen; the next tick draws them again.
    pub(crate) fn clear(&self) {
        // A terminal that cannot be written to shows nothing anyway.
        let _ = self.all.clear();
    }

    fn above(&self, line: &str) {
        let _ = self.all.println(line);
    }

    fn start(&mut self, step: StepId) {
        if self.steps.is_empty() {
            self.foot = self.all.add(ProgressBar::no_length());
            self.foot.set_style(timed(FOOT, self.began));
        }
        let line = self.all.insert_before(&self.foot, ProgressBar::new_spinner());
        line.set_style(timed(STEP, Instant::now()));
        line.set_prefix(step.name());
        self.steps.insert(step, Step { line, tasks: Vec::new() });
    }

    fn task(&mut self, step: StepId, name: &str, note: &str, amount: Option<&Amount>) {
        let Some(step) = self.steps.get_mut(&step) else { return };
        let kind = amount.map(std::mem::discriminant);
        let index = step.tasks.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            let last = step.tasks.last().map_or(&step.line, |(_, task)| &task.line);
            let line = self.all.insert_after(last, ProgressBar::no_length());
            line.set_prefix(tame(name));
            line.set_style(task_style(amount));
            step.tasks.push((name.to_owned(), Task { line, kind }));
            step.tasks.len() - 1
        });
        let Some((_, Task { line, kind: before })) = step.tasks.get_mut(index) else { return };
        if *before != kind {
            line.reset();
            line.set_style(task_style(amount));
            *before = kind;
        }
        match amount {
            Some(Amount::Bytes { done, total }) => {
                total.map_or_else(|| line.unset_length(), |total| line.set_length(total));
                line.set_position(*done);
            }
            Some(Amount::Items { done, total }) => {
                line.set_length(*total);
                line.set_position(*done);
            }
            Some(Amount::Estimate { .. }) | None => {}
        }
        line.set_message(tame(note));
    }

    fn end(&mut self, step: StepId, said: &str) {
        if let Some(Step { line, tasks }) = self.steps.remove(&step) {
            tasks.iter().for_each(|(_, task)| self.all.remove(&task.line));
            self.all.remove(&line);
            if self.steps.is_empty() {
                self.all.remove(&self.foot);
            }
        }
        let (mark, rest) = said.split_once(' ').unwrap_or((said, ""));
        self.above(&format!("{mark} {:<10} {rest}", step.name()));
    }
}

impl Drop for Bars {
    /// What still runs was interrupted, or gave way to the failure of a step beside it.
    fn drop(&mut self) {
        for step in self.steps.keys().copied().collect::<Vec<_>>() {
            let took = self.steps.get(&step).map(|step| step.line.elapsed()).unwrap_or_default();
            let took = self.paint.dim(&format!("({})", span(took.as_secs_f64())));
            self.end(step, &format!("{} not finished {took}", self.paint.warning("-")));
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    // Only a template with a mistake in it is refused; a test tries both.
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

/// A template with the time since `began` as `{took}`.
fn timed(template: &str, began: Instant) -> ProgressStyle {
    style(template).with_key("took", move |_: &ProgressState, to: &mut dyn Write| {
        let _ = to.write_str(&span(began.elapsed().as_secs_f64()));
    })
}

fn task_style(amount: Option<&Amount>) -> ProgressStyle {
    let kind = amount.copied();
    let began = Instant::now();
    style(TASK).with_key("amount", move |state: &ProgressState, to: &mut dyn Write| {
        let left = state.len().is_some_and(|len| len > state.pos()).then(|| state.eta());
        let text = match kind {
            None => String::new(),
            Some(Amount::Bytes { .. }) => moved(state.pos(), state.len(), state.per_sec(), left),
            Some(Amount::Items { .. }) => format!("{}/{}  ", state.pos(), state.len().unwrap_or_default()),
            Some(Amount::Estimate { seconds }) => {
                format!("{}  ", remaining(Duration::from_secs(seconds), began.elapsed()))
            }
        };
        let _ = to.write_str(&text);
    })
}

/// Bytes moved, of how many, how fast, and how long still; in columns, because several of them stand below each other.
fn moved(done: u64, total: Option<u64>, rate: f64, left: Option<Duration>) -> String {
    let of = total.map_or_else(String::new, |total| format!(" / {}", bytes(total)));
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate is shown, not counted with")]
    let rate = format!("{}/s", bytes(rate.max(0.0) as u64));
    let left = left.filter(|left| left.as_secs() < 24 * 3600).map_or_else(String::new, |left| whole(left.as_secs()));
    format!("{:<23} {rate:>11} {left:>6}  ", format!("{:>9}{of}", bytes(done)))
}

/// What is left of an estimate, said as carefully as an estimate deserves.
fn remaining(estimate: Duration, passed: Duration) -> String {
    match estimate.checked_sub(passed).map(|left| left.as_secs()) {
        None => format!("longer than {}", whole(estimate.as_secs())),
        Some(left) => format!("about {} left", whole(left.max(1))),
    }
}

fn whole(seconds: u64) -> String {
    if seconds < 60 { format!("{seconds}s") } else { format!("{}m{:02}s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_understood() {
        for template in [STEP, TASK, FOOT] {
            assert!(ProgressStyle::with_template(template).is_ok(), "{template}");
        }
    }

    #[test]
    fn amounts_stand_in_columns() {
        let some = moved(300 << 20, Some(1200 << 20), 52.0 * 1024.0 * 1024.0, Some(Duration::from_secs(17)));
        let other = moved(7 << 10, None, 1024.0, None);
        assert_eq!(some, "300.0 MiB / 1.2 GiB      52.0 MiB/s    17s  ");
        assert_eq!(some.chars().count(), other.chars().count());
    }

    #[test]
    fn an_estimate_that_was_wrong_says_so() {
        let estimate = Duration::from_secs(90);
        assert_eq!(remaining(estimate, Duration::from_secs(10)), "about 1m20s left");
        assert_eq!(remaining(estimate, Duration::from_secs(91)), "longer than 1m30s");
    }
}
