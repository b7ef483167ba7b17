//! The house's rules, held against every line of every file: arrows between floors go down only, no files lean on each
//! other in a circle, each outside world has one door, and each folder says who belongs there. [`rules`] breaks each
//! of them once, to show that it would be seen.

#[path = "support/commands.rs"]
mod commands;
#[path = "support/sources.rs"]
mod sources;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use commands::COMMANDS;
use sources::{Source, code, house, module, named};

/// Floors, top first. A file uses lower floors and its own room; rooms of one floor do not know each other.
const FLOORS: &[&[&str]] = &[
    &["main", "cli"],
    &["lib"],
    &["actions"],
    &["parts"],
    &["inside"],
    &["cluster", "host"],
    &["wire"],
    &["run"],
    &["labels"],
    &["spec"],
];

/// What is used of the outside, and the only files that may name it.
const DOORS: &[(&str, &[&str])] = &[
    ("bollard::", &["host/docker/"]),
    ("object_store::", &["wire/backup/store.rs"]),
    ("mysql_async::", &["wire/sql/"]),
    // It would open ports, print and take Ctrl-C: this file keeps it from that.
    ("goose::", &["actions/load/crowd.rs"]),
    ("hickory_resolver::", &["wire/net.rs", "inside/member/replication/peers.rs"]),
    // Looking for the program and asking it for its version is `machine`'s; only this file lets it act.
    (r#"Path::new("kind")"#, &["host/nodes/create.rs"]),
    ("process::exit", &[]),
    ("ExitCode::from", &["cli/failure.rs"]),
    ("time::sleep", &[]),
    ("thread::sleep", &[]),
    ("println!", &[]),
    ("print!", &[]),
    // In a pod, standard error is the log; everything else is shown by the renderer.
    ("io::stderr()", &["cli/render/", "inside/mod.rs", "inside/agent/log.rs"]),
    ("io::stdout()", &["cli/", "inside/"]),
    // A database server must outlive dropped futures and be told to stop in its own way.
    // The other two become another program instead of starting one.
    ("Command::new(", &["host/process.rs", "inside/member/process.rs", "host/machine/runc_shim.rs", "inside/trial.rs"]),
    // What the API server says of a Secret that it refuses must not be told, so that has an apply of its own.
    ("Patch::Apply", &["cluster/apply.rs", "cluster/secrets.rs"]),
];

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Every arrow that does not go down, and every room without a floor.
fn upward(house: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, code) in house {
        let room = file.split(['/', '.']).next().unwrap_or_default();
        let Some(mine) = floor(room) else {
            wrong.push(format!("{file}: the room {room} has no floor in tests/architecture.rs"));
            continue;
        };
        for path in named(file, code) {
            let used = path.split("::").next().unwrap_or_default();
            if floor(used).is_some_and(|theirs| theirs <= mine) && used != room {
                wrong.push(format!("{file} uses {path}, which is not below it"));
            }
        }
    }
    wrong
}

