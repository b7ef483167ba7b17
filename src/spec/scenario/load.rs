//! Reads scenario files and reports every problem at once, as for lab files; and knows the scenarios that are built in.

use std::path::Path;

use include_dir::{Dir, include_dir};

use super::{
    Count, Expect, Fault, Scenario, Steady, Target,
    fields::{
        LATE, MEMBERS, NAME, Problems, SENTENCE, SHARE, SPAN, Section, late, members, name, number, sentence, share,
        some_time, span, topology, word, words,
    },
};
use crate::spec::{
    load::{SpecError, open},
    problem::meant,
    tree::{self, Kind, Node},
};

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/lab/scenarios");

const SCENARIO: Kind = Kind {
    name: "scenario file",
    least: "copy one that is built in from lab/scenarios and change it",
    second: "a scenario file holds one scenario: put the other one into its own file, with its own name",
    missing: "check the path",
    example: "lab/scenarios",
};

/// The keys of each section, as they stand in files.
const TOP: [&str; 9] =
    ["name", "summary", "topology", "steady", "fault", "lasts", "expect", "expect-of-galera", "heal"];
const EXPECT: [&str; 5] = ["read-outage", "edit-outage", "write-outage", "failed-reads", "lost-rows"];
const HEAL: [&str; 1] = ["within"];

/// Whoever lives on a node.
const HOMES: &[Target] = &[Target::Writer, Target::Reader, Target::Wordpress, Target::Nfs, Target::Etcd];
/// Whoever is one process.
const SERVERS: &[Target] = &[Target::Writer, Target::Reader, Target::Nfs, Target::Etcd];

/// Every fault: its name, whom it may be about, and the fields that it has beside that.
const FAULTS: [(&str, &[Target], &[&str]); 14] = [
    (
        "delete-pods",
        &[
            Target::Writer,
            Target::Reader,
            Target::Members,
            Target::Wordpress,
            Target::Nfs,
            Target::Etcd,
            Target::Coredns,
            Target::MetricsServer,
        ],
        &["how-many"],
    ),
    ("kill-server", SERVERS, &[]),
    ("freeze-server", SERVERS, &[]),
    ("kill-node", HOMES, &[]),
    ("restart-node", HOMES, &[]),
    ("freeze-node", HOMES, &[]),
    ("cut-node", HOMES, &[]),
    ("disturb-node", HOMES, &["loss", "delay"]),
    ("shift-clock", HOMES, &["by"]),
    ("lose-volume", &[Target::Writer, Target::Reader], &[]),
    ("fill-volume", &[Target::Writer, Target::Reader, Target::Nfs], &[]),
    ("take-down", &[Target::Coredns, Target::MetricsServer, Target::ApiServer], &[]),
    ("scale-members", &[], &["to"]),
    ("restart-engine", &[], &[]),
];

/// The scenarios that are built in, by name.
pub fn built_in() -> Vec<Scenario> {
    let mut all: Vec<Scenario> = FILES
        .files()
        .filter_map(|file| {
            let text = file.contents_utf8()?;
            // Whole, because it is a part of this program and a test reads it.
            parse(&file.path().display().to_string(), text).ok()
        })
        .collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

/// A scenario by its name, or by the path of a file, which has a slash or ends in `.yaml`.
///
/// # Errors
/// There is none of that name; or all problems of the file at once.
pub fn find(given: &str) -> Result<Scenario, SpecError> {
    let is_path = given.contains('/') || Path::new(given).extension().is_some_and(|end| end == "yaml" || end == "yml");
    if is_path {
        let text = open(SCENARIO, Path::new(given)).map_err(|problem| SpecError::new(given, vec![problem]))?;
        return parse(given, &text);
    }
    let all = built_in();
    if let Some(found) = all.iter().find(|scenario| scenario.name == given) {
        return Ok(found.clone());
    }
    let mut problems = Problems::default();
    let names: Vec<&str> = all.iter().map(|scenario| scenario.name.as_str()).collect();
    let cure = match meant(given, names.iter().copied()) {
        Some(word) => format!("did you mean {word}? a file of your own is named by its path, such as ./{given}.yaml"),
        None => format!("built in are: {}; a file of your own is named by its path", names.join(", ")),
    };
    problems.at("", None, "there is no scenario of this name", cure);
    Err(SpecError::new(given, problems.0))
}

/// The scenario that a text describes. `file` is its name in messages.
///
/// # Errors
/// All problems of the text at once.
pub fn parse(file: &str, text: &str) -> Result<Scenario, SpecError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let read = tree::parse_as(SCENARIO, text).and_then(|(root, found)| {
        let mut problems = Problems(found);
        scenario(&mut problems, &root).filter(|_| problems.0.is_empty()).ok_or(problems.0)
    });
    read.map_err(|problems| SpecError::new(file, problems))
}

