//! The name that everything carries which the checks put into a lab, so that it can be found and removed: by the run that
//! made it, or by a later one when that run was killed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PREFIX: &str = "wplab-smoke-";
/// A run that began longer ago than this is over, whatever became of it.
const STALE: Duration = Duration::from_secs(15 * 60);

/// One run's name: `wplab-smoke-SECONDS-RANDOM`. It fits a WordPress slug, a file name and a MySQL value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    name: String,
    made: u64,
}

impl Marker {
    /// The marker of a run that begins now.
    pub fn new() -> Marker {
        let made = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Marker { name: format!("{PREFIX}{made}-{:08x}", rand::random::<u32>()), made }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// What all markers begin with; good for a search.
    pub fn common() -> &'static str {
        PREFIX.trim_end_matches('-')
    }

    /// Whether this run may remove a thing of this name: it is its own, or of a run that is long over.
    pub fn may_remove(&self, name: &str) -> bool {
        if name.starts_with(&self.name) {
            return true;
        }
        let made = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split('-').next())
            .and_then(|digits| digits.parse::<u64>().ok());
        made.is_some_and(|made| made.saturating_add(STALE.as_secs()) < self.made)
    }
}

impl Default for Marker {
    fn default() -> Self {
        Marker::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_removes_its_own_and_what_is_stale_but_not_a_neighbours() {
        let mine = Marker { name: "wplab-smoke-10000-0000abcd".into(), made: 10_000 };
        assert!(mine.may_remove("wplab-smoke-10000-0000abcd"));
        assert!(mine.may_remove("wplab-smoke-10000-0000abcd-2.gif"));
        assert!(mine.may_remove("wplab-smoke-9000-ffff0000"));
        assert!(!mine.may_remove("wplab-smoke-9900-ffff0000"));
        assert!(!mine.may_remove("wplab-smoke-report"));
        assert!(!mine.may_remove("hello-world"));
        assert!(mine.as_str().starts_with(Marker::common()));
    }

    #[test]
    fn markers_differ_and_carry_the_time() {
        let (one, two) = (Marker::new(), Marker::new());
        assert_ne!(one, two);
        assert!(one.made > 1_700_000_000 && one.as_str().contains(&one.made.to_string()));
    }
}
