//! Failover under everything that can happen between two orders: agents die and two of them act at once on what they last heard,
//! orders come late, twice, in any order or never, members crash, come back, are cut off and lose a volume. What agents decide, what
//! members accept and what members do by themselves is the real code; only servers and wires are made up. At no moment may
//! a commit that was acknowledged be missing where writes go on, and in the end, when all is well, the lab is whole again.

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{replication, testing::*, *};
use crate::inside::member::{
    mandate::{Line, Mandate, Part, accept},
    replication::decide::{Action, Data, Observed, Peer, decide as act},
    status::{ServerFacts, State},
};

/// Transactions by who made them and a number.
type Set = BTreeSet<(usize, u64)>;

/// The same in the order in which they are in a binary log, which is the order in which a replica is sent them.
#[derive(Clone, Debug, Default, PartialEq)]
struct Log(Vec<(usize, u64)>);

impl Log {
    fn contains(&self, id: &(usize, u64)) -> bool {
        self.0.contains(id)
    }

    fn add(&mut self, id: (usize, u64)) {
        if !self.contains(&id) {
            self.0.push(id);
        }
    }

    fn set(&self) -> Set {
        self.0.iter().copied().collect()
    }

    /// The first one here that is in none of these.
    fn next(&self, others: &[&Log]) -> Option<(usize, u64)> {
        self.0.iter().find(|id| !others.iter().any(|other| other.contains(id))).copied()
    }
}

fn uuid(node: usize) -> String {
    format!("{node:08}-71ca-11e1-9e33-c80aa9429562")
}

fn text(log: &Log) -> String {
    log.0.iter().map(|(node, number)| format!("{}:{number}", uuid(*node))).collect::<Vec<_>>().join(",")
}

#[derive(Clone, Debug)]
struct Node {
    data: Data,
    mandate: Option<Mandate>,
    alive: bool,
    cut: bool,
    executed: Log,
    received: Log,
    open: bool,
    follows: Option<usize>,
    fetches: bool,
    /// Whether it was told in this life that it is counted on, and whether the thread that fetches began with that.
    may_acknowledge: bool,
    acknowledges: bool,
    /// For how many replicas each write waits.
    acks: Option<u32>,
    applies: bool,
    /// Which replicas have what was committed here and is not acknowledged yet.
    waiting: BTreeMap<(usize, u64), BTreeSet<usize>>,
    diverged: String,
    needs_copy: bool,
    state: State,
}

impl Node {
    fn new() -> Node {
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
    fn rise(&mut self) {
        (self.alive, self.may_acknowledge) = (true, false);
        self.restart();
    }

    /// Whether a source counts it among those who acknowledge.
    fn is_client_of(&self, source: usize) -> bool {
        self.alive && !self.cut && self.fetches && self.acknowledges && self.follows == Some(source)
    }

    /// Its server is started again: shut, and following nobody by itself. What it was sent stays.
    fn restart(&mut self) {
        (self.open, self.fetches, self.applies, self.acks) = (false, false, false, None);
        self.waiting.clear();
        if self.data == Data::Fresh {
            self.data = Data::Interrupted;
        }
    }
}

struct Agent {
    life: String,
    used: Option<Term>,
    chosen: Option<(Term, String)>,
    mark: Option<Mark>,
    /// Whom it waits for to answer an order, or to be too late for it.
    under_way: BTreeSet<String>,
    /// What it has heard of each member last.
    heard: Vec<Option<MemberStatus>>,
}

struct World {
    dice: StdRng,
    nodes: Vec<Node>,
    agents: Vec<Agent>,
    lives: u32,
    wires: Vec<Wanted>,
    acknowledged: Set,
    initialised: bool,
    decided: Option<Term>,
    /// What people ask for, what was written down, and how many pods there are.
    target: Target,
    count: Count,
    pods: usize,
    /// Who has taken part in which decision, also if it has forgotten that with its volume.
    took_part: BTreeMap<Term, BTreeSet<usize>>,
    next: u64,
    lost_volume: bool,
    /// Whether people ask for other numbers of members.
    scales: bool,
    /// How often another member was made the source.
    moves: usize,
    request: Option<Request>,
    /// What happened, for whoever has to understand a failure.
    story: Vec<String>,
}

impl World {
    fn new(members: usize, seed: u64) -> World {
        let agent = |life: u32| Agent {
            life: format!("agent/{life}"),
            used: None,
            chosen: None,
            mark: None,
            under_way: BTreeSet::new(),
            heard: vec![None; members],
        };
        World {
            dice: StdRng::seed_from_u64(seed),
            nodes: (0..members).map(|_| Node::new()).collect(),
            agents: vec![agent(0), agent(1)],
            lives: 2,
            wires: Vec::new(),
            acknowledged: Set::new(),
            initialised: false,
            decided: None,
            target: Target::new(members, true),
            count: Count::first(Target::new(members, true)),
            pods: members,
            took_part: BTreeMap::new(),
            next: 1,
            lost_volume: false,
            scales: false,
            moves: 0,
            request: None,
            story: Vec::new(),
        }
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.dice.random_range(0..one_in) == 0
    }

