//! The kinds of objects that are about backups: a `Backup` is asked for by making one, a `Restore` too, a `BackupSchedule` says when
//! they are made without being asked for, and what became of them stands in their status. `wplab backup …` makes the same objects as
//! `kubectl create`. What is in a store is not said by them: they go with the cluster, and backups do not.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::inside::kinds::condition;

/// The type of the one condition: whether what was asked for is done.
pub const DONE: &str = "Done";

/// Annotation of what a schedule has asked for: the moment at which it was due.
pub const DUE: &str = "wplab.dev/due";

/// A backup that is asked for.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "wplab.dev",
    version = "v1alpha1",
    kind = "Backup",
    namespaced,
    status = "BackupStatus",
    category = "wplab",
    doc = "A backup of the lab's database and wp-content as one",
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Id", "type": "string", "jsonPath": ".status.id"}"#,
    printcolumn = r#"{"name": "Stored", "type": "integer", "jsonPath": ".status.storedBytes"}"#,
    printcolumn = r#"{"name": "Position", "type": "string", "jsonPath": ".status.position", "priority": 1}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupSpec {
    /// Whether the lab's schedule made it: the lab's rule says how long such a one is kept. Every other one is kept until somebody removes it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub scheduled: bool,
}

/// What became of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupStatus {
    /// What is said of everything that is asked for.
    #[serde(flatten)]
    pub common: Common,
    /// Its name in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Bytes in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored_bytes: Option<u64>,
    /// What the dump contains: a GTID set, or a cluster's UUID and sequence number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<String>,
}

/// A backup that is to be restored.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "wplab.dev",
    version = "v1alpha1",
    kind = "Restore",
    namespaced,
    status = "RestoreStatus",
    category = "wplab",
    doc = "A backup that is put in the place of what the lab has, or only proven",
    printcolumn = r#"{"name": "Backup", "type": "string", "jsonPath": ".spec.backup"}"#,
    printcolumn = r#"{"name": "Into", "type": "string", "jsonPath": ".spec.into"}"#,
    printcolumn = r#"{"name": "Phase", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreSpec {
    /// Its name in the store.
    pub backup: String,
    /// The lab that it is of, if that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<String>,
    /// Where it is, if that is not where this lab's own backups are, as it is reached from inside the cluster. What lets in there is in
    /// Secret `restore-credentials`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// What it is restored into.
    #[serde(default)]
    pub into: Into,
    /// Up to where what was archived after it is restored, too: a moment with an offset from UTC (everything that was committed before
    /// it), or a GTID set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The Secret with the key (`key`, as age-keygen writes it) of a backup that is encrypted. Only `backup-key` may be read, and
    /// it is removed as soon as it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<String>,
}

/// What a backup is restored into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Into {
    /// The lab itself.
    #[default]
    Lab,
    /// A server of its own, beside the lab: only to prove the backup.
    Scratch,
}

/// What became of a restore.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreStatus {
    /// What is said of everything that is asked for.
    #[serde(flatten)]
    pub common: Common,
    /// Tables that were compared, row by row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<u64>,
    /// Rows in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// Attachments whose file was in no backup and is there no more; at most twenty of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Files that were compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
    /// How long loading the database and unpacking the files took, in seconds; or reading them, where they are only compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seconds: Option<f64>,
}

/// What the status of everything that is asked for says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Common {
    /// How far it is.
    #[serde(default)]
    pub phase: Phase,
    /// Which life of the runner works on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner: Option<String>,
    /// Why it failed; before that, what is being done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Whether it is done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "crate::inside::kinds::conditions")]
    pub conditions: Vec<Condition>,
}

/// How far something is that was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nobody has begun.
    #[default]
    Pending,
    /// Somebody works on it.
    Running,
    /// It is done.
    Complete,
    /// It came to nothing.
    Failed,
}

impl Phase {
    /// Whether nothing more comes of it.
    pub fn is_over(self) -> bool {
        matches!(self, Phase::Complete | Phase::Failed)
    }

    /// The one condition, for whoever waits with `kubectl wait`.
    pub(super) fn condition(self, message: &str, generation: Option<i64>) -> Condition {
        let reason = match self {
            Phase::Pending => "Pending",
            Phase::Running => "Running",
            Phase::Complete => "Complete",
            Phase::Failed => "Failed",
        };
        condition(DONE, self == Phase::Complete, reason, message, generation)
    }
}

/// The one object of that kind in a lab.
pub const SCHEDULE: &str = "lab";

/// When backups are made without being asked for, and which of them are kept.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "wplab.dev",
    version = "v1alpha1",
    kind = "BackupSchedule",
    namespaced,
    status = "BackupScheduleStatus",
    category = "wplab",
    doc = "When the lab is backed up, and which backups are kept",
    printcolumn = r#"{"name": "Schedule", "type": "string", "jsonPath": ".spec.schedule"}"#,
    printcolumn = r#"{"name": "Keep", "type": "string", "jsonPath": ".spec.keep"}"#,
    printcolumn = r#"{"name": "Verify", "type": "string", "jsonPath": ".spec.verify"}"#,
    printcolumn = r#"{"name": "Suspended", "type": "boolean", "jsonPath": ".spec.suspend"}"#,
    printcolumn = r#"{"name": "Next", "type": "string", "jsonPath": ".status.next"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.message"}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupScheduleSpec {
    /// When a backup is made: `never`, or a cron expression, in UTC.
    #[serde(default = "never")]
    pub schedule: String,
    /// Which of those that a schedule made are kept: `all`, or rules such as `7 daily, 4 weekly`.
    #[serde(default = "all")]
    pub keep: String,
    /// When the newest backup is proven: `never`, or a cron expression, in UTC.
    #[serde(default = "never")]
    pub verify: String,
    /// Whether nothing is asked for at the moment. What falls due meanwhile is made up for once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

fn never() -> String {
    "never".to_owned()
}

fn all() -> String {
    "all".to_owned()
}

/// What becomes of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupScheduleStatus {
    /// Which generation the rest is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// When the next backup is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Why nothing can be asked for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}
