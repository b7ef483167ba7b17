//! What several test files share: texts that a user sees are kept in `tests/golden` and compared whole.

use std::{fs, path::PathBuf};

/// A file under `tests/golden`.
pub(crate) fn golden_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// Compares a text with its golden file; with `GOLDEN=update` in the environment writes the file instead.
pub(crate) fn golden(name: &str, actual: &str) {
    let path = golden_path(name);
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "update") {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for golden files");
        fs::write(&path, actual).expect("a golden file that can be written");
        return;
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        actual == expected,
        "{} differs; if the new text is right, run the test again with GOLDEN=update\n--- expected\n{expected}\n--- actual\n{actual}",
        path.display()
    );
}
