//! The kind `Database`: what a lab's database is to be, as an object that `kubectl` edits as `up` writes it, and what became of
//! that. The operator ([`crate::parts::database::operator`]) does it; the runner of backups says in it when the last one was made.
//! Words are those of a lab file, which stays the easy way. What is wrong in it is told in its status, in a lab file's words.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The one object of that kind in a lab.
pub const DATABASE: &str = "db";

/// The condition that says whether all members serve and one of them takes writes.
pub const READY: &str = "Ready";
/// The condition that says whether members are on their way to what is declared.
pub const PROGRESSING: &str = "Progressing";
/// The condition that says whether root has the password that somebody brings, where somebody does.
pub const ROOT_PASSWORD: &str = "RootPassword";
/// The condition that says whether the schedule of backups keeps its word.
pub const BACKUPS_CURRENT: &str = "BackupsCurrent";
/// The condition that says whether everything that is written is archived, without a hole.
pub const ARCHIVE_CONTINUOUS: &str = "ArchiveContinuous";

/// What a lab's database is to be.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "wplab.dev",
    version = "v1alpha1",
    kind = "Database",
    namespaced,
    status = "DatabaseStatus",
    category = "wplab",
    doc = "A lab's database: members, settings, volumes",
    printcolumn = r#"{"name": "Topology", "type": "string", "jsonPath": ".spec.topology"}"#,
    printcolumn = r#"{"name": "Writer", "type": "string", "jsonPath": ".status.writer"}"#,
    printcolumn = r#"{"name": "Ready", "type": "string", "jsonPath": ".status.ready"}"#,
    printcolumn = r#"{"name": "State", "type": "string", "jsonPath": ".status.phase"}"#,
    printcolumn = r#"{"name": "Last backup", "type": "date", "jsonPath": ".status.lastBackup"}"#,
    printcolumn = r#"{"name": "Message", "type": "string", "jsonPath": ".status.message", "priority": 1}"#,
    printcolumn = r#"{"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {"rule": "self.topology == oldSelf.topology", "message": "a topology is for good: the other one does not read the same data"},
    {"rule": "self.server == oldSelf.server", "message": "a server is for good: another one does not read the same data"},
    {"rule": "self.volumeClass == oldSelf.volumeClass", "message": "a class is for good: volumes do not change theirs"},
    {"rule": "quantity(self.volume).compareTo(quantity(oldSelf.volume)) >= 0", "message": "volumes only grow"}
]))]
pub struct DatabaseSpec {
    /// How the members keep their copies: `replication` or `galera`. It does not change.
    #[schemars(extend("enum" = ["replication", "galera"]))]
    pub topology: String,
    /// Whose server it is: `mysql`, `mariadb` or `percona`. It does not change.
    #[schemars(extend("enum" = ["mysql", "mariadb", "percona"]))]
    pub server: String,
    /// The server's image.
    pub image: String,
    /// The image of what supervises it.
    pub tools: String,
    /// How many members there are. `wplab scale db` changes it, which also makes room for them.
    #[schemars(range(min = 1, max = 9))]
    pub members: u8,
    /// Size of each member's volume; it only grows.
    #[schemars(regex(pattern = QUANTITY))]
    pub volume: String,
    /// The StorageClass of these volumes: `default`, or a name. It does not change.
    #[serde(default = "own")]
    pub volume_class: String,
    /// What each member asks for and may use.
    pub resources: DatabaseResources,
    /// Where members may run.
    #[serde(default)]
    pub placement: DatabasePlacement,
    /// Options of the server, as in my.cnf. One that is left out has the lab's own value, or the server's.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
}

/// What Kubernetes can compare; which of them a lab takes is told in the status.
const QUANTITY: &str = "^[0-9]+(\\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$";

/// What each member asks for and may use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabaseResources {
    /// Requested CPU.
    pub cpu: String,
    /// Requested memory, which is also the limit.
    pub memory: String,
}

/// Where members may run, in a lab file's words.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DatabasePlacement {
    /// `any`, or labels such as `disk=ssd` that a node must have.
    #[serde(default = "any")]
    pub nodes: String,
    /// The same of nodes that are taken rather than others.
    #[serde(default = "any")]
    pub prefer: String,
    /// `nothing`, or taints such as `dedicated=database:NoSchedule`.
    #[serde(default = "nothing")]
    pub tolerate: String,
}

impl Default for DatabasePlacement {
    fn default() -> DatabasePlacement {
        DatabasePlacement { nodes: any(), prefer: any(), tolerate: nothing() }
    }
}

fn own() -> String {
    "default".to_owned()
}

fn any() -> String {
    "any".to_owned()
}

fn nothing() -> String {
    "nothing".to_owned()
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseStatus {
    /// Which generation the rest is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far the members are with what is declared.
    #[serde(default)]
    pub phase: DatabasePhase,
    /// What is being done, or why it cannot be.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// What was done for this generation, as in "three restarted one by one".
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub done: String,
    /// The member that takes writes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub writer: String,
    /// How many members are ready, of how many.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ready: String,
    /// How what was declared was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_back: Option<DatabaseTakenBack>,
    /// When the newest backup was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<String>,
    /// [`READY`], [`PROGRESSING`], [`ROOT_PASSWORD`] where somebody brings one, and with backups [`BACKUPS_CURRENT`] and [`ARCHIVE_CONTINUOUS`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
}

/// How far the members are with what is declared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DatabasePhase {
    /// Nobody has looked at it.
    #[default]
    Pending,
    /// Members are given it.
    Changing,
    /// All members have it.
    Settled,
    /// It cannot be done, and nothing was touched.
    Refused,
    /// The first member was not well with it; all have again what they had.
    TakenBack,
    /// It came to nothing, and is tried again.
    Failed,
}

impl DatabasePhase {
    /// Every phase.
    pub const ALL: [DatabasePhase; 6] = [
        DatabasePhase::Pending,
        DatabasePhase::Changing,
        DatabasePhase::Settled,
        DatabasePhase::Refused,
        DatabasePhase::TakenBack,
        DatabasePhase::Failed,
    ];
}

/// What was taken back, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatabaseTakenBack {
    /// The member that was to prove it.
    pub member: String,
    /// What its server complained about last.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub said: String,
    /// What was to be different.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Whether all is well again.
    pub well: bool,
}

/// A condition since now; who writes it keeps the moment of one that says the same ([`since`]).
pub fn condition(kind: &str, yes: bool, reason: &str, message: &str, generation: Option<i64>) -> Condition {
    Condition {
        type_: kind.to_owned(),
        status: if yes { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: Time(Timestamp::now()),
        observed_generation: generation,
    }
}

/// The same, since the moment of the one that was there if that says the same.
#[must_use]
pub fn since(mut condition: Condition, before: &[Condition]) -> Condition {
    let same = before.iter().find(|one| one.type_ == condition.type_ && one.status == condition.status);
    if let Some(same) = same {
        condition.last_transition_time = same.last_transition_time.clone();
    }
    condition
}

/// Kubernetes's own type has no schema of this kind.
pub(super) fn conditions(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": { "type": "string" },
                "status": { "type": "string" },
                "reason": { "type": "string" },
                "message": { "type": "string" },
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "observedGeneration": { "type": "integer", "format": "int64" }
            }
        }
    })
}
