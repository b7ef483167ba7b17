//! Measurements that compare side by side in one run and report ratios; `just bench-…` runs them. They assert nothing about
//! time, because the machine decides that.

#![expect(clippy::print_stdout, reason = "a measurement is printed")]

#[path = "support/lab.rs"]
#[allow(dead_code, reason = "the other half of it is for drills")]
mod lab;

use std::collections::{BTreeMap, BTreeSet};

use lab::Lab;

/// Pairs of labs; one of each topology in turn, so that a slow minute of the machine meets both.
const ROUNDS: usize = 3;

/// How long each step of `up` takes with the topologies, and how much memory a member holds afterwards.
#[test]
#[ignore = "a measurement"]
fn topologies() {
    let mut took: BTreeMap<(String, &str), Vec<f64>> = BTreeMap::new();
    let mut memory: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for _ in 0..ROUNDS {
        for topology in ["replication", "galera"] {
            let lab = Lab::new(&format!("wplab-bench-{topology}"));
            let report = lab.up(&["--topology", topology]).assert_code(0).json();
            for timing in report["timings"].as_array().expect("timings") {
                let (step, seconds) = (timing["step"].as_str().expect("a step"), timing["took"].as_f64());
                took.entry((step.to_owned(), topology)).or_default().push(seconds.expect("seconds"));
            }
            for member in ["db-0", "db-1", "db-2"] {
                #[expect(clippy::cast_precision_loss, reason = "shown in whole MiB")]
                memory.entry(topology).or_default().push(lab.memory_of(member) as f64 / f64::from(1 << 20));
            }
        }
    }
    println!("median of {ROUNDS} labs each\n{:<12} {:>12} {:>8} {:>6}", "step", "replication", "galera", "ratio");
    let steps: BTreeSet<String> = took.keys().map(|(step, _)| step.clone()).collect();
    for step in steps {
        let of = |topology| median(&took[&(step.clone(), topology)]);
        row(&step, of("replication"), of("galera"), "s");
    }
    row("memory", median(&memory["replication"]), median(&memory["galera"]), "MiB");
}

fn row(what: &str, one: f64, other: f64, unit: &str) {
    println!("{what:<12} {one:>9.1} {unit:<2} {other:>5.1} {unit:<2} {:>4.2}", other / one);
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}
