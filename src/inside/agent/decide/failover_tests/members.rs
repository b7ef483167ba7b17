//! Members: what they accept, do by themselves and send to each other.

use std::collections::BTreeSet;

use super::{
    super::*,
    World,
    node::{Log, Node, text, uuid},
};
use crate::inside::member::{
    count::peers,
    mandate::{Line, Mandate, Part, accept},
    replication::decide::{Action, Data, Observed, Peer, decide as act},
    status::{ServerFacts, State},
};

impl World {
    pub(super) fn status(&self, number: usize) -> MemberStatus {
        let node = &self.nodes[number];
        let clients = self.nodes[..self.pods].iter().filter(|other| other.is_client_of(number));
        let fetches = node.fetches
            && node.follows.is_some_and(|source| self.nodes[source].alive && !self.nodes[source].cut && !node.cut);
        let server = (node.data != Data::Empty && node.data != Data::Interrupted).then(|| ServerFacts {
            server_uuid: uuid(number),
            super_read_only: !node.open,
            semi_sync: if node.open { node.acks != Some(0) } else { fetches && node.acknowledges },
            acks: node.acks,
            clients: u32::try_from(clients.count()).expect("few"),
            gtid_executed: text(&node.executed),
            gtid_retrieved: text(&node.received),
            source_host: node.follows.map(|source| format!("db-{source}.db-members")),
            io_running: fetches,
            io_connecting: node.fetches && !fetches,
            sql_running: node.applies,
            lag_seconds: Some(0),
            ..ServerFacts::default()
        });
        MemberStatus {
            name: format!("db-{number}"),
            state: if node.open { State::Source } else { node.state },
            has_data: node.data == Data::Present,
            mandate: node.mandate.clone(),
            diverged: node.diverged.clone(),
            needs_copy: node.needs_copy,
            server,
            ..MemberStatus::default()
        }
    }

    pub(super) fn member(name: &str) -> usize {
        name.strip_prefix("db-").and_then(|digits| digits.parse().ok()).expect("a member's name")
    }

    /// An order arrives.
    pub(super) fn obey(&mut self, order: &Wanted) {
        let number = World::member(&order.member);
        let node = &self.nodes[number];
        if number >= self.pods || !node.alive || node.data == Data::Empty && matches!(order.what, What::Promote { .. })
        {
            return;
        }
        let has_data = node.data == Data::Present;
        let Ok(mandate) = accept(node.mandate.as_ref(), has_data, &order.term, order.version, &order.what) else {
            return;
        };
        self.took_part.entry(order.term.clone()).or_default().insert(number);
        let source = |what: &What| match what {
            What::Copy { source, .. } => World::member(source),
            _ => number,
        };
        let theirs = self.nodes[source(&order.what)].clone();
        let closed =
            self.nodes.iter().any(|node| node.mandate.as_ref().is_some_and(|own| own.is(&Part::Closed, &order.term)));
        let node = &mut self.nodes[number];
        match &order.what {
            What::Revoke => {
                node.mandate = Some(mandate);
                if node.open { node.restart() } else { node.fetches = false }
            }
            What::Close => {
                if node.open && !node.waiting.is_empty() {
                    return;
                }
                node.open = false;
                node.mandate = Some(mandate);
            }
            What::Await { acks } => {
                if !node.open {
                    return;
                }
                (node.mandate, node.acks) = (Some(mandate), Some(*acks));
                if *acks == 0 {
                    let done: Vec<_> = std::mem::take(&mut node.waiting).into_keys().collect();
                    done.into_iter().for_each(|id| self.acknowledge(number, id));
                }
            }
            What::Promote { holds, acks } => {
                let has = crate::wire::gtid::GtidSet::parse(&text(&node.executed)).expect("a set");
                let holds = crate::wire::gtid::GtidSet::parse(holds).expect("a set");
                if node.received.next(&[&node.executed]).is_some() || !has.contains(&holds) {
                    return;
                }
                let base = has.to_string();
                let again = node.mandate.as_ref().is_some_and(|own| own.part == Part::Source && own.term == order.term);
                let line = match mandate.line.term == order.term {
                    true => mandate.line.clone(),
                    false => Line { term: order.term.clone(), base },
                };
                node.mandate = Some(Mandate { line, ..mandate });
                (node.open, node.follows, node.fetches, node.applies) = (true, None, false, false);
                node.acks = Some(*acks);
                node.received = Log::default();
                let told = self.request.as_ref().is_some_and(|request| request.accept_loss);
                self.promoted(number, order, again || closed || told);
            }
            What::Follow { .. } => {
                node.may_acknowledge = matches!(mandate.part, Part::Follows(_));
                node.acknowledges &= node.may_acknowledge;
                node.acknowledges |= node.may_acknowledge && node.fetches;
                node.mandate = Some(mandate);
            }
            What::Copy { .. } => {
                if !theirs.alive || !theirs.open || theirs.mandate.is_none_or(|own| own.term < order.term) {
                    return;
                }
                node.may_acknowledge = matches!(mandate.part, Part::Follows(_));
                node.mandate = Some(mandate);
                if node.data == Data::Present {
                    node.data = Data::Fresh;
                }
            }
        }
        self.story.push(format!("{order:?}"));
    }

