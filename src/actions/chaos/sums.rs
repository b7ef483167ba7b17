//! From single answers to what people want to know of them: how many failed, how long the others took, the longest time in
//! which nobody was served. Pure.

use std::collections::BTreeMap;

use super::report::{Latency, Outage, Second, Served};

/// One thing that was asked for at its time, whenever it was really sent.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sample {
    /// When it was due.
    pub(super) due: f64,
    /// How long it took from then, in seconds.
    pub(super) took: f64,
    /// What went wrong, in a few words.
    pub(super) error: Option<String>,
}

impl Sample {
    fn end(&self) -> f64 {
        self.due + self.took
    }
}

/// Sums up. `every` is the time between two that were due; in `excluded` nobody could ask.
pub(super) fn served(samples: &[Sample], every: f64, (begin, end): (f64, f64), excluded: &[(f64, f64)]) -> Served {
    let mut errors = BTreeMap::new();
    // What could not even be asked is nobody's failure.
    let counted: Vec<&Sample> = samples
        .iter()
        .filter(|s| s.error.is_none() || !excluded.iter().any(|x| x.0 <= s.end() && s.due <= x.1))
        .collect();
    for error in counted.iter().filter_map(|sample| sample.error.as_ref()) {
        *errors.entry(error.clone()).or_default() += 1;
    }
    let good: Vec<&Sample> = counted.iter().copied().filter(|sample| sample.error.is_none()).collect();
    Served {
        asked: counted.len(),
        failed: counted.len() - good.len(),
        errors,
        latency: latency(good.iter().map(|sample| sample.took).collect()),
        outage: outage(good.iter().map(|sample| sample.end()).collect(), every, (begin, end), excluded),
    }
}

/// Percentiles; `None` of nothing.
pub(in crate::actions) fn latency(mut took: Vec<f64>) -> Option<Latency> {
    took.sort_by(f64::total_cmp);
    let max = *took.last()?;
    // The smallest value that so many of a thousand do not exceed.
    let at = |thousandth: usize| took[(took.len() * thousandth).div_ceil(1000).saturating_sub(1)];
    Some(Latency { p50: at(500), p95: at(950), p99: at(990), max })
}

/// The longest time between two who were served, beyond the time that lies between two anyway; without what is excluded.
fn outage(mut ends: Vec<f64>, every: f64, (begin, end): (f64, f64), excluded: &[(f64, f64)]) -> Outage {
    ends.retain(|at| (begin..=end).contains(at));
    ends.sort_by(f64::total_cmp);
    let (mut longest, mut before) = (Outage::default(), begin);
    for at in ends.into_iter().chain([end]) {
        let cut: f64 = excluded.iter().map(|(from, to)| (to.min(at) - from.max(before)).max(0.0)).sum();
        let length = at - before - cut - every;
        if length > longest.length {
            longest = Outage { from: before, length };
        }
        before = at;
    }
    longest
}

/// What happened in each second; each answer counts where it came.
pub(super) fn seconds(readers: &[Sample], editor: &[Sample], writers: &[Sample], length: f64) -> Vec<Second> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a round is shorter than 2^32 s")]
    let whole = |at: f64| at.max(0.0) as usize;
    let mut seconds = vec![Second::default(); whole(length) + 1];
    let last = seconds.len() - 1;
    let mut count = |samples: &[Sample], count: fn(&mut Second, &Sample)| {
        samples.iter().for_each(|sample| count(&mut seconds[whole(sample.end()).min(last)], sample));
    };
    count(readers, |second, sample| {
        *(if sample.error.is_none() { &mut second.read } else { &mut second.unread }) += 1;
        second.slowest = second.slowest.max(sample.took);
    });
    count(editor, |second, sample| {
        *(if sample.error.is_none() { &mut second.edited } else { &mut second.unedited }) += 1;
    });
    count(writers, |second, sample| {
        *(if sample.error.is_none() { &mut second.written } else { &mut second.unwritten }) += 1;
    });
    seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(due: f64, took: f64) -> Sample {
        Sample { due, took, error: None }
    }

    fn bad(due: f64, took: f64, why: &str) -> Sample {
        Sample { due, took, error: Some(why.to_owned()) }
    }

    #[test]
    fn a_stall_counts_everything_that_should_have_been_asked_meanwhile() {
        // One a second; from 2 to 7 nobody answers, then all do at once.
        let samples: Vec<Sample> = (0..10u32)
            .map(f64::from)
            .map(|due| good(due, if (2.0..7.0).contains(&due) { 7.0 - due } else { 0.0 }))
            .collect();
        let served = served(&samples, 1.0, (0.0, 9.0), &[]);
        assert_eq!((served.asked, served.failed), (10, 0));
        let latency = served.latency.expect("answers");
        assert_eq!((latency.p50, latency.max), (0.0, 5.0));
        // From the answer at 1 to those at 7, of which one second is the pace.
        assert_eq!(served.outage, Outage { from: 1.0, length: 5.0 });
    }

    #[test]
    fn a_gap_at_either_end_is_one_too() {
        let at = |ends: &[f64]| outage(ends.to_vec(), 1.0, (0.0, 10.0), &[]);
        assert_eq!(at(&[]), Outage { from: 0.0, length: 9.0 });
        assert_eq!(at(&[8.0, 9.0, 10.0]), Outage { from: 0.0, length: 7.0 });
        assert_eq!(at(&[1.0, 2.0, 3.0]), Outage { from: 3.0, length: 6.0 });
        let steady: Vec<f64> = (0..=10u32).map(f64::from).collect();
        assert_eq!(at(&steady), Outage::default());
    }

    #[test]
    fn errors_are_counted_by_kind_and_what_could_not_be_asked_is_none() {
        let samples = [good(0.0, 0.1), bad(1.0, 0.5, "status 503"), bad(4.0, 2.0, "no answer"), good(9.0, 0.1)];
        let all = served(&samples, 1.0, (0.0, 10.0), &[]);
        assert_eq!((all.asked, all.failed, all.errors["no answer"]), (4, 2, 1));
        assert!((all.failed_share() - 50.0).abs() < 1e-9);
        let without = served(&samples, 1.0, (0.0, 10.0), &[(3.0, 7.0)]);
        assert_eq!((without.asked, without.failed), (3, 1));
        assert!((without.outage.length - (all.outage.length - 4.0)).abs() < 1e-9, "{without:?}");
    }

    #[test]
    fn percentiles_are_values_that_were_seen() {
        let took: Vec<f64> = (1..=100u32).map(f64::from).collect();
        assert_eq!(latency(took), Some(Latency { p50: 50.0, p95: 95.0, p99: 99.0, max: 100.0 }));
        assert_eq!(latency(vec![3.0]), Some(Latency { p50: 3.0, p95: 3.0, p99: 3.0, max: 3.0 }));
        assert_eq!(latency(Vec::new()), None);
    }

    #[test]
    fn each_second_has_what_came_in_it() {
        let seconds = seconds(&[good(0.2, 0.1), bad(0.5, 1.0, "x")], &[good(1.0, 0.2)], &[good(0.0, 9.0)], 2.5);
        assert_eq!(seconds.len(), 3);
        assert_eq!((seconds[0].read, seconds[1].unread, seconds[1].edited, seconds[2].written), (1, 1, 1, 1));
        assert_eq!(seconds[1].slowest, 1.0);
    }
}