    fn any(&mut self) -> usize {
        self.dice.random_range(0..self.pods)
    }

    fn status(&self, number: usize) -> MemberStatus {
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

    /// An agent looks at some members, not at others, and decides.
    fn agent_turn(&mut self, agent: usize, looks: bool) -> Decision {
        for number in 0..self.nodes.len() {
            if number >= self.pods {
                self.agents[agent].heard[number] = None;
            } else if looks || self.chance(2) {
                let node = &self.nodes[number];
                self.agents[agent].heard[number] = (node.alive && !node.cut).then(|| self.status(number));
            }
        }
        let heard = self.agents[agent].heard.clone();
        let members: Vec<Seen> = heard
            .into_iter()
            .take(self.pods)
            .enumerate()
            .map(|(number, status)| Seen { gone: status.is_none(), ..seen(number, status) })
            .collect();
        let (request, count) = (self.request.clone(), self.count.clone());
        let decision = replication::decide(&View {
            members: &members,
            target: self.target,
            count: &count,
            mark: self.agents[agent].mark.as_ref(),
            initialised: self.initialised,
            apart: Duration::ZERO,
            me: &self.agents[agent].life,
            request: request.as_ref(),
            decided: self.decided.as_ref(),
            used: self.agents[agent].used.as_ref(),
            chosen: self.agents[agent].chosen.as_ref(),
        });
        self.initialised |= decision.exists;
        if decision.mark.is_some() {
            self.agents[agent].mark.clone_from(&decision.mark);
        }
        if let Some(count) = &decision.counts {
            assert!(count.version > self.count.version);
            self.story.push(format!("{count:?}: {:?}", decision.outlook));
            self.count = count.clone();
        }
        if self.decided < decision.decides {
            self.decided.clone_from(&decision.decides);
        }
        if let Some((id, _)) = &decision.answer
            && self.request.as_ref().is_some_and(|request| request.id == *id)
        {
            self.request = None;
        }
        if looks || self.chance(3) {
            self.agents[agent].under_way.clear();
        }
        for order in &decision.orders {
            if !self.agents[agent].under_way.insert(order.member.clone()) {
                continue;
            }
            let used = &mut self.agents[agent].used;
            let own = !matches!(order.what, What::Follow { .. } | What::Copy { .. } | What::Await { .. });
            if own && used.as_ref() < Some(&order.term) {
                *used = Some(order.term.clone());
            }
            if matches!(order.what, What::Promote { .. }) {
                self.agents[agent].chosen = Some((order.term.clone(), order.member.clone()));
            }
            self.wires.push(order.clone());
        }
        decision
    }

    fn member(name: &str) -> usize {
        name.strip_prefix("db-").and_then(|digits| digits.parse().ok()).expect("a member's name")
    }

    /// An order arrives.
    fn obey(&mut self, order: &Wanted) {
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
    fn promoted(&mut self, number: usize, order: &Wanted, again: bool) {
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

    /// What a member does by itself.
    fn member_turn(&mut self, number: usize) {
        let peers: Vec<Peer> = (0..self.pods)
            .filter(|other| *other != number)
            .map(|other| {
                let node = &self.nodes[other];
                let heard = node.alive && !node.cut && !self.nodes[number].cut;
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
    fn replicate(&mut self, number: usize) {
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
    fn acknowledge(&mut self, source: usize, id: (usize, u64)) {
        let term = self.nodes[source].mandate.as_ref().map(|own| own.term.clone()).expect("an order");
        self.acknowledged.insert(id);
        self.story.push(format!("acknowledged {id:?} in term {term}"));
        for node in &self.nodes[..self.pods] {
            let later = node.mandate.as_ref().is_some_and(|own| own.part == Part::Source && own.term > term);
            assert!(!later || node.executed.contains(&id), "acknowledged too late\n{}", self.tell());
        }
    }

    fn apply(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        let next = node.received.next(&[&node.executed]).filter(|_| node.alive && node.applies);
        if let Some(next) = next {
            node.executed.add(next);
        }
    }

    fn write(&mut self, number: usize) {
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

    /// People ask for more members or for fewer, or for writes that wait for nobody.
    fn ask(&mut self) {
        let most = self.nodes.len();
        self.target = Target::new(self.dice.random_range(1..=most), !self.chance(6));
        self.story.push(format!("asked for {:?}", self.target));
    }

    /// What the tool does: pods come as soon as they are asked for, and go when they do not count any more.
    fn keep_pods(&mut self) {
        let wanted = self.target.members.max(self.count.members);
        while self.pods < wanted {
            // With the volume that it had, if it has been there before.
            self.nodes[self.pods].rise();
            self.nodes[self.pods].cut = false;
            self.pods += 1;
        }
        if self.pods > wanted && self.target.members == self.count.members {
            self.pods = wanted;
        }
    }

    fn harm(&mut self) {
        let number = self.any();
        match self.dice.random_range(0..9) {
            8 if self.scales => {
                if self.chance(3) {
                    self.ask();
                }
            }
            0 => {
                self.nodes[number].alive = false;
                self.story.push(format!("db-{number} crashes"));
            }
            1 | 2 => {
                if !self.nodes[number].alive {
                    self.nodes[number].rise();
                    self.story.push(format!("db-{number} is back"));
                }
            }
            3 => {
                self.nodes[number].cut = !self.nodes[number].cut;
                self.story.push(format!("db-{number} cut: {}", self.nodes[number].cut));
            }
            4 => {
                let agent = self.dice.random_range(0..2);
                self.agents[agent].life = format!("agent/{}", self.lives);
                (self.agents[agent].used, self.agents[agent].chosen, self.agents[agent].mark) = (None, None, None);
                self.lives += 1;
            }
            5 => {
                let to = self.any();
                let from = self.nodes.iter().position(|node| node.open).map(|number| format!("db-{number}"));
                let expired = self.chance(3);
                let request = Request {
                    id: self.lives.to_string(),
                    to: Some(format!("db-{to}")),
                    from,
                    expired,
                    ..Request::default()
                };
                self.lives += 1;
                self.request = Some(request);
            }
            6 => self.request = None,
            _ => {
                // One volume in a life, of a lab that is whole otherwise.
                let whole = self.nodes[..self.pods].iter().all(|node| node.alive && node.data == Data::Present);
                // What waits for nobody may be lost, and that is what was asked for.
                let protected = self.count.acks > 0 && self.nodes.iter().all(|node| node.acks != Some(0));
                if whole && protected && !self.lost_volume && self.initialised && self.chance(4) {
                    self.lost_volume = true;
                    self.nodes[number] = Node::new();
                    self.story.push(format!("db-{number} loses its volume"));
                }
            }
        }
    }

    fn step(&mut self) {
        self.keep_pods();
        match self.dice.random_range(0..12) {
            0 | 1 => {
                let agent = usize::from(self.chance(4));
                self.agent_turn(agent, false);
            }
            2..=4 if !self.wires.is_empty() => {
                let which = self.dice.random_range(0..self.wires.len());
                let order = if self.chance(4) { self.wires[which].clone() } else { self.wires.swap_remove(which) };
                if !self.nodes[World::member(&order.member)].cut {
                    self.obey(&order);
                }
            }
            5 | 6 => {
                let number = self.any();
                self.member_turn(number);
            }
            7 | 8 => {
                let number = self.any();
                self.replicate(number);
            }
            9 => {
                let number = self.any();
                self.apply(number);
            }
            _ if self.chance(8) => self.harm(),
            _ => {
                let number = self.any();
                self.write(number);
            }
        }
    }

    /// Everybody is back, and one agent leads.
    fn heal(&mut self) {
        for node in &mut self.nodes {
            if !node.alive {
                node.rise();
            }
            node.cut = false;
        }
        self.request = None;
        for round in 0..400 {
            self.keep_pods();
            if round == 200 && self.count.acks == 0 {
                // Where writes wait for nobody, no number of replicas proves anything: a person has to say that this is all there is.
                let accept_loss = Request { id: "all".into(), accept_loss: true, ..Request::default() };
                self.request = Some(accept_loss);
            }
            for order in std::mem::take(&mut self.wires) {
                self.obey(&order);
            }
            for number in 0..self.pods {
                self.member_turn(number);
                for _ in 0..8 {
                    self.replicate(number);
                    self.apply(number);
                }
            }
            let decision = self.agent_turn(0, true);
            let nodes = &self.nodes[..self.pods];
            let follow = nodes.iter().filter(|node| node.state == State::Replica && node.fetches && !node.open).count();
            let equal = nodes.iter().all(|node| node.executed.set() == nodes[0].executed.set());
            let whole = follow + 1 == nodes.len() && equal && nodes.len() == self.target.members;
            if decision.outlook == Outlook::Settled && decision.orders.is_empty() && whole {
                assert_eq!((self.count.members, self.count.acks), (self.target.members, self.target.acks));
                let source = &self.nodes[World::member(decision.writer.as_deref().expect("a writer"))];
                let lost: Vec<_> = self.acknowledged.difference(&source.executed.set()).copied().collect();
                assert!(lost.is_empty(), "lost {lost:?}\n{}", self.tell());
                return;
            }
        }
        let decision = self.agent_turn(0, true);
        panic!("not whole again: {decision:#?}\n{}", self.tell());
    }

    fn tell(&self) -> String {
        let nodes = self.nodes.iter().enumerate().map(|(number, node)| format!("db-{number}: {node:?}"));
        let last = self.story.len().saturating_sub(60);
        format!("{}\n{}", self.story[last..].join("\n"), nodes.collect::<Vec<_>>().join("\n"))
    }
}

/// How many lives each lab has; `WPLAB_LIVES` asks for more.
fn lives() -> u64 {
    std::env::var("WPLAB_LIVES").ok().and_then(|number| number.parse().ok()).unwrap_or(60)
}

#[test]
fn nothing_acknowledged_is_lost_and_there_is_one_source_whatever_happens_in_between() {
    live(false);
}

#[test]
fn nor_while_members_come_and_go_and_writes_wait_for_nobody_for_a_while() {
    live(true);
}

fn live(scales: bool) {
    for members in if scales { [3, 4, 5] } else { [2, 3, 5] } {
        let (mut acknowledged, mut moves, mut counts) = (0, 0, 0);
        for seed in 0..lives() {
            let mut world = World::new(members, seed);
            world.scales = scales;
            for _ in 0..2_500 {
                world.step();
            }
            world.heal();
            acknowledged += world.acknowledged.len();
            moves += world.moves;
            counts += world.count.version;
        }
        let many = usize::try_from(lives()).expect("fits");
        assert!(
            acknowledged > 7 * many && (if scales { 8 } else { 4 }) * moves > many,
            "hardly anything happened: {acknowledged}, {moves}"
        );
        assert!(!scales || counts > 2 * lives(), "hardly anybody came or went: {counts}");
    }
}
