//! The order of `up`'s recipe, from the events of real runs: those that `tests/golden/recipe` keeps, and (in `tests/lab.rs`)
//! those of every run of CI. `GOLDEN=update cargo test-lab` keeps the new ones.

#[path = "support/order.rs"]
mod order;

use serde_json::Value;

fn streams() -> Vec<(String, Vec<Value>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/recipe");
    let files = std::fs::read_dir(folder).expect("recorded streams").flatten().map(|entry| entry.path());
    files
        .map(|path| {
            let text = std::fs::read_to_string(&path).expect("a stream can be read");
            (path.display().to_string(), order::parse(&text))
        })
        .collect()
}

fn position(stream: &[Value], event: &str, step: &str) -> usize {
    stream.iter().position(|line| line["event"] == event && line["step"] == step).expect("it happened")
}

#[test]
fn the_recorded_runs_of_both_topologies_have_the_order_of_the_recipe() {
    let streams = streams();
    assert_eq!(streams.len(), 2, "one for each topology");
    for (file, stream) in &streams {
        assert_eq!(order::wrong(stream), Vec::<String>::new(), "{file}");
    }
}

/// What does not need each other runs side by side; a new lab shows it.
#[test]
fn what_can_run_side_by_side_does() {
    for (file, stream) in streams() {
        for (one, other) in [("storage", "database"), ("images", "cluster"), ("load", "cluster")] {
            let begin = |step| position(&stream, "started", step);
            let end = |step| position(&stream, "finished", step);
            assert!(begin(one) < end(other) && begin(other) < end(one), "{file}: {one} and {other} take turns");
        }
    }
}

#[test]
fn every_wrong_order_is_seen() {
    let (_, stream) = streams().remove(0);
    for (before, after) in order::NEEDS {
        let mut early = stream.clone();
        let line = early.remove(position(&early, "started", after));
        early.insert(position(&early, "finished", before), line);
        let wrong = order::wrong(&early);
        assert!(wrong.contains(&format!("{after} began before {before} was over")), "{wrong:?}");
    }
    for nth in 0..stream.len() {
        let event = stream[nth]["event"].as_str().expect("an event");
        if ["began", "started", "finished", "ended"].contains(&event) {
            let mut short = stream.clone();
            short.remove(nth);
            assert_ne!(order::wrong(&short), Vec::<String>::new(), "without line {nth}, {event}");
        }
    }
}
