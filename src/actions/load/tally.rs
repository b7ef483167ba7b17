//! What came of each request, as the users write it down while they are at work, and what is made of that: sums of each kind, of
//! each second, and of a stretch of time.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    mix::Kind,
    report::{Second, Sum},
};
use crate::actions::chaos::latency;

/// What is of late, in seconds.
const RECENT: f64 = 10.0;

/// A request that has come to its end.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// What was asked for.
    pub(super) kind: Kind,
    /// When, in seconds since the load began.
    pub(super) at: f64,
    /// How long it took to the last byte, in seconds.
    pub(super) took: f64,
    /// What went wrong, in a few words.
    pub(super) error: Option<String>,
}

impl Sample {
    fn end(&self) -> f64 {
        self.at + self.took
    }
}

/// Everything that was asked so far. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    begin: Instant,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    samples: Vec<Sample>,
    users: u32,
}

impl Tally {
    /// The load begins now.
    pub(super) fn new() -> Tally {
        Tally { begin: Instant::now(), seen: Arc::default() }
    }

    /// Seconds since the load began.
    pub(super) fn now(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request has come to its end.
    pub(super) fn add(&self, sample: Sample) {
        self.lock().samples.push(sample);
    }

    /// A user has come.
    pub(super) fn arrived(&self) {
        self.lock().users += 1;
    }

    /// All users are gone.
    pub(super) fn emptied(&self) {
        self.lock().users = 0;
    }

    /// How things go, in a few words.
    pub(super) fn told(&self) -> String {
        let seen = self.lock();
        let last = seen.samples.iter().map(Sample::end).fold(0.0, f64::max);
        let slow = p95(&seen.samples, last - RECENT, f64::INFINITY);
        let slow = slow.map_or_else(String::new, |slow| format!(", p95 of late {:.0} ms", slow * 1000.0));
        format!("{} users, {}{slow}", seen.users, counted(&seen.samples))
    }

    /// What it came to, in a few words.
    pub(super) fn came_to(&self) -> String {
        counted(&self.lock().samples)
    }

    /// Everything so far.
    pub(super) fn samples(&self) -> Vec<Sample> {
        self.lock().samples.clone()
    }
}

fn counted(samples: &[Sample]) -> String {
    let failed = samples.iter().filter(|sample| sample.error.is_some()).count();
    format!("{} requests, {failed} failed", samples.len())
}

/// The sum of each kind that was asked for, and that of all, over so many seconds.
pub(super) fn sums(samples: &[Sample], length: f64) -> (Vec<Sum>, Sum) {
    let kinds = Kind::ALL.into_iter().filter_map(|kind| {
        let of: Vec<&Sample> = samples.iter().filter(|sample| sample.kind == kind).collect();
        (!of.is_empty()).then(|| sum(kind.name(), &of, length))
    });
    (kinds.collect(), sum("all", &samples.iter().collect::<Vec<_>>(), length))
}

#[expect(clippy::cast_precision_loss, reason = "a rate")]
fn sum(kind: &'static str, samples: &[&Sample], length: f64) -> Sum {
    let mut errors = BTreeMap::new();
    for error in samples.iter().filter_map(|sample| sample.error.clone()) {
        *errors.entry(error).or_default() += 1;
    }
    let good = samples.iter().filter(|sample| sample.error.is_none());
    Sum {
        kind,
        count: samples.len(),
        rate: if length > 0.0 { samples.len() as f64 / length } else { 0.0 },
        failed: errors.values().sum(),
        errors,
        latency: latency(good.map(|sample| sample.took).collect()),
    }
}

/// The time that 95 of a hundred good answers did not exceed, of those that came in a stretch of time; `None` when fewer than ten
/// came, which say nothing.
pub(super) fn p95(samples: &[Sample], from: f64, to: f64) -> Option<f64> {
    let within = samples.iter().filter(|sample| sample.error.is_none() && (from..to).contains(&sample.end()));
    let took: Vec<f64> = within.map(|sample| sample.took).collect();
    if took.len() < 10 { None } else { latency(took).map(|latency| latency.p95) }
}

/// Second by second; each answer counts where it came.
pub(super) fn seconds(samples: &[Sample], length: f64) -> Vec<Second> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a load is shorter than 2^32 s")]
    let whole = |at: f64| at.max(0.0) as usize;
    let mut took: Vec<Vec<f64>> = vec![Vec::new(); whole(length) + 1];
    let mut seconds = vec![Second::default(); took.len()];
    let last = seconds.len() - 1;
    for sample in samples {
        let at = whole(sample.end()).min(last);
        match sample.error {
            None => {
                seconds[at].answered += 1;
                took[at].push(sample.took);
            }
            Some(_) => seconds[at].failed += 1,
        }
    }
    for (second, took) in seconds.iter_mut().zip(took) {
        second.p95 = latency(took).map(|latency| latency.p95);
    }
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(kind: Kind, at: f64, took: f64, error: Option<&str>) -> Sample {
        Sample { kind, at, took, error: error.map(ToOwned::to_owned) }
    }

    #[test]
    fn each_kind_has_a_sum_and_failures_have_no_latency() {
        let samples = [
            sample(Kind::Front, 0.0, 0.1, None),
            sample(Kind::Front, 1.0, 0.3, None),
            sample(Kind::Image, 2.0, 9.0, Some("no answer")),
        ];
        let (kinds, all) = sums(&samples, 10.0);
        assert_eq!(
            kinds.iter().map(|sum| (sum.kind, sum.count)).collect::<Vec<_>>(),
            [("front page", 2), ("image", 1)]
        );
        assert_eq!((kinds[1].failed, kinds[1].latency), (1, None));
        assert_eq!((all.count, all.failed, all.errors["no answer"]), (3, 1, 1));
        assert!((all.rate - 0.3).abs() < 1e-9 && (all.failed_share() - 33.33).abs() < 0.1);
        assert_eq!(all.latency.expect("answers").max, 0.3);
    }

    #[test]
    fn nothing_asked_is_a_sum_too() {
        let (kinds, all) = sums(&[], 0.0);
        assert!(kinds.is_empty() && all.count == 0 && all.failed_share() == 0.0 && all.latency.is_none());
    }

    #[test]
    fn a_stretch_with_few_answers_says_nothing() {
        let samples: Vec<Sample> = (1..=20u32).map(|n| sample(Kind::Post, 0.0, f64::from(n) / 10.0, None)).collect();
        assert_eq!(p95(&samples, 0.0, 3.0), Some(1.9));
        assert_eq!(p95(&samples, 0.0, 0.55), None, "five came by then");
        assert_eq!(p95(&samples, 1.05, 3.0), Some(2.0), "those that came late are the slow ones");
    }

    #[test]
    fn an_answer_counts_in_the_second_in_which_it_came() {
        let seconds =
            seconds(&[sample(Kind::Post, 0.5, 1.0, None), sample(Kind::Post, 0.1, 0.1, Some("refused"))], 2.2);
        assert_eq!(seconds.len(), 3);
        assert_eq!((seconds[0].failed, seconds[1].answered, seconds[1].p95), (1, 1, Some(1.0)));
        assert_eq!(seconds[2], Second::default());
    }

    #[test]
    fn clones_share_what_was_seen() {
        let tally = Tally::new();
        tally.clone().add(sample(Kind::Front, 0.0, 0.1, Some("status 500")));
        tally.arrived();
        assert_eq!(tally.told(), "1 users, 1 requests, 1 failed");
        assert_eq!(tally.samples().len(), 1);
    }
}
