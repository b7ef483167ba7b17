//! The order that a run of `up` must have, judged from the events that it has written (`--events`).

use std::collections::BTreeMap;

use serde_json::Value;

/// The steps of `up`, in the order in which users are shown them.
const STEPS: [&str; 9] =
    ["preflight", "images", "cluster", "load", "storage", "database", "frontend", "autoscale", "smoke"];

/// What needs what: the first has to be over when the second begins.
pub(crate) const NEEDS: [(&str, &str); 9] = [
    ("preflight", "images"),
    ("preflight", "cluster"),
    ("images", "load"),
    ("images", "storage"),
    ("images", "database"),
    ("load", "smoke"),
    ("cluster", "smoke"),
    ("storage", "smoke"),
    ("database", "smoke"),
];

/// The lines of a stream.
pub(crate) fn parse(stream: &str) -> Vec<Value> {
    stream.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line} is no JSON: {e}"))).collect()
}

/// Everything that is wrong with the stream of an `up` that ended well.
pub(crate) fn wrong(stream: &[Value]) -> Vec<String> {
    let mut wrong = Vec::new();
    let is = |line: Option<&Value>, event: &str| line.is_some_and(|line| line["event"] == event);
    if !is(stream.first(), "began") || stream.first().is_some_and(|line| line["schema"] != 1) {
        wrong.push("the first line does not begin".to_owned());
    }
    if !is(stream.last(), "ended") || stream.last().is_some_and(|line| line["exit-code"] != 0) {
        wrong.push("the last line does not end well".to_owned());
    }
    let times: Vec<f64> = stream.iter().filter_map(|line| line["at"].as_f64()).collect();
    if times.len() != stream.len() || !times.is_sorted() {
        wrong.push("the times do not grow".to_owned());
    }
    let mut at: BTreeMap<(&str, &str), Vec<usize>> = BTreeMap::new();
    for (nth, line) in stream.iter().enumerate() {
        if let (Some(event), Some(step)) = (line["event"].as_str(), line["step"].as_str()) {
            if !STEPS.contains(&step) {
                wrong.push(format!("{step} is no step of up"));
            }
            at.entry((event, step)).or_default().push(nth);
        }
        let open = |step: &str| at.contains_key(&("started", step)) && !at.contains_key(&("finished", step));
        if line["event"] == "checked" && !open("smoke") {
            wrong.push("a check ended outside the step of the checks".to_owned());
        }
        if let Some(step) = line["step"].as_str().filter(|_| line["event"] == "progress" && line["task"].is_string())
            && !open(step)
        {
            wrong.push(format!("a task of {step} tells something outside its step"));
        }
    }
    for step in STEPS {
        for event in ["started", "finished"] {
            let times = at.get(&(event, step)).map_or(0, Vec::len);
            if times != 1 {
                wrong.push(format!("{step} {event} {times} times"));
            }
        }
    }
    let first = |event, step| at.get(&(event, step)).and_then(|times| times.first());
    for (before, after) in NEEDS {
        if first("finished", before) > first("started", after) {
            wrong.push(format!("{after} began before {before} was over"));
        }
    }
    wrong
}
