//! Who takes writes: a pure function from what the members say to one choice. Conservative: an open member stays, a former
//! writer comes first, and where data could be lost nobody is chosen.

use super::{MEMBERS, Member};
use crate::agent::member::status::{MemberStatus, State};

/// The role of the member that takes writes, as the label's value.
pub const WRITER: &str = "writer";
/// The role of the others.
pub const READER: &str = "reader";

/// What is to be done about roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This member is open for writes.
    Writer(String),
    /// This member was the writer and opens itself again when its peers agree.
    Reopens(String),
    /// This member is to be opened: the first one of a new lab.
    Open(String),
    /// Not enough is known yet.
    Wait(String),
    /// Nobody can be chosen without a person's decision.
    Refuse(String),
}

/// Chooses the writer. `wanted` members are expected; `initialised` says that the lab has had a writer before.
pub fn choose(members: &[Member], wanted: usize, initialised: bool) -> Choice {
    let known: Vec<(&str, &MemberStatus)> =
        members.iter().filter_map(|member| Some((member.name.as_str(), member.status.as_ref()?))).collect();
    let named = |pick: fn(&MemberStatus) -> bool| -> Vec<&str> {
        known.iter().filter(|(_, status)| pick(status)).map(|(name, _)| *name).collect()
    };
    let open = named(|status| status.state == State::Source);
    let former = named(|status| status.was_writer);
    let with_data = named(|status| status.has_data);
    match (open.as_slice(), former.as_slice()) {
        ([one], _) => Choice::Writer((*one).to_owned()),
        ([_, _, ..], _) => Choice::Refuse(format!("{} are open for writes at the same time", open.join(" and "))),
        ([], [_, _, ..]) => Choice::Refuse(format!("{} each say that they were the writer", former.join(" and "))),
        ([], [one]) => Choice::Reopens((*one).to_owned()),
        ([], []) => {
            let first = format!("{MEMBERS}-0");
            if let Some(member) = members.iter().find(|member| member.status.is_none()) {
                // It may be the writer: nothing is decided without it.
                return Choice::Wait(member.unready().unwrap_or_default());
            }
            if members.len() < wanted {
                return Choice::Wait(format!("{} of {wanted} members exist", members.len()));
            }
            match with_data.as_slice() {
                [] if initialised => Choice::Refuse(lost("no member has data any more")),
                _ if initialised => Choice::Refuse(lost("no member was the writer, so what it had last is lost")),
                [] => Choice::Wait(members.iter().find(|m| m.name == first).and_then(Member::unready).unwrap_or(first)),
                [only] if *only == first => Choice::Open(first),
                _ => Choice::Refuse(lost("there is data, but no member was the writer")),
            }
        }
    }
}

fn lost(what: &str) -> String {
    format!("{what}; `wplab down` and `wplab up` make a new lab")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(number: u32, status: Option<MemberStatus>) -> Member {
        Member { name: format!("db-{number}"), node: None, role: None, pod_waits: None, status }
    }

    fn says(number: u32, state: State, has_data: bool, was_writer: bool) -> Member {
        member(number, Some(MemberStatus { state, has_data, was_writer, ..MemberStatus::default() }))
    }

    #[test]
    fn the_choice_for_every_situation() {
        let empty = |number| says(number, State::Waiting, false, false);
        let shut = |number| says(number, State::Waiting, true, false);
        let follows = |number| says(number, State::Replica, true, false);
        let open = |number| says(number, State::Source, true, true);
        let former = |number| says(number, State::Waiting, true, true);
        let silent = |number| member(number, None);
        let is = |name: &str, make: fn(String) -> Choice| make(name.to_owned());
        let table: [(&str, Vec<Member>, bool, Choice); 7] = [
            ("a new lab", vec![shut(0), empty(1), empty(2)], false, is("db-0", Choice::Open)),
            ("healthy", vec![open(0), follows(1), follows(2)], true, is("db-0", Choice::Writer)),
            ("another is open", vec![follows(0), open(1), silent(2)], true, is("db-1", Choice::Writer)),
            ("killed before the record", vec![open(0), empty(1), empty(2)], false, is("db-0", Choice::Writer)),
            ("restarted", vec![former(0), follows(1), follows(2)], true, is("db-0", Choice::Reopens)),
            ("restarted with one silent", vec![silent(0), former(1), follows(2)], true, is("db-1", Choice::Reopens)),
            ("killed in promotion", vec![former(0), empty(1), empty(2)], false, is("db-0", Choice::Reopens)),
        ];
        for (case, members, initialised, wanted) in table {
            assert_eq!(choose(&members, 3, initialised), wanted, "{case}");
        }
        let waits: [(&str, Vec<Member>, bool); 4] = [
            ("nobody yet", vec![], false),
            ("the first is not done", vec![says(0, State::Initialising, false, false), empty(1), empty(2)], false),
            ("one is not there", vec![shut(0), empty(1)], false),
            ("the writer may be the silent one", vec![silent(0), follows(1), follows(2)], true),
        ];
        for (case, members, initialised) in waits {
            assert!(matches!(choose(&members, 3, initialised), Choice::Wait(_)), "{case}");
        }
        let refuses: [(&str, Vec<Member>, bool); 4] = [
            ("two are open", vec![open(0), open(1), follows(2)], true),
            ("two claim it", vec![former(0), former(1), follows(2)], true),
            ("the writer's volume is gone", vec![empty(0), follows(1), follows(2)], true),
            ("data of unknown origin", vec![empty(0), follows(1), follows(2)], false),
        ];
        for (case, members, initialised) in refuses {
            assert!(matches!(choose(&members, 3, initialised), Choice::Refuse(_)), "{case}");
        }
    }

    #[test]
    fn a_first_member_that_is_not_done_says_what_it_does() {
        let members = [says(0, State::Initialising, false, false), says(1, State::Waiting, false, false)];
        assert_eq!(choose(&members, 2, false), Choice::Wait("db-0: initialising".into()));
    }
}
