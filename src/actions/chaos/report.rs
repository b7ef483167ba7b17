//! What drills found out, as data: the one thing that the table, JSON, JUnit and HTML are made of. Times are seconds since the
//! probes of a round began.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::spec::{LabName, Topology};

/// A run of drills.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ChaosReport {
    /// The lab.
    pub lab: LabName,
    /// Its topology.
    pub topology: Topology,
    /// The version of the tool.
    pub version: &'static str,
    /// When it began (RFC 3339).
    pub began: String,
    /// Each scenario, as often as it was run.
    pub rounds: Vec<Round>,
    /// Why the run ended before its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ended_early: Option<String>,
}

impl ChaosReport {
    /// Whether every expectation was met.
    pub fn passed(&self) -> bool {
        self.ended_early.is_none() && self.rounds.iter().all(Round::passed)
    }
}

/// One scenario, once.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Round {
    /// The scenario's name.
    pub scenario: String,
    /// What happens in it.
    pub summary: String,
    /// Which round of it, from 1.
    pub round: u32,
    /// What exactly was broken.
    pub struck: String,
    /// How long the probes ran.
    pub length: f64,
    /// What was done when.
    pub phases: Vec<Phase>,
    /// Seconds from the undoing until all was well again; `None` when it was not in time.
    pub healed: Option<f64>,
    /// What readers met at the front door.
    pub readers: Served,
    /// What an editor who saves and reads back met there.
    pub editor: Served,
    /// What writers met at the database.
    pub writers: Served,
    /// Seconds in which the ledger's own way to the database was cut, which are no outage of the database.
    pub way_cut: f64,
    /// What became of what was written.
    pub rows: Rows,
    /// How things went.
    pub timeline: Timeline,
    /// What was expected, and what was seen.
    pub verdict: Vec<Line>,
}

impl Round {
    /// Whether every expectation was met.
    pub fn passed(&self) -> bool {
        self.verdict.iter().all(|line| line.met)
    }
}

/// A stretch of a round.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Phase {
    /// What it is.
    pub phase: PhaseName,
    /// From when.
    pub from: f64,
    /// Until when.
    pub to: f64,
}

/// What a stretch of a round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PhaseName {
    /// All is well.
    Before,
    /// Something is broken.
    Fault,
    /// It is undone, and not all is well yet.
    Heal,
    /// All is well again.
    After,
}

impl PhaseName {
    /// The word for people.
    pub const fn name(self) -> &'static str {
        match self {
            PhaseName::Before => "before",
            PhaseName::Fault => "fault",
            PhaseName::Heal => "heal",
            PhaseName::After => "after",
        }
    }
}

/// What those met who asked at a steady rate. What was not asked because something stalled counts as asked in time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Served {
    /// How often somebody asked.
    pub asked: usize,
    /// How often that failed.
    pub failed: usize,
    /// How, and how often so.
    pub errors: BTreeMap<String, usize>,
    /// How long answers took, in seconds, counted from when they should have been asked for.
    pub latency: Option<Latency>,
    /// The longest time in which nobody was served.
    pub outage: Outage,
}

impl Served {
    /// How many failed, in percent.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn failed_share(&self) -> f64 {
        if self.asked == 0 { 0.0 } else { self.failed as f64 * 100.0 / self.asked as f64 }
    }
}

/// How long answers took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Latency {
    /// Half of them took no longer.
    pub p50: f64,
    /// 95 of a hundred.
    pub p95: f64,
    /// 99 of a hundred.
    pub p99: f64,
    /// All of them.
    pub max: f64,
}

/// A time in which nobody was served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Outage {
    /// From when.
    pub from: f64,
    /// How long.
    pub length: f64,
}

/// What became of what was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rows {
    /// Rows that were acknowledged.
    pub acknowledged: usize,
    /// Rows whose write failed and that are there all the same, which they may be.
    pub unsure: usize,
    /// Acknowledged rows that a member lacks.
    pub lost: Vec<Missing>,
    /// How many different ones these are.
    pub lost_rows: usize,
    /// Rows that nobody wrote, or not so.
    pub unwritten: Vec<String>,
    /// Writes that did not see what the same session had been told before.
    pub reordered: Vec<String>,
    /// Members that could not be asked, and why.
    pub unasked: Vec<String>,
    /// How the members differ; empty when they have the same transactions and the same tables.
    pub differences: Vec<String>,
    /// Tables whose checksums were compared.
    pub tables: usize,
    /// Members that were asked.
    pub members: Vec<String>,
}

/// A row that a member lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Missing {
    /// The member.
    pub member: String,
    /// Who wrote it.
    pub session: u32,
    /// Which of that session's.
    pub seq: u64,
}

/// How things went.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Timeline {
    /// Second by second.
    pub seconds: Vec<Second>,
    /// What each database member was, from when.
    pub members: BTreeMap<String, Vec<Stretch>>,
    /// Replicas of the site that were ready, from when.
    pub ready: Vec<Step>,
    /// Replicas that the autoscaler wanted, from when.
    pub wanted: Vec<Step>,
    /// What happened when.
    pub marks: Vec<Mark>,
    /// When the API server did not answer.
    pub api_silent: Vec<(f64, f64)>,
}

/// One second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Second {
    /// Readers who were served.
    pub read: u32,
    /// Readers who were not.
    pub unread: u32,
    /// How long the slowest of them waited, in seconds.
    pub slowest: f64,
    /// Edits that were saved and read back.
    pub edited: u32,
    /// Edits that were not.
    pub unedited: u32,
    /// Rows that were acknowledged.
    pub written: u32,
    /// Rows that were not.
    pub unwritten: u32,
}

/// What a member was from a moment on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stretch {
    /// From when, in milliseconds.
    pub at: u64,
    /// `writer`, `reader`, or `away` when it serves nobody.
    pub is: &'static str,
}

/// A count from a moment on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// From when.
    pub at: f64,
    /// How many.
    pub count: u32,
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Mark {
    /// When.
    pub at: f64,
    /// What.
    pub what: String,
}

/// An expectation, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Line {
    /// Of what.
    pub what: &'static str,
    /// What was expected.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// Whether that is what was expected.
    pub met: bool,
}
