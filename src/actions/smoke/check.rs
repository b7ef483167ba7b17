//! A check as data, and the one loop that runs checks: side by side where nothing forbids it, results in the order in
//! which they were given. What the checks look at is in the files beside this one.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};

use crate::{
    actions::smoke::{CheckResult, Verdict},
    run::{
        StepCx,
        advice::Hint,
        event::Event,
        wait::{self, Look, TimedOut},
    },
};

/// How often a check that is not yet true is looked at again.
const EVERY: Duration = Duration::from_secs(1);

/// A sentence that is true when the check passes, and how to look.
pub struct Check<'a> {
    /// The name by which other checks say that they need this one.
    pub key: &'static str,
    /// What the check belongs to, as in [`CheckResult::subject`].
    pub subject: &'static str,
    /// A sentence that is true when it passes.
    pub sentence: String,
    /// How long it may take to become true.
    pub deadline: Duration,
    /// What to do or look at next when it does not.
    pub hints: Vec<Hint>,
    /// Keys of the checks without which looking is pointless. They stand before this one.
    pub needs: Vec<&'static str>,
    /// Whether the deadline holds even when the run's own time is over.
    insists: bool,
    look: Box<dyn Fn() -> BoxFuture<'a, Result<String>> + Send + Sync + 'a>,
}

impl<'a> Check<'a> {
    /// A check without needs. The look says what was seen; an error means not yet, a [`Hopeless`] one that it never will be.
    pub fn new<F>(
        key: &'static str,
        subject: &'static str,
        sentence: impl Into<String>,
        deadline: Duration,
        hints: impl Into<Vec<Hint>>,
        look: impl Fn() -> F + Send + Sync + 'a,
    ) -> Check<'a>
    where
        F: Future<Output = Result<String>> + Send + 'a,
    {
        let look = Box::new(move || look().boxed());
        Check {
            key,
            subject,
            sentence: sentence.into(),
            deadline,
            hints: hints.into(),
            needs: Vec::new(),
            insists: false,
            look,
        }
    }

    /// Another check without which this one is skipped.
    #[must_use]
    pub fn needs(mut self, key: &'static str) -> Check<'a> {
        self.needs.push(key);
        self
    }

    /// Takes its time even when the run's own is over: what was made has to be removed all the same.
    #[must_use]
    pub fn insists(mut self) -> Check<'a> {
        self.insists = true;
        self
    }

    fn result(&self, verdict: Verdict, took: Duration) -> CheckResult {
        CheckResult { subject: self.subject, sentence: self.sentence.clone(), verdict, took }
    }

    async fn run(&self, cx: &StepCx) -> CheckResult {
        let begin = Instant::now();
        let look = || (self.look)().map(patient);
        let on_reason = |reason: &str| cx.say(format!("not yet: {} ({reason})", self.sentence));
        let limit = if self.insists { self.deadline } else { cx.run().patience(self.deadline) };
        let verdict = match wait::until(&self.sentence, limit, EVERY, on_reason, look).await {
            Ok(seen) => Verdict::Passed { seen },
            Err(error) => Verdict::Failed { reason: reason(&error), hints: self.hints.clone() },
        };
        self.result(verdict, begin.elapsed())
    }
}

/// Why a check failed, without repeating its sentence.
fn reason(error: &anyhow::Error) -> String {
    match error.downcast_ref::<TimedOut>() {
        Some(timeout) => format!("{} (for {} s)", timeout.last, timeout.after.as_secs()),
        None => format!("{error:#}"),
    }
}

/// An error after which looking again is pointless.
#[derive(Debug)]
pub struct Hopeless(pub String);

impl fmt::Display for Hopeless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Hopeless {}

/// A look out of what was seen: an error may pass, so it is a reason to look again, unless it is [`Hopeless`].
///
/// # Errors
/// Only [`Hopeless`] ones.
pub fn patient(seen: Result<String>) -> Result<Look<String>> {
    match seen {
        Ok(seen) => Ok(Look::Ready(seen)),
        Err(error) if error.is::<Hopeless>() => Err(error),
        Err(error) => Ok(Look::NotYet(format!("{error:#}"))),
    }
}

