//! Agents: what each has heard, decides and orders.

use std::collections::BTreeSet;

use super::{
    super::{replication, testing::*, *},
    World,
};

pub(super) struct Agent {
    pub(super) life: String,
    pub(super) used: Option<Term>,
    pub(super) chosen: Option<(Term, String)>,
    pub(super) mark: Option<Mark>,
    /// Whom it waits for to answer an order, or to be too late for it.
    pub(super) under_way: BTreeSet<String>,
    /// What it has heard of each member last.
    pub(super) heard: Vec<Option<MemberStatus>>,
}

impl World {
    /// An agent looks at some members, not at others, and decides.
    pub(super) fn agent_turn(&mut self, agent: usize, looks: bool) -> Decision {
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
}
