//! What was expected against what was seen. Pure: a drill passes when every line is met.

use std::time::Duration;

use super::report::{Line, Rows, Served};
use crate::spec::scenario::Expect;

/// What a round has to be judged by.
pub(super) struct Seen<'a> {
    pub(super) readers: &'a Served,
    pub(super) editor: &'a Served,
    pub(super) writers: &'a Served,
    pub(super) rows: &'a Rows,
    pub(super) healed: Option<f64>,
}

/// Every expectation, met or not. That what is there was written, in its order, and everywhere the same, is always expected.
pub(super) fn judge(expect: &Expect, heals_within: Duration, seen: &Seen<'_>) -> Vec<Line> {
    let mut lines = Vec::new();
    let outages = [
        ("longest read outage", expect.read_outage, seen.readers),
        ("longest edit outage", expect.edit_outage, seen.editor),
        ("longest write outage", expect.write_outage, seen.writers),
    ];
    for (what, most, served) in outages {
        let Some(most) = most else { continue };
        let length = served.outage.length;
        // Nobody who was asked is no proof of anything.
        let met = served.asked > 0 && length <= most.as_secs_f64();
        lines.push(Line {
            what,
            expected: format!("at most {} s", most.as_secs()),
            seen: format!("{length:.1} s"),
            met,
        });
    }
    if let Some(most) = expect.failed_reads {
        let share = seen.readers.failed_share();
        let counted = format!("{share:.1} % ({} of {})", seen.readers.failed, seen.readers.asked);
        let met = seen.readers.asked > 0 && share <= f64::from(most);
        lines.push(Line { what: "failed reads", expected: format!("at most {most} %"), seen: counted, met });
    }
    let rows = seen.rows;
    let lost = match rows.lost.first() {
        None => format!("{} of {}", rows.lost_rows, rows.acknowledged),
        Some(first) => {
            let many = if rows.lost.len() > 1 { " and others" } else { "" };
            format!(
                "{} of {}: {} lacks {}/{}{many}",
                rows.lost_rows, rows.acknowledged, first.member, first.session, first.seq
            )
        }
    };
    let few = usize::try_from(expect.lost_rows).is_ok_and(|most| rows.lost_rows <= most);
    let met = few && rows.acknowledged > 0;
    lines.push(Line { what: "acknowledged rows lost", expected: expect.lost_rows.to_string(), seen: lost, met });
    let none = [
        ("rows that nobody wrote", &rows.unwritten),
        ("writes out of order", &rows.reordered),
        ("members that cannot be asked", &rows.unasked),
        ("differences between members", &rows.differences),
    ];
    for (what, found) in none {
        lines.push(Line { what, expected: "none".to_owned(), seen: shortly(found), met: found.is_empty() });
    }
    let within = format!("within {} s", heals_within.as_secs());
    let healed = seen.healed.map_or_else(|| "not in time".to_owned(), |after| format!("after {after:.1} s"));
    lines.push(Line {
        what: "all well again",
        expected: within,
        seen: healed,
        met: seen.healed.is_some_and(|after| after <= heals_within.as_secs_f64()),
    });
    lines
}

fn shortly(found: &[String]) -> String {
    match found {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [one, others @ ..] => format!("{one}; and {} more", others.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::chaos::report::{Missing, Outage};

    fn served(failed: usize, outage: f64) -> Served {
        Served { asked: 100, failed, outage: Outage { from: 3.0, length: outage }, ..Served::default() }
    }

    fn missed(expect: &Expect, seen: &Seen<'_>) -> Vec<(&'static str, String)> {
        let lines = judge(expect, Duration::from_secs(60), seen);
        lines.into_iter().filter(|line| !line.met).map(|line| (line.what, line.seen)).collect()
    }

    #[test]
    fn a_round_in_which_all_is_as_expected_passes_and_every_other_one_says_why_not() {
        let expect = Expect {
            read_outage: Some(Duration::from_secs(5)),
            edit_outage: None,
            write_outage: Some(Duration::from_secs(10)),
            failed_reads: Some(20),
            lost_rows: 0,
        };
        let (good, rows) = (served(10, 4.0), Rows { acknowledged: 50, ..Rows::default() });
        let fine = Seen { readers: &good, editor: &good, writers: &good, rows: &rows, healed: Some(3.0) };
        assert_eq!(missed(&expect, &fine), []);

        let long = served(10, 10.1);
        assert_eq!(missed(&expect, &Seen { writers: &long, ..fine }), [("longest write outage", "10.1 s".to_owned())]);
        let many = served(21, 0.0);
        assert_eq!(
            missed(&expect, &Seen { readers: &many, ..fine }),
            [("failed reads", "21.0 % (21 of 100)".to_owned())]
        );
        let lost = Missing { member: "db-1".into(), session: 1, seq: 7 };
        let lacks = Rows { lost: vec![lost], lost_rows: 1, ..rows.clone() };
        assert_eq!(
            missed(&expect, &Seen { rows: &lacks, ..fine }),
            [("acknowledged rows lost", "1 of 50: db-1 lacks 1/7".to_owned())]
        );
        let strange =
            Rows { unwritten: vec!["1/9".into(), "1/10".into()], reordered: vec!["0/3".into()], ..rows.clone() };
        assert_eq!(
            missed(&expect, &Seen { rows: &strange, ..fine }),
            [("rows that nobody wrote", "1/9; and 1 more".to_owned()), ("writes out of order", "0/3".to_owned())]
        );
        assert_eq!(missed(&expect, &Seen { healed: None, ..fine }), [("all well again", "not in time".to_owned())]);
        assert_eq!(
            missed(&expect, &Seen { healed: Some(61.0), ..fine }),
            [("all well again", "after 61.0 s".to_owned())]
        );
    }

    #[test]
    fn a_drill_that_measured_nothing_does_not_pass() {
        let expect = Expect { read_outage: Some(Duration::from_secs(5)), ..Expect::default() };
        let (nobody, rows) = (Served::default(), Rows::default());
        let seen = Seen { readers: &nobody, editor: &nobody, writers: &nobody, rows: &rows, healed: Some(1.0) };
        let what: Vec<&str> = missed(&expect, &seen).into_iter().map(|(what, _)| what).collect();
        assert_eq!(what, ["longest read outage", "acknowledged rows lost"]);
    }

    #[test]
    fn a_loss_that_is_expected_is_none_of_ours() {
        let expect = Expect { lost_rows: 2, ..Expect::default() };
        let (good, rows) = (served(0, 0.0), Rows { acknowledged: 50, lost_rows: 2, ..Rows::default() });
        let seen = Seen { readers: &good, editor: &good, writers: &good, rows: &rows, healed: Some(3.0) };
        assert_eq!(missed(&expect, &seen), []);
    }
}
