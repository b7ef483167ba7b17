//! The order in which labels change, so that at no moment two members have the role of the writer: first it is taken, then
//! it is given, then the rest. Each step is one patch, and the next one waits until it is acknowledged.

use super::decide::{Decision, Seen};
use crate::labels::WRITER;

/// The labels that one member gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The pod.
    pub(super) member: String,
    /// The value of its role label; none removes it.
    pub(super) role: Option<String>,
    /// Whether it may be read from.
    pub(super) reads: bool,
    /// Whether this gives the role of the writer to a member that does not have it.
    pub(super) gives: bool,
}

/// The steps from what the members have to what was decided; none when nothing is to be done.
pub(super) fn steps(members: &[Seen], decision: &Decision) -> Vec<Step> {
    let is_writer = |role: &Option<String>| role.as_deref() == Some(WRITER);
    let mut steps: Vec<(u8, Step)> = Vec::new();
    for member in members {
        let (role, reads) = decision.labels_of(member);
        if (&role, reads) == (&member.role, member.reads) {
            continue;
        }
        let rank = match (is_writer(&member.role), is_writer(&role)) {
            (true, false) => 0,
            (false, true) => 1,
            _ => 2,
        };
        steps.push((rank, Step { member: member.name.clone(), role, reads, gives: rank == 1 }));
    }
    steps.sort_by_key(|(rank, _)| *rank);
    steps.into_iter().map(|(_, step)| step).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        inside::agent::decide::{Answer, Outlook},
        labels::READER,
    };

    fn member(number: usize, role: Option<&str>, reads: bool) -> Seen {
        let (name, role) = (format!("db-{number}"), role.map(str::to_owned));
        Seen { name, role, reads, answer: Answer::Silent, gone: false, down: false }
    }

    fn decision(writer: Option<usize>, reads: &[bool]) -> Decision {
        let names = reads.iter().enumerate().filter(|(_, reads)| **reads).map(|(number, _)| format!("db-{number}"));
        Decision {
            writer: writer.map(|number| format!("db-{number}")),
            vacant: false,
            reads: names.collect::<BTreeSet<_>>(),
            orders: Vec::new(),
            decides: None,
            counts: None,
            mark: None,
            answer: None,
            exists: false,
            why: String::new(),
            outlook: Outlook::Settled,
        }
    }

    fn apply(members: &mut [Seen], step: &Step) {
        let member = members.iter_mut().find(|member| member.name == step.member).expect("a member");
        (member.role, member.reads) = (step.role.clone(), step.reads);
    }

    /// Every combination of three members' labels with every decision about them.
    #[test]
    fn there_are_never_two_writers_however_early_the_steps_end() {
        const ROLES: [Option<&str>; 3] = [None, Some(READER), Some(WRITER)];
        let mut combinations = 0;
        for labels in 0..6_usize.pow(3) {
            let of = |number: usize| (labels / 6_usize.pow(u32::try_from(number).expect("small"))) % 6;
            let before: Vec<Seen> = (0..3).map(|n| member(n, ROLES[of(n) % 3], of(n) >= 3)).collect();
            let writers = |members: &[Seen]| members.iter().filter(|m| m.role.as_deref() == Some(WRITER)).count();
            for wanted in 0..4 * 8_usize {
                let reads: Vec<bool> = (0..3).map(|n| (wanted / 4) >> n & 1 == 1).collect();
                let decision = decision((wanted % 4).checked_sub(1), &reads);
                let mut members = before.clone();
                let mut most = writers(&members);
                for step in steps(&before, &decision) {
                    apply(&mut members, &step);
                    // Somebody else's second writer is taken away; ours never comes to it.
                    assert!(writers(&members) <= most.max(1), "{before:?} {decision:?}");
                    assert!(!step.gives || writers(&members) == 1, "{before:?} {decision:?}");
                    most = writers(&members);
                }
                assert!(members.iter().all(|m| decision.labels_of(m) == (m.role.clone(), m.reads)));
                assert!(steps(&members, &decision).is_empty(), "a second time nothing is to be done");
                combinations += 1;
            }
        }
        assert_eq!(combinations, 216 * 32);
    }

    #[test]
    fn a_move_is_taking_giving_and_then_the_rest() {
        let members = [member(0, None, false), member(1, Some(READER), true), member(2, Some(WRITER), true)];
        let order: Vec<_> = steps(&members, &decision(Some(1), &[false, true, false]))
            .into_iter()
            .map(|step| (step.member, step.role.unwrap_or_default(), step.gives))
            .collect();
        let row = |name: &str, role: &str, gives| (name.to_owned(), role.to_owned(), gives);
        assert_eq!(order, [row("db-2", READER, false), row("db-1", WRITER, true), row("db-0", READER, false)]);
    }
}
