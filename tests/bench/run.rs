//! One run of an arm: the command in a process group of its own, an observer beside it, and what the machine spent.

use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    machine::{self, Rest},
    observer::{Observer, Sought},
};

/// Milestones in the order in which a script reaches them; `checks` is the command's end.
pub(crate) const MILESTONES: [&str; 7] = ["api", "nodes", "images", "database", "page", "autoscaler", "checks"];
/// What is known of a run beside its milestones: the machine's and the command's own processor seconds, peak of the command's
/// memory and of the machine's over the start (MiB), MiB written, seconds of what was done before the clock ran, cores in use
/// before it, whether the machine had come to rest (1 or 0), processor seconds of the observer, [`OTHERS`].
pub(crate) const COSTS: [&str; 10] =
    ["cpu", "own-cpu", "own-peak", "memory", "written", "before", "idle-cores", "settled", "observer-cpu", OTHERS];
/// When every check but the autoscaler's had passed, as the tool tells in its events; the clean-up that follows is none of them.
pub(crate) const OTHERS: &str = "other-checks";

/// Longer than any arm takes.
const PATIENCE: Duration = Duration::from_mins(15);
/// How often it is looked whether the command has ended.
const TURN: Duration = Duration::from_millis(20);
/// How often free memory is looked at, in turns.
const MEMORY_TURNS: u32 = 25;
/// How often the command's processes are, in turns; rarely, because all of the machine's have to be looked at, and each has its
/// peak with it.
const PROCESS_TURNS: u32 = 150;

/// One row of the raw results.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Run {
    pub(crate) round: usize,
    pub(crate) arm: String,
    /// `ok`, or why it counts as a failure.
    pub(crate) outcome: String,
    /// By the names of [`MILESTONES`] and [`COSTS`].
    pub(crate) values: BTreeMap<String, f64>,
}

/// Runs a command to its end with everything looked at.
pub(crate) fn run(
    command: &mut Command,
    sought: Option<Sought>,
    log: &Path,
    rest: Rest,
) -> (String, BTreeMap<String, f64>) {
    let times = tempfile::NamedTempFile::new().expect("a file");
    let (busy, written, own, free) = (machine::busy(), machine::written(), machine::own(), machine::available());
    let begin = Instant::now();
    let observer = sought.map(|sought| Observer::start(sought, begin));
    let mut child = wrapped(command, times.path(), log);
    let (mut least, mut peak, mut turn) = (free, 0.0_f64, 0);
    let outcome = loop {
        if let Some(status) = child.try_wait().expect("it can be waited for") {
            break if status.success() { "ok".to_owned() } else { format!("failed: {status}") };
        }
        if begin.elapsed() > PATIENCE {
            end_group(&mut child);
            break format!("failed: not done after {} s", PATIENCE.as_secs());
        }
        if turn % MEMORY_TURNS == 0 {
            least = least.min(machine::available());
        }
        if turn % PROCESS_TURNS == PROCESS_TURNS / 2 {
            peak = peak.max(machine::peak_of_group(child.id()));
        }
        turn += 1;
        sleep(TURN);
    };
    let seconds = begin.elapsed().as_secs_f64();
    // What others use on a busy machine changes, so nobody can say what of it all was the run's.
    let cpu = rest.settled.then(|| machine::busy() - busy - rest.cores * seconds);
    let mut values: BTreeMap<String, f64> = BTreeMap::new();
    for (milestone, at) in observer.map(Observer::end).unwrap_or_default() {
        values.insert(milestone.to_owned(), at);
    }
    let costs = [
        ("checks", seconds),
        ("own-cpu", own_seconds(&std::fs::read_to_string(times.path()).unwrap_or_default())),
        ("own-peak", peak),
        ("memory", free - least),
        ("written", machine::written() - written),
        ("idle-cores", rest.cores),
        ("settled", f64::from(u8::from(rest.settled))),
        ("observer-cpu", machine::own() - own),
    ];
    values.extend(costs.into_iter().chain(cpu.map(|cpu| ("cpu", cpu))).map(|(name, value)| (name.to_owned(), value)));
    (outcome, values)
}

