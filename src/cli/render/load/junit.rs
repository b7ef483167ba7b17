//! A load as JUnit, for CI: one case for each thing that was expected.

use std::fmt::Write;

use wplab::actions::load::LoadReport;

use super::{escaped, link};

/// The whole file.
pub(crate) fn suite(report: &LoadReport) -> String {
    let (all, failed) = (report.verdict.len(), report.verdict.iter().filter(|line| !line.met).count());
    let early = usize::from(report.ended_early.is_some());
    let name = format!("load.{}", report.lab);
    let mut text = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned();
    let _ = writeln!(
        text,
        "<testsuite name=\"{name}\" tests=\"{}\" failures=\"{failed}\" errors=\"{early}\" time=\"{:.1}\" timestamp=\"{}\">",
        all + early,
        report.length,
        escaped(report.began.trim_end_matches('Z'))
    );
    for line in &report.verdict {
        let seen = escaped(&format!("expected {}, seen {}", line.expected, line.seen));
        let _ = writeln!(text, "  <testcase classname=\"{name}\" name=\"{}\" time=\"0\">", escaped(line.what));
        if !line.met {
            let _ = writeln!(text, "    <failure message=\"{seen}\"/>");
        }
        let _ = writeln!(text, "    <system-out>{seen}</system-out>\n  </testcase>");
    }
    if let Some(why) = &report.ended_early {
        let _ = writeln!(text, "  <testcase classname=\"{name}\" name=\"the run itself\" time=\"0\">");
        let _ = writeln!(text, "    <error message=\"{}\"/>\n  </testcase>", escaped(why));
    }
    if let Some(proof) = &report.hpa {
        let links: Vec<String> = proof.links.iter().map(|one| link(one).join(" | ")).collect();
        let _ = writeln!(text, "  <system-out>{}</system-out>", escaped(&links.join("\n")));
    }
    text + "</testsuite>\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::load::sample::{golden, proven, report};

    #[test]
    fn everything_expected_is_a_case() {
        golden("load/junit.xml", &suite(&report()));
        let text = suite(&proven());
        assert!(text.contains("tests=\"4\" failures=\"0\" errors=\"0\""), "{text}");
        assert!(text.contains("the autoscaler wants more replicas | 46.0 s | 30.0 s"), "{text}");
    }

    #[test]
    fn a_load_that_ended_early_is_an_error() {
        let text = suite(&LoadReport { ended_early: Some("a < b".into()), ..report() });
        assert!(text.contains("tests=\"2\"") && text.contains("errors=\"1\"") && text.contains("a &lt; b"), "{text}");
    }
}
