//! What a worker has that cannot move: volumes, which are folders on it, and whose they are.

use std::{collections::BTreeSet, fmt, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};

use crate::{
    cluster::{Cluster, Refused, gone},
    labels::NAMESPACE,
    parts::{database, discovery},
    run::{StepCx, wait::Look},
    spec::{LabSpec, Topology},
};

/// The claim of the server of the site's shared files.
const EXPORT: &str = "export-nfs-0";
/// How long a claim that no running pod has may take to go, or a volume that no claim has.
const RELEASE: Duration = Duration::from_mins(1);

/// The claim of one of a StatefulSet's members, or what all of them begin with.
fn data_of(member: &str) -> String {
    format!("data-{member}")
}

/// A volume on a worker, which cannot move.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Where.
    pub node: String,
    /// The volume.
    pub volume: String,
    /// Whose it is.
    pub of: Owner,
}

impl Held {
    /// Whether [`crate::parts::volumes`] made it. Any other one is its class's, which removes it when no claim has it.
    #[must_use]
    pub fn made_here(&self) -> bool {
        !self.volume.starts_with("pvc-")
    }

    /// The member of the database whose it is.
    #[must_use]
    pub fn member(&self) -> Option<&str> {
        match &self.of {
            Owner::Member(name) => Some(name),
            _ => None,
        }
    }
}

/// Who has a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A member of the database.
    Member(String),
    /// A member of the database that the lab has no more; what it had was kept.
    Former(String),
    /// A member of etcd.
    Etcd,
    /// The files that the site's replicas share.
    Export,
    /// Somebody whom the lab does not know: a claim, as NAMESPACE/NAME.
    Other(String),
    /// Nobody any more.
    Nobody,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Held { node, volume, of } = self;
        match of {
            Owner::Member(member) => write!(f, "the data of {member} (volume {volume})")?,
            Owner::Former(member) => write!(f, "what was kept of {member} (volume {volume})")?,
            Owner::Etcd => write!(f, "a member of etcd (volume {volume})")?,
            Owner::Export => write!(f, "the site's shared files (volume {volume})")?,
            Owner::Other(claim) => write!(f, "the volume of claim {claim}")?,
            Owner::Nobody => write!(f, "volume {volume}, which nobody has")?,
        }
        write!(f, " on {node}")
    }
}

/// What these workers have that cannot move.
///
/// # Errors
/// The API server does not answer.
pub async fn held(cluster: &Cluster, spec: &LabSpec, nodes: &[String]) -> Result<Vec<Held>> {
    let list = ListParams::default();
    let (volumes, claims) = (cluster.all::<PersistentVolume>(), cluster.all::<PersistentVolumeClaim>());
    let volumes = volumes.list(&list).await.map_err(Refused).context("cannot list the volumes")?.items;
    let claims = claims.list(&list).await.map_err(Refused).context("cannot list the claims")?.items;
    let on = |volume: &PersistentVolume| nodes.iter().find(|node| pins(volume).iter().any(|pin| pin == *node)).cloned();
    let held = volumes.iter().filter_map(|volume| {
        let node = on(volume)?;
        let of = owner(volume, &claims, spec);
        // What nobody has any more, and was never the lab's, is left alone.
        (of != Owner::Nobody || ours(volume)).then(|| Held { node, volume: volume.name_any(), of })
    });
    Ok(held.collect())
}

/// The nodes that a volume may be used on, where it says which.
fn pins(volume: &PersistentVolume) -> Vec<String> {
    let required = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref()?.required.as_ref());
    let terms = required.into_iter().flat_map(|required| &required.node_selector_terms);
    let fields = terms.flat_map(|term| [&term.match_expressions, &term.match_fields]).flatten().flatten();
    fields.filter(|field| field.operator == "In").flat_map(|field| field.values.clone().unwrap_or_default()).collect()
}

/// Whether a claim of the lab had it.
fn ours(volume: &PersistentVolume) -> bool {
    let to = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref());
    to.is_some_and(|to| to.namespace.as_deref() == Some(NAMESPACE))
}

