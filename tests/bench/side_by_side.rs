//! All arms in turn: A B C, C B A, …, each from a machine at rest. Every run is written down at once, and one that is written down
//! is not repeated, so that a benchmark that was ended goes on where it was.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use wplab::host::nodes;

use crate::{
    arms::{self, Arm, Scripts, WORKERS},
    bound::{self, Term},
    machine::{self, Rest},
    picture, report,
    run::{OTHERS, Run, others_passed, run},
};

/// Everything that a benchmark needs to go on.
pub(crate) struct Bench {
    folder: PathBuf,
    scripts: Scripts,
    /// The runs of earlier and of this time.
    runs: Vec<Run>,
    /// Whether a lab of the tool stands, which an arm has left.
    stands: bool,
}

impl Bench {
    pub(crate) fn open(folder: &Path) -> Bench {
        fs::create_dir_all(folder.join("logs")).expect("a folder");
        let text = fs::read_to_string(folder.join("up.csv")).unwrap_or_default();
        Bench { folder: folder.to_owned(), scripts: Scripts::new(), runs: Run::all(&text), stands: false }
    }

    /// `rounds` of each arm, and the terms of the bound; then the report.
    pub(crate) fn measure(&mut self, rounds: usize, arms: &[Arm]) {
        let missing: Vec<_> = arms.iter().filter_map(|arm| Some((arm.name(), arm.missing()?))).collect();
        let mut order: Vec<Arm> = arms.iter().copied().filter(|arm| arm.missing().is_none()).collect();
        // What only a new executable costs is no arm's: its own image, and its first look at the others.
        quiet(arms::tool(&["images", "warm"]));
        for round in 1..=rounds {
            for arm in order.clone() {
                let done = self.runs.iter().any(|run| run.round == round && run.arm == arm.name());
                if !done {
                    self.once(round, arm);
                }
            }
            order.reverse();
        }
        if std::env::var("BOUND").is_ok_and(|value| value == "off") {
            println!("the lower bound is left out");
        } else {
            self.terms();
        }
        self.clear();
        self.tell(&missing);
    }

    /// One run, written down whatever came of it.
    fn once(&mut self, round: usize, arm: Arm) {
        let log = |what: &str| self.folder.join(format!("logs/{round}-{}-{what}.log", arm.name()));
        let begin = Instant::now();
        let before = (log("stand"), log("before"), log("run"));
        let events = log("events").with_extension("jsonl");
        let _ = fs::remove_file(&events);
        if arm.again() {
            if !self.stands {
                println!("round {round}, {}: a lab to begin with", arm.name());
                let none = Rest { cores: 0.0, settled: true };
                self.stands = run(&mut arms::up(&[]), None, &before.0, none).0 == "ok";
            }
        } else {
            self.clear();
        }
        arm.after().into_iter().for_each(quiet);
        let mut prepared = None;
        let mut failed = (arm.again() && !self.stands).then(|| "failed: there is no lab to begin with".to_owned());
        if let Some(mut command) = arm.before().filter(|_| failed.is_none()) {
            let (outcome, values) = run(&mut command, None, &before.1, Rest { cores: 0.0, settled: true });
            prepared = values.get("checks").copied();
            failed = (outcome != "ok").then(|| format!("{outcome} before the clock ran"));
        }
        let (outcome, mut values) = match failed {
            Some(outcome) => (outcome, [].into()),
            None => {
                println!("round {round}, {}: waiting for rest", arm.name());
                let rest = machine::settle(if arm.stands() { machine::LAB } else { 0.0 });
                let mut command = arm.timed(&self.scripts);
                if !arm.is_script() {
                    command.arg("--events").arg(&events);
                }
                run(&mut command, arm.sought(&self.scripts), &before.2, rest)
            }
        };
        arm.after().into_iter().for_each(quiet);
        let proven = fs::read_to_string(events).ok().and_then(|events| others_passed(&events));
        values.extend(proven.map(|at| (OTHERS.to_owned(), at)));
        values.extend(prepared.map(|seconds| ("before".to_owned(), seconds)));
        self.stands = outcome == "ok" && !arm.is_script();
        let run = Run { round, arm: arm.name().to_owned(), outcome, values };
        println!("{}\n{}\n  all of it took {:.0} s", Run::header(), run.line(), begin.elapsed().as_secs_f64());
        self.keep("up.csv", &Run::header(), &run.line());
        self.runs.push(run);
    }

