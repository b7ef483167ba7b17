//! What the runs say together: medians with their spread, ratios with their intervals, failures; as Markdown.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::{
    arms::{ALL, Arm},
    run::{MILESTONES, OTHERS, Run},
    stats::{median, range, ratio},
};

/// The successful values of an arm by name.
pub(crate) fn values(runs: &[Run], arm: Arm, name: &str) -> Vec<f64> {
    let mine = runs.iter().filter(|run| run.arm == arm.name() && run.succeeded());
    mine.filter_map(|run| run.values.get(name).copied()).collect()
}

/// When an arm reached each milestone, in the median.
pub(crate) fn medians(runs: &[Run], arm: Arm) -> BTreeMap<&'static str, f64> {
    MILESTONES.into_iter().filter_map(|name| Some((name, median(&values(runs, arm, name))?))).collect()
}

/// Arms that were run at all.
pub(crate) fn present(runs: &[Run]) -> Vec<Arm> {
    ALL.into_iter().filter(|arm| runs.iter().any(|run| run.arm == arm.name())).collect()
}

/// Rows of the table of costs: the name in the raw file, what it says, the unit.
const COSTS: [(&str, &str); 7] = [
    ("cpu", "machine, CPU-s over idle"),
    ("own-cpu", "command, CPU-s"),
    ("own-peak", "command, peak MiB"),
    ("memory", "machine, peak MiB over the start"),
    ("written", "written, MiB"),
    ("before", "before the clock: warm, stop, pause or save, s"),
    ("observer-cpu", "observer, CPU-s (part of the machine's)"),
];

/// The page without the bound.
pub(crate) fn page(runs: &[Run], missing: &[(&str, &str)]) -> String {
    let arms = present(runs);
    let mut page = String::from("# Side by side\n\nSeconds: median (least–greatest) of the runs that succeeded.\n\n");
    let mut head = String::from("| |");
    let mut line = String::from("|---|");
    for arm in &arms {
        let _ = write!(head, " {} |", arm.name());
        line.push_str("---:|");
    }
    let _ = writeln!(page, "{head}\n{line}");
    let counts = arms.iter().map(|arm| {
        let all = runs.iter().filter(|run| run.arm == arm.name());
        format!("{}, {}", all.clone().count(), all.filter(|run| !run.succeeded()).count())
    });
    row(&mut page, "runs, of them failed", counts);
    for milestone in MILESTONES {
        let name = if milestone == "checks" { "**all checks, end**" } else { milestone };
        row(&mut page, name, arms.iter().map(|arm| spread(&values(runs, *arm, milestone))));
    }
    row(&mut page, "every check but the autoscaler's", arms.iter().map(|arm| spread(&values(runs, *arm, OTHERS))));
    for (name, title) in COSTS {
        row(&mut page, title, arms.iter().map(|arm| spread(&values(runs, *arm, name))));
    }
    page.push_str("\n| to the end of all checks | ratio of medians | 95 % bootstrap interval |\n|---|---:|---:|\n");
    let scripts = [Arm::Strict, Arm::Good].into_iter();
    let pairs = scripts.flat_map(|slow| arms.iter().filter(|fast| !fast.is_script()).map(move |fast| (slow, *fast)));
    // What beginning everything at once is worth: both begin with a golden root.
    for (slow, fast) in pairs.chain([(Arm::Sequential, Arm::Golden)]) {
        let of = |arm| values(runs, arm, "checks");
        let Some((point, low, high)) = ratio(&of(slow), &of(fast)) else { continue };
        let _ = writeln!(page, "| {} / {} | {point:.2} | {low:.2}–{high:.2} |", slow.name(), fast.name());
    }
    let failed: Vec<&Run> = runs.iter().filter(|run| !run.succeeded()).collect();
    let busy = runs.iter().filter(|run| run.values.get("settled").is_some_and(|settled| *settled < 1.0)).count();
    let _ = writeln!(page, "\n{busy} of {} runs began on a machine that other work kept busy.", runs.len());
    for run in failed {
        let _ =
            writeln!(page, "Failed: round {}, {}: {}.", run.round, run.arm, run.outcome.trim_start_matches("failed: "));
    }
    for (arm, why) in missing {
        let _ = writeln!(page, "Not measured: {arm}, because {why}.");
    }
    page
}

fn row(page: &mut String, name: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.collect();
    if cells.iter().any(|cell| !cell.is_empty()) {
        let _ = writeln!(page, "| {name} | {} |", cells.join(" | "));
    }
}

/// `median (least–greatest)`; empty without values.
fn spread(values: &[f64]) -> String {
    let Some((middle, (low, high))) = median(values).zip(range(values)) else { return String::new() };
    format!("{middle:.1} ({low:.1}–{high:.1})")
}

#[cfg(test)]
pub(crate) fn example() -> Vec<Run> {
    let run = |round, arm: &str, outcome: &str, end: f64| {
        let values = MILESTONES.into_iter().enumerate();
        let values =
            values.map(|(at, name)| (name.to_owned(), end * f64::from(u32::try_from(at + 1).unwrap_or(1)) / 7.0));
        Run { round, arm: arm.to_owned(), outcome: outcome.to_owned(), values: values.collect() }
    };
    vec![
        run(1, "strict", "ok", 200.0),
        run(1, "up", "ok", 100.0),
        run(2, "up", "failed: exit status: 4", 20.0),
        run(2, "strict", "ok", 210.0),
    ]
}

#[test]
fn a_failed_run_is_counted_and_told_but_is_not_in_the_median() {
    let page = page(&example(), &[("golden", "there is none")]);
    assert!(page.contains("| runs, of them failed | 2, 0 | 2, 1 |"), "{page}");
    assert!(page.contains("| **all checks, end** | 205.0 (200.0–210.0) | 100.0 (100.0–100.0) |"), "{page}");
    assert!(page.contains("| strict / up | 2.05 | 2.00–2.10 |"), "{page}");
    assert!(page.contains("Failed: round 2, up: exit status: 4."), "{page}");
    assert!(page.contains("Not measured: golden, because there is none."), "{page}");
}

#[test]
fn what_waits_for_the_autoscaler_alone_and_what_turns_cost_are_told() {
    let run = |arm: &str, end: f64| {
        let values = [("checks", end), (OTHERS, end - 4.0)].map(|(name, value)| (name.to_owned(), value));
        Run { round: 1, arm: arm.to_owned(), outcome: "ok".to_owned(), values: values.into() }
    };
    let page = page(&[run("golden", 50.0), run("sequential", 100.0)], &[]);
    assert!(page.contains("| every check but the autoscaler's | 46.0 (46.0–46.0) | 96.0 (96.0–96.0) |"), "{page}");
    assert!(page.contains("| sequential / golden | 2.00 | 2.00–2.00 |"), "{page}");
}