fn owner(volume: &PersistentVolume, claims: &[PersistentVolumeClaim], spec: &LabSpec) -> Owner {
    let Some(to) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else { return Owner::Nobody };
    let (namespace, name) = (to.namespace.as_deref().unwrap_or_default(), to.name.as_deref().unwrap_or_default());
    let own = |claim: &&PersistentVolumeClaim| {
        let bound = claim.spec.as_ref().and_then(|spec| spec.volume_name.as_deref());
        claim.name_any() == name
            && claim.namespace().as_deref() == Some(namespace)
            && bound == volume.metadata.name.as_deref()
    };
    // One that no claim has had yet waits for the one that will be made.
    if to.uid.is_some() && !claims.iter().any(|claim| own(&claim)) {
        return Owner::Nobody;
    }
    let member = (0..).zip(database::names(database::MOST)).find(|(_, member)| name == data_of(member));
    let etcd = spec.database.topology == Topology::Galera && name.starts_with(&data_of(discovery::ETCD));
    match member {
        _ if namespace != NAMESPACE => Owner::Other(format!("{namespace}/{name}")),
        Some((nth, member)) if nth < spec.database.members => Owner::Member(member),
        Some((_, member)) => Owner::Former(member),
        None if etcd => Owner::Etcd,
        None if name == EXPORT => Owner::Export,
        None => Owner::Other(format!("{namespace}/{name}")),
    }
}

/// Removes volumes whose node is gone, with the claims that have them: whoever asks again gets others.
///
/// # Errors
/// The API server refuses.
pub async fn give_up(cluster: &Cluster, held: &[Held]) -> Result<()> {
    for Held { volume, of, .. } in held {
        if let Owner::Former(member) = of {
            release(cluster, member).await?;
        }
        let volumes: Api<PersistentVolume> = cluster.all();
        gone(volumes.delete(volume, &DeleteParams::default()).await)
            .with_context(|| format!("cannot remove volume {volume}"))?;
    }
    Ok(())
}

/// A member of the database has its volume no more; which claim it had, if any. The volume itself stays where its class keeps what
/// nobody has.
///
/// # Errors
/// The API server refuses.
pub async fn release(cluster: &Cluster, member: &str) -> Result<Option<String>> {
    let claims: Api<PersistentVolumeClaim> = cluster.api();
    let had: Option<PersistentVolumeClaim> = cluster.get(&data_of(member)).await?;
    gone(claims.delete(&data_of(member), &DeleteParams::default()).await)
        .with_context(|| format!("cannot give up the claim of {member}"))?;
    Ok(had.and_then(|claim| claim.uid()))
}

/// Waits until a member's claim that was given up is gone; there may be another one at once.
///
/// # Errors
/// Kubernetes does not let it go in time: with what holds it.
pub async fn released(cx: &StepCx, cluster: &Cluster, member: &str, had: Option<&str>) -> Result<()> {
    let claims = cluster.api::<PersistentVolumeClaim>();
    cluster.until_ready(cx, &claims, &data_of(member), RELEASE, |found| is_gone(found, had)).await
}

/// Whether an object is gone, or another one of that name is there.
fn is_gone<K: ResourceExt>(found: Option<&K>, had: Option<&str>) -> Look<()> {
    match found.and_then(ResourceExt::uid).as_deref() {
        Some(uid) if had == Some(uid) => Look::NotYet("it is still there".to_owned()),
        _ => Look::Ready(()),
    }
}

/// Removes a volume that no claim has any more, and waits until another one of its name can be made.
///
/// # Errors
/// The API server refuses, or Kubernetes does not let it go in time.
pub async fn remove(cx: &StepCx, cluster: &Cluster, volume: &str) -> Result<()> {
    let volumes: Api<PersistentVolume> = cluster.all();
    let had = volumes.get_opt(volume).await.map_err(Refused);
    let had = had.with_context(|| format!("cannot read volume {volume}"))?.and_then(|had| had.uid());
    gone(volumes.delete(volume, &DeleteParams::default()).await)
        .with_context(|| format!("cannot remove volume {volume}"))?;
    cluster.until_ready(cx, &volumes, volume, RELEASE, |found| is_gone(found, had.as_deref())).await
}

/// What members that the lab has no more have, or had when somebody who was to remove it was interrupted; by member.
#[must_use]
pub fn former(held: &[Held], members: u8) -> Vec<(String, &Held)> {
    let beyond = database::names(database::MOST).split_off(usize::from(members));
    let whose = |held: &Held| match &held.of {
        Owner::Former(member) => Some(member.clone()),
        Owner::Nobody => beyond.iter().find(|member| held.volume == data_of(member)).cloned(),
        _ => None,
    };
    held.iter().filter_map(|held| Some((whose(held)?, held))).collect()
}

