//! Drills as JUnit, for CI: one case per scenario and round.

use std::fmt::Write;

use wplab::actions::chaos::{ChaosReport, report::Round};

use super::escaped;

/// The whole file.
pub(crate) fn suite(report: &ChaosReport) -> String {
    let (all, failed) = (report.rounds.len(), report.rounds.iter().filter(|round| !round.passed()).count());
    let early = usize::from(report.ended_early.is_some());
    let time: f64 = report.rounds.iter().map(|round| round.length).sum();
    let name = format!("chaos.{}.{}", report.topology.name(), report.lab);
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let _ = writeln!(
        text,
        "<testsuite name=\"{name}\" tests=\"{}\" failures=\"{failed}\" errors=\"{early}\" time=\"{time:.1}\" timestamp=\"{}\">",
        all + early,
        escaped(report.began.trim_end_matches('Z'))
    );
    report.rounds.iter().for_each(|round| text += &case(&name, round));
    if let Some(why) = &report.ended_early {
        let _ = writeln!(text, "  <testcase classname=\"{name}\" name=\"the run itself\" time=\"0\">");
        let _ = writeln!(text, "    <error message=\"{}\"/>\n  </testcase>", escaped(why));
    }
    text + "</testsuite>\n"
}

fn case(suite: &str, round: &Round) -> String {
    let name = format!("{}, round {}", round.scenario, round.round);
    let mut text = String::new();
    let _ =
        writeln!(text, "  <testcase classname=\"{suite}\" name=\"{}\" time=\"{:.1}\">", escaped(&name), round.length);
    let missed: Vec<String> = round
        .verdict
        .iter()
        .filter(|line| !line.met)
        .map(|line| format!("{}: expected {}, seen {}", line.what, line.expected, line.seen))
        .collect();
    if let Some(first) = missed.first() {
        let _ = writeln!(text, "    <failure message=\"{}\">{}</failure>", escaped(first), escaped(&missed.join("\n")));
    }
    let lines =
        round.verdict.iter().map(|line| format!("{}: expected {}, seen {}", line.what, line.expected, line.seen));
    let said: Vec<String> = std::iter::once(format!("{} ({})", round.summary, round.struck)).chain(lines).collect();
    let _ = writeln!(text, "    <system-out>{}</system-out>\n  </testcase>", escaped(&said.join("\n")));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::chaos::sample::{golden, report};

    #[test]
    fn every_round_is_a_case_with_what_was_expected_and_seen() {
        let text = suite(&report());
        assert_eq!(text.matches("<testcase ").count(), 2);
        assert_eq!(text.matches("<failure ").count(), 1);
        golden("chaos/junit.xml", &text);
    }

    #[test]
    fn a_run_that_ended_early_is_an_error() {
        let report =
            wplab::actions::chaos::ChaosReport { ended_early: Some("step heal failed: a < b".into()), ..report() };
        let text = suite(&report);
        assert!(text.contains("tests=\"3\" failures=\"1\" errors=\"1\""), "{text}");
        assert!(text.contains("<error message=\"step heal failed: a &lt; b\"/>"), "{text}");
    }
}