/// Files that lean on each other in a circle. A folder's `mod.rs` hands its children's names on and its children may use what
/// it declares, so a parent and its child are none; but children that reach each other only through their parent are.
fn circles(house: &[Source]) -> Vec<String> {
    let files: BTreeMap<String, &str> = house.iter().map(|(file, _)| (module(file), file.as_str())).collect();
    let parent = |a: &str, b: &str| b.starts_with(a) && b[a.len()..].starts_with("::");
    // The file that a path names: its longest beginning that is a module.
    let owner = |path: &str| {
        let mut path = path;
        loop {
            if files.contains_key(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (file, code) in house {
        let own = module(file);
        let others = named(file, code).into_iter().filter_map(|path| owner(&path));
        let others = others.filter(|other| *other != own && !parent(other, &own) && !parent(&own, other)).collect();
        uses.insert(own, others);
    }
    // What each reaches; a circle is where two reach each other.
    let reach = |from: &str| {
        let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
        while let Some(at) = next.pop() {
            for to in uses.get(&at).into_iter().flatten() {
                if seen.insert(to.clone()) {
                    next.push(to.clone());
                }
            }
        }
        seen
    };
    let reached: BTreeMap<&String, BTreeSet<String>> = uses.keys().map(|file| (file, reach(file))).collect();
    let mut wrong = BTreeSet::new();
    for (file, all) in &reached {
        let with: Vec<&str> =
            all.iter().filter(|o| reached.get(o).is_some_and(|r| r.contains(*file))).map(String::as_str).collect();
        if !with.is_empty() {
            let mut round: BTreeSet<&str> = with.into_iter().collect();
            round.insert(file);
            wrong.insert(round.into_iter().collect::<Vec<_>>().join(" <-> "));
        }
    }
    wrong.into_iter().collect()
}

/// Whoever names an outside world without being its door.
fn strangers(house: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, code) in house {
        for (what, allowed) in DOORS {
            let named = code
                .match_indices(what)
                .any(|(at, _)| !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'));
            if named && !allowed.iter().any(|door| file.starts_with(door)) {
                wrong.push(format!("{file} names {what}"));
            }
        }
    }
    wrong
}

/// Our flags, as the command line alone spells them.
const FLAGS: &[&str] = &[
    "--bootstrap",
    "--dead",
    "--destroy-on-failure",
    "--fix",
    "--flavour",
    "--images",
    "--port",
    "--registry-mirror",
    "--timeout",
    "--topology",
    "--workers",
    "--yes",
];

/// The string literals of a source, as they are written.
fn literals(code: &str) -> Vec<&str> {
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(c) = code[at..].chars().next() {
        let rest = &code[at + c.len_utf8()..];
        at += c.len_utf8();
        match c {
            '"' => {
                let before = code[..at - 1].trim_end_matches('#');
                let raw = before.ends_with('r').then(|| format!("\"{}", "#".repeat(at - 1 - before.len())));
                let end = match &raw {
                    Some(close) => rest.find(close),
                    None => rest.match_indices('"').map(|(end, _)| end).find(|end| {
                        let slashes = rest[..*end].len() - rest[..*end].trim_end_matches('\\').len();
                        slashes.is_multiple_of(2)
                    }),
                };
                let end = end.unwrap_or(rest.len());
                found.push(&rest[..end]);
                at += end + raw.map_or(1, |close| close.len());
            }
            // A quotation mark as a character.
            '\'' if rest.starts_with("\"'") => at += 2,
            '\'' if rest.starts_with("\\\"'") => at += 3,
            _ => {}
        }
        at = at.min(code.len());
    }
    found
}

/// Texts outside the command line that name a command of ours or a flag of one: what can be done is data
/// (`run::advice`). A flag alone is an argument of something that is started; in words it is an advice.
fn advice_in_prose(house: &[Source]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (file, code) in house.iter().filter(|(file, _)| !file.starts_with("cli/")) {
        for text in literals(code) {
            let ours = text.match_indices("wplab ").any(|(at, _)| {
                let rest = &text[at + "wplab ".len()..];
                COMMANDS.iter().chain(&["--"]).any(|command| {
                    rest.strip_prefix(command).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
                })
            });
            let words = text.split_whitespace().collect::<Vec<_>>();
            let flag = |word: &&str| FLAGS.contains(&word.trim_matches(|c: char| !c.is_alphanumeric() && c != '-'));
            if ours || (words.len() > 1 && words.iter().any(flag)) {
                wrong.push(format!("{file} says {text:?}"));
            }
        }
    }
    wrong
}

/// Types that are errors by themselves: nothing in them says whose fault they are, so a step's. Every other one has its
/// advice ([`Advise`](wplab::run::advice::Advise)) and travels only as `Trouble`.
const PLAIN_ERRORS: &[&str] = &[
    "actions/smoke/check.rs",
    "actions/up/diagnostics.rs",
    "cli/failure.rs",
    "cluster/refused.rs",
    "host/docker/images.rs",
    "inside/agent/follow.rs",
    "inside/orders/mod.rs",
    "inside/wrong.rs",
    "run/advice.rs",
    "run/wait.rs",
    "wire/etcd/mod.rs",
];

/// Errors that could travel without advice.
fn plain_errors(house: &[Source]) -> Vec<String> {
    let plain = |code: &str| code.lines().any(|line| line.starts_with("impl") && line.contains("Error for "));
    let strangers = house.iter().filter(|(file, code)| plain(code) && !PLAIN_ERRORS.contains(&file.as_str()));
    strangers.map(|(file, _)| format!("{file} has an error without advice")).collect()
}

/// Folders whose `mod.rs` does not begin by saying who belongs there, and files that do not say what they are for.
fn silent(sources: &[(String, String)]) -> Vec<String> {
    let said = |text: &str| text.strip_prefix("//! ").is_some_and(|line| line.split_whitespace().count() > 3);
    sources
        .iter()
        .filter(|(_, text)| !said(text))
        .map(|(file, _)| format!("{file} does not say what it is for"))
        .collect()
}

#[track_caller]
fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn arrows_go_down_only() {
    none(&upward(&house()));
}

#[test]
fn nobody_leans_on_each_other_in_a_circle() {
    none(&circles(&house()));
}

#[test]
fn each_outside_world_has_one_door() {
    let house = house();
    none(&strangers(&house));
    // A door that nobody goes through any more is a rule without force.
    for (what, allowed) in DOORS {
        for door in *allowed {
            let used = house.iter().any(|(file, code)| file.starts_with(door) && code.contains(what));
            assert!(used, "{door} no longer names {what}");
        }
    }
}

#[test]
fn every_file_begins_by_saying_what_it_is_for() {
    let texts: Vec<(String, String)> = house()
        .into_iter()
        .map(|(file, _)| {
            let text = fs::read_to_string(Path::new("src").join(&file)).expect("a source can be read");
            (file, text)
        })
        .collect();
    none(&silent(&texts));
}

#[test]
fn what_can_be_done_is_spelled_by_the_command_line_only() {
    none(&advice_in_prose(&house()));
}

#[test]
fn errors_carry_their_advice() {
    let house = house();
    none(&plain_errors(&house));
    for file in PLAIN_ERRORS {
        let is_there = house.iter().any(|(name, code)| name == file && code.contains("Error for "));
        assert!(is_there, "{file} has no error of its own any more");
    }
}

/// What `ls src` shows, when that is more than one look takes in.
fn crowded(entries: &[String]) -> Vec<String> {
    if entries.len() > 12 {
        vec![format!("src has {} entries: {}", entries.len(), entries.join(", "))]
    } else {
        Vec::new()
    }
}

#[test]
fn the_house_has_at_most_twelve_doors() {
    let entries = fs::read_dir("src").expect("src can be read").flatten();
    none(&crowded(&entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect::<Vec<_>>()));
}

/// Each rule, broken once.
mod rules {
    use super::*;

    fn with(file: &str, text: &str) -> Vec<Source> {
        let mut house = house();
        house.retain(|(name, _)| name != file);
        house.push((file.to_owned(), code(text)));
        house
    }

    #[track_caller]
    fn seen(wrong: &[String], what: &str) {
        assert!(wrong.iter().any(|line| line.contains(what)), "{what} was not seen: {wrong:?}");
    }

    #[test]
    fn an_arrow_up_is_seen_however_it_is_written() {
        for text in [
            "use crate::parts::images;",
            "use crate::{\n    run::Run,\n    parts::{images, storage},\n};",
            "fn f() { crate::parts::storage::ensure() }",
            "use super::super::parts;",
            "#[cfg(test)]\nmod early {\n    fn f() {}\n}\n\nfn late() { crate::parts::x() }",
            "#[cfg(test)]\nuse std::fs;\nuse crate::parts;",
        ] {
            seen(&upward(&with("host/new.rs", text)), "host/new.rs uses parts");
        }
        seen(&upward(&with("host/new.rs", "use crate::cluster::Cluster;")), "host/new.rs uses cluster::Cluster");
        seen(&upward(&with("cellar/mod.rs", "")), "the room cellar has no floor");
        none(&upward(&with("host/new.rs", "// crate::parts\n#[cfg(test)]\nmod tests {\n    use crate::parts;\n}\n")));
    }

    #[test]
    fn a_circle_is_seen_also_through_a_third() {
        let mut house = with("host/a.rs", "use super::b::B;");
        house.push(("host/b.rs".into(), "use crate::host::{c, docker};".into()));
        assert!(circles(&house).is_empty());
        house.push(("host/c.rs".into(), "use crate::host::a::A;".into()));
        seen(&circles(&house), "host::a <-> host::b <-> host::c");
    }

    #[test]
    fn every_door_is_watched() {
        for (what, _) in DOORS {
            seen(&strangers(&with("spec/new.rs", &format!("fn f() {{ {what} }}"))), what);
        }
        none(&strangers(&with("spec/new.rs", "/// println! is for others.\nfn f() { eprintln }")));
    }

    #[test]
    fn an_advice_in_prose_is_seen() {
        for text in [
            r#"fn f() { bail!("run `wplab down {lab}` first") }"#,
            r#"const HINT: &str = "this starts it: wplab up";"#,
            "fn f() { let c = '\"'; let told = \"see `wplab doctor`\"; }",
            r#"fn f(x: &'static str) { format!("{x}; use --images auto") }"#,
            r##"const RAW: &str = r#"say "wplab smoke" again"#;"##,
            r#"fn f() { format!("go on \"so\" with `--registry-mirror`") }"#,
        ] {
            seen(&advice_in_prose(&with("host/new.rs", text)), "host/new.rs says");
            none(&advice_in_prose(&with("cli/new.rs", text)));
        }
        let fine = r#"fn f() { cmd.args(["--images", "x"]); bail!("another wplab is at work, see the list of wplab database"); } // wplab up"#;
        none(&advice_in_prose(&with("host/new.rs", fine)));
    }

    #[test]
    fn an_error_without_advice_is_seen() {
        for text in ["impl std::error::Error for Broken {}", "impl<T> Error for Broken<T> {\n}"] {
            seen(&plain_errors(&with("parts/new.rs", text)), "parts/new.rs");
        }
        none(&plain_errors(&with("parts/new.rs", "impl Advise for Broken {}")));
    }

    #[test]
    fn a_thirteenth_door_is_seen() {
        let doors = |count: u8| (b'a'..b'a' + count).map(|name| char::from(name).to_string()).collect::<Vec<_>>();
        none(&crowded(&doors(12)));
        seen(&crowded(&doors(13)), "13 entries");
    }

    #[test]
    fn a_file_without_its_sentence_is_seen() {
        seen(&silent(&[("spec/new.rs".into(), "use std::fs;".into())]), "spec/new.rs");
        seen(&silent(&[("spec/new.rs".into(), "//! Things.".into())]), "spec/new.rs");
    }
}
