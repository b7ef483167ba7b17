//! Failover under everything that can happen between two orders: agents die and two of them act at once on what they last heard,
//! orders come late, twice, in any order or never, members crash, come back, are cut off and lose a volume. What agents decide, what
//! members accept and what members do by themselves is the real code; only servers and wires are made up. At no moment may
//! a commit that was acknowledged be missing where writes go on, and in the end, when all is well, the lab is whole again.

mod agents;
mod harm;
mod members;
mod node;

use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt, SeedableRng, rngs::StdRng};

use self::{
    agents::Agent,
    node::{Node, Set},
};
use super::*;
use crate::inside::member::status::State;

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
