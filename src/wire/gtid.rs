//! MySQL's GTID sets, far enough to tell whether one holds another and what it lacks: `uuid:1-5:7,uuid2:1`, tags
//! (`uuid:tag:1-3`) included.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result, ensure};

/// The transactions of a GTID set, by who made them: intervals in order, none of which touches the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GtidSet(BTreeMap<String, Vec<(u64, u64)>>);

impl GtidSet {
    /// Reads a set as `@@gtid_executed` tells it; blanks and line ends do not matter.
    ///
    /// # Errors
    /// It is no GTID set.
    pub fn parse(text: &str) -> Result<GtidSet> {
        let mut sets: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let mut pieces = part.split(':').map(str::trim);
            let uuid = pieces.next().unwrap_or_default().to_ascii_lowercase();
            ensure!(uuid.len() >= 32, "{part:?} does not begin with a server's identity");
            let mut maker = uuid.clone();
            for piece in pieces {
                if piece.starts_with(|c: char| c.is_ascii_digit()) {
                    sets.entry(maker.clone()).or_default().push(interval(piece)?);
                } else {
                    // A tag: what follows is counted on its own.
                    maker = format!("{uuid}:{}", piece.to_ascii_lowercase());
                }
            }
        }
        sets.values_mut().for_each(join);
        Ok(GtidSet(sets))
    }

    /// Those of one maker from a number to another.
    pub fn of(maker: &str, first: u64, last: u64) -> GtidSet {
        GtidSet(BTreeMap::from([(maker.to_ascii_lowercase(), vec![(first, last)])]))
    }

    /// Who made transactions that are in it.
    pub fn makers(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The highest number of a maker.
    pub fn last_of(&self, maker: &str) -> Option<u64> {
        self.0.get(maker)?.last().map(|(_, last)| *last)
    }

    /// Whether every transaction of `other` is in this set, too.
    pub fn contains(&self, other: &GtidSet) -> bool {
        other.0.iter().all(|(maker, theirs)| {
            let ours = self.0.get(maker).map(Vec::as_slice).unwrap_or_default();
            theirs.iter().all(|(first, last)| ours.iter().any(|(from, to)| from <= first && last <= to))
        })
    }

    /// Everything that is in one of the two.
    #[must_use]
    pub fn with(&self, other: &GtidSet) -> GtidSet {
        let mut all = self.0.clone();
        for (maker, theirs) in &other.0 {
            let ours = all.entry(maker.clone()).or_default();
            ours.extend(theirs);
            join(ours);
        }
        GtidSet(all)
    }

    /// What is here and not in `other`.
    #[must_use]
    pub fn without(&self, other: &GtidSet) -> GtidSet {
        let mut rest = BTreeMap::new();
        for (maker, ours) in &self.0 {
            let theirs = other.0.get(maker).map(Vec::as_slice).unwrap_or_default();
            let left: Vec<(u64, u64)> = ours.iter().flat_map(|piece| cut(*piece, theirs)).collect();
            if !left.is_empty() {
                rest.insert(maker.clone(), left);
            }
        }
        GtidSet(rest)
    }

    /// What comes before the first transaction of `later`, of each maker; everything of a maker that `later` does not know.
    #[must_use]
    pub fn before(&self, later: &GtidSet) -> GtidSet {
        let first =
            |maker: &String| later.0.get(maker).and_then(|pieces| pieces.first()).map_or(u64::MAX, |piece| piece.0);
        let cut = |(maker, pieces): (&String, &Vec<(u64, u64)>)| {
            let first = first(maker);
            let pieces = pieces.iter().filter(|piece| piece.0 < first).map(|piece| (piece.0, piece.1.min(first - 1)));
            let pieces: Vec<_> = pieces.collect();
            (!pieces.is_empty()).then(|| (maker.clone(), pieces))
        };
        GtidSet(self.0.iter().filter_map(cut).collect())
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }
}

