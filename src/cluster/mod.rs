//! The Kubernetes side: the [`Cluster`] handle, and one file per thing that is done through it. Knows nothing of Docker;
//! a cluster is always reached by an explicit kubeconfig, never by whatever context happens to be current.

pub mod apply;
pub mod changes;
pub mod diagnose;
mod dns;
mod evict;
pub mod exec;
pub mod forward;
pub mod manifests;
pub mod pods;
pub mod ready;
mod refused;
pub mod rollout;
pub mod secrets;
pub mod usage;
mod watch;

use std::{fmt, fmt::Debug, path::Path, time::Duration};

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        coordination::v1::Lease,
        core::v1::{Namespace, Pod, Service},
    },
};
use kube::{
    Api, Client, Config, Resource, ResourceExt,
    api::ListParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

use crate::{
    labels::{self, Component, LAB_FILE, NAMESPACE, of_lab},
    run::{
        StepCx,
        advice::{Advise, Blame, Hint, Trouble},
        wait::Look,
    },
    spec::{
        LabName, LabSpec,
        load::{self, Overrides, SpecError},
    },
};

pub use refused::{Refused, gone, passing};

/// Where kubelets say that they live.
const NODE_LEASES: &str = "kube-node-lease";

/// The longest that connecting to the API server may take; a look or an apply tries again.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// What every typed Kubernetes object of ours can do.
pub trait Object:
    Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Object for K where
    K: Resource<DynamicType = ()> + Clone + Debug + Serialize + DeserializeOwned + Send + Sync + 'static
{
}

/// A way to one cluster, and the lab that is ours in it.
#[derive(Clone)]
pub struct Cluster {
    /// kube's client.
    pub client: Client,
    /// The lab, as it is called on this machine.
    pub lab: LabName,
    /// What it is called inside: whose labels objects get, whose objects may be changed, after whom nodes are named. Another
    /// name only in a lab that was made of another one's snapshot.
    pub inside: LabName,
}

impl Cluster {
    /// The cluster of a lab that has its own name everywhere.
    pub fn new(client: Client, lab: LabName) -> Cluster {
        Cluster { client, inside: lab.clone(), lab }
    }

    /// The labels that objects of the lab carry.
    pub fn labels(&self) -> BTreeMap<String, String> {
        of_lab(&self.inside)
    }

    /// The labels that objects of a part of the lab carry.
    pub fn labels_of(&self, component: Component) -> BTreeMap<String, String> {
        labels::with(self.labels(), component)
    }

    /// Reads the kubeconfig; whether the cluster answers shows with the first request.
    ///
    /// # Errors
    /// The file is missing or is no kubeconfig.
    pub async fn connect(kubeconfig: &Path, lab: &LabName) -> Result<Cluster> {
        let shown = kubeconfig.display();
        let text =
            tokio::fs::read_to_string(kubeconfig).await.with_context(|| format!("cannot read kubeconfig {shown}"))?;
        Cluster::from_text(&text, lab).await.with_context(|| format!("cannot use kubeconfig {shown}"))
    }

    /// [`Cluster::connect`] with a kubeconfig that is no file.
    ///
    /// # Errors
    /// The text is no kubeconfig.
    pub async fn from_text(kubeconfig: &str, lab: &LabName) -> Result<Cluster> {
        let file = Kubeconfig::from_yaml(kubeconfig).context("it is not a kubeconfig")?;
        let inside = called(&file).unwrap_or_else(|| lab.clone());
        let options = KubeConfigOptions::default();
        let mut config = Config::from_custom_kubeconfig(file, &options).await?;
        // kube takes HTTPS_PROXY from the environment, which is meant for the outside world; the lab is on 127.0.0.1.
        config.proxy_url = None;
        config.connect_timeout = Some(CONNECT_LIMIT);
        let client = Client::try_from(config)?;
        Ok(Cluster { client, lab: lab.clone(), inside })
    }

    /// The objects of one kind in the lab's namespace.
    pub fn api<K: Object + Resource<Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        Api::namespaced(self.client.clone(), NAMESPACE)
    }

    /// The objects of one kind in another namespace.
    pub fn api_in<K: Object + Resource<Scope = NamespaceResourceScope>>(&self, namespace: &str) -> Api<K> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// The objects of one kind in the whole cluster; for cluster-wide kinds, and for lists over all namespaces.
    pub fn all<K: Object>(&self) -> Api<K> {
        Api::all(self.client.clone())
    }

    /// One object in the lab's namespace, if it exists.
    ///
    /// # Errors
    /// The API server does not answer or refuses.
    pub async fn get<K: Object + Resource<Scope = NamespaceResourceScope>>(&self, name: &str) -> Result<Option<K>> {
        self.api::<K>()
            .get_opt(name)
            .await
            .map_err(Refused)
            .with_context(|| format!("cannot read {} {name}", K::kind(&())))
    }

    /// The cluster address of one of the lab's Services.
    ///
    /// # Errors
    /// The API server does not answer; the Service is not there, or has no address.
    pub async fn address_of(&self, service: &str) -> Result<String> {
        let found = self.get::<Service>(service).await?.with_context(|| format!("Service {service} is gone"))?;
        let address = found.spec.and_then(|spec| spec.cluster_ip).filter(|ip| !ip.is_empty() && ip != "None");
        address.with_context(|| format!("Service {service} has no cluster address"))
    }

    /// The pods of the lab's namespace that a label selector picks, in the order of their names.
    ///
    /// # Errors
    /// The API server does not answer or refuses.
    pub async fn pods(&self, selector: &str) -> Result<Vec<Pod>> {
        pods_of(&self.api(), selector).await
    }

    /// Makes sure that the lab's namespace exists and records on it what the lab was made from (annotations by name);
    /// returns whether anything changed.
    ///
    /// # Errors
    /// The API server refuses, or the namespace exists and is not this lab's.
    pub async fn ensure_namespace(&self, records: BTreeMap<String, String>) -> Result<bool> {
        let mut objects = manifests::part("namespace")?;
        manifests::edit(&mut objects, NAMESPACE, |namespace: &mut Namespace| {
            namespace.metadata.annotations = Some(records);
            Ok(())
        })?;
        Ok(self.apply(&objects).await? > 0)
    }

    /// Whether so many nodes' kubelets have renewed their leases since a moment: what the API server says of their pods
    /// may be older than that until they have.
    ///
    /// # Errors
    /// None: an API server that does not answer is a reason to look again.
    pub async fn reported_since(&self, nodes: usize, since: Timestamp) -> Result<Look<()>> {
        let leases = match self.api_in::<Lease>(NODE_LEASES).list(&ListParams::default()).await {
            Ok(leases) => leases,
            Err(error) => return Ok(Look::NotYet(Refused(error).to_string())),
        };
        let renewed = |lease: &&Lease| {
            lease.spec.as_ref().and_then(|spec| spec.renew_time.as_ref()).is_some_and(|time| time.0 > since)
        };
        let fresh = leases.items.iter().filter(renewed).count();
        Ok(if fresh >= nodes {
            Look::Ready(())
        } else {
            Look::NotYet(format!("{fresh} of {nodes} kubelets have spoken"))
        })
    }

    /// What [`Cluster::ensure_namespace`] recorded under a name.
    ///
    /// # Errors
    /// The API server does not answer, or there is no such record: the lab is not complete.
    pub async fn record(&self, name: &str) -> Result<String> {
        let found = self
            .all::<Namespace>()
            .get_opt(NAMESPACE)
            .await
            .map_err(Refused)
            .context("cannot read the lab's namespace")?;
        let record = found.and_then(|n| n.annotations().get(name).cloned());
        let lacks =
            || NotComplete { lab: self.lab.clone(), lacks: "it has not written down what it is made of".to_owned() };
        Ok(record.ok_or_else(|| Trouble::from(lacks()))?)
    }

    /// What the lab was made from, as `up` recorded it.
    ///
    /// # Errors
    /// As [`Cluster::record`]; or [`OtherVersion`]: it was recorded in another form.
    pub async fn lab_file(&self) -> Result<LabSpec> {
        let file = self.record(LAB_FILE).await?;
        let read = load::parse("its record", Path::new(""), &file, &Overrides::default());
        Ok(read.map_err(|wrong| Trouble::from(OtherVersion { lab: self.lab.clone(), wrong }))?)
    }

    /// Whether the lab's namespace exists: whether anything of the lab can be in this cluster at all.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn has_namespace(&self) -> Result<bool> {
        let found = self
            .all::<Namespace>()
            .get_opt(NAMESPACE)
            .await
            .map_err(Refused)
            .context("cannot read the lab's namespace")?;
        let ours = self.labels();
        Ok(found.is_some_and(|n| ours.iter().all(|(key, value)| n.labels().get(key) == Some(value))))
    }

    /// Waits until an object is ready. While a workload is not, what its pods complain about is part of the reason.
    /// An API server that does not answer for a moment is a reason to wait, not an error.
    ///
    /// # Errors
    /// [`crate::run::wait::TimedOut`] with the last reason; the API server refuses.
    pub async fn until_ready<K: Object>(
        &self,
        cx: &StepCx,
        api: &Api<K>,
        name: &str,
        limit: Duration,
        ready: impl Fn(Option<&K>) -> Look<()>,
    ) -> Result<()> {
        self.until(cx, api, name, limit, |object| Ok(ready(object))).await
    }

    /// [`Cluster::until_ready`] for what can also be beyond hope (a failed Job): an error of `ready` ends the wait.
    ///
    /// # Errors
    /// As [`Cluster::until_ready`], and whatever `ready` returned.
    pub async fn until<K: Object>(
        &self,
        cx: &StepCx,
        api: &Api<K>,
        name: &str,
        limit: Duration,
        ready: impl Fn(Option<&K>) -> Result<Look<()>>,
    ) -> Result<()> {
        let what = format!("{} {name}", K::kind(&()));
        self.until_changed(cx, &what, limit, (api, name), || self.look_at(api, name, &ready)).await
    }

    /// One look at an object; what its pods complain about is part of the reason why it is not ready.
    async fn look_at<K: Object>(
        &self,
        api: &Api<K>,
        name: &str,
        ready: impl Fn(Option<&K>) -> Result<Look<()>>,
    ) -> Result<Look<()>> {
        let object = match api.get_opt(name).await {
            Ok(object) => object,
            Err(error) if passing(&error) => return Ok(Look::NotYet(Refused(error).to_string())),
            Err(error) => return Err(Refused(error)).with_context(|| format!("cannot read {} {name}", K::kind(&()))),
        };
        match ready(object.as_ref())? {
            Look::NotYet(reason) => {
                let trouble = self.trouble_of(object.as_ref(), api.namespace()).await;
                Ok(Look::NotYet(trouble.map_or(reason.clone(), |t| format!("{reason}; {t}"))))
            }
            ready => Ok(ready),
        }
    }

    /// What the pods of a workload complain about. Best effort: it only makes a reason better.
    async fn trouble_of<K: Object>(&self, workload: Option<&K>, namespace: Option<&str>) -> Option<String> {
        let value = serde_json::to_value(workload?).ok()?;
        let labels = value.pointer("/spec/selector/matchLabels")?.as_object()?;
        let selector: Vec<String> = labels.iter().filter_map(|(k, v)| Some(format!("{k}={}", v.as_str()?))).collect();
        let pods = pods_of(&self.api_in(namespace?), &selector.join(",")).await.ok()?;
        ready::trouble(&pods)
    }
}

