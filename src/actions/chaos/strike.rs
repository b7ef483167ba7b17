//! From a fault to what exactly is done in this lab: whom it hits, which is decided before anything is broken, and the deed.

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use kube::{Api, api::DeleteParams};

use super::{
    broken::{Broken, Hands},
    ground::{Ground, Resident},
};
use crate::{
    cluster::Refused,
    host::machine::engine,
    spec::scenario::{Count, Fault, Target},
};

/// What is done, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Strike {
    /// Whom it hits, for people.
    pub(super) whom: String,
    /// What is made ready before anybody looks, and taken back at the very end.
    pub(super) stage: Vec<Broken>,
    /// What stays broken until it is undone.
    pub(super) leaves: Vec<Broken>,
    deed: Deed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    /// What is left broken is all.
    Break,
    /// Pods go without a moment to end.
    Delete(Vec<Resident>),
    /// A server's process is killed.
    Kill { node: String, process: &'static str },
    /// A node is killed and started.
    Restart(String),
    /// A pod goes, and its claim with it.
    Lose { pod: Resident, claim: String },
    /// The engine is restarted; its nodes are started when that is undone.
    Engine,
}

/// The servers that a target can be, as the kernel calls them.
fn process(of: Target) -> &'static str {
    match of {
        Target::Nfs => "ganesha.nfsd",
        Target::Etcd => "etcd",
        _ => "mysqld|mariadbd",
    }
}

impl Strike {
    /// Decides whom a fault hits.
    ///
    /// # Errors
    /// There is nobody to hit, or the API server does not answer.
    pub(super) async fn plan(ground: &Ground, fault: &Fault) -> Result<Strike> {
        let strike = |whom: String, leaves: Vec<Broken>, deed| Strike { whom, stage: Vec::new(), leaves, deed };
        Ok(match fault {
            Fault::DeletePods { of, how_many } => {
                let mut pods = ground.residents(*of).await?;
                if *how_many == Count::One {
                    pods.truncate(1);
                }
                let names: Vec<&str> = pods.iter().map(|pod| pod.pod.as_str()).collect();
                strike(names.join(", "), Vec::new(), Deed::Delete(pods))
            }
            Fault::KillServer { of } => {
                let (pod, node) = ground.resident(*of).await?;
                strike(pod.pod, Vec::new(), Deed::Kill { node, process: process(*of) })
            }
            Fault::FreezeServer { of } => {
                let (pod, node) = ground.resident(*of).await?;
                let frozen = Broken::ServerFrozen { node, process: process(*of).to_owned() };
                strike(pod.pod, vec![frozen], Deed::Break)
            }
            Fault::KillNode { of } => {
                let (whom, node) = home(ground, *of).await?;
                strike(whom, vec![Broken::NodeStopped { node }], Deed::Break)
            }
            Fault::RestartNode { of } => {
                let (whom, node) = home(ground, *of).await?;
                strike(whom, vec![Broken::NodeStopped { node: node.clone() }], Deed::Restart(node))
            }
            Fault::FreezeNode { of } => {
                let (whom, node) = home(ground, *of).await?;
                strike(whom, vec![Broken::NodeFrozen { node }], Deed::Break)
            }
            Fault::CutNode { of } => {
                let (whom, node) = home(ground, *of).await?;
                strike(whom, vec![Broken::Network { node, loss: 100, delay: 0 }], Deed::Break)
            }
            Fault::DisturbNode { of, loss, delay } => {
                let (whom, node) = home(ground, *of).await?;
                strike(whom, vec![Broken::Network { node, loss: *loss, delay: *delay }], Deed::Break)
            }
            Fault::LoseVolume { of } => {
                let (pod, _) = ground.resident(*of).await?;
                let claim = format!("data-{}", pod.pod);
                strike(format!("{} and {claim}", pod.pod), Vec::new(), Deed::Lose { pod, claim })
            }
            Fault::FillVolume { of } => {
                // Whose volume is made small has to go for a moment, and roles move then: so it is done to all of them.
                let (all, claims) =
                    if *of == Target::Nfs { (Target::Nfs, "export") } else { (Target::Members, "data") };
                let mut stage = Vec::new();
                for Resident { pod, node, .. } in ground.residents(all).await? {
                    let node = node.with_context(|| format!("pod {pod} is on no node of this lab"))?;
                    let path = folder(ground, &format!("{claims}-{pod}")).await?;
                    stage.push(Broken::VolumeSmall { node, pod, path });
                }
                let (pod, node) = ground.resident(*of).await?;
                let claim = format!("{claims}-{}", pod.pod);
                let full = Broken::VolumeFull { node, path: folder(ground, &claim).await? };
                Strike { stage, ..strike(claim, vec![full], Deed::Break) }
            }
            Fault::TakeDown { of: Target::ApiServer } => {
                let node = ground.control_plane();
                strike(node.clone(), vec![Broken::ApiServerAway { node }], Deed::Break)
            }
            Fault::TakeDown { of } => {
                strike(of.to_string(), vec![Broken::TakenDown { deployment: of.name().to_owned() }], Deed::Break)
            }
            Fault::ScaleMembers { to } => {
                let (from, to) = (ground.spec.database.members, *to);
                strike(format!("{from} to {to}"), vec![Broken::Scaled { from, to }], Deed::Break)
            }
            Fault::RestartEngine => {
                let all = ground.nodes().await?.into_iter().map(|node| Broken::NodeStopped { node: node.name });
                strike("every node".to_owned(), all.chain([Broken::EngineAway]).collect(), Deed::Engine)
            }
            Fault::ShiftClock { .. } => anyhow::bail!("a clock cannot be shifted"),
        })
    }