/// `None` only where there is a problem.
fn scenario(problems: &mut Problems, root: &Node) -> Option<Scenario> {
    let all = Section::new(problems, "", root, &TOP);
    let name = all.must(problems, "name", NAME, name);
    let summary = all.must(problems, "summary", SENTENCE, sentence);
    let topology = all.maybe(problems, "topology", "allowed: any, replication, galera", topology).flatten();
    let steady = words(&Steady::ALL, Steady::name);
    let steady = all.maybe(problems, "steady", &steady, word(&Steady::ALL, Steady::name)).unwrap_or(Steady::Serving);
    let fault = all.node("fault").map(|node| fault(problems, node));
    if fault.is_none() {
        problems.at(
            "fault",
            Some(root.place),
            "this is missing",
            "write a section fault with: do, and whom it is about",
        );
    }
    let lasts = all.must(problems, "lasts", SPAN, some_time);
    let wanted = all.below(problems, "expect", &EXPECT).map(|section| expect(problems, &section, &Expect::default()));
    let of_galera = match all.node("expect-of-galera") {
        Some(node) => {
            let section = Section::new(problems, "expect-of-galera", node, &EXPECT);
            Some(expect(problems, &section, &wanted.clone().unwrap_or_default()))
        }
        None => None,
    };
    let heal = all.below(problems, "heal", &HEAL);
    let within = heal.and_then(|heal| heal.must(problems, "within", SPAN, some_time));
    if let (Some(only), Some(Some(fault))) = (topology, &fault)
        && fault.of().is_some_and(|of| !of.is_in(only))
    {
        let what = format!("{} is in no lab of topology {}", Target::Etcd, only.name());
        let cure = "set topology to galera, or fault.of to somebody else";
        problems.at("topology", all.node("topology").map(|node| node.place), what, cure);
    }
    Some(Scenario {
        name: name?,
        summary: summary?,
        topology,
        steady,
        fault: fault??,
        lasts: lasts?,
        expect: wanted?,
        expect_of_galera: of_galera,
        heals_within: within?,
    })
}

/// What is left out is as in `before`.
fn expect(problems: &mut Problems, section: &Section<'_>, before: &Expect) -> Expect {
    let number = section.maybe(problems, "lost-rows", "allowed: a whole number, 0 when left out", number);
    Expect {
        read_outage: section.maybe(problems, "read-outage", SPAN, span).or(before.read_outage),
        edit_outage: section.maybe(problems, "edit-outage", SPAN, span).or(before.edit_outage),
        write_outage: section.maybe(problems, "write-outage", SPAN, span).or(before.write_outage),
        failed_reads: section.maybe(problems, "failed-reads", SHARE, share).or(before.failed_reads),
        lost_rows: number.unwrap_or(before.lost_rows),
    }
}