    /// Adds a line to a file, and what is above it to a new one.
    fn keep(&self, file: &str, head: &str, line: &str) {
        let path = self.folder.join(file);
        let new = !path.exists();
        let mut file = OpenOptions::new().create(true).append(true).open(path).expect("a file");
        let text = if new { format!("{head}\n{line}\n") } else { format!("{line}\n") };
        file.write_all(text.as_bytes()).expect("written");
    }

    /// Each term of the lower bound alone, once more; `terms.txt` has all of them. Of a machine with other work nothing is kept:
    /// all processor seconds are the whole machine's.
    fn terms(&mut self) {
        let (once, log) = (self.folder.join("logs/terms.log"), self.folder.join("logs/checks.log"));
        if !self.stands {
            println!("the terms of the lower bound: a lab whose checks are timed");
            let none = Rest { cores: 0.0, settled: true };
            self.stands = run(&mut arms::up(&[]), None, &log, none).0 == "ok";
        }
        let rest = machine::settle(machine::LAB);
        let (outcome, values) = run(&mut arms::tool(&["smoke", arms::LAB]), None, &log, rest);
        let cpu = values.get("cpu").copied();
        self.clear();
        println!("the terms of the lower bound");
        let rest = machine::settle(0.0);
        let kind = self.folder.join("kind.yaml");
        let config = nodes::kind_config(WORKERS, 0, 1, &[]).expect("YAML");
        fs::write(&kind, config).expect("a configuration");
        let mut command = self.scripts.at(Path::new("lab/bench/terms.sh"));
        command.env("KIND_CONFIG", fs::canonicalize(kind).expect("a path")).env("REST", rest.cores.to_string());
        let said = command.stderr(fs::File::create(once).expect("a log")).output().expect("it runs");
        let lines = format!(
            "checks {:.2} {:.2}\n{}",
            values["checks"],
            cpu.unwrap_or_default(),
            String::from_utf8_lossy(&said.stdout).trim_end()
        );
        println!("{lines}");
        if outcome != "ok" || !said.status.success() {
            println!("not kept, because something failed; see logs/checks.log and logs/terms.log");
        } else if cpu.is_none() || !rest.settled {
            println!("not kept, because other work keeps the machine busy");
        } else {
            let head = "# TERM SECONDS PROCESSOR-SECONDS, each alone; a measurement begins with checks";
            self.keep("terms.txt", head, &lines);
        }
    }

    /// Removes whatever stands.
    fn clear(&mut self) {
        quiet(arms::tool(&["down", arms::LAB]));
        quiet(self.scripts.command("down.sh"));
        self.stands = false;
    }

    /// The report and the picture, in the folder and, the first, on the terminal.
    fn tell(&self, missing: &[(&str, &str)]) {
        let bars: Vec<_> =
            report::present(&self.runs).into_iter().map(|arm| (arm.name(), report::medians(&self.runs, arm))).collect();
        let mut page = report::page(&self.runs, missing);
        let kept = fs::read_to_string(self.folder.join("terms.txt")).unwrap_or_default();
        let all: Vec<bound::Terms> =
            kept.split("checks ").skip(1).map(|one| bound::parse(&format!("checks {one}"))).collect();
        let terms = bound::middle(&all);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        #[expect(clippy::cast_precision_loss, reason = "a number of processors")]
        page.push_str(&bound::page(&terms, processors as f64, &bars));
        page.push_str(&format!("\nImages: {}.\n", self.scripts.images()));
        fs::write(self.folder.join("up.md"), &page).expect("written");
        fs::write(self.folder.join("up.svg"), picture::svg(&bars)).expect("written");
        println!("\n{page}\n{}: up.csv, up.md, up.svg, terms.txt", self.folder.display());
    }
}

/// Runs a command whose failure shows later, if it matters.
fn quiet(mut command: Command) {
    let _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

/// Kept here and not in [`bound`], because only the file of all terms has them mixed.
#[test]
fn measurements_in_one_file_are_told_apart() {
    let kept = "# head\nchecks 5.00 6.00\nboot 5 8\nchecks 7.00 6.00\nboot 6 8\n";
    let all: Vec<bound::Terms> =
        kept.split("checks ").skip(1).map(|one| bound::parse(&format!("checks {one}"))).collect();
    assert_eq!(all.len(), 2);
    assert_eq!(bound::middle(&all)["checks"], Term { seconds: 6.0, cpu: 6.0 });
}
