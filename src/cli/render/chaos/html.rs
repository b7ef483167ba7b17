//! Drills as a page: one file that needs nothing else, readable in light and dark, with a picture of every round.

use std::fmt::Write;

use wplab::actions::chaos::{
    ChaosReport,
    report::{Round, Served},
};

use super::{STYLE, escaped, outage, picture::picture};

/// The whole page.
pub(crate) fn page(report: &ChaosReport) -> String {
    let title = format!("Drills of lab {}", report.lab);
    let failed = report.rounds.iter().filter(|round| !round.passed()).count();
    let all = report.rounds.len();
    let sum = match (&report.ended_early, failed) {
        (Some(why), _) => format!("<p class=\"sum failed\">✗ ended early: {}</p>", escaped(why)),
        (None, 0) if all == 1 => "<p class=\"sum passed\">✓ the round passed</p>".to_owned(),
        (None, 0) => format!("<p class=\"sum passed\">✓ all {all} rounds passed</p>"),
        (None, _) => format!("<p class=\"sum failed\">✗ {failed} of {all} rounds failed</p>"),
    };
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         <p class=\"about\">topology {} · {} · wplab {}</p>\n{sum}\n",
        report.topology.name(),
        escaped(&report.began),
        report.version
    );
    text += "<table class=\"rounds\">\n<thead><tr><th>scenario</th><th>round</th><th>no reads</th><th>no writes</th>\
             <th>no edits</th><th>errors</th><th>rows acknowledged</th><th>lost</th><th>verdict</th></tr></thead>\n<tbody>\n";
    for (n, round) in report.rounds.iter().enumerate() {
        let (class, verdict) = verdict(round.passed());
        let _ = writeln!(
            text,
            "<tr><td><a href=\"#r{n}\">{}</a></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td class=\"{class}\">{verdict}</td></tr>",
            escaped(&round.scenario),
            round.round,
            outage(&round.readers),
            outage(&round.writers),
            outage(&round.editor),
            round.readers.failed + round.editor.failed,
            round.rows.acknowledged,
            round.rows.lost_rows
        );
    }
    text += "</tbody>\n</table>\n";
    text += LEGEND;
    report.rounds.iter().enumerate().for_each(|(n, round)| text += &section(n, round));
    text + "</main>\n</body>\n</html>\n"
}

const LEGEND: &str = "<p class=\"legend\"><span class=\"key k-good\"></span>served <span class=\"key k-bad\"></span>not served \
    <span class=\"key k-writer\"></span>writer <span class=\"key k-reader\"></span>reader <span class=\"key k-away\"></span>serves \
    nobody <span class=\"key k-silent\"></span>the API server does not answer · replicas: a full line are those that are ready, a \
    dashed one those that the autoscaler wants</p>\n";

fn verdict(passed: bool) -> (&'static str, &'static str) {
    if passed { ("passed", "✓ passed") } else { ("failed", "✗ failed") }
}

fn section(n: usize, round: &Round) -> String {
    let (class, told) = verdict(round.passed());
    let mut text = format!(
        "<section id=\"r{n}\">\n<h2>{}, round {} <span class=\"{class}\">{told}</span></h2>\n<p>{} ({})</p>\n",
        escaped(&round.scenario),
        round.round,
        escaped(&round.summary),
        escaped(&round.struck)
    );
    text += &picture(round);
    text += "<ol class=\"marks\">\n";
    for mark in &round.timeline.marks {
        let _ = writeln!(text, "<li><b>{:.1} s</b> {}</li>", mark.at, escaped(&mark.what));
    }
    text += "</ol>\n<div class=\"tables\">\n<table>\n<thead><tr><th></th><th>expected</th><th>seen</th><th></th></tr></thead>\n<tbody>\n";
    for line in &round.verdict {
        let (class, mark) = if line.met { ("passed", "✓") } else { ("failed", "✗") };
        let (expected, seen) = (escaped(&line.expected), escaped(&line.seen));
        let _ = writeln!(
            text,
            "<tr><td>{}</td><td>{expected}</td><td>{seen}</td><td class=\"{class}\">{mark}</td></tr>",
            line.what
        );
    }
    text += "</tbody>\n</table>\n<table>\n<thead><tr><th></th><th>asked</th><th>failed</th><th>p50</th><th>p95</th><th>p99</th>\
             <th>max</th><th>longest outage</th></tr></thead>\n<tbody>\n";
    for (who, served) in [("readers", &round.readers), ("editor", &round.editor), ("writers", &round.writers)] {
        text += &row(who, served);
    }
    text += "</tbody>\n</table>\n</div>\n";
    for (who, served) in [("readers", &round.readers), ("editor", &round.editor), ("writers", &round.writers)] {
        if !served.errors.is_empty() {
            let errors: Vec<String> = served.errors.iter().map(|(what, count)| format!("{count} × {what}")).collect();
            let _ = writeln!(text, "<p class=\"errors\">What {who} met: {}</p>", escaped(&errors.join(", ")));
        }
    }
    let rows = &round.rows;
    let _ = writeln!(
        text,
        "<p class=\"errors\">{} rows were acknowledged and looked for at {}; {} whose write failed are there as well; {} tables have \
         equal checksums.</p>",
        rows.acknowledged,
        escaped(&rows.members.join(", ")),
        rows.unsure,
        rows.tables
    );
    if round.way_cut > 0.0 {
        let _ = writeln!(
            text,
            "<p class=\"errors\">For {:.1} s the API server did not answer, through which the ledger reaches the database: that is no \
             outage of the database and is not counted as one.</p>",
            round.way_cut
        );
    }
    text + "</section>\n"
}

fn row(who: &str, served: &Served) -> String {
    let times = match served.latency {
        Some(l) => [l.p50, l.p95, l.p99, l.max].map(|seconds| format!("<td>{:.0} ms</td>", seconds * 1000.0)).concat(),
        None => "<td>–</td>".repeat(4),
    };
    format!(
        "<tr><td>{who}</td><td>{}</td><td>{}</td>{times}<td>{} from {:.1} s</td></tr>\n",
        served.asked,
        served.failed,
        outage(served),
        served.outage.from
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::chaos::sample::{golden, report};

    #[test]
    fn the_page_needs_nothing_else_and_has_a_picture_of_every_round() {
        let text = page(&report());
        assert_eq!(text.matches("<svg ").count(), 2);
        for outside in ["<script", "http://", "https://", "url(", "@import", "src="] {
            assert!(!text.contains(outside), "{outside}");
        }
        assert!(text.contains("prefers-color-scheme: dark"));
        golden("chaos/page.html", &text);
    }

    #[test]
    fn what_comes_from_a_lab_cannot_become_part_of_the_page() {
        let mut report = report();
        report.rounds[0].struck = "<script>alert(1)</script>".into();
        report.rounds[0].timeline.marks[0].what = "a & b".into();
        let text = page(&report);
        assert!(!text.contains("<script") && text.contains("&lt;script&gt;") && text.contains("a &amp; b"));
    }
}
