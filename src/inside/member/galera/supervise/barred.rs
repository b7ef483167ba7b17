//! A member whose server was killed and that is back too soon (docs/decisions/0022-back-too-soon.md): it joins when nobody in the
//! cluster takes it any more for the one that it was.

use std::time::Duration;

use tokio::time::Instant;

use super::Member;
use crate::inside::member::{
    galera::peers,
    status::{MemberStatus, State},
    turns::EVERY,
};

/// How long a member waits for the others to give up what it was before.
const BARRED: Duration = Duration::from_secs(10);
/// What the others say of who is in the cluster may be so old.
const STALE: Duration = EVERY.saturating_add(Duration::from_millis(500));

impl Member {
    /// Whether others in the cluster still take this member for what it was before its server was killed. Galera tells the old
    /// one from the new one by a number that is new with every start, and cannot agree on who is left while both are there.
    pub(super) async fn is_barred(&mut self, peers: &[(String, String)]) -> bool {
        if self.volume.left_in_good_order() {
            return false;
        }
        let since = *self.barred_since.get_or_insert_with(Instant::now);
        let told = peers::ask(peers.iter().map(|(name, address)| (name.as_str(), address.as_str()))).await;
        let fresh = self.fell.is_none_or(|fell| fell.elapsed() >= STALE);
        let Some(why) = bar(&self.config.name, &told, fresh).filter(|_| since.elapsed() < BARRED) else { return false };
        self.board.enter(State::Waiting, &why);
        true
    }
}

/// Why `me` must not join yet, from what the members of the cluster say of who is in it; `fresh` is whether that was said after
/// `me` has ended.
fn bar(me: &str, told: &[(&str, Option<MemberStatus>)], fresh: bool) -> Option<String> {
    let counts = |(_, status): &&(&str, Option<MemberStatus>)| {
        status.as_ref().and_then(|status| status.galera.as_ref()).is_some_and(|facts| facts.counts(me))
    };
    match told.iter().find(counts) {
        Some((name, _)) => Some(format!("for {name} to see that this member's last server has gone")),
        None if !fresh => Some("for the others to see that this member's last server has gone".to_owned()),
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::member::status::GaleraFacts;

    #[test]
    fn a_killed_member_waits_until_nobody_in_the_cluster_counts_it_in() {
        let says = |component: &str, members: &[&str]| {
            let members = members.iter().map(|name| (*name).to_owned()).collect();
            let galera = Some(GaleraFacts { component: component.into(), members, ..GaleraFacts::default() });
            Some(MemberStatus { galera, ..MemberStatus::default() })
        };
        let (all, rest) = (["db-0", "db-1", "db-2"], ["db-0", "db-2"]);
        let barred = |told: [Option<MemberStatus>; 2], fresh| {
            let [a, b] = told;
            bar("db-1", &[("db-0", a), ("db-2", b)], fresh)
        };
        let (old, new) = (|| says("Primary", &all), || says("Primary", &rest));
        assert_eq!(
            barred([old(), old()], true).as_deref(),
            Some("for db-0 to see that this member's last server has gone")
        );
        assert!(
            barred([new(), old()], true).is_some_and(|why| why.contains("db-2")),
            "they do not see it in one moment"
        );
        assert_eq!(barred([new(), new()], true), None);
        assert!(barred([new(), new()], false).is_some(), "it may have been in since");
        // Who says nothing, and who is in no cluster, keeps nobody out.
        assert_eq!(barred([None, new()], true), None);
        assert_eq!(barred([says("non-Primary", &all), says("Primary", &[])], true), None);
    }
}
