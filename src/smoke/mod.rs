//! The checks that prove a lab through its front door, as data. Each file beside this one holds the checks of one subject.

pub mod browser;
pub mod check;
pub mod marker;
pub mod picture;
pub mod site;
#[cfg(test)]
mod testing;

use std::time::Duration;

use serde::Serialize;

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// The sentence is true.
    Passed {
        /// What was seen, in a few words.
        seen: String,
    },
    /// It is not.
    Failed {
        /// Why.
        reason: String,
        /// What to do or look at next.
        hint: String,
    },
    /// It could not be looked at, because another check failed first.
    Skipped {
        /// Which, and why that matters.
        reason: String,
    },
}

/// One check and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct CheckResult {
    /// What the check belongs to: `nodes`, `images`, `database`, `storage`, `frontend`, `autoscale`, `secrets`.
    pub subject: &'static str,
    /// A sentence that is true when it passes.
    pub sentence: String,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took.
    pub took: Duration,
}

/// Every check of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SmokeReport {
    /// In the order in which they are shown.
    pub checks: Vec<CheckResult>,
}

impl SmokeReport {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|c| matches!(c.verdict, Verdict::Passed { .. }))
    }
}
