//! Drills as tables for a terminal.

use std::fmt::Write;

use wplab::actions::chaos::{
    ChaosReport, Listed,
    report::{Line, Round},
};

use super::{
    super::{Paint, tables::table},
    outage,
};

/// The scenarios, and whether each can be run.
pub(crate) fn listed(all: &[Listed], paint: Paint) -> String {
    let row = |one: &Listed| {
        let topology = one.scenario.topology.map_or("any", |only| only.name()).to_owned();
        let here = match one.can_run {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        [one.scenario.name.clone(), topology, here.to_owned(), one.scenario.summary.clone()]
    };
    let mut text = table(["SCENARIO", "TOPOLOGY", "HERE", "WHAT HAPPENS"], &all.iter().map(row).collect::<Vec<_>>());
    let not: Vec<&Listed> = all.iter().filter(|one| one.why_not.is_some()).collect();
    if !not.is_empty() {
        let _ = writeln!(text, "\n{}", paint.bold("cannot be run here"));
    }
    for one in not {
        let _ = writeln!(text, "  {}: {}", one.scenario.name, one.why_not.as_deref().unwrap_or_default());
    }
    text
}

/// What came of a run: a line for each round, and below it what was not as expected.
pub(crate) fn ran(report: &ChaosReport, paint: Paint) -> String {
    let row = |round: &Round| {
        let rows = &round.rows;
        [
            round.scenario.clone(),
            round.round.to_string(),
            outage(&round.readers),
            outage(&round.writers),
            outage(&round.editor),
            format!("{} of {}", round.readers.failed + round.editor.failed, round.readers.asked + round.editor.asked),
            format!("{} / {}", rows.acknowledged, rows.lost_rows),
            if round.passed() { "passed" } else { "FAILED" }.to_owned(),
        ]
    };
    let head = ["SCENARIO", "ROUND", "NO READS", "NO WRITES", "NO EDITS", "ERRORS", "ROWS / LOST", "VERDICT"];
    let mut text = table(head, &report.rounds.iter().map(row).collect::<Vec<_>>());
    for round in &report.rounds {
        for Line { what, expected, seen, .. } in round.verdict.iter().filter(|line| !line.met) {
            let _ = writeln!(text, "{} {}, round {}: {what}: {seen}", paint.bad("×"), round.scenario, round.round);
            let _ = writeln!(text, "    expected: {expected}");
        }
        if round.way_cut > 0.0 {
            let _ = writeln!(
                text,
                "{} {}, round {}: for {:.1} s the API server did not answer, through which the ledger reaches the database; \
                 that is no outage of the database",
                paint.warning("-"),
                round.scenario,
                round.round,
                round.way_cut
            );
        }
    }
    let (failed, all) = (report.rounds.iter().filter(|round| !round.passed()).count(), report.rounds.len());
    let sum = match (&report.ended_early, failed) {
        (Some(_), _) => paint.bad(&format!("ended early, after {all} rounds")),
        (None, 0) if all == 1 => paint.good("the round passed"),
        (None, 0) => paint.good(&format!("all {all} rounds passed")),
        (None, _) => paint.bad(&format!("{failed} of {all} rounds failed")),
    };
    text + &sum + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::chaos::sample::report;

    #[test]
    fn a_run_is_told_in_a_table_and_what_was_not_as_expected_below_it() {
        let text = ran(&report(), Paint::off());
        let wanted = "\
SCENARIO        ROUND  NO READS  NO WRITES  NO EDITS  ERRORS   ROWS / LOST  VERDICT
writer-process  1      2.0 s     8.5 s      4.0 s     3 of 24  120 / 0      passed
api-down        1      0.0 s     12.0 s     0.0 s     0 of 24  60 / 1       FAILED
× api-down, round 1: longest write outage: 12.0 s
    expected: at most 10 s
× api-down, round 1: acknowledged rows lost: 1 of 60: db-1 lacks 0/7
    expected: 0
- api-down, round 1: for 5.0 s the API server did not answer, through which the ledger reaches the database; that is no outage of the database
1 of 2 rounds failed
";
        assert_eq!(text, wanted);
    }
}