/// Runs checks, `at_once` of them side by side. Each begins when what it needs has passed, and is skipped when that has not.
/// Results come in the order of the checks; each is also sent as an event as soon as all before it are there.
pub async fn run(cx: &StepCx, checks: &[Check<'_>], at_once: usize) -> Vec<CheckResult> {
    let mut results: Vec<Option<CheckResult>> = vec![None; checks.len()];
    let mut begun = vec![false; checks.len()];
    let mut running = FuturesUnordered::new();
    let mut shown = 0;
    loop {
        for (index, check) in checks.iter().enumerate() {
            if begun[index] {
                continue;
            }
            match readiness(check, checks, &results) {
                Needs::Passed if running.len() < at_once.max(1) => {
                    begun[index] = true;
                    running.push(async move { (index, check.run(cx).await) });
                }
                Needs::Failed(reason) => {
                    begun[index] = true;
                    results[index] = Some(check.result(Verdict::Skipped { reason }, Duration::ZERO));
                }
                Needs::Passed | Needs::Open => {}
            }
        }
        while let Some(Some(result)) = results.get(shown) {
            cx.run().send(Event::Checked(result.clone()));
            shown += 1;
        }
        match running.next().await {
            Some((index, result)) => results[index] = Some(result),
            // Nothing runs and nothing could begin: what is left needs a check that does not exist.
            None => break,
        }
    }
    checks
        .iter()
        .zip(results)
        .map(|(check, result)| result.unwrap_or_else(|| check.result(orphaned(), Duration::ZERO)))
        .collect()
}

fn orphaned() -> Verdict {
    Verdict::Skipped { reason: "needs a check that was not run".to_owned() }
}

enum Needs {
    Passed,
    Open,
    Failed(String),
}

fn readiness(check: &Check<'_>, checks: &[Check<'_>], results: &[Option<CheckResult>]) -> Needs {
    let mut all = Needs::Passed;
    for key in &check.needs {
        let found = checks.iter().zip(results).find(|(other, _)| other.key == *key);
        match found.and_then(|(_, result)| result.as_ref()) {
            Some(result) if matches!(result.verdict, Verdict::Passed { .. }) => {}
            Some(result) => return Needs::Failed(format!("not seen: {}", result.sentence)),
            None => all = Needs::Open,
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use anyhow::{Context, bail};

    use super::*;
    use crate::run::{Run, event::StepId};

    const SHORT: Duration = Duration::from_millis(50);

    fn look() -> [Hint; 1] {
        [Hint::words("look")]
    }

    fn ready<'a>(key: &'static str) -> Check<'a> {
        Check::new(key, "test", format!("{key} is there"), SHORT, look(), move || async move { Ok(key.to_owned()) })
    }

    fn never<'a>(key: &'static str) -> Check<'a> {
        Check::new(key, "test", format!("{key} is there"), SHORT, look(), || async { bail!("still cold") })
    }

    fn cx() -> StepCx {
        StepCx::new(&Run::silent(), StepId::Smoke)
    }

    #[tokio::test]
    async fn a_deadline_gives_the_last_reason_and_the_hint() {
        let results = run(&cx(), &[never("a")], 2).await;
        let expected = Verdict::Failed { reason: "still cold (for 0 s)".into(), hints: look().into() };
        assert_eq!(results[0].verdict, expected);
    }

    #[tokio::test]
    async fn when_the_runs_time_is_over_only_what_insists_is_still_looked_at() {
        let cx = StepCx::new(&Run::new(Some(Duration::ZERO)).0, StepId::Smoke);
        let slow = |key| {
            let looks = AtomicUsize::new(0);
            Check::new(key, "test", key, Duration::from_secs(5), look(), move || {
                let first = looks.fetch_add(1, Ordering::Relaxed) == 0;
                async move { if first { bail!("warming up") } else { Ok(String::new()) } }
            })
        };
        let results = run(&cx, &[slow("a"), slow("b").insists()], 1).await;
        assert!(!results[0].passed() && results[1].passed());
    }

    #[tokio::test]
    async fn an_error_fails_a_check_at_once_with_its_whole_chain() {
        let broken = Check::new("a", "test", "a is there", Duration::from_secs(60), look(), || async {
            Err(Hopeless("no such pod".into())).context("cannot look")
        });
        let results = run(&cx(), &[broken], 1).await;
        assert!(matches!(&results[0].verdict, Verdict::Failed { reason, .. } if reason == "cannot look: no such pod"));
        assert!(results[0].took < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn what_needs_a_failed_check_is_skipped_and_so_is_what_needs_that() {
        let checks =
            [never("a"), ready("b").needs("a"), ready("c").needs("b"), ready("d"), ready("e").needs("nowhere")];
        let results = run(&cx(), &checks, 2).await;
        let skipped = |reason: &str| Verdict::Skipped { reason: reason.to_owned() };
        assert_eq!(results[1].verdict, skipped("not seen: a is there"));
        assert_eq!(results[2].verdict, skipped("not seen: b is there"));
        assert_eq!(results[3].verdict, Verdict::Passed { seen: "d".into() });
        assert_eq!(results[4].verdict, skipped("needs a check that was not run"));
    }

    #[tokio::test]
    async fn results_and_events_keep_the_order_though_the_first_is_slowest() {
        let (run_, mut events) = Run::new(None);
        let tries = AtomicUsize::new(0);
        let slow = Check::new("slow", "test", "slow is there", Duration::from_secs(10), look(), || {
            let first = tries.fetch_add(1, Ordering::Relaxed) == 0;
            async move { if first { bail!("warming up") } else { Ok(String::new()) } }
        });
        let results = run(&StepCx::new(&run_, StepId::Smoke), &[slow, ready("fast")], 2).await;
        drop(run_);
        let sentences: Vec<_> = results.iter().map(|r| r.sentence.as_str()).collect();
        assert_eq!(sentences, ["slow is there", "fast is there"]);
        let mut ended = Vec::new();
        while let Some(event) = events.recv().await {
            if let Event::Checked(result) = event {
                ended.push(result.sentence);
            }
        }
        assert_eq!(ended, ["slow is there", "fast is there"]);
    }

    #[tokio::test]
    async fn no_more_run_side_by_side_than_allowed_and_needs_are_kept() {
        let (now, most, order) = (AtomicUsize::new(0), AtomicUsize::new(0), Mutex::new(Vec::new()));
        let busy = |key: &'static str| {
            let (now, most, order) = (&now, &most, &order);
            Check::new(key, "test", key, Duration::from_secs(5), look(), move || async move {
                most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                now.fetch_sub(1, Ordering::SeqCst);
                order.lock().expect("not poisoned").push(key);
                Ok(String::new())
            })
        };
        let checks = [busy("a").needs("c"), busy("b"), busy("c"), busy("d")];
        let results = run(&cx(), &checks, 2).await;
        assert!(results.iter().all(|r| matches!(r.verdict, Verdict::Passed { .. })));
        assert_eq!(most.load(Ordering::SeqCst), 2);
        let order = order.lock().expect("not poisoned").clone();
        let place = |key| order.iter().position(|k| *k == key);
        assert!(place("c") < place("a"), "{order:?}");
    }
}
