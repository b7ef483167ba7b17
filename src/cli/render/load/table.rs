//! A load as tables for a terminal.

use std::fmt::Write;

use wplab::actions::load::{
    LoadReport,
    report::{Line, Proof},
};

use super::{
    super::{Paint, tables::table},
    COLUMNS, columns, errors, link, took,
};

/// Each kind of request and the sum of all; below it the links of the autoscaler's chain, and what was not as expected.
pub(crate) fn ran(report: &LoadReport, paint: Paint) -> String {
    let rows: Vec<[String; 8]> = report.kinds.iter().chain([&report.total]).map(columns).collect();
    let mut text = table(COLUMNS, &rows);
    for sum in report.kinds.iter().filter(|sum| sum.failed > 0) {
        let _ = writeln!(text, "{} {}: {}", paint.bad("×"), sum.kind, errors(sum));
    }
    if let Some(rate) = report.rate.filter(|rate| report.total.rate < f64::from(*rate) * 0.8) {
        let _ = writeln!(
            text,
            "{} {rate}/s were asked for; users come over time and wait for slow answers",
            paint.warning("-")
        );
    }
    if let Some(proof) = &report.hpa {
        text += &self::proof(proof);
    }
    for Line { what, expected, seen, .. } in report.verdict.iter().filter(|line| !line.met) {
        let _ = writeln!(text, "{} {what}: {seen}\n    expected: {expected}", paint.bad("×"));
    }
    let sum = match (&report.ended_early, report.passed(), &report.hpa) {
        (Some(why), ..) => paint.bad(&format!("ended early: {why}")),
        (None, false, _) => paint.bad("not as expected"),
        (None, true, None) => paint.good(&format!("the site served {} users", report.users)),
        (None, true, Some(proof)) => {
            paint.good(&format!("the autoscaler went from {} replicas to {} and back", proof.min, proof.wanted))
        }
    };
    text + &sum + "\n"
}

fn proof(proof: &Proof) -> String {
    let mut text =
        format!("\n{}", table(["LINK", "SEEN AT", "AFTER"], &proof.links.iter().map(link).collect::<Vec<_>>()));
    if let (Some(before), Some(after)) = proof.p95 {
        let _ = writeln!(text, "p95 was {} before the decision, and {} with more replicas", took(before), took(after));
    }
    let _ = writeln!(
        text,
        "target {} % of the requested CPU, {} to {} replicas, scale-down window {} s\n",
        proof.target, proof.min, proof.max, proof.window
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::load::sample::{golden, proven, report};

    #[test]
    fn a_load_is_a_line_for_each_kind_and_one_for_all() {
        golden("load/table.txt", &ran(&report(), Paint::off()));
    }

    #[test]
    fn the_chain_is_told_link_by_link() {
        golden("load/proof.txt", &ran(&proven(), Paint::off()));
    }

    #[test]
    fn a_rate_that_was_not_reached_is_told() {
        let slow = LoadReport { rate: Some(50), ..report() };
        assert!(ran(&slow, Paint::off()).contains("50/s were asked for"));
    }
}