/// What a cluster is called inside: kind names its entry in a kubeconfig after it.
fn called(file: &Kubeconfig) -> Option<LabName> {
    file.clusters.first()?.name.strip_prefix("kind-").and_then(|name| LabName::new(name).ok())
}

async fn pods_of(api: &Api<Pod>, selector: &str) -> Result<Vec<Pod>> {
    let list = api.list(&ListParams::default().labels(selector)).await;
    let mut pods = list.map_err(Refused).with_context(|| format!("cannot list the pods with {selector}"))?.items;
    pods.sort_by_key(ResourceExt::name_any);
    Ok(pods)
}

/// A lab lacks something that every complete one has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotComplete {
    /// The lab.
    pub lab: LabName,
    /// What it lacks, as a sentence.
    pub lacks: String,
}

impl fmt::Display for NotComplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lab {} is not complete: {}", self.lab, self.lacks)
    }
}

impl Advise for NotComplete {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Up { lab: self.lab.clone() }]
    }
}

/// What a lab was made from was recorded by a version of ours that wrote it in another form.
#[derive(Clone, Debug)]
pub struct OtherVersion {
    /// The lab.
    pub lab: LabName,
    /// What this version makes of it.
    pub wrong: SpecError,
}

impl fmt::Display for OtherVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lab {} was made by another version: {}", self.lab, self.wrong)
    }
}

impl Advise for OtherVersion {
    fn blame(&self) -> Blame {
        Blame::Step
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Up { lab: self.lab.clone() }]
    }
}