/// As the server writes it.
impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        for (maker, intervals) in &self.0 {
            write!(f, "{comma}{maker}")?;
            for (first, last) in intervals {
                if first == last { write!(f, ":{first}")? } else { write!(f, ":{first}-{last}")? }
            }
            comma = ",";
        }
        Ok(())
    }
}

/// What of an interval lies in none of these, which are in order and apart.
fn cut((mut first, last): (u64, u64), theirs: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut left = Vec::new();
    for &(from, to) in theirs {
        if to < first || from > last {
            continue;
        }
        if from > first {
            left.push((first, from - 1));
        }
        first = to.saturating_add(1);
    }
    if first <= last {
        left.push((first, last));
    }
    left
}

fn interval(text: &str) -> Result<(u64, u64)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u64>().with_context(|| format!("{text:?} is no transaction number"));
    let (first, last) = (number(first)?, number(last)?);
    ensure!(first <= last, "{text:?} ends before it begins");
    Ok((first, last))
}

/// Puts intervals in order, and makes one of those that touch.
fn join(intervals: &mut Vec<(u64, u64)>) {
    intervals.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for &(first, last) in intervals.iter() {
        match joined.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => joined.push((first, last)),
        }
    }
    *intervals = joined;
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const B: &str = "3E11FA47-71CA-11E1-9E33-C80AA9429563";

    fn set(text: &str) -> GtidSet {
        GtidSet::parse(&text.replace('A', A).replace('B', B)).expect("a set")
    }

    #[test]
    fn a_set_contains_what_is_in_it_however_it_is_written() {
        let table = [
            ("", "", true),
            ("A:1-5", "", true),
            ("", "A:1", false),
            ("A:1-5", "A:1-5", true),
            ("A:1-5", "A:2-4", true),
            ("A:1-5", "A:5-6", false),
            ("A:1-3:4-5", "A:3-4", true),
            ("A:1-3:5-9", "A:3-5", false),
            ("A:6-9:1-5", "A:1-9", true),
            ("A:1-5, B:1-2", "B:1:2", true),
            ("A:1-5", "B:1", false),
            ("A:1-5:tag:1-2", "A:tag:2", true),
            ("A:1-5", "A:tag:2", false),
        ];
        for (ours, theirs, wanted) in table {
            assert_eq!(set(ours).contains(&set(theirs)), wanted, "{ours} contains {theirs}");
        }
        assert_eq!(set("B:1"), set(&format!("{}:1", B.to_lowercase())), "capitals do not matter");
    }

    #[test]
    fn sets_are_added_and_taken_away() {
        let table = [
            ("A:1-5", "A:4-9,B:1", "A:1-9,B:1", "A:1-3"),
            ("A:1-9", "A:3-4", "A:1-9", "A:1-2:5-9"),
            ("A:1-9,B:7", "A:1-2:5", "A:1-9,B:7", "A:3-4:6-9,B:7"),
            ("", "A:1", "A:1", ""),
            ("A:1-3", "", "A:1-3", "A:1-3"),
            ("A:5", "A:5-9", "A:5-9", ""),
            ("A:1-9:tag:1-2", "A:9", "A:1-9:tag:1-2", "A:1-8:tag:1-2"),
        ];
        for (ours, theirs, both, rest) in table {
            let (ours, theirs) = (set(ours), set(theirs));
            assert_eq!(ours.with(&theirs), set(both), "{ours} with {theirs}");
            assert_eq!(ours.without(&theirs), set(rest), "{ours} without {theirs}");
            assert_eq!(GtidSet::parse(&ours.to_string()).expect("a set"), ours, "written and read");
            assert_eq!(ours.without(&theirs).is_empty(), theirs.contains(&ours));
        }
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for text in ["x", "x:1", &format!("{A}:5-1"), &format!("{A}:1-x"), &format!("{A}:1--2")] {
            assert!(GtidSet::parse(text).is_err(), "{text}");
        }
    }
}