    /// Nobody becomes the source without a quorum, unless the one of before is known to be shut or a person says so (`again`), nor without everything that was ever acknowledged.
    pub(super) fn promoted(&mut self, number: usize, order: &Wanted, again: bool) {
        let (term, first) = (&order.term, order.term.number == 1);
        let quorum = self.count.members - self.count.acks as usize;
        if !first && !again {
            let newer = self.took_part.range(term..).flat_map(|(_, members)| members);
            let count = newer.filter(|member| **member < self.count.members).collect::<BTreeSet<_>>().len();
            assert!(count >= quorum, "{count} of {quorum} took part: {order:?}\n{}", self.tell());
        }
        let newest = self.nodes.iter().filter_map(|node| node.mandate.as_ref()).map(|own| &own.term).max();
        self.moves += usize::from(!first && !again);
        if newest == Some(term) {
            let lost: Vec<_> = self.acknowledged.difference(&self.nodes[number].executed.set()).copied().collect();
            assert!(lost.is_empty(), "lost {lost:?} by {order:?}\n{}", self.tell());
        }
        let same: Vec<usize> = (0..self.nodes.len())
            .filter(|other| self.nodes[*other].mandate.as_ref().is_some_and(|own| own.is(&Part::Source, term)))
            .collect();
        assert_eq!(same, [number], "two sources in a term\n{}", self.tell());
    }

    /// How many members a member asks, by the record that it has as a file.
    fn peers(&self) -> usize {
        let (members, counts) = (u32::try_from(self.target.members), serde_json::to_string(&self.count));
        peers(members.expect("few"), counts.ok().as_deref()) as usize
    }

