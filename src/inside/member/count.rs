//! How many members there are. It changes while a member runs, so it stands in a file: the key [`MEMBERS`] of ConfigMap `db-state`,
//! which the kubelet brings up to date. Beside it is who counts, which may be more while some are about to leave.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::inside::agent::count;

/// The folder with what the whole database is to be, below the pod's root.
const FOLDER: &str = "etc/wplab/state";
/// The file with the number of members, and the key of the ConfigMap.
pub const MEMBERS: &str = "members";
/// The file with who counts, as the agent writes it down, and the key of the ConfigMap.
pub const COUNTS: &str = "counts";

/// Where the number of members is found.
#[derive(Clone, Debug)]
pub(super) enum Count {
    /// It is what the environment says, outside a lab.
    Fixed(u32),
    /// In this file; and what it said when this member began.
    File(PathBuf, u32),
}

impl Count {
    /// By the variable `MEMBERS` if there is one, else by the file below `root`.
    ///
    /// # Errors
    /// There is neither, or it is no number.
    pub(super) fn new(variable: Option<&str>, root: &Path) -> Result<Count> {
        if let Some(text) = variable {
            return Ok(Count::Fixed(text.parse().context("MEMBERS is not a number")?));
        }
        let file = root.join(FOLDER).join(MEMBERS);
        let text = std::fs::read_to_string(&file);
        let text = text.with_context(|| format!("MEMBERS is not set, and {} cannot be read", file.display()))?;
        let first = text.trim().parse().with_context(|| format!("{} is not a number", file.display()))?;
        Ok(Count::File(file, first))
    }

    /// The number now. What cannot be read is as it was in the beginning.
    pub(super) fn now(&self) -> u32 {
        match self {
            Count::Fixed(number) => *number,
            Count::File(file, first) => {
                std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(*first)
            }
        }
    }

    /// How many may take part: until those that are to leave count no more, one of them may be the source.
    pub(super) fn peers(&self) -> u32 {
        let counts = match self {
            Count::Fixed(_) => None,
            Count::File(file, _) => std::fs::read_to_string(file.with_file_name(COUNTS)).ok(),
        };
        peers(self.now(), counts.as_deref())
    }
}

/// The larger one of how many there shall be and how many count, as the agent has written it down.
pub fn peers(members: u32, counts: Option<&str>) -> u32 {
    let counted = counts.and_then(|text| serde_json::from_str::<count::Count>(text).ok());
    counted.and_then(|count| count.members.try_into().ok()).map_or(members, |counted| members.max(counted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_follows_its_file_and_the_environment_wins() {
        let root = tempfile::tempdir().expect("a folder");
        Count::new(None, root.path()).expect_err("there is neither");
        std::fs::create_dir_all(root.path().join(FOLDER)).expect("a folder");
        let file = root.path().join(FOLDER).join(MEMBERS);
        std::fs::write(&file, "3\n").expect("written");
        let count = Count::new(None, root.path()).expect("a number");
        assert_eq!(count.now(), 3);
        std::fs::write(&file, "5").expect("written");
        assert_eq!(count.now(), 5);
        std::fs::write(&file, "").expect("written");
        assert_eq!(count.now(), 3, "half written");
        assert_eq!(Count::new(Some("2"), root.path()).expect("a number").now(), 2);
        Count::new(Some("two"), root.path()).expect_err("no number");
    }

    #[test]
    fn whoever_counts_is_known_although_fewer_are_asked_for() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join(FOLDER);
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join(MEMBERS), "1").expect("written");
        let count = Count::new(None, root.path()).expect("a number");
        assert_eq!((count.now(), count.peers()), (1, 1), "nothing is written down yet");
        for (counts, known) in [
            (r#"{"version":4,"members":3,"acks":0}"#, 3),
            (r#"{"version":5,"members":1,"acks":0}"#, 1),
            ("half writ", 1),
        ] {
            std::fs::write(folder.join(COUNTS), counts).expect("written");
            assert_eq!((count.now(), count.peers()), (1, known), "{counts}");
        }
        std::fs::write(folder.join(MEMBERS), "5").expect("written");
        assert_eq!(count.peers(), 5, "more are to come");
    }
}
