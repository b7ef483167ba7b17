//! The project's sources as a test of its architecture reads them: without comments and unit tests, and which paths they name.

use std::{collections::BTreeSet, fs, path::Path, sync::LazyLock};

/// A source: its path below `src`, and its code without comments, texts of comments, and unit tests.
pub(crate) type Source = (String, String);

/// Modules that are unit tests as a whole may look, and wait, as they like.
pub(crate) fn is_test(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.ends_with("_tests.rs") || name == "testing.rs" || name == "demo.rs"
}

/// The whole house, read once.
pub(crate) fn house() -> Vec<Source> {
    static HOUSE: LazyLock<Vec<Source>> = LazyLock::new(read);
    HOUSE.clone()
}

fn read() -> Vec<Source> {
    fn walk(folder: &Path, found: &mut Vec<Source>) {
        for entry in fs::read_dir(folder).expect("src can be read").flatten() {
            let path = entry.path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let name = path.strip_prefix("src").expect("below src").to_string_lossy().into_owned();
                if !is_test(&name) {
                    found.push((name, code(&fs::read_to_string(&path).expect("a source can be read"))));
                }
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("src"), &mut found);
    found.sort();
    found
}

/// A file without its comments and without what is compiled for tests only, wherever in the file that stands.
pub(crate) fn code(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    while let Some(line) = lines.next() {
        if line.trim_start() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        // The item that follows: up to the brace that closes it, or to a semicolon before any brace. rustfmt puts the one
        // at the indentation of the attribute.
        let indent = &line[..line.len() - line.trim_start().len()];
        for item in lines.by_ref() {
            let ends = item.starts_with(indent) && !item[indent.len()..].starts_with([' ', '#']);
            if ends && (item.ends_with('}') || item.ends_with(';')) {
                break;
            }
        }
    }
    kept
}

/// Where a file is in the tree of modules: `host::docker::exec`; a folder's `mod.rs` is the folder.
pub(crate) fn module(file: &str) -> String {
    file.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::")
}

/// Every path that a file names from the crate's root on, groups taken apart: `crate::{a::b, c}` and `super::d`.
pub(crate) fn named(file: &str, code: &str) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for root in ["crate::", "wplab::", "super::", "self::"] {
        for (at, _) in code.match_indices(root) {
            let before = code[..at].chars().next_back().unwrap_or(' ');
            if before.is_alphanumeric() || before == '_' || before == ':' || before == '$' {
                continue;
            }
            let mut base: Vec<&str> = Vec::new();
            let own = module(file);
            let mut rest = &code[at..];
            if let Some(after) = rest.strip_prefix("self::") {
                (base, rest) = (own.split("::").collect(), after);
            } else if rest.starts_with("super::") {
                base = own.split("::").collect();
                while let Some(after) = rest.strip_prefix("super::") {
                    base.pop();
                    rest = after;
                }
            } else {
                rest = &rest[root.len()..];
            }
            expand(rest, &base.join("::"), &mut named);
        }
    }
    named
}

/// Takes `a::{b, c::d}` apart; returns what follows it.
pub(crate) fn expand<'a>(text: &'a str, base: &str, named: &mut BTreeSet<String>) -> &'a str {
    let join = |word: &str| if base.is_empty() { word.to_owned() } else { format!("{base}::{word}") };
    let text = text.trim_start();
    if let Some(mut rest) = text.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let before = rest;
            rest = expand(rest, base, named).trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest);
            if rest.len() == before.len() {
                return rest;
            }
        }
    }
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    if word.is_empty() {
        return rest;
    }
    if word == "self" {
        named.insert(base.to_owned());
        return rest;
    }
    match rest.strip_prefix("::") {
        Some(deeper) => expand(deeper, &join(word), named),
        None => {
            named.insert(join(word));
            // `x as y`
            rest.trim_start().strip_prefix("as ").map_or(rest, |alias| {
                let alias = alias.trim_start();
                alias.trim_start_matches(|c: char| c.is_alphanumeric() || c == '_')
            })
        }
    }
}
