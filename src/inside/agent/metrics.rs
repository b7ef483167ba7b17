//! What the agent measures, for Prometheus.

use std::time::Duration;

use super::decide::Seen;
use crate::inside::figures::{Page, number};

/// The figures of one agent.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    /// The leadership that this agent has; none while another one leads.
    pub(super) term: Option<i32>,
    /// The members, as observed.
    pub(super) members: Vec<Seen>,
    /// How often this agent gave the role of the writer.
    pub(super) role_changes: u64,
    /// How long it took to look, decide and act the last time.
    pub(super) turn: Duration,
}

/// The text of `/metrics`.
pub(super) fn text(figures: &Figures) -> String {
    let mut page = Page::default();
    let mut metric = |name: &str, kind: &str, help: &str, values| page.add(name, kind, help, values);
    let one = |value: String| vec![(String::new(), value)];
    let each = |value: &dyn Fn(&Seen) -> Option<String>| -> Vec<(String, String)> {
        let members = figures.members.iter();
        members.filter_map(|m| Some((format!("{{member=\"{}\"}}", m.name), value(m)?))).collect()
    };
    metric("wplab_agent_leader", "gauge", "Whether this agent gives the roles.", one(number(figures.term.is_some())));
    let term = figures.term.map(|term| (String::new(), term.to_string())).into_iter().collect();
    metric("wplab_agent_term", "gauge", "Which leadership it is.", term);
    let turn = format!("{:.6}", figures.turn.as_secs_f64());
    metric("wplab_agent_decision_seconds", "gauge", "How long the last look, decision and act took.", one(turn));
    let changes = one(figures.role_changes.to_string());
    metric("wplab_role_changes_total", "counter", "How often this agent gave the role of the writer.", changes);
    let ready = each(&|member| Some(number(member.serves())));
    metric("wplab_member_ready", "gauge", "Whether the member takes queries.", ready);
    let role = |member: &Seen| {
        let role = member.role.as_ref()?;
        Some((format!("{{member=\"{}\",role=\"{role}\"}}", member.name), "1".to_owned()))
    };
    let roles = figures.members.iter().filter_map(role).collect();
    metric("wplab_member_role", "gauge", "The role that the member has.", roles);
    let seqno = each(&|member| Some(member.status()?.galera.as_ref()?.seqno.to_string()));
    metric("wplab_member_seqno", "gauge", "The last change that a Galera member has committed.", seqno);
    let lag = each(&|member| Some(member.status()?.server.as_ref()?.lag_seconds?.to_string()));
    metric("wplab_member_lag_seconds", "gauge", "Seconds behind the source.", lag);
    page.text()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::{
        agent::decide::Answer,
        member::status::{GaleraFacts, MemberStatus, ServerFacts},
    };

    #[test]
    fn the_text_has_what_is_known_and_nothing_else() {
        let galera = Some(GaleraFacts { seqno: 42, ..GaleraFacts::default() });
        let server = Some(ServerFacts { lag_seconds: Some(3), ..ServerFacts::default() });
        let member = |name: &str, role: Option<&str>, answer| Seen {
            name: name.into(),
            role: role.map(str::to_owned),
            reads: false,
            answer,
            gone: false,
            down: false,
        };
        let status = MemberStatus { galera, server, ..MemberStatus::default() };
        let members =
            vec![member("db-0", Some("writer"), Answer::Says(Box::new(status))), member("db-1", None, Answer::Silent)];
        let page = text(&Figures { term: Some(4), members, role_changes: 2, turn: Duration::from_millis(5) });
        let lines: Vec<&str> = page.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            lines,
            [
                "wplab_agent_leader 1",
                "wplab_agent_term 4",
                "wplab_agent_decision_seconds 0.005000",
                "wplab_role_changes_total 2",
                "wplab_member_ready{member=\"db-0\"} 0",
                "wplab_member_ready{member=\"db-1\"} 0",
                "wplab_member_role{member=\"db-0\",role=\"writer\"} 1",
                "wplab_member_seqno{member=\"db-0\"} 42",
                "wplab_member_lag_seconds{member=\"db-0\"} 3",
            ]
        );
        assert_eq!(page.matches("# TYPE ").count(), 8, "{page}");
        assert!(!text(&Figures::default()).contains("wplab_agent_term"), "who does not lead has no term");
    }
}
