//! One run of a command: sends events, times the steps, and bounds every wait.

pub mod advice;
pub mod event;
pub mod gate;
pub mod verdict;
pub mod wait;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::sync::{
    Notify,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use self::{
    advice::Hint,
    event::{Amount, Event, Outcome, StepId},
    wait::Look,
};

/// How long one step took.
#[derive(Clone, Debug, Serialize)]
pub struct StepTiming {
    /// Which step.
    pub step: StepId,
    /// Seconds from the start of the run to the start of the step.
    pub started: f64,
    /// Seconds that the step took.
    pub took: f64,
    /// Whether there was anything to do.
    pub outcome: Outcome,
}

/// One run of a command. Clones share the event channel and the timings.
#[derive(Clone, Debug)]
pub struct Run {
    events: UnboundedSender<Event>,
    timings: Arc<Mutex<Vec<StepTiming>>>,
    start: Instant,
    /// The user's `--timeout`: no wait goes beyond it.
    limit: Option<Duration>,
}

/// What a step hands back: its value, whether there was anything to do, and a short sentence of what there is now.
#[derive(Debug)]
pub struct Stepped<T> {
    value: T,
    outcome: Outcome,
    detail: String,
}

impl<T> Stepped<T> {
    /// The step changed something.
    pub fn done(value: T, detail: impl Into<String>) -> Self {
        Stepped { value, outcome: Outcome::Done, detail: detail.into() }
    }

    /// Everything was there already.
    pub fn already(value: T, detail: impl Into<String>) -> Self {
        Stepped { value, outcome: Outcome::AlreadyThere, detail: detail.into() }
    }

    /// Done or already there, as `changed` says.
    pub fn changed(changed: bool, value: T, detail: impl Into<String>) -> Self {
        if changed { Self::done(value, detail) } else { Self::already(value, detail) }
    }
}

impl<T> Stepped<T> {
    /// The same with another value.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Stepped<U> {
        Stepped { value: change(self.value), outcome: self.outcome, detail: self.detail }
    }

    /// What the step hands to the next one.
    pub fn value(&self) -> &T {
        &self.value
    }
}

impl Run {
    /// A run and the stream of its events; the stream ends when the last clone of the run is dropped.
    pub fn new(limit: Option<Duration>) -> (Run, UnboundedReceiver<Event>) {
        let (events, receiver) = unbounded_channel();
        let run = Run { events, timings: Arc::default(), start: Instant::now(), limit };
        (run, receiver)
    }

    /// A run whose events nobody reads; for tests.
    pub fn silent() -> Run {
        Run::new(None).0
    }

    /// Sends an event. A reader that has gone away is no error.
    pub fn send(&self, event: Event) {
        let _ = self.events.send(event);
    }

    /// Tells a warning.
    pub fn warn(&self, text: impl Into<String>) {
        self.advise(text, []);
    }

    /// Tells a warning, with what can be done about it.
    pub fn advise(&self, text: impl Into<String>, hints: impl IntoIterator<Item = Hint>) {
        self.send(Event::Warning { text: text.into(), hints: hints.into_iter().collect() });
    }

    /// Runs one step: started, body, finished or failed; the step's name becomes part of an error's context.
    ///
    /// # Errors
    /// Whatever the body returned, with "step NAME failed" around it.
    pub async fn step<T, F>(&self, step: StepId, body: impl FnOnce(StepCx) -> F) -> Result<T>
    where
        F: Future<Output = Result<Stepped<T>>>,
    {
        self.send(Event::Started { step });
        let begin = Instant::now();
        // Boxed: the steps of a recipe run side by side, and all of them together are too much for a stack.
        let result = Box::pin(body(StepCx { run: self.clone(), step })).await;
        let took = begin.elapsed();
        match result {
            Ok(Stepped { value, outcome, detail }) => {
                self.timings.lock().unwrap_or_else(PoisonError::into_inner).push(StepTiming {
                    step,
                    started: begin.duration_since(self.start).as_secs_f64(),
                    took: took.as_secs_f64(),
                    outcome,
                });
                self.send(Event::Finished { step, took, outcome, detail });
                Ok(value)
            }
            Err(error) => {
                self.send(Event::Failed { step, took });
                Err(error).with_context(|| format!("step {} failed", step.name()))
            }
        }
    }

    /// The timings of the steps that ended well so far, in the order in which they began.
    pub fn timings(&self) -> Vec<StepTiming> {
        let mut timings = self.timings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        timings.sort_by(|a, b| a.started.total_cmp(&b.started));
        timings
    }

    /// Whether any step of the recipe that ended so far had something to do; checks and looks do not count.
    pub fn changed(&self) -> bool {
        let looks = [StepId::Preflight, StepId::Smoke];
        self.timings().iter().any(|t| t.outcome == Outcome::Done && !looks.contains(&t.step))
    }

    /// What is left of the user's `--timeout`, or `limit` if that is shorter.
    pub fn patience(&self, limit: Duration) -> Duration {
        self.limit.map_or(limit, |all| limit.min(all.saturating_sub(self.start.elapsed())))
    }
}

/// What a step's body may do besides its work: say how far it is, and wait.
#[derive(Clone, Debug)]
pub struct StepCx {
    run: Run,
    step: StepId,
}

impl StepCx {
    /// A context for a step outside [`Run::step`]; for tests and for pieces used by several commands.
    pub fn new(run: &Run, step: StepId) -> StepCx {
        StepCx { run: run.clone(), step }
    }

    /// The run that this step belongs to.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Says what is being done now.
    pub fn say(&self, note: impl Into<String>) {
        self.run.send(Event::Progress { step: self.step, task: None, note: note.into(), amount: None });
    }

    /// Says how far one of several parallel tasks is.
    pub fn task(&self, task: &str, note: impl Into<String>, amount: Option<Amount>) {
        let task = Some(task.to_owned());
        self.run.send(Event::Progress { step: self.step, task, note: note.into(), amount });
    }

    /// Says that a parallel task ended well.
    pub fn task_done(&self, task: &str, note: impl Into<String>) {
        self.run.send(Event::TaskDone { step: self.step, task: task.to_owned(), note: note.into() });
    }

    /// Tells a warning.
    pub fn warn(&self, text: impl Into<String>) {
        self.run.warn(text);
    }

    /// [`wait::until`], bounded by the run's own timeout, with every new reason shown as progress.
    ///
    /// # Errors
    /// As [`wait::until`].
    pub async fn until<T, F>(&self, what: &str, limit: Duration, every: Duration, look: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<Look<T>>>,
    {
        self.until_woken(what, limit, every, &Notify::new(), look).await
    }

    /// [`wait::until_woken`], likewise.
    ///
    /// # Errors
    /// As [`wait::until`].
    pub async fn until_woken<T, F>(
        &self,
        what: &str,
        limit: Duration,
        every: Duration,
        wake: &Notify,
        look: impl FnMut() -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<Look<T>>>,
    {
        let on_reason = |reason: &str| self.say(format!("waiting for {what}: {reason}"));
        wait::until_woken(what, self.run.patience(limit), every, wake, on_reason, look).await
    }
}
