//! What was seen of images, for people: every line of every contract.

use std::fmt::Write;

use wplab::{
    agent::inspect::{Seen, Verdict},
    parts::images::Checked,
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
                Verdict::Holds(seen) => {
                    writeln!(text, "  {} {line:<wide$}  {}", paint.good("√"), paint.dim(&tame(seen)))
                }
                Verdict::Differs(seen) => writeln!(text, "  {} {line:<wide$}  {}", paint.warning("!"), tame(seen)),
                Verdict::Breaks(why) => {
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