/// Volumes by which members that are to come cannot be placed, in their order: what one has on a worker where another member is now,
/// or one that comes before it; and what one had once and is not its any more, for as long as it has the name of what is to be made
/// anew. `come` are those to come; who is there already needs no other place.
#[must_use]
pub fn in_the_way<'a>(held: &'a [Held], come: &'a [String]) -> Vec<(&'a str, &'a Held)> {
    let members = || held.iter().filter_map(|held| held.member().map(|member| (member, held)));
    let comes = |member: &str| come.iter().any(|name| name == member);
    let there = members().filter(|(member, _)| !comes(member));
    let mut taken: BTreeSet<&str> = there.map(|(_, held)| held.node.as_str()).collect();
    let mut ways = Vec::new();
    for name in come {
        let fits = members().filter(|(member, _)| member == name).all(|(_, held)| taken.insert(&held.node));
        let has = members().any(|(member, _)| member == name);
        if fits && has {
            continue;
        }
        let of_before = |held: &Held| held.of == Owner::Nobody && held.volume == data_of(name);
        let its = held.iter().filter(|held| held.member() == Some(name) || of_before(held));
        ways.extend(its.map(|held| (name.as_str(), held)));
    }
    ways
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn volume(name: &str, claim: Value, node: &str) -> PersistentVolume {
        let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": [node]});
        let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}});
        serde_json::from_value(
            json!({"metadata": {"name": name}, "spec": {"claimRef": claim, "nodeAffinity": affinity}}),
        )
        .expect("a volume")
    }

    fn claim(namespace: &str, name: &str, volume: &str) -> PersistentVolumeClaim {
        serde_json::from_value(
            json!({"metadata": {"namespace": namespace, "name": name}, "spec": {"volumeName": volume}}),
        )
        .expect("a claim")
    }

    fn to(namespace: &str, name: &str) -> Value {
        json!({"namespace": namespace, "name": name, "uid": "1"})
    }

    #[test]
    fn a_volume_is_its_members_its_sites_somebody_elses_or_nobodys() {
        let mut spec = LabSpec::default();
        let claims = [
            claim("wplab", "data-db-1", "data-db-1"),
            claim("wplab", "data-db-2", "pvc-7"),
            claim("wplab", "data-db-3", "data-db-3"),
            claim("wplab", "export-nfs-0", "export-nfs-0"),
            claim("wplab", "data-etcd-0", "data-etcd-0"),
            claim("default", "data-db-0", "pvc-8"),
        ];
        let of = |spec: &LabSpec, name: &str, claim: Value| owner(&volume(name, claim, "zoo-worker"), &claims, spec);
        assert_eq!(of(&spec, "data-db-1", to("wplab", "data-db-1")), Owner::Member("db-1".into()));
        assert_eq!(of(&spec, "data-db-3", to("wplab", "data-db-3")), Owner::Former("db-3".into()));
        assert_eq!(of(&spec, "export-nfs-0", to("wplab", "export-nfs-0")), Owner::Export);
        assert_eq!(of(&spec, "pvc-8", to("default", "data-db-0")), Owner::Other("default/data-db-0".to_owned()));
        // The member was made anew elsewhere.
        assert_eq!(of(&spec, "data-db-2", to("wplab", "data-db-2")), Owner::Nobody);
        assert_eq!(of(&spec, "pvc-7", to("wplab", "data-db-2")), Owner::Member("db-2".into()));
        assert_eq!(of(&spec, "left", json!(null)), Owner::Nobody);
        assert!(!ours(&volume("left", json!(null), "zoo-worker")));
        assert!(
            ours(&volume("left", to("wplab", "x"), "zoo-worker")) && !ours(&volume("left", to("default", "x"), "y"))
        );
        // Made in advance for a claim that is not there yet.
        assert_eq!(
            of(&spec, "data-db-0", json!({"namespace": "wplab", "name": "data-db-0"})),
            Owner::Member("db-0".into())
        );
        spec.database.topology = Topology::Galera;
        assert_eq!(of(&spec, "data-etcd-0", to("wplab", "data-etcd-0")), Owner::Etcd);
    }

    #[test]
    fn members_that_come_have_a_worker_each_and_what_keeps_them_from_it_is_in_the_way() {
        let held = |member: &str, node: &str| Held {
            node: node.to_owned(),
            volume: format!("data-{member}"),
            of: Owner::Member(member.to_owned()),
        };
        let nobodys = |member: &str, node: &str| Held { of: Owner::Nobody, ..held(member, node) };
        let names = |held: &[Held], come: &[&str]| {
            let come: Vec<String> = come.iter().map(|&name| name.to_owned()).collect();
            let ways = in_the_way(held, &come).into_iter();
            ways.map(|(name, held)| format!("{name}: {} on {}", held.volume, held.node)).collect::<Vec<_>>()
        };
        assert_eq!(names(&[held("db-0", "w3"), held("db-2", "w3")], &["db-2"]), ["db-2: data-db-2 on w3"]);
        assert!(names(&[held("db-0", "w1"), held("db-2", "w3")], &["db-2"]).is_empty());
        // Who stays has the place, whatever somebody who comes has there.
        assert!(names(&[held("db-0", "w1"), held("db-1", "w1")], &["db-2"]).is_empty());
        // Of two that come and share a worker the first one has it.
        let two = [held("db-0", "w1"), held("db-2", "w3"), held("db-1", "w3")];
        assert_eq!(names(&two, &["db-1", "db-2"]), ["db-2: data-db-2 on w3"]);
        // One that begins anew takes nobody's place: each of the others has its own.
        let four = [held("db-1", "w3"), held("db-2", "w3"), held("db-3", "w4")];
        assert_eq!(names(&four, &["db-2", "db-3"]), ["db-2: data-db-2 on w3"]);
        // What one had before it was made anew elsewhere keeps nobody from anything while it has another one.
        let anew = Held { volume: "pvc-7".to_owned(), ..held("db-2", "w3") };
        assert!(names(&[nobodys("db-2", "w2"), anew.clone()], &["db-2"]).is_empty());
        assert_eq!(
            names(&[held("db-0", "w3"), nobodys("db-2", "w2"), anew], &["db-2"]),
            ["db-2: data-db-2 on w2", "db-2: pvc-7 on w3"]
        );
        assert_eq!(names(&[nobodys("db-2", "w2"), nobodys("db-4", "w3")], &["db-2"]), ["db-2: data-db-2 on w2"]);
        let export = Held { of: Owner::Export, ..held("", "w3") };
        assert!(names(&[export, held("db-2", "w3")], &["db-2"]).is_empty());
    }

    #[test]
    fn what_former_members_have_and_what_is_left_of_it_is_told_by_member() {
        let held = |volume: &str, of| Held { node: "w1".to_owned(), volume: volume.to_owned(), of };
        let all = [
            held("data-db-1", Owner::Member("db-1".to_owned())),
            held("pvc-7", Owner::Former("db-3".to_owned())),
            // Half removed: no claim has it any more.
            held("data-db-4", Owner::Nobody),
            // A member that the lab has was made anew elsewhere; and somebody's.
            held("data-db-2", Owner::Nobody),
            held("pvc-8", Owner::Nobody),
            held("data-etcd-0", Owner::Etcd),
        ];
        let told: Vec<(String, &str)> =
            former(&all, 3).into_iter().map(|(member, held)| (member, held.volume.as_str())).collect();
        assert_eq!(told, [("db-3".to_owned(), "pvc-7"), ("db-4".to_owned(), "data-db-4")]);
        assert_eq!(all.each_ref().map(Held::made_here), [true, false, true, true, false, true]);
    }

    #[test]
    fn a_claim_of_the_same_name_is_another_one() {
        let one: PersistentVolumeClaim =
            serde_json::from_value(json!({"metadata": {"name": "data-db-2", "uid": "1"}})).expect("a claim");
        assert_eq!(is_gone::<PersistentVolumeClaim>(None, Some("1")), Look::Ready(()));
        assert!(matches!(is_gone(Some(&one), Some("1")), Look::NotYet(_)));
        assert_eq!(is_gone(Some(&one), Some("0")), Look::Ready(()), "the set has made it anew");
        assert_eq!(is_gone(Some(&one), None), Look::Ready(()));
    }

    #[test]
    fn where_a_volume_may_be_used_is_read_from_its_affinity() {
        assert_eq!(pins(&volume("x", json!(null), "zoo-worker2")), ["zoo-worker2"]);
        let anywhere: PersistentVolume =
            serde_json::from_value(json!({"metadata": {"name": "wp-content"}, "spec": {}})).expect("a volume");
        assert!(pins(&anywhere).is_empty());
    }
}
