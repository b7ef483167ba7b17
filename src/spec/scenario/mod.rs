//! What a drill does: the types of a scenario file. Reading one, with every rule and every problem at once, is the neighbour
//! [`load`]'s; whoever holds a [`Scenario`] may rely on all rules.

mod fields;
pub mod load;

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize, Serializer};

use super::Topology;

/// One drill: what must hold before, what is broken, what may be noticed of it, and how long until all is well again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Scenario {
    /// Its name, by which it is run.
    pub name: String,
    /// What happens, as a sentence.
    pub summary: String,
    /// The only topology that it is for; `None` is any.
    pub topology: Option<Topology>,
    /// What must hold before, and again afterwards.
    pub steady: Steady,
    /// What is broken.
    pub fault: Fault,
    /// How long it stays so; of what is over at once, how long nobody helps.
    #[serde(serialize_with = "whole")]
    pub lasts: Duration,
    /// What may be noticed.
    pub expect: Expect,
    /// The same in labs of topology galera, where that is something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expect_of_galera: Option<Expect>,
    /// How long until all is well again, once the fault is undone.
    #[serde(serialize_with = "whole")]
    pub heals_within: Duration,
}

impl Scenario {
    /// What may be noticed in a lab of this topology.
    pub fn expects(&self, topology: Topology) -> &Expect {
        self.expect_of_galera.as_ref().filter(|_| topology == Topology::Galera).unwrap_or(&self.expect)
    }

    /// Whether it is for labs of this topology.
    pub fn applies(&self, topology: Topology) -> bool {
        self.topology.is_none_or(|only| only == topology) && self.fault.of().is_none_or(|of| of.is_in(topology))
    }
}

fn whole<S: Serializer>(span: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_u64(span.as_secs())
}

#[expect(clippy::ref_option, reason = "what serde hands over")]
fn whole_if<S: Serializer>(span: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    span.map(|span| span.as_secs()).serialize(to)
}

/// What a lab must be before it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Steady {
    /// Every node, member and replica is there and serves, and the front page answers.
    Serving,
    /// That, and every check of the proof passes.
    Checks,
}

impl Steady {
    const ALL: [Steady; 2] = [Steady::Serving, Steady::Checks];

    const fn name(self) -> &'static str {
        match self {
            Steady::Serving => "serving",
            Steady::Checks => "checks",
        }
    }
}

/// What may be noticed of a fault; `None` is not looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Expect {
    /// The longest time in which no reader got a page.
    #[serde(serialize_with = "whole_if")]
    pub read_outage: Option<Duration>,
    /// The longest time in which the editor could not save and read back.
    #[serde(serialize_with = "whole_if")]
    pub edit_outage: Option<Duration>,
    /// The longest time in which the database acknowledged nothing.
    #[serde(serialize_with = "whole_if")]
    pub write_outage: Option<Duration>,
    /// The most readers that may fail, in percent.
    pub failed_reads: Option<u8>,
    /// How many acknowledged rows may be gone.
    pub lost_rows: u32,
}

/// Something of a lab that can be broken, or that lives where something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// The database member that takes writes.
    Writer,
    /// One that does not.
    Reader,
    /// All database members.
    Members,
    /// The replicas of the site.
    Wordpress,
    /// The file server.
    Nfs,
    /// The members' registry (topology galera).
    Etcd,
    /// Who answers for names in the cluster.
    Coredns,
    /// Who measures for the autoscaler.
    MetricsServer,
    /// Kubernetes' own API.
    ApiServer,
}

impl Target {
    const ALL: [Target; 9] = [
        Target::Writer,
        Target::Reader,
        Target::Members,
        Target::Wordpress,
        Target::Nfs,
        Target::Etcd,
        Target::Coredns,
        Target::MetricsServer,
        Target::ApiServer,
    ];

    /// The word in a file.
    pub const fn name(self) -> &'static str {
        match self {
            Target::Writer => "writer",
            Target::Reader => "reader",
            Target::Members => "members",
            Target::Wordpress => "wordpress",
            Target::Nfs => "nfs",
            Target::Etcd => "etcd",
            Target::Coredns => "coredns",
            Target::MetricsServer => "metrics-server",
            Target::ApiServer => "api-server",
        }
    }

    fn is_in(self, topology: Topology) -> bool {
        self != Target::Etcd || topology == Topology::Galera
    }
}

/// One of several, or every one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Count {
    /// One of them.
    One,
    /// Every one.
    All,
}

/// What is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", tag = "do")]
pub enum Fault {
    /// Pods are deleted without a moment to end.
    DeletePods {
        /// Whose.
        of: Target,
        /// How many of them.
        how_many: Count,
    },
    /// The server's process is killed; its supervisor and its pod stay.
    KillServer {
        /// Whose.
        of: Target,
    },
    /// The server's process stands still.
    FreezeServer {
        /// Whose.
        of: Target,
    },
    /// The node's container is killed, and started again at the end.
    KillNode {
        /// Who lives there.
        of: Target,
    },
    /// The node's container is killed and started at once.
    RestartNode {
        /// Who lives there.
        of: Target,
    },
    /// Nothing on the node runs.
    FreezeNode {
        /// Who lives there.
        of: Target,
    },
    /// What comes to the node and what it sends is dropped.
    CutNode {
        /// Who lives there.
        of: Target,
    },
    /// Some of what the node sends and gets is lost, and what it sends comes late.
    DisturbNode {
        /// Who lives there.
        of: Target,
        /// How much is lost, in percent.
        loss: u8,
        /// How late, in milliseconds.
        delay: u32,
    },
    /// The node's clock jumps.
    ShiftClock {
        /// Who lives there.
        of: Target,
        /// By so much.
        #[serde(serialize_with = "whole")]
        by: Duration,
    },
    /// A member's claim is deleted with its pod: it comes back with nothing.
    LoseVolume {
        /// Whose.
        of: Target,
    },
    /// Nothing more fits on a volume.
    FillVolume {
        /// Whose.
        of: Target,
    },
    /// A service of the cluster is taken away.
    TakeDown {
        /// Which.
        of: Target,
    },
    /// The database has other members, and those that it had at the end.
    ScaleMembers {
        /// How many meanwhile.
        to: u8,
    },
    /// The container engine is restarted, with all that runs in it.
    RestartEngine,
}

impl Fault {
    /// Whom it is about; nobody in particular when it is the whole machine or the whole database.
    pub fn of(&self) -> Option<Target> {
        match self {
            Fault::DeletePods { of, .. }
            | Fault::KillServer { of }
            | Fault::FreezeServer { of }
            | Fault::KillNode { of }
            | Fault::RestartNode { of }
            | Fault::FreezeNode { of }
            | Fault::CutNode { of }
            | Fault::DisturbNode { of, .. }
            | Fault::ShiftClock { of, .. }
            | Fault::LoseVolume { of }
            | Fault::FillVolume { of }
            | Fault::TakeDown { of } => Some(*of),
            Fault::ScaleMembers { .. } | Fault::RestartEngine => None,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