/// Reads what is broken: which keys there are depends on what is done.
fn fault(problems: &mut Problems, node: &Node) -> Option<Fault> {
    let every: Vec<&str> =
        ["do", "of"].into_iter().chain(FAULTS.iter().flat_map(|(.., more)| more.iter().copied())).collect();
    // What is done decides about the rest, so it is looked for before anything is complained about.
    let names: Vec<&'static str> = FAULTS.iter().map(|(name, ..)| *name).collect();
    let allowed = format!("allowed: {}", names.join(", "));
    let mut first = Problems::default();
    let done = Section::new(&mut Problems::default(), "fault", node, &every).must(
        &mut first,
        "do",
        &allowed,
        word(&names, |name| name),
    );
    problems.0.append(&mut first.0);
    let (what, targets, more) = FAULTS.iter().find(|(name, ..)| Some(*name) == done)?;
    let mut keys = vec!["do"];
    keys.extend((!targets.is_empty()).then_some("of"));
    keys.extend(*more);
    let section = Section::new(problems, "fault", node, &keys);
    if *what == "restart-engine" {
        return Some(Fault::RestartEngine);
    }
    if *what == "scale-members" {
        let to = section.must(problems, "to", MEMBERS, members)?;
        return Some(Fault::ScaleMembers { to });
    }
    let cure = words(targets, Target::name);
    let of = section.must(problems, "of", &cure, |text| {
        let known = word(&Target::ALL, Target::name)(text)?;
        if targets.contains(&known) { Ok(known) } else { Err(format!("{what} cannot be done to {known}")) }
    });
    let how_many = |problems: &mut Problems| {
        let all = [Count::One, Count::All];
        let name = |count| if count == Count::One { "one" } else { "all" };
        section.maybe(problems, "how-many", &words(&all, name), word(&all, name)).unwrap_or(Count::One)
    };
    Some(match *what {
        "delete-pods" => Fault::DeletePods { how_many: how_many(problems), of: of? },
        "kill-server" => Fault::KillServer { of: of? },
        "freeze-server" => Fault::FreezeServer { of: of? },
        "kill-node" => Fault::KillNode { of: of? },
        "restart-node" => Fault::RestartNode { of: of? },
        "freeze-node" => Fault::FreezeNode { of: of? },
        "cut-node" => Fault::CutNode { of: of? },
        "disturb-node" => {
            let loss = section.maybe(problems, "loss", SHARE, share).unwrap_or(0);
            let delay = section.maybe(problems, "delay", LATE, late).unwrap_or(0);
            if loss == 0 && delay == 0 {
                problems.at(
                    "fault",
                    Some(node.place),
                    "nothing is disturbed",
                    "write loss: 30%, or delay: 200ms, or both",
                );
            }
            Fault::DisturbNode { of: of?, loss, delay }
        }
        "shift-clock" => {
            let by = section.must(problems, "by", SPAN, some_time);
            Fault::ShiftClock { of: of?, by: by? }
        }
        "lose-volume" => Fault::LoseVolume { of: of? },
        "fill-volume" => Fault::FillVolume { of: of? },
        _ => Fault::TakeDown { of: of? },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_scenario_is_whole_and_called_as_its_file() {
        let files: Vec<_> = FILES.files().collect();
        for file in &files {
            let path = file.path().display().to_string();
            let scenario = parse(&path, file.contents_utf8().expect("text")).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(format!("{}.yaml", scenario.name), path);
            assert_eq!(scenario.expect.lost_rows, 0, "{path}: nothing may be lost");
        }
        assert_eq!(built_in().len(), files.len());
        assert!(files.len() >= 20, "they are there");
    }

    #[test]
    fn a_scenario_is_for_the_labs_that_have_what_it_breaks() {
        use crate::spec::Topology::{Galera, Replication};
        let applies =
            |name: &str| [Replication, Galera].map(|topology| find(name).expect("built in").applies(topology));
        assert_eq!(applies("etcd-member"), [false, true]);
        assert_eq!(applies("writer-process"), [true, true]);
    }

    #[test]
    fn a_name_that_is_nearly_right_is_told_the_right_one() {
        let error = find("writer-proces").expect_err("no such name").to_string();
        assert!(error.contains("did you mean writer-process?"), "{error}");
        let error = find("./nothing.yaml").expect_err("no such file").to_string();
        assert!(error.contains("there is no such file"), "{error}");
    }
}
