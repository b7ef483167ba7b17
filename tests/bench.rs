//! Measurements that compare side by side in one run and report ratios; `just bench-…` runs them. They assert nothing about
//! time, because the machine decides that.

#![expect(clippy::print_stdout, reason = "a measurement is printed")]

#[path = "bench/arms.rs"]
mod arms;
#[path = "bench/backup.rs"]
mod backup;
#[path = "bench/bound.rs"]
mod bound;
#[path = "support/database.rs"]
#[allow(dead_code, reason = "the other half of it is for tests of dumps")]
mod database;
#[path = "bench/growth.rs"]
mod growth;
#[path = "bench/in_turn.rs"]
mod in_turn;
#[path = "support/lab.rs"]
#[allow(dead_code, reason = "the other half of it is for drills")]
mod lab;
#[path = "support/ledger.rs"]
#[allow(dead_code, reason = "the other half of it is for drills")]
mod ledger;
#[path = "bench/machine.rs"]
mod machine;
#[path = "bench/observer.rs"]
mod observer;
#[path = "bench/page.rs"]
mod page;
#[path = "bench/picture.rs"]
mod picture;
#[path = "bench/reads.rs"]
mod reads;
#[path = "support/ready.rs"]
mod ready;
#[path = "bench/report.rs"]
mod report;
#[path = "bench/run.rs"]
mod run;
#[path = "bench/side_by_side.rs"]
mod side_by_side;
#[path = "bench/stats.rs"]
mod stats;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use lab::Lab;
use stats::median;

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
        let of = |topology| median(&took[&(step.clone(), topology)]).unwrap_or_default();
        row(&step, of("replication"), of("galera"), "s");
    }
    let of = |topology| median(&memory[topology]).unwrap_or_default();
    row("memory", of("replication"), of("galera"), "MiB");
}

fn row(what: &str, one: f64, other: f64, unit: &str) {
    println!("{what:<12} {one:>9.1} {unit:<2} {other:>5.1} {unit:<2} {:>4.2}", other / one);
}

/// Scripts and `up` in their variants side by side: `ROUNDS` of each arm of `ARMS` into the folder `OUT`.
#[test]
#[ignore = "a measurement"]
fn up() {
    let rounds = std::env::var("ROUNDS").ok().map_or(5, |rounds| rounds.parse().expect("ROUNDS is a number"));
    let arms = arms::Arm::named(&std::env::var("ARMS").unwrap_or_default());
    side_by_side::Bench::open(&folder("up")).measure(rounds, &arms);
}

/// How time, processor time, memory and disk grow with the lab, and what a lab at rest uses: `CASES` into the folder `OUT`.
#[test]
#[ignore = "a measurement"]
fn growth() {
    growth::measure(&folder("growth"), &arms::Scripts::new().repositories());
}

/// A page of a lab beside the same page on a local disk without TLS, in turn: `PAIRS` by one visitor, then blocks by four.
#[test]
#[ignore = "a measurement"]
fn page() {
    page::measure(std::env::var("PAIRS").ok().map_or(300, |pairs| pairs.parse().expect("PAIRS is a number")));
}

/// The same page read at the readers and at the writer of one lab, in turn, and while the writer is away: `PAIRS` by one visitor first.
#[test]
#[ignore = "a measurement"]
fn reads() {
    reads::measure(std::env::var("PAIRS").ok().map_or(300, |pairs| pairs.parse().expect("PAIRS is a number")));
}

/// Dumping and loading a database of `DOUBLINGS` (15: 300 MB of text) as a backup does it and as a person would, `ROUNDS` of each in turn; then
/// what the runner of a lab holds in memory meanwhile.
#[test]
#[ignore = "a measurement"]
fn backup() {
    let number = |name: &str, otherwise: u32| {
        std::env::var(name).ok().map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(backup::measure(number("ROUNDS", 5) as usize, number("DOUBLINGS", 15)));
    backup::memory();
}

/// `OUT`, or a folder beside what is built.
fn folder(name: &str) -> PathBuf {
    let named = std::env::var_os("OUT").filter(|out| !out.is_empty()).map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("bench").join(name))
}
