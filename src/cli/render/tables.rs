//! Lists of things for people: columns as wide as they need, marks that can be read without colours.

use std::fmt::Write;

use wplab::{
    actions::{
        backup::shelves::{Listed, Summary},
        list::LabSummary,
        smoke::{CheckResult, SmokeReport, Verdict},
        snapshot::Snapshot,
    },
    host::{
        machine::{Finding, Level},
        nodes::labs::Doing,
    },
    parts::images::{ImageRow, Role},
    run::{StepTiming, event::Outcome},
    wire::backup::verified::Verified,
};

use super::{
    super::spell::{self, Asked},
    paint::{Paint, span, tame},
};

/// Rows below a head; nothing is said of no rows.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let wide = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).fold(head[column].chars().count(), usize::max)
    };
    let widths: [usize; N] = std::array::from_fn(wide);
    let line = |cells: [&str; N]| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    let body = rows.iter().map(|row| line(std::array::from_fn(|column| row[column].as_str())));
    line(head) + &body.collect::<String>()
}

/// Bytes with a unit: `512 B`, `1.0 KiB`, `1.3 GiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A role's name as in the catalogue.
pub(crate) fn role(role: Role) -> String {
    serde_json::to_value(role).ok().and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

/// Every check below its subject, and how many passed.
pub(crate) fn checks(proof: &SmokeReport, asked: &Asked, paint: Paint) -> String {
    let mut text = String::new();
    let width = proof.checks.iter().map(|check| check.sentence.chars().count()).max().unwrap_or_default();
    let mut subject = "";
    for check in &proof.checks {
        if check.subject != subject {
            subject = check.subject;
            let _ = writeln!(text, "{}", paint.bold(subject));
        }
        text += &one_check(check, width, asked, paint);
    }
    let count = |wanted: fn(&Verdict) -> bool| proof.checks.iter().filter(|check| wanted(&check.verdict)).count();
    let (all, failed) = (proof.checks.len(), count(|verdict| matches!(verdict, Verdict::Failed { .. })));
    let skipped = count(|verdict| matches!(verdict, Verdict::Skipped { .. }));
    let sum = match (failed, skipped) {
        (0, 0) => paint.good(&format!("all {all} checks passed")),
        (_, 0) => paint.bad(&format!("{failed} of {all} checks failed")),
        _ => paint.bad(&format!("{failed} of {all} checks failed, {skipped} could not be looked at")),
    };
    text + &sum + "\n"
}

fn one_check(check: &CheckResult, width: usize, asked: &Asked, paint: Paint) -> String {
    let CheckResult { sentence, verdict, took, .. } = check;
    let took = format!("{:>6}", span(took.as_secs_f64()));
    match verdict {
        Verdict::Passed { seen } => {
            format!("  {} {sentence:<width$} {} {}\n", paint.good("√"), paint.dim(&took), paint.dim(&tame(seen)))
        }
        Verdict::Failed { reason, hints } => {
            let mut text = format!(
                "  {} {sentence:<width$} {}\n      {}\n",
                paint.bad("×"),
                paint.dim(&took),
                reason.replace('\n', "\n      ")
            );
            for hint in hints {
                let _ = writeln!(text, "      {} {}", paint.bold("hint:"), spell::hint(hint, asked));
            }
            text
        }
        Verdict::Skipped { reason } => {
            format!("  {} {sentence}\n      not looked at: {}\n", paint.warning("-"), tame(reason))
        }
    }
}

/// What `doctor` found, with the cures below.
pub(crate) fn findings(findings: &[Finding], asked: &Asked, paint: Paint) -> String {
    let mut text = String::new();
    for Finding { title, level, detail, cure, .. } in findings {
        let mark = match level {
            Level::Ok => paint.good("√"),
            Level::Warning => paint.warning("!"),
            Level::Blocking => paint.bad("×"),
        };
        let _ = writeln!(text, "{mark} {title}");
        if *level != Level::Ok && !detail.is_empty() {
            let _ = writeln!(text, "    {}", detail.replace('\n', "\n    "));
        }
        if let Some(cure) = cure.as_ref().filter(|_| *level != Level::Ok) {
            let by = if cure.fixable { ", or let --fix do it" } else { "" };
            let _ = writeln!(text, "    {} {}{by}", paint.bold("cure:"), spell::hint(&cure.by, asked));
        }
    }
    let count = |wanted: Level| findings.iter().filter(|finding| finding.level == wanted).count();
    let sum = match (count(Level::Blocking), count(Level::Warning)) {
        (0, 0) => paint.good("this machine is ready for a lab"),
        (0, 1) => paint.good("this machine is ready for a lab, with 1 warning"),
        (0, warnings) => paint.good(&format!("this machine is ready for a lab, with {warnings} warnings")),
        (1, _) => paint.bad("1 thing is missing"),
        (missing, _) => paint.bad(&format!("{missing} things are missing")),
    };
    text + &sum + "\n"
}

/// How long each step took.
pub(crate) fn timings(timings: &[StepTiming]) -> String {
    let row = |timing: &StepTiming| {
        let outcome = if timing.outcome == Outcome::Done { "done" } else { "already there" };
        [
            timing.step.name().to_owned(),
            format!("{:.1}", timing.started),
            format!("{:.1}", timing.took),
            outcome.to_owned(),
        ]
    };
    let rows: Vec<_> = timings.iter().map(row).collect();
    table(["STEP", "FROM", "SECONDS", "OUTCOME"], &rows).trim_end().to_owned()
}

/// The labs on this machine.
pub(crate) fn labs(labs: &[LabSummary]) -> String {
    let row = |lab: &LabSummary| {
        let nodes = match lab.state {
            Doing::Running => format!("{} of {} running", lab.running, lab.nodes),
            other => format!("{} {}", lab.nodes, other.name()),
        };
        [lab.name.clone(), nodes, lab.url.clone().unwrap_or_else(|| "-".to_owned())]
    };
    table(["NAME", "NODES", "URL"], &labs.iter().map(row).collect::<Vec<_>>())
}

/// Snapshots, and what each takes of the disk by itself.
pub(crate) fn snapshots(snapshots: &[Snapshot]) -> String {
    let row = |one: &Snapshot| {
        [one.name.to_string(), one.lab.to_string(), one.taken.clone(), one.nodes.to_string(), bytes(one.bytes)]
    };
    table(["NAME", "LAB", "TAKEN", "NODES", "SIZE"], &snapshots.iter().map(row).collect::<Vec<_>>())
}

/// Backups, and what never became one.
pub(crate) fn backups(listed: &Listed) -> String {
    let row = |one: &Summary| {
        let how = match (one.scheduled, one.encrypted) {
            (false, false) => "by hand",
            (true, false) => "scheduled",
            (false, true) => "by hand, encrypted",
            (true, true) => "scheduled, encrypted",
        };
        [
            one.id.to_string(),
            one.lab.to_string(),
            one.rows.to_string(),
            one.files.to_string(),
            bytes(one.stored),
            one.server.clone(),
            how.to_owned(),
            match &one.verified {
                None => "never".to_owned(),
                Some(Verified { wrong: Some(_), .. }) => "FAILED".to_owned(),
                Some(Verified { at, .. }) => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            },
        ]
    };
    let rows: Vec<_> = listed.backups.iter().map(row).collect();
    let mut text = table(["ID", "LAB", "ROWS", "FILES", "SIZE", "SERVER", "MADE", "VERIFIED"], &rows);
    for id in &listed.unfinished {
        let _ = writeln!(text, "{id} is unfinished and no backup: it is being made, or whoever made it is gone");
    }
    text
}

/// What `images prune` removed.
pub(crate) fn pruned(keys: &[String]) -> String {
    if keys.is_empty() {
        return "nothing had to go\n".to_owned();
    }
    keys.iter().map(|key| format!("removed golden root {key}\n")).collect()
}

/// The catalogue.
pub(crate) fn images(rows: &[ImageRow]) -> String {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let row = |image: &ImageRow| {
        let here = image.present.as_ref();
        let short = |id: &str| id.trim_start_matches("sha256:").chars().take(12).collect();
        [
            role(image.role),
            or_dash(here.map(|p| short(&p.id))),
            or_dash(here.map(|p| p.origin.to_string())),
            or_dash(here.map(|p| bytes(p.size))),
            image.public.clone(),
        ]
    };
    table(["ROLE", "HERE", "FROM", "SIZE", "PUBLIC"], &rows.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use wplab::{run::advice::Hint, spec::LabName};

    use super::*;

    #[test]
    fn columns_are_as_wide_as_they_need() {
        let rows = [["a".to_owned(), "long one".to_owned()], ["bcd".to_owned(), "x".to_owned()]];
        assert_eq!(table(["N", "WHAT"], &rows), "N    WHAT\na    long one\nbcd  x\n");
        assert_eq!(table(["N"], &[]), "");
    }

    #[test]
    fn bytes_have_few_digits() {
        assert_eq!(
            [0, 1023, 1024, 1024 * 1024 - 1, 5 << 30].map(bytes),
            ["0 B", "1023 B", "1.0 KiB", "1.0 MiB", "5.0 GiB"]
        );
    }

    #[test]
    fn checks_can_be_read_without_colours() {
        let check = |subject, sentence: &str, verdict| CheckResult {
            subject,
            sentence: sentence.into(),
            verdict,
            took: Duration::from_millis(240),
        };
        let demo = LabName::new("demo").expect("a name");
        let logs = Hint::Logs { lab: demo, of: Some("frontend") };
        let proof = SmokeReport {
            checks: vec![
                check("nodes", "every node is ready", Verdict::Passed { seen: "4 nodes".into() }),
                check(
                    "frontend",
                    "the front page answers",
                    Verdict::Failed { reason: "status 503".into(), hints: vec![logs] },
                ),
                check(
                    "frontend",
                    "a post can be read",
                    Verdict::Skipped { reason: "the front page does not answer".into() },
                ),
            ],
        };
        assert_eq!(
            checks(&proof, &Asked::Other, Paint::off()),
            "nodes\n  √ every node is ready      0.2s 4 nodes\nfrontend\n  × the front page answers   0.2s\n      status 503\n      hint: `wplab logs demo --of frontend` shows what was written\n  - a post can be read\n      not looked at: the front page does not answer\n1 of 3 checks failed, 1 could not be looked at\n"
        );
    }
}