/// The command below a shell that writes down what it and all it waited for have used.
fn wrapped(command: &Command, times: &Path, log: &Path) -> Child {
    let mut shell = Command::new("bash");
    shell.args(["-c", r#"file=$1; shift; "$@"; code=$?; times > "$file"; exit $code"#, "bash"]).arg(times);
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let log = File::create(log).expect("a log");
    shell.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log).process_group(0);
    shell.spawn().expect("bash starts")
}

fn end_group(child: &mut Child) {
    let group = format!("-{}", child.id());
    let _ = Command::new("kill").args(["-s", "KILL", "--", &group]).status();
    let _ = child.wait();
}

/// What bash's `times` says of children, its second line: `0m1.234s 0m0.567s`, user and system.
fn own_seconds(times: &str) -> f64 {
    let seconds = |word: &str| {
        let (minutes, seconds) = word.trim_end_matches('s').split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    };
    times.lines().nth(1).unwrap_or_default().split_whitespace().filter_map(seconds).sum()
}

/// When [`OTHERS`] was, by what `--events` has written; none where there was no such check.
pub(crate) fn others_passed(events: &str) -> Option<f64> {
    let lines = events.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let others = lines
        .filter(|line| line["event"] == "checked" && line["subject"] != "autoscale" && line["subject"] != "clean-up");
    others.filter_map(|line| line["at"].as_f64()).reduce(f64::max)
}

impl Run {
    /// The first line of a file of runs.
    pub(crate) fn header() -> String {
        ["round", "arm", "outcome"].into_iter().chain(MILESTONES).chain(COSTS).collect::<Vec<_>>().join(",")
    }

    /// One line; a value that was not seen is empty.
    pub(crate) fn line(&self) -> String {
        let value = |name| self.values.get(name).map_or_else(String::new, |value| format!("{value:.3}"));
        let head = [self.round.to_string(), self.arm.clone(), self.outcome.replace([',', '\n'], ";")];
        head.into_iter().chain(MILESTONES.into_iter().chain(COSTS).map(value)).collect::<Vec<_>>().join(",")
    }

    /// The runs of a file; lines that are none are left out.
    pub(crate) fn all(text: &str) -> Vec<Run> {
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let one = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            let value = |(name, field): (&&str, &&str)| Some(((*name).to_owned(), field.parse().ok()?));
            Some(Run {
                round: fields.first()?.parse().ok()?,
                arm: (*fields.get(1)?).to_owned(),
                outcome: (*fields.get(2)?).to_owned(),
                values: names.iter().zip(&fields).skip(3).filter_map(value).collect(),
            })
        };
        lines.filter_map(one).collect()
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.outcome == "ok"
    }
}

#[test]
fn a_run_is_read_as_it_was_written() {
    let values = BTreeMap::from([("api".to_owned(), 20.125), ("cpu".to_owned(), 141.0)]);
    let run = Run { round: 2, arm: "up".to_owned(), outcome: "failed: a; b".to_owned(), values };
    let text = format!("{}\n{}\nhalf a li", Run::header(), run.line());
    assert_eq!(Run::all(&text), [run]);
}

#[test]
fn the_autoscaler_is_none_of_the_others_nor_is_the_clean_up() {
    let checked = |at: f64, subject: &str| format!(r#"{{"at":{at},"event":"checked","subject":"{subject}"}}"#);
    let lines =
        [checked(3.5, "nodes"), checked(6.25, "secrets"), checked(19.0, "autoscale"), checked(20.5, "clean-up")];
    assert_eq!(others_passed(&lines.join("\n")), Some(6.25));
    assert_eq!(others_passed("{\"at\":1,\"event\":\"ended\"}\nno line"), None);
}

#[test]
fn own_time_is_that_of_the_children() {
    assert!((own_seconds("9m0.000s 9m0.000s\n1m2.500s 0m0.250s\n") - 62.75).abs() < 1e-9);
}
