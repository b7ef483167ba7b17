//! Who counts in topology `replication`: how many of the members, by ordinal, and how many of their replicas must have a write before
//! it is acknowledged. Every failover rests on that, so what counts now is written down (ConfigMap `db-state`) before it is so
//! anywhere, and only by whoever has read the version before.

use serde::{Deserialize, Serialize};

/// What counts now. Numbers are such that a failover that relies on them loses nothing: members join the count before they
/// acknowledge anything, and leave it when what they have acknowledged is at others; a source is said to wait for fewer replicas
/// before it does, and for more once it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Count {
    /// Grows with every change. A member refuses what was decided from an older version.
    pub version: u64,
    /// The members from `db-0` on that count.
    pub members: usize,
    /// How many replicas must have a write before it is acknowledged. With none a lost source is lost data.
    pub acks: u32,
    /// The members from this ordinal on are about to leave, and acknowledge nothing any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaving: Option<usize>,
}

impl Count {
    /// What a new lab begins with.
    pub fn first(target: Target) -> Count {
        Count { version: 1, members: target.members, acks: target.acks, leaving: None }
    }
}

/// What shall count: what people ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// How many members there shall be.
    pub members: usize,
    /// How many replicas must have a write before it is acknowledged.
    pub acks: u32,
}

impl Target {
    /// So many members, and every write at as many replicas that a lost source and one more lost member cost nothing, while a lost
    /// replica holds nothing up. Unprotected, no write waits for a replica.
    pub fn new(members: usize, protected: bool) -> Target {
        let half = u32::try_from(members / 2).unwrap_or(u32::MAX);
        Target { members, acks: if protected { half } else { 0 } }
    }
}
