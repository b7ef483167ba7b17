//! What came of a check, as data: made by `smoke`, carried by events, shown by the binary. A leaf.

use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::run::advice::Hint;

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
        #[serde(rename = "advice")]
        hints: Vec<Hint>,
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
    /// What the check belongs to: `nodes`, `images`, `database`, `storage`, `frontend`, `autoscale`, `secrets`,
    /// `clean-up`.
    pub subject: &'static str,
    /// A sentence that is true when it passes.
    pub sentence: String,
    /// What came of it.
    #[serde(flatten)]
    pub verdict: Verdict,
    /// How long it took.
    #[serde(serialize_with = "seconds")]
    pub took: Duration,
}

impl CheckResult {
    /// Whether its sentence is true.
    pub fn passed(&self) -> bool {
        matches!(self.verdict, Verdict::Passed { .. })
    }
}

/// A length of time as programs read it: in seconds, to the millisecond.
#[expect(clippy::cast_precision_loss, reason = "a command takes less than 2^52 ms")]
pub(crate) fn seconds<S: Serializer>(took: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(took.as_millis() as f64 / 1000.0)
}
