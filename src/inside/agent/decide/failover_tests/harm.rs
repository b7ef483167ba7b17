//! What comes from outside: what people ask for, what the tool does with pods, and what breaks.

use rand::RngExt;

use super::{super::*, World, node::Node};
use crate::inside::member::replication::decide::Data;

impl World {
    /// People ask for more members or for fewer, or for writes that wait for nobody.
    pub(super) fn ask(&mut self) {
        let most = self.nodes.len();
        self.target = Target::new(self.dice.random_range(1..=most), !self.chance(6));
        self.story.push(format!("asked for {:?}", self.target));
    }

    /// What the tool does: pods come as soon as they are asked for, and go when they do not count any more.
    pub(super) fn keep_pods(&mut self) {
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

    pub(super) fn harm(&mut self) {
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
}
