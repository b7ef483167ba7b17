//! `wplab member bootstrap`, executed in a member's pod by `wplab recover`: the operator's word that the cluster is to start
//! from this member, whatever the others may have had.

use std::{net::SocketAddr, time::Duration};

use anyhow::{Result, bail, ensure};
use tokio::time::timeout;

use super::{
    config::Config,
    decide::{Phase, Position, Snapshot},
};
use crate::inside::{
    http::get,
    member::{pod::HTTP_PORT, status::MemberStatus},
};

/// How long a member may take to say what it does.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes the choice. The member itself acts on it, within seconds.
///
/// # Errors
/// Some member is in the cluster, this one has nothing to start from, or etcd does not answer.
pub(super) async fn run(config: &Config) -> Result<()> {
    let registry = config.registry()?;
    let seen = registry.snapshot().await?;
    allowed(&config.name, &seen)?;
    // A server may run whose record etcd has lost.
    for (name, found) in &seen.members {
        let Ok(address) = found.record.address.parse() else { continue };
        let Ok(Ok(answer)) = timeout(PATIENCE, get(SocketAddr::new(address, HTTP_PORT), name, "/status")).await else {
            continue;
        };
        let status = MemberStatus::parse(&answer).unwrap_or_default();
        if status.galera.is_some_and(|facts| facts.component == "Primary") {
            bail!("{name} is in the cluster; there is nothing to decide");
        }
    }
    registry.force(&config.name).await
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
    use crate::inside::member::galera::decide::{Record, Seen};

    fn seen(members: &[(&str, Phase, Position)]) -> Snapshot {
        let members = members.iter().map(|(name, phase, position)| {
            let (phase, position) = (*phase, position.clone());
            let record = Record { phase, position, address: String::new(), safe: false, known: Default::default() };
            ((*name).to_owned(), Seen { record, modified: 1 })
        });
        Snapshot { members: members.collect(), ..Snapshot::default() }
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
