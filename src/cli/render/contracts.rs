//! What was seen of images, for people: every line of every contract.

use std::{fmt::Write, path::Path};

use wplab::{
    inside::inspect::{Judgement, Seen},
    parts::{
        images::Checked,
        trial::{self, Step, Thorough},
    },
};

use super::paint::{Paint, tame};

/// Images one below the other, each with its lines.
pub(crate) fn checked(all: &[Checked], paint: Paint) -> String {
    let mut text = String::new();
    for checked in all {
        let _ = writeln!(text, "{}  {}", paint.bold(checked.role.name()), paint.dim(&checked.image));
        let wide = checked.report.lines.iter().map(|seen| seen.line.len()).max().unwrap_or(0);
        for Seen { line, says, verdict } in &checked.report.lines {
            let _ = match verdict {
                Judgement::Holds(seen) => {
                    writeln!(text, "  {} {line:<wide$}  {}", paint.good("√"), paint.dim(&tame(seen)))
                }
                Judgement::Differs(seen) => writeln!(text, "  {} {line:<wide$}  {}", paint.warning("!"), tame(seen)),
                Judgement::Breaks(why) => {
                    writeln!(
                        text,
                        "  {} {line:<wide$}  {}\n      what the lab relies on: {says}",
                        paint.bad("×"),
                        tame(why)
                    )
                }
            };
        }
    }
    let broken = all.iter().filter(|checked| checked.broken().is_some()).count();
    let sum = match (all.len(), broken) {
        (0, _) => "no image is here yet: `wplab images build` or `wplab images pull`".to_owned(),
        (1, 0) => paint.good("the image keeps its contract"),
        (count, 0) => paint.good(&format!("all {count} images keep their contracts")),
        (count, broken) => paint.bad(&format!("{broken} of {count} images break their contracts")),
    };
    text + &sum + "\n"
}

/// An image with its contract, and below it the life of its cluster.
pub(crate) fn thorough(thorough: &Thorough, report: &Path, paint: Paint) -> String {
    let mut text = checked(std::slice::from_ref(&thorough.checked), paint);
    if !thorough.steps.is_empty() {
        let _ = writeln!(text, "\n{}  {}", paint.bold("a cluster of two"), paint.dim(&thorough.etcd));
    }
    let wide = thorough.steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
    for Step { name, says, took, verdict } in &thorough.steps {
        let _ = match verdict {
            trial::StepEnd::Holds(seen) => {
                let _ = writeln!(text, "  {} {name:<wide$} {took:>5.1} s  {says}", paint.good("√"));
                seen.iter().try_for_each(|seen| writeln!(text, "      {}", paint.dim(&tame(seen))))
            }
            trial::StepEnd::Breaks(why) => {
                writeln!(text, "  {} {name:<wide$} {took:>5.1} s  {says}\n      {}", paint.bad("×"), tame(why))
            }
            trial::StepEnd::NotReached => writeln!(text, "  {} {name:<wide$}          {says}", paint.dim("-")),
        };
    }
    if let Some((step, _)) = thorough.broken() {
        text += &format!("{}\n", paint.bad(&format!("the cluster does not hold at step {step}")));
    } else if thorough.holds() {
        text += &format!("{}\n", paint.good("a cluster of two lived through every step"));
    }
    text + &format!("the report, with nothing secret in it: {}\n", report.display())
}
