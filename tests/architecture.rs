//! The direction of dependencies: `use crate::` (and `crate::` paths) go down only, and each outside world has one door.

use std::{collections::BTreeMap, fs, path::Path};

/// Floors of the house, top first; a room may use rooms of lower floors, and of its own where the floor says so.
const FLOORS: &[(&[&str], bool)] = &[
    (
        &[
            "up",
            "down",
            "status",
            "list",
            "plan",
            "prepare",
            "prove",
            "images",
            "logs",
            "credentials",
            "render",
            "diagnose",
            "recover",
        ],
        true,
    ),
    (&["smoke"], false),
    (&["parts"], false),
    (&["agent"], false),
    (&["cluster", "etcd", "host", "sql", "tls"], false),
    (&["run"], false),
    (&["event", "gtid", "labels", "net", "spec", "verdict", "wait"], true),
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|(rooms, _)| rooms.contains(&room))
}

/// Modules that are unit tests as a whole may look, and wait, as they like.
fn is_test(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name.ends_with("_tests") || name == "testing" || name == "demo"
}

fn sources(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("src can be read").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !is_test(&path) {
            let name = path.strip_prefix("src").expect("below src").to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&path).expect("a source can be read")));
        }
    }
}

/// The file without its unit tests and comments, which may look anywhere.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Rooms named in `use crate::{a::…, b}` and in `crate::a::…`.
fn used_rooms(code: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + "crate::".len()..];
        let word = |s: &str| s.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut start = true;
            for (i, c) in group.char_indices() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 1 => start = true,
                    c if start && depth == 1 && c.is_alphabetic() => {
                        rooms.push(word(&group[i..]));
                        start = false;
                    }
                    _ => {}
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            rooms.push(word(rest));
        }
    }
    rooms
}

#[test]
fn arrows_go_down_only() {
    let mut found = Vec::new();
    sources(Path::new("src"), &mut found);
    let mut wrong = Vec::new();
    for (file, text) in found.iter().filter(|(f, _)| !f.starts_with("cli") && f != "main.rs" && f != "lib.rs") {
        let room = file.split(['/', '.']).next().unwrap_or_default();
        let Some(mine) = floor(room) else {
            wrong.push(format!("{file}: the room {room} has no floor in tests/architecture.rs"));
            continue;
        };
        for used in used_rooms(&code(text)) {
            let Some(theirs) = floor(&used) else { continue };
            let same = used == room || (theirs == mine && FLOORS[mine].1);
            if theirs <= mine && !same {
                wrong.push(format!("{file} uses crate::{used}, which is not below it"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_outside_world_has_one_door() {
    let doors: BTreeMap<&str, &[&str]> = BTreeMap::from([
        ("bollard::", &["host/docker"][..]),
        ("Cmd::new(\"kind\")", &["host/kind"][..]),
        ("std::process::exit", &[][..]),
        ("tokio::time::sleep", &["wait.rs"][..]),
        ("println!", &["cli/"][..]),
        // A database server must outlive dropped futures and be told to stop in its own way.
        ("tokio::process", &["host/process.rs", "agent/member/mysqld.rs"][..]),
    ]);
    let mut found = Vec::new();
    sources(Path::new("src"), &mut found);
    let mut wrong = Vec::new();
    for (file, text) in &found {
        let code = code(text);
        for (what, allowed) in &doors {
            if code.contains(what) && !allowed.iter().any(|door| file.starts_with(door)) {
                wrong.push(format!("{file} names {what}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
