//! The time of one round, in seconds since its probes began; and the fixed schedule by which everybody asks, whatever became of
//! what was asked before.

use std::time::Duration;

use anyhow::Result;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, interval, timeout_at},
};

use super::sums::Sample;

/// When a round began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock(Instant);

impl Clock {
    /// A round begins now.
    pub(super) fn start() -> Clock {
        Clock(Instant::now())
    }

    /// Seconds since then.
    pub(super) fn now(self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }

    /// What was due then has come to its end now.
    pub(super) fn sample(self, due: Instant, error: Option<String>) -> Sample {
        Sample { due: due.saturating_duration_since(self.0).as_secs_f64(), took: due.elapsed().as_secs_f64(), error }
    }
}

/// How often somebody asks, and how long for an answer is waited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// The time between two questions.
    pub(super) every: Duration,
    /// From when a question was due until it counts as not answered.
    pub(super) patience: Duration,
}

/// Asks at a steady rate until told to stop; a question is sent when it is due, also while earlier ones are not answered.
/// `kind` says in few words what went wrong.
pub(super) async fn steadily<F>(
    clock: Clock,
    pace: Pace,
    mut stop: watch::Receiver<bool>,
    kind: impl Fn(&anyhow::Error) -> String + Copy + Send + 'static,
    ask: impl Fn(u64) -> F,
) -> Vec<Sample>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let mut beat = interval(pace.every);
    let mut asked = JoinSet::new();
    let mut number = 0;
    loop {
        let due = tokio::select! {
            due = beat.tick() => due,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let answer = ask(number);
        number += 1;
        asked.spawn(async move {
            let error = match timeout_at(due + pace.patience, answer).await {
                Ok(Ok(())) => None,
                Ok(Err(error)) => Some(kind(&error)),
                Err(_) => Some(format!("no answer within {} s", pace.patience.as_secs())),
            };
            clock.sample(due, error)
        });
    }
    asked.join_all().await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_asks_in_time_while_nobody_answers() {
        let (stop, stopped) = watch::channel(false);
        let asked = watch::channel(0).0;
        let mut enough = asked.subscribe();
        let pace = Pace { every: Duration::from_millis(10), patience: Duration::from_secs(1) };
        let kind = |error: &anyhow::Error| error.to_string();
        let all = steadily(Clock::start(), pace, stopped, kind, |number| {
            asked.send_replace(number);
            async move {
                match number {
                    0 => Ok(()),
                    1 => anyhow::bail!("status 503"),
                    _ => std::future::pending().await,
                }
            }
        });
        let end = async {
            enough.wait_for(|number| *number >= 8).await.expect("it goes on asking");
            stop.send_replace(true);
        };
        let (mut samples, ()) = tokio::join!(all, end);
        samples.sort_by(|a, b| a.due.total_cmp(&b.due));
        assert!(samples.len() >= 9 && samples.is_sorted_by(|a, b| b.due - a.due > 0.005), "{samples:?}");
        assert_eq!((samples[0].error.as_deref(), samples[1].error.as_deref()), (None, Some("status 503")));
        for silent in &samples[2..] {
            assert!(silent.error.as_deref() == Some("no answer within 1 s") && silent.took >= 1.0, "{silent:?}");
        }
    }
}
