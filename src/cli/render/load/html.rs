//! A load as a page: one file that needs nothing else, readable in light and dark, with a picture.

use std::fmt::Write;

use wplab::actions::load::LoadReport;

use super::{COLUMNS, STYLE, columns, errors, escaped, link, picture::picture, took};

/// The whole page.
pub(crate) fn page(report: &LoadReport) -> String {
    let title = format!("Load on lab {}", report.lab);
    let (class, sum) = match (&report.ended_early, report.passed()) {
        (Some(why), _) => ("failed", format!("✗ ended early: {}", escaped(why))),
        (None, true) => ("passed", "✓ as expected".to_owned()),
        (None, false) => ("failed", "✗ not as expected".to_owned()),
    };
    let asked = report.rate.map_or_else(String::new, |rate| format!(", at most {rate} requests a second"));
    let mut text = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         <p class=\"about\">{} users{asked}, for {:.0} s · {} · wplab {}</p>\n<p class=\"sum {class}\">{sum}</p>\n",
        report.users,
        report.length,
        escaped(&report.began),
        report.version
    );
    text += &picture(report);
    text += LEGEND;
    text += "<div class=\"tables\">\n";
    let rows: Vec<[String; 8]> = report.kinds.iter().chain([&report.total]).map(columns).collect();
    text += &table(&COLUMNS.map(str::to_lowercase), &rows);
    if let Some(proof) = &report.hpa {
        let rows: Vec<[String; 3]> = proof.links.iter().map(link).collect();
        text += &table(&["link", "seen at", "after"].map(ToOwned::to_owned), &rows);
    }
    text += "</div>\n";
    if let Some((Some(before), Some(after))) = report.hpa.as_ref().map(|proof| proof.p95) {
        let (before, after) = (took(before), took(after));
        let _ = writeln!(text, "<p>p95 was {before} before the decision, and {after} with more replicas.</p>");
    }
    if report.total.failed > 0 {
        let _ = writeln!(text, "<p class=\"errors\">What users met: {}</p>", escaped(&errors(&report.total)));
    }
    let rows: Vec<[String; 4]> = report
        .verdict
        .iter()
        .map(|line| {
            let mark = if line.met { "✓" } else { "✗" };
            [line.what.to_owned(), line.expected.clone(), line.seen.clone(), mark.to_owned()]
        })
        .collect();
    text += &table(&["", "expected", "seen", ""].map(ToOwned::to_owned), &rows);
    text + "</main>\n</body>\n</html>\n"
}

const LEGEND: &str = "<p class=\"legend\"><span class=\"key k-good\"></span>answered <span class=\"key k-bad\"></span>failed · CPU use in \
    percent of what replicas ask for: a full line is what metrics-server says, a dashed one what the kubelets count · replicas: a full \
    line are those that are ready, a dashed one those that the autoscaler wants</p>\n";

fn table<const N: usize>(head: &[String; N], rows: &[[String; N]]) -> String {
    let row = |cell: &str, cells: &[String; N]| {
        let cells: String = cells.iter().map(|text| format!("<{cell}>{}</{cell}>", escaped(text))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let body: String = rows.iter().map(|cells| row("td", cells)).collect();
    format!("<table>\n<thead>{}</thead>\n<tbody>\n{body}</tbody>\n</table>\n", row("th", head).trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::render::load::sample::{golden, proven, report};

    #[test]
    fn the_page_needs_nothing_else_and_has_a_picture() {
        let text = page(&proven());
        assert_eq!(text.matches("<svg ").count(), 1);
        for outside in ["<script", "http://", "https://", "url(", "@import", "src="] {
            assert!(!text.contains(outside), "{outside}");
        }
        golden("load/page.html", &text);
    }

    #[test]
    fn what_comes_from_a_lab_cannot_become_part_of_the_page() {
        let text = page(&LoadReport { ended_early: Some("<script>".into()), ..report() });
        assert!(!text.contains("<script") && text.contains("&lt;script&gt;"));
    }
}
