//! What more of everything costs: workers, members, a second lab; and what a lab uses that nobody uses.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    arms, machine,
    observer::Sought,
    run::{MILESTONES, run},
};

/// For so long a lab at rest is looked at, after it was left alone for [`LEFT_ALONE`].
const REST: Duration = Duration::from_mins(1);
const LEFT_ALONE: Duration = Duration::from_secs(45);
/// Short programs of probes and the like, in the table.
const SHORT: &str = "short-lived and the kernel's";

/// One case: labs side by side, each with so many workers and members.
#[derive(Debug, Clone, PartialEq)]
struct Case {
    name: String,
    labs: usize,
    workers: usize,
    members: usize,
}

const CASES: [&str; 6] = ["2x2", "3x3", "6x3", "9x3", "5x5", "3x3+3x3"];

impl Case {
    /// `WORKERSxMEMBERS`, or that twice with a plus for two labs at once.
    fn parse(name: &str) -> Option<Case> {
        let mut labs = name.split('+');
        let (workers, members) = labs.next()?.split_once('x')?;
        let more = labs.count();
        Some(Case {
            name: name.to_owned(),
            labs: 1 + more,
            workers: workers.parse().ok()?,
            members: members.parse().ok()?,
        })
    }

    fn file(&self) -> String {
        format!("cluster:\n  workers: {}\ndatabase:\n  members: {}\n", self.workers, self.members)
    }
}

/// The labs of a case are called so.
fn lab(number: usize) -> String {
    format!("wplab-growth-{number}")
}

/// Runs the cases of `CASES` (default all) one after another into `folder`.
pub(crate) fn measure(folder: &Path, images: &[String]) {
    fs::create_dir_all(folder).expect("a folder");
    let wanted = std::env::var("CASES").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split([',', ' ']).filter(|case| !case.is_empty()).collect();
    let wanted = if wanted.is_empty() { CASES.to_vec() } else { wanted };
    let cases =
        wanted.iter().map(|name| Case::parse(name).unwrap_or_else(|| panic!("{name:?} is no case, such as 6x3")));
    let mut table = Table::open(folder);
    for case in cases.collect::<Vec<_>>() {
        remove(&case);
        println!("{}: waiting for rest", case.name);
        let rest = machine::settle(0.0);
        let disk = used();
        let file = folder.join(format!("{}.yaml", case.name));
        fs::write(&file, case.file()).expect("a lab file");
        let file = file.to_str().expect("a path");
        let begun = (1..=case.labs).map(|number| {
            let port = arms::PORT + u16::try_from(number).expect("few labs");
            let up = arms::tool(&["up", &lab(number), "-f", file, "--port", &port.to_string()]);
            (up, port, number)
        });
        // The machine's figures are the same for all labs of a case: the first one's thread tells them.
        let ran: Vec<_> = std::thread::scope(|scope| {
            let started: Vec<_> = begun
                .map(|(mut up, port, number)| {
                    let (log, case) = (folder.join(format!("{}-{number}.log", case.name)), case.clone());
                    let sought = Sought {
                        cluster: lab(number),
                        workers: case.workers,
                        members: case.members,
                        database: "db-",
                        port,
                        title: "wplab".to_owned(),
                        images: images.to_vec(),
                        again: false,
                    };
                    scope.spawn(move || run(&mut up, Some(sought), &log, rest))
                })
                .collect();
            started.into_iter().map(|thread| thread.join().expect("a run ends")).collect()
        });
        let outcome = ran.iter().map(|(outcome, _)| outcome.as_str()).find(|outcome| *outcome != "ok").unwrap_or("ok");
        // Empty where nobody has seen it.
        let most = |name: &str| {
            let most = ran.iter().filter_map(|(_, values)| values.get(name).copied()).reduce(f64::max);
            (name.to_owned(), most)
        };
        let mut values: Vec<(String, Option<f64>)> = MILESTONES.map(most).into();
        values.extend(["cpu", "own-cpu", "own-peak", "memory", "written"].map(most));
        values.push(("disk".to_owned(), Some(used() - disk)));
        let mut at_rest = None;
        if outcome == "ok" {
            std::thread::sleep(LEFT_ALONE);
            let cores = machine::by_name(REST);
            at_rest = Some(cores.values().sum());
            table.rest(&case.name, &cores);
        }
        values.push(("at-rest".to_owned(), at_rest));
        table.case(&case.name, outcome, &values);
        remove(&case);
    }
}

