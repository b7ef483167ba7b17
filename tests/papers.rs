//! What is written for people leads somewhere: links between pages, and files that pages and comments name.

use std::{
    fs,
    path::{Path, PathBuf},
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Folders of the project; a name in backticks that begins with one of them is a file or folder that exists.
const FOLDERS: [&str; 8] = ["src/", "tests/", "lab/", "manifests/", "docs/", ".ci/", ".config/", ".cargo/"];
const DECISIONS: &str = "docs/decisions/";

/// Every file below `folder` whose name ends so.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder that can be read").flatten();
    let mut found = Vec::new();
    for path in entries.map(|entry| entry.path()) {
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(ROOT);
    let mut pages = [files(&root.join("docs"), ".md"), files(&root.join("lab"), ".md")].concat();
    let above = fs::read_dir(root).expect("the project").flatten().map(|entry| entry.path());
    pages.extend(above.filter(|path| path.extension().is_some_and(|end| end == "md")));
    pages
}

/// What stands between `open` and `close`, each time.
fn between<'a>(text: &'a str, open: &str, close: char) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split_once(close)).map(|(inside, _)| inside).collect()
}

/// Where a page's links lead to nothing.
fn dead_links(page: &Path, text: &str) -> Vec<String> {
    let targets = between(text, "](", ')').into_iter().filter(|target| !target.contains("://"));
    let paths = targets.map(|target| target.split('#').next().unwrap_or_default()).filter(|path| !path.is_empty());
    let folder = page.parent().expect("a folder");
    paths.filter(|path| !folder.join(path).exists()).map(str::to_owned).collect()
}

/// Files that a page names in backticks and that are not there. Names with a place for something else in them are none.
fn dead_names(text: &str) -> Vec<String> {
    let prose: String = text.split("```").step_by(2).collect();
    let quoted = prose.split('`').skip(1).step_by(2);
    let names = quoted.filter(|name| FOLDERS.iter().any(|folder| name.starts_with(folder)));
    let plain =
        names.filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "./-_".contains(c)));
    plain.filter(|name| !Path::new(ROOT).join(name).exists()).map(str::to_owned).collect()
}

#[test]
fn every_page_leads_where_it_says() {
    let mut dead = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).expect("text");
        let found = [dead_links(&page, &text), dead_names(&text)].concat();
        dead.extend(found.into_iter().map(|name| format!("{} names {name}", page.display())));
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

#[test]
fn every_decision_is_in_the_index_and_every_one_that_a_comment_names_exists() {
    let root = Path::new(ROOT);
    let index = fs::read_to_string(root.join(DECISIONS).join("README.md")).expect("an index");
    for page in files(&root.join(DECISIONS), ".md") {
        let name = page.file_name().expect("a name").to_string_lossy();
        assert!(name == "README.md" || index.contains(&format!("({name})")), "the index lacks {name}");
    }
    let mut sources = [files(&root.join("src"), ".rs"), files(&root.join("manifests"), "")].concat();
    sources.extend(["Cargo.toml", ".cargo/config.toml", ".config/deny.toml"].map(|file| root.join(file)));
    for source in sources {
        let text = fs::read_to_string(&source).expect("text");
        for rest in text.split(DECISIONS).skip(1) {
            let name = rest.split_once(".md").map_or("", |(name, _)| name);
            assert!(root.join(DECISIONS).join(format!("{name}.md")).exists(), "{}: {name}", source.display());
        }
    }
}

#[test]
fn what_leads_nowhere_is_found() {
    let page = Path::new(ROOT).join("README.md");
    assert_eq!(
        dead_links(&page, "[a](docs/none.md) [b](src/lib.rs#top) [c](https://a.example) [d](#d)"),
        ["docs/none.md"]
    );
    assert_eq!(
        dead_names("`src/none.rs`, `src/lib.rs`, `src/NAME.rs`, `other`\n```\nx `src/gone.rs`\n```\n"),
        ["src/none.rs"]
    );
}
