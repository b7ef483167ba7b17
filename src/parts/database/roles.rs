//! What `up` makes of one look at the members and at what the agent has written down: a pure function to ready, not yet, or
//! beyond help. Who gets which role is not decided here but by the agent ([`crate::inside::agent::decide`]).

use super::members::Member;
pub use crate::labels::{READER, WRITER};
use crate::{parts::database::agent::Roles, run::wait::Look};

/// The writer, once every wanted member is healthy and has its role; otherwise what is waited for.
///
/// # Errors
/// The agent refuses: a person has to decide. The reason is its own.
pub(super) fn settled(members: &[Member], wanted: usize, roles: &Look<Roles>) -> Result<Look<String>, String> {
    let roles = match roles {
        Look::Ready(roles) => roles,
        Look::NotYet(reason) => return Ok(Look::NotYet(reason.clone())),
    };
    if !roles.refused.is_empty() {
        return Err(roles.refused.clone());
    }
    if !roles.waits.is_empty() {
        return Ok(Look::NotYet(roles.waits.clone()));
    }
    if let Some(reason) = members.iter().find_map(Member::unready) {
        return Ok(Look::NotYet(reason));
    }
    if members.len() < wanted {
        return Ok(Look::NotYet(format!("{} of {wanted} members exist", members.len())));
    }
    if let Some(member) = members.iter().find(|member| member.role.is_none()) {
        return Ok(Look::NotYet(format!("{}: the agent has not given it a role yet", member.name)));
    }
    let writers: Vec<&str> = members.iter().filter(|m| m.role.as_deref() == Some(WRITER)).map(|m| &*m.name).collect();
    Ok(match writers.as_slice() {
        [writer] if *writer == roles.writer => Look::Ready((*writer).to_owned()),
        [] => Look::NotYet("no member has the role of the writer".to_owned()),
        [writer] => Look::NotYet(format!("{writer} has the role of the writer, which the agent has not written down")),
        _ => Look::NotYet(format!("{} have the role of the writer", writers.join(" and "))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::member::status::{MemberStatus, ServerFacts, State};

    fn member(number: usize, role: Option<&str>) -> Member {
        let server = Some(ServerFacts { semi_sync: true, ..ServerFacts::default() });
        let status = Some(MemberStatus { state: State::Source, server, ..MemberStatus::default() });
        Member {
            name: format!("db-{number}"),
            node: None,
            role: role.map(str::to_owned),
            reads: true,
            pod_waits: None,
            status,
        }
    }

    #[test]
    fn up_is_done_when_everybody_is_healthy_and_has_the_role_that_is_written_down() {
        let all = || [member(0, Some(WRITER)), member(1, Some(READER))];
        let record = |writer: &str, waits: &str, refused: &str| {
            Look::Ready(Roles {
                writer: writer.into(),
                waits: waits.into(),
                refused: refused.into(),
                ..Roles::default()
            })
        };
        assert_eq!(settled(&all(), 2, &record("db-0", "", "")), Ok(Look::Ready("db-0".into())));
        assert_eq!(settled(&all(), 2, &record("db-0", "", "two are open")), Err("two are open".into()));
        let unready = Member { pod_waits: Some("no node".into()), ..member(1, Some(READER)) };
        let waits = [
            ("no agent", settled(&all(), 2, &Look::NotYet("no agent leads yet".into()))),
            ("the agent waits", settled(&all(), 2, &record("db-0", "db-1: cloning", ""))),
            ("one is missing", settled(&all(), 3, &record("db-0", "", ""))),
            ("one is unready", settled(&[member(0, Some(WRITER)), unready], 2, &record("db-0", "", ""))),
            ("one has no role", settled(&[member(0, Some(WRITER)), member(1, None)], 2, &record("db-0", "", ""))),
            ("nobody writes", settled(&[member(0, Some(READER))], 1, &record("db-0", "", ""))),
            ("another writes", settled(&all(), 2, &record("db-1", "", ""))),
        ];
        for (case, seen) in waits {
            assert!(matches!(seen, Ok(Look::NotYet(_))), "{case}: {seen:?}");
        }
    }
}
