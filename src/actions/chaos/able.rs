//! Whether a scenario can be run in this lab on this machine: asked before anything is broken, and told with the reason.

use std::collections::BTreeMap;

use anyhow::Result;

use super::{disk, ground::Ground};
use crate::{
    host::{docker::Docker, machine::engine},
    labels,
    spec::{
        Topology,
        scenario::{Fault, Scenario, Target},
    },
};

/// Why a scenario cannot be run here; `None` when it can. `yes`: somebody has agreed to what hurts others.
///
/// # Errors
/// The engine does not answer.
pub(super) async fn unable(ground: &Ground, scenario: &Scenario, yes: bool) -> Result<Option<String>> {
    let topology = ground.spec.database.topology;
    if !scenario.applies(topology) {
        return Ok(Some(format!("it is not for topology {}", topology.name())));
    }
    if let Some(why) = alone(&scenario.fault, ground.spec.database.members) {
        return Ok(Some(why.to_owned()));
    }
    for (words, why) in needs(&scenario.fault) {
        if !works(ground, &words).await? {
            return Ok(Some(why.to_owned()));
        }
    }
    match &scenario.fault {
        Fault::ShiftClock { .. } => {
            let why = "all containers of a machine share its one clock: Linux gives a container another uptime, but no \
                       other time of day, and shifting the machine's own clock would hurt everything on it";
            Ok(Some(why.to_owned()))
        }
        Fault::ScaleMembers { to } => {
            let (members, workers) = (ground.spec.database.members, ground.spec.cluster.workers);
            Ok(match *to {
                to if to == members => Some(format!("the database has {to} members already")),
                to if to > workers => Some(format!("{to} members need {to} workers, and there are {workers}")),
                2 if topology == Topology::Galera => {
                    Some("a Galera cluster of two loses its majority with one of them".to_owned())
                }
                _ => None,
            })
        }
        Fault::RestartEngine => restart(&ground.docker, ground, yes).await,
        _ => Ok(None),
    }
}

/// What cannot be asked of a database that has a single member.
fn alone(fault: &Fault, members: u8) -> Option<&'static str> {
    match fault {
        _ if members > 1 => None,
        Fault::LoseVolume { .. } => {
            Some("the database has a single member, and with its volume the site would be gone")
        }
        other => (other.of() == Some(Target::Reader)).then_some("the database has a single member, and so no reader"),
    }
}

/// What has to work on a node, as words of the shell that change nothing there, and what it means when it does not.
fn needs(fault: &Fault) -> Vec<(String, &'static str)> {
    let filter = |rule: &str| format!("unshare -n iptables -w -A INPUT {rule} -j DROP");
    let by_chance = "-m statistic --mode random --probability 0.5";
    match fault {
        Fault::DisturbNode { loss, delay, .. } => {
            let loss = (*loss > 0)
                .then(|| (filter(by_chance), "the nodes cannot drop packets by chance (iptables, xt_statistic)"));
            let late = "unshare -n tc qdisc add dev lo root netem delay 1ms".to_owned();
            let late = (*delay > 0)
                .then_some((late, "this machine's kernel cannot delay packets: it has no module sch_netem"));
            loss.into_iter().chain(late).collect()
        }
        Fault::CutNode { .. } => vec![(filter("-i eth0"), "the nodes cannot drop packets (iptables)")],
        Fault::FillVolume { .. } => vec![(
            disk::NEEDS.to_owned(),
            "the nodes have no loop devices or no mkfs.ext4, and without a file system of its own a volume's end is that \
             of the machine's disk",
        )],
        _ => Vec::new(),
    }
}

/// Whether words of the shell do what they should on a worker, where they change nothing.
async fn works(ground: &Ground, words: &str) -> Result<bool> {
    let nodes = ground.nodes().await?;
    let Some(node) = nodes.iter().find(|node| node.running && node.name != ground.control_plane()) else {
        return Ok(false);
    };
    Ok(ground.docker.exec(&node.name, &["sh", "-c", words]).await?.code == 0)
}

/// An engine is restarted with all that runs in it.
async fn restart(docker: &Docker, ground: &Ground, yes: bool) -> Result<Option<String>> {
    if let Some(why) = engine::stays(docker) {
        return Ok(Some(why));
    }
    let all = docker.containers(&BTreeMap::new()).await?;
    let ours = labels::of_lab(ground.lab());
    let foreign = |labels: &BTreeMap<String, String>| ours.iter().any(|(k, v)| labels.get(k) != Some(v));
    let others: Vec<&str> =
        all.iter().filter(|c| (c.running || c.paused) && foreign(&c.labels)).map(|c| c.name.as_str()).collect();
    Ok(match others.as_slice() {
        _ if yes => None,
        [] if engine::ours() => None,
        [] => {
            Some("the engine is not one that was started for labs; it is restarted when you agree to that".to_owned())
        }
        [first, ..] => Some(format!(
            "{} other containers run in this engine ({first}, …), and would be stopped with it",
            others.len()
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::scenario::load::built_in;

    #[test]
    fn a_single_member_is_not_lost_with_its_volume_and_is_no_reader() {
        let refused = |members| {
            let all = built_in().into_iter().filter(move |one| alone(&one.fault, members).is_some());
            all.map(|one| one.name).collect::<Vec<_>>()
        };
        assert!(refused(3).is_empty());
        let one = refused(1);
        assert!(
            ["writer-volume", "reader-process", "frozen-node"].iter().all(|name| one.iter().any(|one| one == name))
        );
        assert!(!one.iter().any(|name| name == "writer-process"), "{one:?}");
    }
}
