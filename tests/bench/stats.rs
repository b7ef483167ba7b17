//! Medians, and how sure a ratio of medians is.

/// The middle value; the mean of the two middle ones when their number is even. None without values.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(sorted[middle]),
        _ => Some(f64::midpoint(sorted[middle - 1], sorted[middle])),
    }
}

/// The smallest and the largest value.
pub(crate) fn range(values: &[f64]) -> Option<(f64, f64)> {
    let first = *values.first()?;
    Some(values.iter().fold((first, first), |(low, high), value| (low.min(*value), high.max(*value))))
}

/// How often the values are drawn anew for an interval.
const DRAWS: usize = 4000;

/// Median of `slow` by median of `fast`, with its 95 % percentile bootstrap interval: both are drawn anew, with replacement,
/// and what the middle 95 % of the ratios lie between is the interval. None without values on one side. The same values give
/// the same interval.
pub(crate) fn ratio(slow: &[f64], fast: &[f64]) -> Option<(f64, f64, f64)> {
    let point = median(slow)? / median(fast)?;
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut ratios: Vec<f64> =
        (0..DRAWS).filter_map(|_| Some(median(&dice.draw(slow))? / median(&dice.draw(fast))?)).collect();
    ratios.sort_by(f64::total_cmp);
    Some((point, ratios[DRAWS / 40], ratios[DRAWS - 1 - DRAWS / 40]))
}

/// xorshift64*, so that a report can be repeated.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let high = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(high).unwrap_or_default() % sides
    }

    fn draw(&mut self, values: &[f64]) -> Vec<f64> {
        values.iter().map(|_| values[self.below(values.len())]).collect()
    }
}

#[test]
fn the_median_is_the_middle() {
    assert_eq!(median(&[]), None);
    assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
    assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), Some(2.5));
    assert_eq!(range(&[4.0, 1.0, 3.0]), Some((1.0, 4.0)));
}

#[test]
fn the_interval_of_equal_values_is_a_point_and_that_of_others_contains_the_ratio() {
    assert_eq!(ratio(&[200.0; 5], &[100.0; 5]), Some((2.0, 2.0, 2.0)));
    let (point, low, high) = ratio(&[180.0, 200.0, 220.0, 190.0, 210.0], &[95.0, 100.0, 105.0]).expect("values");
    assert!((point - 2.0).abs() < 1e-9 && low < point && point < high, "{low} {point} {high}");
    assert!(low >= 180.0 / 105.0 && high <= 220.0 / 95.0, "no draw lies outside the values: {low} {high}");
    assert_eq!(ratio(&[], &[1.0]), None);
}

#[test]
fn a_wider_spread_gives_a_wider_interval() {
    let width = |spread: f64| {
        let (_, low, high) = ratio(&[100.0 - spread, 100.0, 100.0 + spread], &[50.0, 50.0]).expect("values");
        high - low
    };
    assert!(width(1.0) < width(10.0));
}
