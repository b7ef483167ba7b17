//! Two sides of which each is asked for the same, in turn, so that a slow minute of the machine meets both.

use std::time::Instant;

use crate::{
    lab::Lab,
    stats::{median, ratio},
};

/// Requests of each side before the clock counts: every replica has compiled everything, and most of Apache's processes too.
const WARM: usize = 60;
/// Blocks of requests by several visitors at a time, and how many requests each of them makes.
const BLOCKS: usize = 20;
const VISITORS: usize = 4;
const EACH: usize = 10;

/// `pairs` requests of each side by one visitor, then blocks of several; prints both sides, by these names, and their ratio. `ask` is
/// given a side, 0 or 1, and says how many milliseconds its page took.
pub(crate) fn compare(lab: &Lab, names: [&str; 2], pairs: usize, ask: impl AsyncFn(usize) -> f64) {
    // Who begins changes.
    let order = |turn: usize| if turn.is_multiple_of(2) { [0, 1] } else { [1, 0] };
    let mut alone = [Vec::new(), Vec::new()];
    for turn in 0..WARM + pairs {
        for side in order(turn) {
            let took = lab.block_on(ask(side));
            if turn >= WARM {
                alone[side].push(took);
            }
        }
    }
    tell("one visitor, ms a page", names, &alone);
    let mut together = [Vec::new(), Vec::new()];
    for turn in 0..BLOCKS {
        for side in order(turn) {
            let begin = Instant::now();
            let visitor = async || {
                for _ in 0..EACH {
                    ask(side).await;
                }
            };
            lab.block_on(futures_util::future::join_all((0..VISITORS).map(|_| visitor())));
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            together[side].push(begin.elapsed().as_secs_f64() * 1000.0 / (VISITORS * EACH) as f64);
        }
    }
    tell("four visitors, ms a page", names, &together);
}

fn tell(what: &str, names: [&str; 2], [one, other]: &[Vec<f64>; 2]) {
    let middle = |took: &[f64]| median(took).unwrap_or_default();
    let (ratio, low, high) = ratio(one, other).expect("both sides were asked");
    println!(
        "{what:<26} {} {:>6.1}  {} {:>6.1}  ratio {ratio:.3} ({low:.3} to {high:.3}), {} pairs",
        names[0],
        middle(one),
        names[1],
        middle(other),
        one.len()
    );
}
