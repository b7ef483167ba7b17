//! Where drills happen: one lab, its nodes and who lives on them now.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt, api::ListParams};

use crate::{
    actions::{prove, standing},
    cluster::{Cluster, Refused},
    host::{
        docker::{Container, Docker},
        nodes,
    },
    labels::{COMPONENT, Component, NAMESPACE, READER, ROLE, WRITER},
    parts::frontend::Site,
    spec::{LabName, LabSpec, scenario::Target},
};

/// Where what Kubernetes brings itself lives.
pub(super) const SYSTEM: &str = "kube-system";

/// A lab that runs.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) docker: Docker,
    pub(super) cluster: Cluster,
    pub(super) spec: LabSpec,
    pub(super) site: Site,
}

/// A pod, and the container of its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resident {
    pub(super) namespace: String,
    pub(super) pod: String,
    /// The node's container; `None` while the pod is on none.
    pub(super) node: Option<String>,
}

impl Ground {
    /// Finds a lab.
    ///
    /// # Errors
    /// [`standing::NoSuchLab`] and what else keeps a lab from being opened.
    pub(super) async fn find(lab: &LabName) -> Result<Ground> {
        let docker = Docker::connect().await?;
        standing::awake(&docker, lab).await?;
        let (cluster, spec, site) = prove::open(&docker, lab).await?;
        Ok(Ground { docker, cluster, spec, site })
    }

    pub(super) fn lab(&self) -> &LabName {
        &self.cluster.lab
    }

    /// The lab's node containers.
    pub(super) async fn nodes(&self) -> Result<Vec<Container>> {
        nodes::ours(&self.docker, self.lab()).await.context("cannot list the lab's nodes")
    }

    /// The pods of a target, in the order of their names.
    ///
    /// # Errors
    /// The API server does not answer, or there are none.
    pub(super) async fn residents(&self, target: Target) -> Result<Vec<Resident>> {
        let component = |component: Component| format!("{COMPONENT}={}", component.as_str());
        let database = |role: &str| format!("{},{ROLE}={role}", component(Component::Database));
        let (namespace, selector) = match target {
            Target::Writer => (NAMESPACE, database(WRITER)),
            Target::Reader => (NAMESPACE, database(READER)),
            Target::Members => (NAMESPACE, component(Component::Database)),
            Target::Wordpress => (NAMESPACE, "app.kubernetes.io/name=wordpress".to_owned()),
            Target::Nfs => (NAMESPACE, "app.kubernetes.io/name=nfs".to_owned()),
            Target::Etcd => (NAMESPACE, component(Component::Discovery)),
            Target::Coredns => (SYSTEM, "k8s-app=kube-dns".to_owned()),
            Target::MetricsServer => (SYSTEM, "k8s-app=metrics-server".to_owned()),
            Target::ApiServer => (SYSTEM, "component=kube-apiserver".to_owned()),
        };
        let api: Api<Pod> = self.cluster.api_in(namespace);
        let found = api.list(&ListParams::default().labels(&selector)).await.map_err(Refused);
        let mut pods = found.with_context(|| format!("cannot list the pods of {target}"))?.items;
        pods.retain(|pod| pod.metadata.deletion_timestamp.is_none());
        pods.sort_by_key(ResourceExt::name_any);
        let containers = self.containers().await?;
        let residents: Vec<Resident> = pods
            .iter()
            .map(|pod| Resident {
                namespace: namespace.to_owned(),
                pod: pod.name_any(),
                node: pod.spec.as_ref().and_then(|spec| containers.get(spec.node_name.as_ref()?).cloned()),
            })
            .collect();
        anyhow::ensure!(!residents.is_empty(), "there is no pod of {target}");
        Ok(residents)
    }

    /// The first pod of a target, which has to be on a node.
    ///
    /// # Errors
    /// As [`Ground::residents`]; or it is on none.
    pub(super) async fn resident(&self, target: Target) -> Result<(Resident, String)> {
        let first =
            self.residents(target).await?.into_iter().next().with_context(|| format!("there is no pod of {target}"))?;
        let node = first.node.clone().with_context(|| format!("pod {} is on no node of this lab", first.pod))?;
        Ok((first, node))
    }

    /// The node containers by the names that their nodes have inside.
    async fn containers(&self) -> Result<BTreeMap<String, String>> {
        let inside = |name: &str| nodes::inside_name(name, self.lab(), &self.cluster.inside);
        Ok(self.nodes().await?.into_iter().map(|node| (inside(&node.name), node.name)).collect())
    }

    /// The control plane's container.
    pub(super) fn control_plane(&self) -> String {
        format!("{}-control-plane", self.lab())
    }
}
