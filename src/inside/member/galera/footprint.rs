//! What a data directory looks like from outside: a copy that comes in changes it, whatever the program that writes it.

use std::{fs, path::Path, time::SystemTime};

/// Files of Galera's own that change with the cluster, also while a copy stands still.
const OTHERS: [&str; 2] = ["galera.cache", "gcache.page"];

/// How much there is, and when it changed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Footprint {
    /// The sum of all files' sizes.
    pub(super) bytes: u64,
    /// The newest change of a file or folder.
    pub(super) newest: Option<SystemTime>,
}

impl Footprint {
    /// Of a folder; what cannot be looked at, because it is being renamed or removed, counts as nothing.
    pub(super) fn of(folder: &Path) -> Footprint {
        let mut found = Footprint::default();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Ok(about) = entry.metadata() else { continue };
            if OTHERS.iter().any(|other| name.to_string_lossy().starts_with(other)) {
                continue;
            }
            let inner = if about.is_dir() { Footprint::of(&entry.path()) } else { Footprint::default() };
            found.bytes += inner.bytes + if about.is_file() { about.len() } else { 0 };
            found.newest = found.newest.max(inner.newest).max(about.modified().ok());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_copy_does_is_seen_and_what_galera_does_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        fs::create_dir(folder.path().join("wordpress")).expect("made");
        write("wordpress/wp_posts.ibd", "rows");
        let before = Footprint::of(folder.path());
        assert_eq!(before.bytes, 4);
        write("galera.cache", "what the others commit");
        write("gcache.page.000001", "more of it");
        assert_eq!(Footprint::of(folder.path()), before);
        write("wordpress/wp_posts.ibd", "more rows");
        let after = Footprint::of(folder.path());
        assert!(after.bytes == 9 && after.newest >= before.newest, "{after:?}");
        assert_eq!(Footprint::of(&folder.path().join("nowhere")), Footprint::default());
    }
}
