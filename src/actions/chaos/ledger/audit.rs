//! Holds what members have against what was acknowledged. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::book::{Entries, sum};
use crate::actions::chaos::report::{Missing, Rows};

/// A row as a member has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::actions::chaos) struct Found {
    /// Who wrote it.
    pub(in crate::actions::chaos) session: u32,
    /// Which of that session's.
    pub(in crate::actions::chaos) seq: u64,
    /// The last row of the same session that could be seen where and when it was written.
    pub(in crate::actions::chaos) saw: u64,
    /// What it says.
    pub(in crate::actions::chaos) payload: String,
}

/// What became of what was written, as far as rows tell.
pub(in crate::actions::chaos) fn audit(entries: &Entries, members: &BTreeMap<String, Vec<Found>>) -> Rows {
    let acknowledged: BTreeSet<(u32, u64)> =
        entries.iter().filter(|(_, entry)| entry.acknowledged).map(|(at, _)| *at).collect();
    let (mut lost, mut unwritten, mut reordered) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    let (mut lost_rows, mut unsure) = (BTreeSet::new(), BTreeSet::new());
    for (member, found) in members {
        let there: BTreeSet<(u32, u64)> = found.iter().map(|row| (row.session, row.seq)).collect();
        for &(session, seq) in acknowledged.difference(&there) {
            lost_rows.insert((session, seq));
            lost.push(Missing { member: member.clone(), session, seq });
        }
        for row in found {
            let at = (row.session, row.seq);
            let named = format!("{}/{} at {member}", row.session, row.seq);
            match entries.get(&at) {
                None => drop(unwritten.insert(named)),
                Some(entry) if entry.sum != sum(row.session, row.seq, &row.payload) => {
                    unwritten.insert(format!("{named} says something else"));
                }
                Some(entry) => {
                    if !entry.acknowledged {
                        unsure.insert(at);
                    }
                    // What a session was told of, its next row has to see; and it cannot see what comes after it.
                    if row.saw < entry.told || row.saw >= row.seq {
                        let (saw, told) = (row.saw, entry.told);
                        reordered
                            .insert(format!("{}/{} saw {saw} after {told} was acknowledged", row.session, row.seq));
                    }
                }
            }
        }
    }
    Rows {
        acknowledged: acknowledged.len(),
        unsure: unsure.len(),
        lost,
        lost_rows: lost_rows.len(),
        unwritten: unwritten.into_iter().collect(),
        reordered: reordered.into_iter().collect(),
        members: members.keys().cloned().collect(),
        ..Rows::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::chaos::ledger::book::Entry;

    /// Rows 1, 2 and 4 of session 0 were acknowledged; 3 was not.
    fn written() -> Entries {
        let entry = |seq: u64, told, acknowledged| ((0, seq), Entry { sum: sum(0, seq, "x"), told, acknowledged });
        BTreeMap::from([entry(1, 0, true), entry(2, 1, true), entry(3, 2, false), entry(4, 2, true)])
    }

    fn row(seq: u64, saw: u64) -> Found {
        Found { session: 0, seq, saw, payload: "x".to_owned() }
    }

    fn at(rows: &[Found]) -> BTreeMap<String, Vec<Found>> {
        BTreeMap::from([("db-0".to_owned(), rows.to_vec()), ("db-1".to_owned(), vec![row(1, 0), row(2, 1), row(4, 2)])])
    }

    #[test]
    fn what_was_acknowledged_is_everywhere_and_what_failed_may_be_there() {
        let without = audit(&written(), &at(&[row(1, 0), row(2, 1), row(4, 2)]));
        assert_eq!((without.acknowledged, without.unsure, without.lost_rows), (3, 0, 0));
        let with = audit(&written(), &at(&[row(1, 0), row(2, 1), row(3, 2), row(4, 3)]));
        assert_eq!((with.unsure, with.lost_rows), (1, 0));
        assert!(with.unwritten.is_empty() && with.reordered.is_empty(), "{with:?}");
        assert_eq!(with.members, ["db-0", "db-1"]);
    }

    #[test]
    fn a_lost_row_is_seen_and_where_it_is_lacking() {
        let rows = audit(&written(), &at(&[row(1, 0), row(4, 2)]));
        assert_eq!(rows.lost, [Missing { member: "db-0".into(), session: 0, seq: 2 }]);
        let nowhere = audit(&written(), &BTreeMap::from([("db-0".to_owned(), vec![]), ("db-1".to_owned(), vec![])]));
        assert_eq!((nowhere.lost_rows, nowhere.lost.len()), (3, 6));
    }

    #[test]
    fn a_row_that_nobody_wrote_is_seen_and_one_that_says_something_else() {
        let other = Found { payload: "y".into(), ..row(2, 1) };
        let rows = audit(&written(), &at(&[row(1, 0), other, row(4, 2), row(9, 4)]));
        assert_eq!(rows.unwritten, ["0/2 at db-0 says something else", "0/9 at db-0"]);
    }

    #[test]
    fn a_session_that_did_not_see_what_it_had_been_told_is_seen() {
        let rows = audit(&written(), &at(&[row(1, 0), row(2, 1), row(4, 1)]));
        assert_eq!(rows.reordered, ["0/4 saw 1 after 2 was acknowledged"]);
        let rows = audit(&written(), &at(&[row(1, 0), row(2, 3), row(4, 2)]));
        assert_eq!(rows.reordered, ["0/2 saw 3 after 1 was acknowledged"], "nobody sees what comes later");
    }
}
