//! Loads for the tests of what is made of them.

use std::collections::BTreeMap;

use wplab::{
    actions::load::report::{Cpu, Latency, Line, Link, LinkName, LoadReport, Proof, Second, Step, Sum},
    spec::LabName,
};

pub(super) use super::super::chaos::golden;

/// Ten users for a minute; of the images too many failed.
pub(super) fn report() -> LoadReport {
    let sum = |kind, count: u32, failed: usize, [p50, p95, p99, max]: [f64; 4]| Sum {
        kind,
        count: count as usize,
        rate: f64::from(count) / 60.0,
        failed,
        errors: if failed > 0 { BTreeMap::from([("status 503".to_owned(), failed)]) } else { BTreeMap::new() },
        latency: Some(Latency { p50, p95, p99, max }),
    };
    let second = |answered, failed, p95| Second { answered, failed, p95 };
    LoadReport {
        lab: LabName::new("demo").expect("a name"),
        url: "http://127.0.0.1:8080".into(),
        version: "X.Y.Z",
        began: "2026-01-31T12:00:00Z".into(),
        users: 10,
        rate: None,
        ramp: 10.0,
        length: 60.0,
        kinds: vec![
            sum("front page", 500, 0, [0.084, 0.24, 0.41, 0.9]),
            sum("image", 100, 20, [0.012, 0.03, 0.041, 12.0]),
        ],
        total: sum("all", 600, 20, [0.08, 0.23, 0.4, 12.0]),
        seconds: vec![second(4, 0, Some(0.2)), second(9, 1, Some(0.5)), second(0, 2, None), second(8, 0, Some(0.1))],
        hpa: None,
        verdict: vec![line("requests failed", "at most 1 % of some", "20 of 600 (3.3 %)", false)],
        ended_early: None,
    }
}

/// The autoscaler was seen at work, and nothing failed.
pub(super) fn proven() -> LoadReport {
    let seen: [(LinkName, Option<f64>); 13] = [
        (LinkName::Load, Some(0.0)),
        (LinkName::Kubelet, Some(8.0)),
        (LinkName::MetricsServer, Some(16.0)),
        (LinkName::Decision, Some(46.0)),
        (LinkName::Created, Some(46.2)),
        (LinkName::Ready, Some(52.0)),
        (LinkName::Endpoint, Some(52.3)),
        (LinkName::Latency, None),
        (LinkName::LoadEnds, Some(95.0)),
        (LinkName::Idle, Some(115.0)),
        (LinkName::Fewer, Some(130.0)),
        (LinkName::Fewest, Some(145.0)),
        (LinkName::Gone, Some(150.0)),
    ];
    let mut before = None;
    let links = seen.map(|(link, at)| {
        let after = at.zip(before).map(|(at, before): (f64, f64)| at - before);
        before = at.or(before);
        Link { link, at, after }
    });
    let cpu = |at, kubelet, metrics| Cpu { at, kubelet, metrics };
    let step = |at, count| Step { at, count };
    let good = Sum { failed: 0, errors: BTreeMap::new(), ..report().total };
    LoadReport {
        kinds: vec![report().kinds[0].clone()],
        total: good,
        hpa: Some(Proof {
            min: 2,
            max: 4,
            wanted: 4,
            target: 70,
            window: 30,
            links: links.to_vec(),
            p95: (Some(0.8), Some(0.9)),
            cpu: vec![cpu(1.0, None, Some(1.0)), cpu(8.0, Some(180.0), Some(1.0)), cpu(16.0, Some(190.0), Some(180.0))],
            wants: vec![step(0.0, 2), step(46.0, 4), step(145.0, 2)],
            ready: vec![step(0.0, 2), step(52.0, 4), step(150.0, 2)],
        }),
        verdict: vec![
            line("requests failed", "at most 1 % of some", "0 of 600 (0.0 %)", true),
            line("the autoscaler adds replicas", "more than 2 under load", "after 46.0 s", true),
            line("a new replica serves", "it is ready and in the Service", "after 52.3 s", true),
            line("the autoscaler takes them away", "2 after it", "after 150.0 s", true),
        ],
        ..report()
    }
}

fn line(what: &'static str, expected: &str, seen: &str, met: bool) -> Line {
    Line { what, expected: expected.into(), seen: seen.into(), met }
}
