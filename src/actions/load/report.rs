//! What came of a load, as data: the one thing that the table, JSON, JUnit and HTML are made of. Times are seconds since the load
//! began.

use std::collections::BTreeMap;

use serde::Serialize;

pub use crate::actions::chaos::report::{Latency, Line, Step};
use crate::spec::LabName;

/// So many requests may fail, in percent: a replica that is taken away, or comes, may cost one or two.
pub const TOLERATED: f64 = 1.0;

/// A load, and what it showed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct LoadReport {
    /// The lab.
    pub lab: LabName,
    /// Where its site is.
    pub url: String,
    /// The version of the tool.
    pub version: &'static str,
    /// When it began (RFC 3339).
    pub began: String,
    /// How many users there were in the end.
    pub users: u32,
    /// The rate that was asked for, in requests per second; `None` when users went at their own pace.
    pub rate: Option<u32>,
    /// How long users went on coming, in seconds.
    pub ramp: f64,
    /// How long requests were sent, in seconds.
    pub length: f64,
    /// Each kind of request.
    pub kinds: Vec<Sum>,
    /// All of them.
    pub total: Sum,
    /// Second by second.
    pub seconds: Vec<Second>,
    /// What the autoscaler did, where that was to be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hpa: Option<Proof>,
    /// What was expected, and what was seen.
    pub verdict: Vec<Line>,
    /// Why it ended before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_early: Option<String>,
}

impl LoadReport {
    /// Whether every expectation was met.
    pub fn passed(&self) -> bool {
        self.ended_early.is_none() && self.verdict.iter().all(|line| line.met)
    }
}

/// What came of the requests of a kind.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sum {
    /// Of which.
    pub kind: &'static str,
    /// How many came to an end.
    pub count: usize,
    /// How many a second.
    pub rate: f64,
    /// How many failed.
    pub failed: usize,
    /// How, and how often so.
    pub errors: BTreeMap<String, usize>,
    /// How long the others took, in seconds to the last byte.
    pub latency: Option<Latency>,
}

impl Sum {
    /// How many failed, in percent.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn failed_share(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.failed as f64 * 100.0 / self.count as f64 }
    }
}

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Second {
    /// Requests that were answered.
    pub answered: u32,
    /// Requests that failed.
    pub failed: u32,
    /// The time that 95 of a hundred answers did not exceed.
    pub p95: Option<f64>,
}

/// What the autoscaler did.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Proof {
    /// The fewest replicas, with which it began.
    pub min: u32,
    /// The most.
    pub max: u32,
    /// The most that it wanted.
    pub wanted: u32,
    /// The CPU use that it aims at, in percent of what replicas ask for.
    pub target: u32,
    /// How long a replica must have been unneeded before it goes, in seconds.
    pub window: u32,
    /// The chain from load to more replicas, and back to the fewest.
    pub links: Vec<Link>,
    /// 95 of a hundred answers took no longer: when the autoscaler decided, and when more replicas served. `None` where too few
    /// came to say.
    pub p95: (Option<f64>, Option<f64>),
    /// CPU use as it was known.
    pub cpu: Vec<Cpu>,
    /// Replicas that the autoscaler wanted, from when.
    pub wants: Vec<Step>,
    /// Replicas that were ready, from when.
    pub ready: Vec<Step>,
}

/// A link of the chain.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Link {
    /// Which.
    pub link: LinkName,
    /// When it was seen; `None` when it was not.
    pub at: Option<f64>,
    /// How long after the one before it.
    pub after: Option<f64>,
}

/// The links, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkName {
    /// The first request.
    Load,
    /// The kubelets count more CPU than the autoscaler aims at.
    Kubelet,
    /// metrics-server says so.
    MetricsServer,
    /// The autoscaler wants more replicas.
    Decision,
    /// A new pod exists.
    Created,
    /// A new pod is ready.
    Ready,
    /// A new pod is in the Service.
    Endpoint,
    /// Answers are faster again than when the autoscaler decided.
    Latency,
    /// The last request.
    LoadEnds,
    /// metrics-server says that the CPU use is below what the autoscaler aims at.
    Idle,
    /// The autoscaler wants fewer replicas.
    Fewer,
    /// It wants the fewest.
    Fewest,
    /// There are no more than these.
    Gone,
}

impl LinkName {
    /// The words for people.
    pub const fn name(self) -> &'static str {
        match self {
            LinkName::Load => "the first request",
            LinkName::Kubelet => "the kubelets count more CPU than the target",
            LinkName::MetricsServer => "metrics-server says so",
            LinkName::Decision => "the autoscaler wants more replicas",
            LinkName::Created => "a new pod exists",
            LinkName::Ready => "a new pod is ready",
            LinkName::Endpoint => "it is in the Service",
            LinkName::Latency => "answers are faster again",
            LinkName::LoadEnds => "the last request",
            LinkName::Idle => "metrics-server says less than the target",
            LinkName::Fewer => "the autoscaler wants fewer replicas",
            LinkName::Fewest => "it wants the fewest",
            LinkName::Gone => "there are no more",
        }
    }
}

/// CPU use at a moment, in percent of what replicas ask for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Cpu {
    /// When.
    pub at: f64,
    /// As the kubelets count it.
    pub kubelet: Option<f64>,
    /// As metrics-server says.
    pub metrics: Option<f64>,
}