fn remove(case: &Case) {
    for number in 1..=case.labs {
        let mut down = arms::tool(&["down", &lab(number)]);
        let _ = down.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }
}

/// MiB in use on the file system of the engine's data.
fn used() -> f64 {
    let root = Command::new("docker").args(["info", "-f", "{{.DockerRootDir}}"]).output();
    let root = root.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).unwrap_or_default();
    let df = Command::new("df").args(["--output=used", "-m", &root]).output();
    let text = df.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    text.lines().nth(1).and_then(|line| line.trim().parse().ok()).unwrap_or_default()
}

/// Where rows are kept: `growth.csv` and `rest.csv` in a folder, to which a later run adds.
struct Table<'a> {
    folder: &'a Path,
}

impl Table<'_> {
    fn open(folder: &Path) -> Table<'_> {
        Table { folder }
    }

    fn add(&self, file: &str, head: &str, line: &str) {
        let path = self.folder.join(file);
        let new = !path.exists();
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
        let text = if new { format!("{head}\n{line}\n") } else { format!("{line}\n") };
        file.write_all(text.as_bytes()).expect("written");
        println!("{head}\n{line}");
    }

    fn case(&mut self, name: &str, outcome: &str, values: &[(String, Option<f64>)]) {
        let names: Vec<&str> = values.iter().map(|(name, _)| name.as_str()).collect();
        let cells: Vec<String> =
            values.iter().map(|(_, value)| value.map_or_else(String::new, |value| format!("{value:.2}"))).collect();
        let head = format!("case,outcome,{}", names.join(","));
        self.add("growth.csv", &head, &format!("{name},{},{}", outcome.replace(',', ";"), cells.join(",")));
    }

    fn rest(&mut self, name: &str, cores: &BTreeMap<String, f64>) {
        for (process, cores) in sorted(cores) {
            self.add("rest.csv", "case,process,cores", &format!("{name},{process},{cores:.4}"));
        }
    }
}

/// Most first; what is too small to see is added up.
fn sorted(cores: &BTreeMap<String, f64>) -> Vec<(String, f64)> {
    let mut rows: Vec<(String, f64)> = Vec::new();
    let mut other = 0.0;
    for (name, cores) in cores {
        match name.as_str() {
            "" => rows.push((SHORT.to_owned(), *cores)),
            _ if *cores < 0.002 => other += cores,
            _ => rows.push((name.replace(',', ";"), *cores)),
        }
    }
    rows.sort_by(|one, two| two.1.total_cmp(&one.1));
    rows.push(("others".to_owned(), other));
    rows
}

#[test]
fn a_case_is_workers_by_members_and_a_plus_is_another_lab() {
    let case = Case::parse("3x2+3x2").expect("a case");
    assert_eq!((case.labs, case.workers, case.members), (2, 3, 2));
    assert!(Case::parse("3").is_none() && Case::parse("axb").is_none());
    assert!(CASES.iter().all(|name| Case::parse(name).is_some()));
}

#[test]
fn what_uses_most_comes_first_and_crumbs_are_added_up() {
    let cores =
        [("kubelet", 0.09), ("", 0.1), ("a", 0.001), ("b", 0.001)].map(|(name, cores)| (name.to_owned(), cores));
    let rows = sorted(&cores.into());
    let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, [SHORT, "kubelet", "others"]);
    assert!((rows[2].1 - 0.002).abs() < 1e-9);
}
