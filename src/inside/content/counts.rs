//! How requests found the database: PHP adds a byte to a file for each (docs/front-door.md), because its processes share nothing
//! else, and the length of a file that is only added to is a counter.

use std::{fmt::Write, fs, path::Path};

/// The files, which are the label's values too.
const WAYS: [&str; 5] = ["writer", "reader", "moved", "read-only", "refused"];
const NAME: &str = "wplab_site_requests_total";

/// The text of `/metrics`.
pub(super) fn text(counted: &Path) -> String {
    let help = "Requests of this replica by where they found the database.";
    let mut text = format!("# HELP {NAME} {help}\n# TYPE {NAME} counter\n");
    for way in WAYS {
        // Nobody has come that way yet.
        let count = fs::metadata(counted.join(way)).map_or(0, |file| file.len());
        let _ = writeln!(text, "{NAME}{{database=\"{way}\"}} {count}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_byte() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("reader"), "...").expect("written");
        let text = text(folder.path());
        assert!(text.contains("wplab_site_requests_total{database=\"reader\"} 3\n"), "{text}");
        assert!(text.contains("wplab_site_requests_total{database=\"writer\"} 0\n"), "{text}");
        assert_eq!(text.lines().count(), 2 + WAYS.len());
    }
}
