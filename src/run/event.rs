//! Everything that can be shown, as data. The library sends [`Event`]s and never writes to the terminal; lines, progress
//! bars and JSON lines are readers of this one stream (`cli::render`). A leaf: it knows nothing of Docker or Kubernetes.

use std::time::Duration;

use serde::Serialize;

use super::{
    advice::Hint,
    verdict::{self, seconds},
};

/// A step of a command, in the words that a user sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepId {
    /// What this machine has and lacks.
    Preflight,
    /// Every image is in Docker: already there, pulled, built or read from a bundle.
    Images,
    /// kind's nodes run and the API server answers.
    Cluster,
    /// Every image is on every node.
    Load,
    /// The NFS export and the ReadWriteMany claim.
    Storage,
    /// The database members and their roles.
    Database,
    /// WordPress, installed and answering.
    Frontend,
    /// metrics-server and the HorizontalPodAutoscaler.
    Autoscale,
    /// Prometheus and what it asks the database by, where the lab file wants them.
    Monitoring,
    /// The checks through the front door.
    Smoke,
    /// The nodes are frozen (`pause`).
    Pause,
    /// The nodes are thawed and the site answers (`resume`).
    Resume,
    /// Servers end by themselves, then the nodes are stopped (`stop`).
    Stop,
    /// The nodes start again and Kubernetes answers (`start`).
    Start,
    /// A lab that runs is copied (`snapshot save`).
    Snapshot,
    /// Nodes are made of a snapshot (`snapshot restore`), or a backup takes the place of what a lab has (`backup restore`).
    Restore,
    /// A backup is made in the lab, or its store is asked (`backup`).
    Backup,
    /// Removal of a lab (`down`), or of a snapshot.
    Remove,
    /// A lab is to be well before it is broken (`chaos`), or ready before users come (`load`).
    Steady,
    /// Something of a lab is broken (`chaos`).
    Fault,
    /// What was broken is put right, until all is well (`chaos`).
    Heal,
    /// What was acknowledged is looked for (`chaos`), or a backup is proven (`backup verify`).
    Verify,
    /// Users ask for things at the front door (`load`).
    Traffic,
    /// Users are gone, until what the autoscaler added is gone, too (`load`).
    Rest,
    /// Something missing on the machine is being installed (`--fix`).
    Fix,
}

impl StepId {
    /// The steps of `up`, in the order of the recipe.
    pub const UP: [StepId; 9] = [
        StepId::Preflight,
        StepId::Images,
        StepId::Cluster,
        StepId::Load,
        StepId::Storage,
        StepId::Database,
        StepId::Frontend,
        StepId::Autoscale,
        StepId::Smoke,
    ];

    /// The name on a progress line, in a timing table and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            StepId::Preflight => "preflight",
            StepId::Images => "images",
            StepId::Cluster => "cluster",
            StepId::Load => "load",
            StepId::Storage => "storage",
            StepId::Database => "database",
            StepId::Frontend => "frontend",
            StepId::Autoscale => "autoscale",
            StepId::Monitoring => "monitoring",
            StepId::Smoke => "smoke",
            StepId::Pause => "pause",
            StepId::Resume => "resume",
            StepId::Stop => "stop",
            StepId::Start => "start",
            StepId::Snapshot => "snapshot",
            StepId::Restore => "restore",
            StepId::Backup => "backup",
            StepId::Remove => "remove",
            StepId::Steady => "steady",
            StepId::Fault => "fault",
            StepId::Heal => "heal",
            StepId::Verify => "verify",
            StepId::Traffic => "traffic",
            StepId::Rest => "rest",
            StepId::Fix => "fix",
        }
    }
}

/// How far a piece of work is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "unit")]
pub enum Amount {
    /// Bytes moved, of so many if that is known.
    Bytes {
        /// Moved so far.
        done: u64,
        /// In all.
        #[serde(skip_serializing_if = "Option::is_none")]
        total: Option<u64>,
    },
    /// Things finished, of so many.
    Items {
        /// Finished so far.
        done: u64,
        /// In all.
        total: u64,
    },
    /// Work whose length is only estimated, in seconds on two cores.
    Estimate {
        /// The estimate for the whole piece.
        seconds: u64,
    },
}

/// Whether a step had to do anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// The step changed something.
    Done,
    /// Everything was there already.
    AlreadyThere,
}

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum Event {
    /// A step began.
    Started {
        /// Which.
        step: StepId,
    },
    /// A step, or one of its parallel tasks, says what it is doing now.
    Progress {
        /// Which step.
        step: StepId,
        /// One of several things going on side by side (an image, a node); `None` for the step itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        task: Option<String>,
        /// What is being done or waited for, as a sentence fragment.
        note: String,
        /// How far it is.
        #[serde(skip_serializing_if = "Option::is_none")]
        amount: Option<Amount>,
    },
    /// A parallel task of a step ended well.
    TaskDone {
        /// Which step.
        step: StepId,
        /// The task's name, as in [`Event::Progress`].
        task: String,
        /// What came of it; empty when there is nothing to say.
        note: String,
    },
    /// Worth telling, though nothing failed.
    Warning {
        /// What.
        text: String,
        /// What can be done about it; most say it in their text.
        #[serde(rename = "advice", skip_serializing_if = "Vec::is_empty")]
        hints: Vec<Hint>,
    },
    /// A step ended well.
    Finished {
        /// Which.
        step: StepId,
        /// How long it took.
        #[serde(serialize_with = "seconds")]
        took: Duration,
        /// Whether there was anything to do.
        outcome: Outcome,
        /// One short sentence of what there is now.
        detail: String,
    },
    /// A step failed; the error itself climbs to the caller.
    Failed {
        /// Which.
        step: StepId,
        /// How long it took.
        #[serde(serialize_with = "seconds")]
        took: Duration,
    },
    /// A smoke check ended.
    Checked(verdict::CheckResult),
}
