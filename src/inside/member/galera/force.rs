//! `wplab member bootstrap`, executed in a member's pod by `wplab recover`: the operator's word that the cluster is to start
//! from this member, whatever the others may have had.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use super::{
    config::Config,
    decide::{Phase, Position, Snapshot},
    peers,
};
use crate::{inside::member::status::MemberStatus, wire::net};

/// How long the cluster's name server may take.
const LOOKUP: Duration = Duration::from_secs(1);

/// Writes the choice. The member itself acts on it, within seconds. Whoever is in `dead` has ended for good, by a person's word.
///
/// # Errors
/// Some member is in the cluster, or may be and cannot be asked; this one has nothing to start from; or etcd does not answer.
pub(super) async fn run(config: &Config, dead: &[String]) -> Result<()> {
    let registry = config.registry()?;
    let seen = registry.snapshot().await?;
    allowed(&config.name, &seen)?;
    // A server may run whose record etcd has lost, or never had: behind a partition.
    let members = config.members();
    let mut addresses = Vec::new();
    for name in members.iter().filter(|name| **name != config.name) {
        let told = seen.members.get(name).map(|found| found.record.address.clone());
        let address = match told.filter(|address| !address.is_empty()) {
            Some(address) => Some(address),
            // Of one that is dead nothing has to be known.
            None => match net::look_up(&format!("{name}.db-members"), LOOKUP).await {
                Err(_) if dead.contains(name) => None,
                found => found?.map(|address| address.to_string()),
            },
        };
        addresses.extend(address.map(|address| (name.as_str(), address)));
    }
    let told = peers::ask(addresses.iter().map(|(name, address)| (*name, address.as_str()))).await;
    for (name, status) in &told {
        let registered = seen.members.contains_key(*name);
        if let Some(why) = forbids(name, status.as_ref(), registered, dead.iter().any(|dead| dead == name)) {
            bail!("{why}");
        }
    }
    registry.force(&config.name).await
}

/// Why a member whose pod has an address forbids that another one starts the cluster.
fn forbids(name: &str, status: Option<&MemberStatus>, registered: bool, dead: bool) -> Option<String> {
    let Some(status) = status else {
        return (!dead).then(|| format!("{name} may run a server, and cannot be asked"));
    };
    match &status.galera {
        Some(facts) if facts.component == "Primary" => {
            Some(format!("{name} is in the cluster; there is nothing to decide"))
        }
        // One that is registered is waited for until it has stopped.
        Some(_) if !registered => Some(format!("{name} runs a server of which etcd knows nothing")),
        _ => dead.then(|| format!("{name} answers, so it is not dead")),
    }
}

fn allowed(me: &str, seen: &Snapshot) -> Result<()> {
    if let Some((name, _)) = seen.members.iter().find(|(_, found)| found.record.phase == Phase::Primary) {
        bail!("{name} is in the cluster; there is nothing to decide");
    }
    let Some(own) = seen.members.get(me) else { bail!("{me} has not registered in etcd; see its status") };
    ensure!(own.record.position != Position::Unusable, "the data of {me} is an unfinished copy; choose another member");
    let rich = seen.members.iter().find(|(_, found)| found.record.position.data().is_some());
    if let (None, Some((name, _))) = (own.record.position.data(), rich) {
        bail!("{me} has no data, and {name} has; choose {name}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inside::member::{
        galera::decide::{Record, Seen},
        status::GaleraFacts,
    };

    fn seen(members: &[(&str, Phase, Position)]) -> Snapshot {
        let members = members.iter().map(|(name, phase, position)| {
            let (phase, position) = (*phase, position.clone());
            let record = Record { phase, position, address: String::new(), safe: false, known: Default::default() };
            ((*name).to_owned(), Seen { record, modified: 1 })
        });
        Snapshot { members: members.collect(), ..Snapshot::default() }
    }

    #[test]
    fn no_second_cluster_is_started_beside_a_member_that_may_run() {
        let runs = |component: &str| {
            let galera = Some(GaleraFacts { component: component.into(), ..GaleraFacts::default() });
            MemberStatus { galera, ..MemberStatus::default() }
        };
        let (waits, cut_off, serves) = (MemberStatus::default(), runs("non-Primary"), runs("Primary"));
        for (status, registered, dead, why) in [
            (Some(&waits), true, false, None),
            (Some(&waits), false, false, None),
            (Some(&cut_off), true, false, None),
            (None, true, true, None),
            (Some(&waits), true, true, Some("db-1 answers, so it is not dead")),
            (Some(&cut_off), false, false, Some("db-1 runs a server of which etcd knows nothing")),
            (Some(&serves), false, true, Some("db-1 is in the cluster; there is nothing to decide")),
            (None, false, false, Some("db-1 may run a server, and cannot be asked")),
            (None, true, false, Some("db-1 may run a server, and cannot be asked")),
        ] {
            assert_eq!(forbids("db-1", status, registered, dead).as_deref(), why);
        }
    }

    #[test]
    fn the_operator_is_told_what_would_be_a_mistake() {
        let at = || Position::At { uuid: "u".into(), seqno: 7 };
        let waiting = Phase::Waiting;
        allowed("db-0", &seen(&[("db-0", waiting, at())])).expect("it has data");
        allowed("db-0", &seen(&[("db-0", waiting, Position::Empty)])).expect("nobody has data");
        for (members, said) in [
            (vec![("db-0", waiting, at()), ("db-1", Phase::Primary, at())], "db-1 is in the cluster"),
            (vec![("db-1", waiting, at())], "db-0 has not registered"),
            (vec![("db-0", waiting, Position::Unusable)], "unfinished copy"),
            (vec![("db-0", waiting, Position::Empty), ("db-1", waiting, at())], "choose db-1"),
        ] {
            let error = allowed("db-0", &seen(&members)).expect_err("refused").to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
