//! What came of proving a backup by using it: `verified.json`, beside its manifest. The manifest is written once and stays as it is;
//! this is written anew each time.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What came of proving a backup.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verified {
    /// When.
    pub at: Timestamp,
    /// What is wrong with it; `None` when it was loaded and every row and file was what it had been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
    /// How long loading the database and reading the files took, in seconds, as far as it came.
    pub seconds: f64,
    /// The version of wplab that tried it.
    pub by: String,
}
