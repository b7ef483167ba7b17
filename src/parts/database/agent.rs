//! The agent that gives the database's members their roles: what is applied, and what it has written down. It belongs to the
//! database's step; what it does is in [`crate::inside::agent`].

use anyhow::{Context, Result};
use k8s_openapi::api::{
    apps::v1::Deployment,
    coordination::v1::Lease,
    core::v1::{ConfigMap, Pod},
};
use kube::{api::PostParams, core::DynamicObject};

pub use crate::inside::agent::record::Roles;
use crate::parts::images::{ImageSet, Role};
use crate::{
    cluster::{
        Cluster, Refused,
        manifests::{edit, name_of, part},
        pods::{pod_of, set_env, set_image, without_volume},
        ready,
    },
    inside::agent::record::{MEMBERS, PROTECTED, ROLES, STATE},
    labels::Component,
    run::wait::Look,
    spec::{LabSpec, Topology},
};

/// The Deployment.
pub const AGENT: &str = "agent";

/// Everything that this part puts into the cluster.
///
/// # Errors
/// `images` lacks one; a manifest and this code do not fit (which the tests rule out).
pub fn objects(spec: &LabSpec, images: &ImageSet) -> Result<Vec<DynamicObject>> {
    let database = &spec.database;
    let mut objects = part("agent")?;
    fill(&mut objects, usize::from(database.members), true)?;
    edit(&mut objects, AGENT, |deployment: &mut Deployment| {
        let pod = pod_of(&mut deployment.spec.as_mut().context("it has no spec")?.template)?;
        set_image(pod, AGENT, images.reference(Role::Tool)?)?;
        // Galera's members take no orders.
        if database.topology == Topology::Galera {
            without_volume(pod, "orders")?;
        }
        let values = [("WPLAB_TOPOLOGY", database.topology.name()), ("WPLAB_LAB", spec.name.as_str())];
        set_env(pod, AGENT, &values)
    })?;
    Ok(objects)
}

/// The ConfigMap that says how many members there shall be, and whether a write shall be at another one before it is acknowledged.
///
/// # Errors
/// The manifest and this code do not fit (which the tests rule out).
pub fn state(members: usize, protected: bool) -> Result<DynamicObject> {
    let mut objects = part("agent")?;
    fill(&mut objects, members, protected)?;
    objects
        .into_iter()
        .find(|object| name_of(object) == format!("ConfigMap/{STATE}"))
        .context("there is no such record")
}

fn fill(objects: &mut [DynamicObject], members: usize, protected: bool) -> Result<()> {
    edit(objects, STATE, |state: &mut ConfigMap| {
        let data = state.data.get_or_insert_default();
        data.insert(MEMBERS.to_owned(), members.to_string());
        if !protected {
            data.insert(PROTECTED.to_owned(), "false".to_owned());
        }
        Ok(())
    })
}

/// Lets the first agent of a new lab lead at once: for whoever has just made the namespace, and for nobody else. Without it
/// the agent waits as long as another one may still rely on a lease that was removed.
///
/// # Errors
/// The API server does not answer or refuses. That there is one already is no error.
pub async fn unheld_lease(cluster: &Cluster) -> Result<()> {
    let mut lease = crate::inside::agent::unheld();
    lease.metadata.labels = Some(cluster.labels_of(Component::Agent));
    match cluster.api::<Lease>().create(&PostParams::default(), &lease).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
        Err(error) => Err(Refused(error)).context("cannot make the agent's lease"),
    }
}

/// What the agent has written down, and whether somebody stands by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// By the one that leads.
    Kept(Roles),
    /// Nobody keeps it.
    Unkept {
        /// Why.
        why: String,
        /// What was written last; `None` in a lab that has no such record.
        last: Option<Roles>,
    },
}

impl Record {
    /// What was written last, by whomever.
    pub fn last(&self) -> Option<&Roles> {
        match self {
            Record::Kept(roles) => Some(roles),
            Record::Unkept { last, .. } => last.as_ref(),
        }
    }
}