    /// What a member does by itself.
    pub(super) fn member_turn(&mut self, number: usize) {
        let peers: Vec<Peer> = (0..self.peers())
            .filter(|other| *other != number)
            .map(|other| {
                let node = &self.nodes[other];
                let heard = other < self.pods && node.alive && !node.cut && !self.nodes[number].cut;
                let name = format!("db-{other}");
                Peer { host: format!("{name}.db-members"), name, status: heard.then(|| self.status(other)) }
            })
            .collect();
        let status = self.status(number);
        let node = &mut self.nodes[number];
        if !node.alive {
            return;
        }
        let action = act(&Observed {
            bootstraps: number == 0,
            lab_initialised: self.initialised,
            data: node.data,
            first: None,
            mandate: node.mandate.as_ref(),
            server: status.server.as_ref(),
            peers: &peers,
        });
        (node.diverged, node.needs_copy) = (String::new(), false);
        let host = |host: &str| World::member(host.split('.').next().expect("a name"));
        match action {
            Action::Bootstrap => node.data = Data::Present,
            Action::Prepare => {
                node.data = Data::Fresh;
                (node.executed, node.received, node.follows) = (Log::default(), Log::default(), None);
            }
            Action::Start => {}
            Action::Clone { donor, line } => {
                let donor = self.nodes[host(&donor)].executed.clone();
                let node = &mut self.nodes[number];
                node.mandate.as_mut().expect("an order").line = line;
                (node.executed, node.received, node.follows, node.data) = (donor, Log::default(), None, Data::Present);
            }
            Action::Adopt { source, line } | Action::Follow { source, line } => {
                let source = host(&source);
                node.mandate.as_mut().expect("an order").line = line;
                node.data = Data::Present;
                (node.follows, node.fetches, node.applies) = (Some(source), true, true);
                node.acknowledges = node.may_acknowledge;
                // What is in the logs of the source of before is removed with them.
                assert!(node.received.next(&[&node.executed]).is_none(), "a log is removed that was not applied");
                node.received = Log::default();
            }
            Action::Drain => (node.fetches, node.applies) = (false, true),
            Action::Resume => {
                (node.fetches, node.applies) = (true, true);
                node.acknowledges = node.may_acknowledge;
            }
            Action::Fence(_) => node.restart(),
            Action::Differ { diverged, .. } => {
                (node.diverged, node.needs_copy, node.state) = (diverged, true, State::Stuck);
            }
            Action::Be(state) => node.state = state,
            Action::Wait(_) | Action::Stay(_) => node.state = State::Waiting,
        }
    }

    /// Replication: a transaction is fetched, acknowledged, applied.
    pub(super) fn replicate(&mut self, number: usize) {
        let Some(source) = self.nodes[number].follows.filter(|_| self.nodes[number].fetches) else { return };
        let reach = |node: &Node| node.alive && !node.cut;
        if !reach(&self.nodes[number]) || !reach(&self.nodes[source]) {
            return;
        }
        let node = &self.nodes[number];
        if let Some(next) = self.nodes[source].executed.next(&[&node.executed, &node.received]) {
            self.nodes[number].received.add(next);
        }
        if !self.nodes[number].acknowledges {
            return;
        }
        // Also what it had before it was told to acknowledge: the source skips that, and counts it.
        let waiting: Vec<_> = self.nodes[source].waiting.keys().copied().collect();
        for id in waiting {
            if !self.nodes[number].executed.contains(&id) && !self.nodes[number].received.contains(&id) {
                continue;
            }
            let open = &mut self.nodes[source];
            let have = open.waiting.get_mut(&id).expect("it waits");
            have.insert(number);
            if open.acks.is_some_and(|acks| have.len() >= acks as usize) {
                open.waiting.remove(&id);
                self.acknowledge(source, id);
            }
        }
    }

    /// A client hears that its transaction is safe.
    pub(super) fn acknowledge(&mut self, source: usize, id: (usize, u64)) {
        let term = self.nodes[source].mandate.as_ref().map(|own| own.term.clone()).expect("an order");
        self.acknowledged.insert(id);
        self.story.push(format!("acknowledged {id:?} in term {term}"));
        for node in &self.nodes[..self.pods] {
            let later = node.mandate.as_ref().is_some_and(|own| own.part == Part::Source && own.term > term);
            assert!(!later || node.executed.contains(&id), "acknowledged too late\n{}", self.tell());
        }
    }

    pub(super) fn apply(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let next = node.received.next(&[&node.executed]).filter(|_| node.alive && node.applies);
        if let Some(next) = next {
            node.executed.add(next);
        }
    }

    pub(super) fn write(&mut self, number: usize) {
        let id = (number, self.next);
        let node = &mut self.nodes[number];
        if node.alive && node.open {
            self.next += 1;
            node.executed.add(id);
            if node.acks == Some(0) {
                self.acknowledge(number, id);
            } else {
                node.waiting.insert(id, BTreeSet::new());
            }
        }
    }
}
