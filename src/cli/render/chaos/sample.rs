//! A report that looks like a real one, for whoever renders reports.

use std::{collections::BTreeMap, fs, path::PathBuf};

use wplab::{
    actions::chaos::report::{
        ChaosReport, Latency, Line, Mark, Missing, Outage, Phase, PhaseName, Round, Rows, Second, Served, Step,
        Stretch, Timeline,
    },
    spec::{LabName, Topology},
};

fn served(asked: usize, failed: usize, outage: f64) -> Served {
    let latency = Latency { p50: 0.12, p95: 0.4, p99: 1.5, max: 2.25 };
    let errors = if failed > 0 { BTreeMap::from([("status 503".to_owned(), failed)]) } else { BTreeMap::new() };
    Served { asked, failed, errors, latency: Some(latency), outage: Outage { from: 6.5, length: outage } }
}

fn phases() -> Vec<Phase> {
    let all = [(PhaseName::Before, 0.0, 6.0), (PhaseName::Fault, 6.0, 16.0), (PhaseName::Heal, 16.0, 18.0)];
    let all = all.into_iter().chain([(PhaseName::After, 18.0, 20.0)]);
    all.map(|(phase, from, to)| Phase { phase, from, to }).collect()
}

fn timeline() -> Timeline {
    let second = |n: u32| {
        let broken = (6..9).contains(&n);
        let (read, unread) = if broken { (1, 1) } else { (2, 0) };
        let edited = u32::from(n.is_multiple_of(3) && !broken);
        let written = if (6..14).contains(&n) { 0 } else { 20 };
        let slowest = if broken { 2.25 } else { 0.2 };
        Second { read, unread, slowest, edited, unedited: u32::from(n == 6), written, unwritten: u32::from(n == 7) * 3 }
    };
    let member = |stretches: &[(u64, &'static str)]| stretches.iter().map(|(at, is)| Stretch { at: *at, is }).collect();
    Timeline {
        seconds: (0..=20).map(second).collect(),
        members: BTreeMap::from([
            ("db-0".to_owned(), member(&[(0, "writer"), (6200, "away"), (15_000, "reader")])),
            ("db-1".to_owned(), member(&[(0, "reader"), (14_000, "writer")])),
        ]),
        ready: vec![Step { at: 0.1, count: 3 }, Step { at: 7.0, count: 2 }, Step { at: 12.0, count: 3 }],
        wanted: vec![Step { at: 0.1, count: 3 }],
        marks: vec![
            Mark { at: 6.0, what: "the server process of the writer is killed: db-0".into() },
            Mark { at: 14.0, what: "db-1 is the writer".into() },
            Mark { at: 16.0, what: "undone".into() },
        ],
        api_silent: vec![(8.0, 13.0)],
    }
}

fn line(what: &'static str, expected: &str, seen: &str, met: bool) -> Line {
    Line { what, expected: expected.to_owned(), seen: seen.to_owned(), met }
}

/// Two rounds, one of which failed.
pub(super) fn report() -> ChaosReport {
    let rows = Rows {
        acknowledged: 120,
        unsure: 1,
        tables: 13,
        members: vec!["db-0".into(), "db-1".into()],
        ..Rows::default()
    };
    let good = Round {
        scenario: "writer-process".into(),
        summary: "the server process of the writer is killed".into(),
        round: 1,
        struck: "db-0".into(),
        length: 20.0,
        phases: phases(),
        healed: Some(2.0),
        readers: served(20, 2, 2.0),
        editor: served(4, 1, 4.0),
        writers: served(126, 3, 8.5),
        way_cut: 0.0,
        rows: rows.clone(),
        timeline: timeline(),
        verdict: vec![
            line("longest read outage", "at most 15 s", "2.0 s", true),
            line("longest write outage", "at most 10 s", "8.5 s", true),
            line("acknowledged rows lost", "0", "0 of 120", true),
        ],
    };
    let missing = Missing { member: "db-1".into(), session: 0, seq: 7 };
    let bad = Round {
        scenario: "api-down".into(),
        summary: "the API server is down".into(),
        struck: "demo-control-plane".into(),
        readers: served(20, 0, 0.0),
        editor: served(4, 0, 0.0),
        writers: served(66, 6, 12.0),
        way_cut: 5.0,
        rows: Rows { acknowledged: 60, lost: vec![missing], lost_rows: 1, ..rows },
        verdict: vec![
            line("longest write outage", "at most 10 s", "12.0 s", false),
            line("acknowledged rows lost", "0", "1 of 60: db-1 lacks 0/7", false),
        ],
        ..good.clone()
    };
    ChaosReport {
        lab: LabName::new("demo").expect("a name"),
        topology: Topology::Replication,
        version: "X.Y.Z",
        began: "2026-01-31T12:00:00Z".into(),
        rounds: vec![good, bad],
        ended_early: None,
    }
}

/// Compares with a file under `tests/golden`, or writes it with `GOLDEN=update`.
pub(in crate::cli::render) fn golden(name: &str, text: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("GOLDEN").is_some_and(|value| value == "update") {
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, text).expect("written");
    }
    assert!(
        fs::read_to_string(&path).unwrap_or_default() == text,
        "{} differs; GOLDEN=update writes it",
        path.display()
    );
}