/// Looks whether the agents are there, and what the one that leads has written down.
///
/// # Errors
/// The API server does not answer or refuses.
pub async fn look(cluster: &Cluster) -> Result<Record> {
    let map: Option<ConfigMap> = cluster.get(ROLES).await?;
    let last = map.map(|map| Roles::read(map.data.as_ref()));
    let deployment: Option<Deployment> = cluster.get(AGENT).await?;
    if let Look::NotYet(reason) = ready::deployment(deployment.as_ref()) {
        return Ok(Record::Unkept { why: format!("the agent: {reason}"), last });
    }
    let roles = match last {
        Some(roles) if !roles.leader.is_empty() => roles,
        last => return Ok(Record::Unkept { why: "no agent leads yet".to_owned(), last }),
    };
    // What was written by an agent that is gone may be long out of date.
    let leader: Option<Pod> = cluster.get(&roles.leader).await?;
    Ok(match ready::pod(leader.as_ref()) {
        Look::Ready(()) => Record::Kept(roles),
        Look::NotYet(reason) => {
            Record::Unkept { why: format!("{}, which led last: {reason}", roles.leader), last: Some(roles) }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::api::rbac::v1::Role as RbacRole;

    use super::*;
    use crate::{cluster::manifests::typed, parts::testing};

    fn find<K: serde::de::DeserializeOwned>(objects: &[DynamicObject], name: &str) -> K {
        typed(objects.iter().find(|o| name_of(o) == name).expect("is there")).expect("typed")
    }

    #[test]
    fn the_labs_values_reach_the_agents() {
        let mut spec = testing::spec();
        (spec.database.members, spec.database.topology) = (5, Topology::Galera);
        let objects = objects(&spec, &testing::images()).expect("objects");
        let deployment: Deployment = find(&objects, "Deployment/agent");
        let container = &deployment.spec.expect("spec").template.spec.expect("pod").containers[0];
        let env = |name: &str| {
            let found = container.env.iter().flatten().find(|var| var.name == name).expect("is there");
            found.value.clone().expect("a value")
        };
        assert_eq!((env("WPLAB_TOPOLOGY"), env("WPLAB_LAB")), ("galera".into(), "wplab".into()));
        let state: ConfigMap = find(&objects, "ConfigMap/db-state");
        assert_eq!(state.data.expect("data"), BTreeMap::from([("members".to_owned(), "5".to_owned())]));
        assert!(!container.image.as_ref().expect("image").ends_with("unset"));
    }

    #[test]
    fn it_may_change_the_members_and_execute_in_none() {
        let rules = |topology| {
            let mut spec = testing::spec();
            spec.database.topology = topology;
            let role: RbacRole = find(&objects(&spec, &testing::images()).expect("objects"), "Role/agent");
            role.rules.expect("rules")
        };
        let of = |rules: &[k8s_openapi::api::rbac::v1::PolicyRule], resource: &str, verb: &str| {
            let fits = |rule: &&k8s_openapi::api::rbac::v1::PolicyRule| {
                rule.resources.iter().flatten().any(|name| name == resource) && rule.verbs.iter().any(|v| v == verb)
            };
            rules.iter().find(fits).map(|rule| rule.resource_names.clone().unwrap_or_default())
        };
        let two = rules(Topology::Replication);
        assert_eq!(of(&two, "pods", "patch"), Some(super::super::names(9)), "as many as there can be");
        assert_eq!(of(&two, "pods/exec", "create").or(of(&rules(Topology::Galera), "pods/exec", "create")), None);
        assert_eq!(
            of(&two, "configmaps", "create").or(of(&two, "pods", "delete")).or(of(&two, "secrets", "get")),
            None
        );
        let everything = two.iter().flat_map(|rule| rule.verbs.iter().chain(rule.resources.iter().flatten()));
        assert!(everything.into_iter().all(|word| word != "*"));
    }
}