    /// Does it.
    ///
    /// # Errors
    /// Somebody refuses; something may be broken by then.
    pub(super) async fn hit(&self, ground: &Ground, hands: &Hands<'_>) -> Result<()> {
        match &self.deed {
            Deed::Break => {
                for broken in &self.leaves {
                    hands.make(broken).await?;
                }
            }
            Deed::Delete(pods) => {
                let gone = pods.iter().map(|pod| delete(ground, pod));
                futures_util::future::try_join_all(gone).await?;
            }
            Deed::Kill { node, process } => hands.signal(node, "KILL", process).await?,
            Deed::Restart(node) => {
                hands.make(&Broken::NodeStopped { node: node.clone() }).await?;
                hands.start(node).await?;
            }
            Deed::Lose { pod, claim } => {
                let claims: Api<PersistentVolumeClaim> = ground.cluster.api();
                let gone = claims.delete(claim, &DeleteParams::default()).await.map_err(Refused);
                gone.with_context(|| format!("cannot delete claim {claim}"))?;
                delete(ground, pod).await?;
            }
            Deed::Engine => engine::restart(hands.cx).await?,
        }
        Ok(())
    }
}

async fn home(ground: &Ground, of: Target) -> Result<(String, String)> {
    let (pod, node) = ground.resident(of).await?;
    Ok((format!("{node}, where {} is", pod.pod), node))
}

async fn delete(ground: &Ground, pod: &Resident) -> Result<()> {
    let api: Api<Pod> = ground.cluster.api_in(&pod.namespace);
    let gone = api.delete(&pod.pod, &DeleteParams::default().grace_period(0)).await.map_err(Refused);
    gone.map(drop).with_context(|| format!("cannot delete pod {}", pod.pod))
}

/// Where a claim's volume is on its node.
async fn folder(ground: &Ground, claim: &str) -> Result<String> {
    let bound: PersistentVolumeClaim =
        ground.cluster.get(claim).await?.with_context(|| format!("there is no claim {claim}"))?;
    let name = bound.spec.and_then(|spec| spec.volume_name).with_context(|| format!("claim {claim} has no volume"))?;
    let volume = ground.cluster.all::<PersistentVolume>().get(&name).await.map_err(Refused)?;
    let spec = volume.spec.unwrap_or_default();
    let path = spec.local.map(|local| local.path).or(spec.host_path.map(|path| path.path));
    let path = path.with_context(|| format!("volume {name} is no folder on a node"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    anyhow::ensure!(
        path.starts_with("/var/") && path.chars().all(plain),
        "volume {name} is in a strange place: {path}"
    );
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::chaos::broken::SERVERS;

    #[test]
    fn a_server_that_is_frozen_is_one_that_heal_looks_for() {
        for of in [Target::Writer, Target::Reader, Target::Nfs, Target::Etcd] {
            for name in process(of).split('|') {
                assert!(SERVERS.split('|').any(|server| server == name), "{name}");
            }
        }
    }
}
