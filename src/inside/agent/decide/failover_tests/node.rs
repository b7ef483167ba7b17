//! A member as far as decisions go: its data, what it was told, and what its server does.

use std::collections::{BTreeMap, BTreeSet};

use crate::inside::member::{mandate::Mandate, replication::decide::Data, status::State};

/// Transactions by who made them and a number.
pub(super) type Set = BTreeSet<(usize, u64)>;

/// The same in the order in which they are in a binary log, which is the order in which a replica is sent them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Log(pub(super) Vec<(usize, u64)>);

impl Log {
    pub(super) fn contains(&self, id: &(usize, u64)) -> bool {
        self.0.contains(id)
    }

    pub(super) fn add(&mut self, id: (usize, u64)) {
        if !self.contains(&id) {
            self.0.push(id);
        }
    }

    pub(super) fn set(&self) -> Set {
        self.0.iter().copied().collect()
    }

    /// The first one here that is in none of these.
    pub(super) fn next(&self, others: &[&Log]) -> Option<(usize, u64)> {
        self.0.iter().find(|id| !others.iter().any(|other| other.contains(id))).copied()
    }
}

pub(super) fn uuid(node: usize) -> String {
    format!("{node:08}-71ca-11e1-9e33-c80aa9429562")
}

pub(super) fn text(log: &Log) -> String {
    log.0.iter().map(|(node, number)| format!("{}:{number}", uuid(*node))).collect::<Vec<_>>().join(",")
}

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) data: Data,
    pub(super) mandate: Option<Mandate>,
    pub(super) alive: bool,
    pub(super) cut: bool,
    pub(super) executed: Log,
    pub(super) received: Log,
    pub(super) open: bool,
    pub(super) follows: Option<usize>,
    pub(super) fetches: bool,
    /// Whether it was told in this life that it is counted on, and whether the thread that fetches began with that.
    pub(super) may_acknowledge: bool,
    pub(super) acknowledges: bool,
    /// For how many replicas each write waits.
    pub(super) acks: Option<u32>,
    pub(super) applies: bool,
    /// Which replicas have what was committed here and is not acknowledged yet.
    pub(super) waiting: BTreeMap<(usize, u64), BTreeSet<usize>>,
    pub(super) diverged: String,
    pub(super) needs_copy: bool,
    pub(super) state: State,
}

impl Node {
    pub(super) fn new() -> Node {
        Node {
            data: Data::Empty,
            mandate: None,
            alive: true,
            cut: false,
            executed: Log::default(),
            received: Log::default(),
            open: false,
            follows: None,
            fetches: false,
            may_acknowledge: false,
            acknowledges: false,
            acks: None,
            applies: false,
            waiting: BTreeMap::new(),
            diverged: String::new(),
            needs_copy: false,
            state: State::Starting,
        }
    }

    /// Its pod is started again.
    pub(super) fn rise(&mut self) {
        (self.alive, self.may_acknowledge) = (true, false);
        self.restart();
    }

    /// Whether a source counts it among those who acknowledge.
    pub(super) fn is_client_of(&self, source: usize) -> bool {
        self.alive && !self.cut && self.fetches && self.acknowledges && self.follows == Some(source)
    }

    /// Its server is started again: shut, and following nobody by itself. What it was sent stays.
    pub(super) fn restart(&mut self) {
        (self.open, self.fetches, self.applies, self.acks) = (false, false, false, None);
        self.waiting.clear();
        if self.data == Data::Fresh {
            self.data = Data::Interrupted;
        }
    }
}
