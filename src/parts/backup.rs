//! Backups: the store that they go to, the kinds of objects that ask for them, and the runner that makes them. What it does is in
//! [`crate::inside::backup`]; nothing of this is in a lab that has asked for none.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::{
    api::{apps::v1::Deployment, core::v1::ConfigMap},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{CustomResourceExt, core::DynamicObject};
use sha2::{Digest, Sha256};

use super::{
    images::{self, ImageSet, Role},
    store::{self, Store},
};
use crate::{
    cluster::{
        Cluster,
        manifests::{edit, part, untyped},
        pods::{pod_of, set_env, set_image},
        ready,
    },
    host::Host,
    inside::backup::{
        DESTINATION, LAB_FILE,
        objects::{Backup, Restore},
    },
    labels::{COMPONENT, Component},
    run::{StepCx, wait::Look},
    spec::{ImageSource, LabName, LabSpec, Topology, backup::Place, destination::Destination},
    wire::backup::{credentials::Credentials, shelf::Shelf},
};

/// The runner's Deployment, and the ConfigMap with what it has to know.
pub const RUNNER: &str = "backup";
/// The Secret with what lets it into the destination.
pub const CREDENTIALS: &str = "backup-credentials";
/// In the ConfigMap: whom the runner trusts in front of a destination.
const AUTHORITIES: &str = "ca.pem";
/// The Secret with what lets it into where a backup lies that is restored, if that is another one.
pub const SOURCE_CREDENTIALS: &str = "restore-credentials";
/// How long the kinds may take until objects of them can be made.
const KINDS_LIMIT: Duration = Duration::from_secs(30);
/// How long the runner may take.
const RUNNER_LIMIT: Duration = Duration::from_mins(2);

/// A lab's place in the store that it asks for, as this machine and as its pods reach it.
pub struct Reached {
    /// As this machine reaches it.
    pub shelf: Shelf,
    /// As pods do.
    pub inside: Destination,
    credentials: Credentials,
}

/// Whether a lab file asks for more than that backups can be asked for.
pub fn is_wanted(spec: &LabSpec) -> bool {
    let backup = &spec.backup;
    !backup.schedule.is_never() || !backup.verify.is_never() || backup.destination != Place::Store
}

/// Opens a lab's place in its store, which is made, or started, if it is this machine's own; and asks it whether we are let in.
///
/// # Errors
/// Credentials are missing or refused; the store does not answer; or ours does not come up.
pub async fn reach(cx: &StepCx, host: &Host, spec: &LabSpec) -> Result<Reached> {
    reach_at(cx, host, &spec.name, &spec.backup.destination).await
}

/// The same of another destination than the lab's.
///
/// # Errors
/// As [`reach`].
pub async fn reach_at(cx: &StepCx, host: &Host, lab: &LabName, place: &Place) -> Result<Reached> {
    let own = match place {
        Place::Store => Some(store::Place::Embedded),
        Place::At(destination) => store::Place::of(destination),
    };
    let (outside, inside, credentials) = match (own, place) {
        (Some(own), _) => {
            let images = images::get(cx.clone(), host, &ImageSource::Auto, &[Role::Versitygw], None).await?;
            let image = images.value().0.get(&Role::Versitygw).context("there is no image of a store")?;
            let Store { outside, inside, credentials } = store::ensure(cx, &host.docker, image, lab, &own).await?;
            (outside, inside, credentials)
        }
        (None, Place::At(destination)) => (destination.clone(), destination.clone(), Credentials::from_environment()?),
        (None, Place::Store) => unreachable!("the store is our own"),
    };
    let shelf = Shelf::open(&outside, &credentials, lab)?;
    // Before anything relies on it.
    shelf.list().await?;
    Ok(Reached { shelf, inside, credentials })
}

/// Makes sure of everything, and waits until the runner is there; says whether anything had to be done. With a `source` the runner gets
/// in there as well.
///
/// # Errors
/// As [`reach`]; the API server refuses an object; or the runner does not come up.
pub async fn ensure(
    cx: &StepCx,
    host: &Host,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    source: Option<&Reached>,
) -> Result<(Reached, bool)> {
    let reached = reach(cx, host, spec).await?;
    let own = reached.credentials.values().clone();
    let other = source.map(|source| source.credentials.values().clone()).unwrap_or_default();
    let mut changed = cluster.replace_secret(CREDENTIALS, Component::Backup, own).await?;
    changed |= cluster.replace_secret(SOURCE_CREDENTIALS, Component::Backup, other).await?;
    let kinds = kinds()?;
    changed |= cluster.apply(&kinds).await? > 0;
    for kind in &kinds {
        let name = kind.metadata.name.as_deref().unwrap_or_default();
        cluster.until_ready(cx, &cluster.all::<CustomResourceDefinition>(), name, KINDS_LIMIT, established).await?;
    }
    changed |= cluster.apply(&objects(spec, images, &reached, source)?).await? > 0;
    cluster.until_ready(cx, &cluster.api::<Deployment>(), RUNNER, RUNNER_LIMIT, ready::deployment).await?;
    Ok((reached, changed))
}

fn established(kind: Option<&CustomResourceDefinition>) -> Look<()> {
    let conditions = kind.and_then(|kind| kind.status.as_ref()).and_then(|status| status.conditions.as_ref());
    let is = |one: &k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinitionCondition| {
        one.type_ == "Established" && one.status == "True"
    };
    match conditions.into_iter().flatten().any(is) {
        true => Look::Ready(()),
        false => Look::NotYet("it is not established yet".to_owned()),
    }
}

/// The kinds of objects that ask for backups.
///
/// # Errors
/// A type and Kubernetes do not fit (which the tests rule out).
pub fn kinds() -> Result<Vec<DynamicObject>> {
    let kinds = [Backup::crd(), Restore::crd()].map(|mut kind| {
        let labels = kind.metadata.labels.get_or_insert_default();
        labels.insert(COMPONENT.to_owned(), Component::Backup.as_str().to_owned());
        untyped(&kind)
    });
    kinds.into_iter().collect()
}

/// The authorities that this machine trusts, as PEM: the runner's image has none, and trusts the same. Empty where there are none.
fn trusted() -> String {
    /// Debian, Fedora, Alpine and macOS, OpenSUSE.
    const FILES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
        "/etc/ssl/ca-bundle.pem",
    ];
    let asked = std::env::var("SSL_CERT_FILE").ok();
    let files = asked.iter().map(String::as_str).chain(FILES);
    files.filter_map(|file| std::fs::read_to_string(file).ok()).next().unwrap_or_default()
}

/// Everything in the cluster but the kinds and the Secret.
fn objects(
    spec: &LabSpec,
    images: &ImageSet,
    reached: &Reached,
    source: Option<&Reached>,
) -> Result<Vec<DynamicObject>> {
    let mut objects = part("backup")?;
    let data = BTreeMap::from([
        (LAB_FILE.to_owned(), spec.to_file()),
        (DESTINATION.to_owned(), reached.inside.to_string()),
        (AUTHORITIES.to_owned(), trusted()),
    ]);
    // A hash of random passwords, cut short, tells nobody anything.
    let known = (&data, reached.credentials.values(), source.map(|source| source.credentials.values()));
    let known = serde_json::to_vec(&known).context("cannot hash what it has to know")?;
    let hash: String = Sha256::digest(&known).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    edit(&mut objects, RUNNER, |map: &mut ConfigMap| {
        map.data = Some(data);
        Ok(())
    })?;
    edit(&mut objects, RUNNER, |deployment: &mut Deployment| {
        let template = &mut deployment.spec.as_mut().context("it has no spec")?.template;
        let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
        annotations.insert("wplab.dev/config".to_owned(), hash);
        let pod = pod_of(template)?;
        if spec.database.topology == Topology::Galera {
            // Its members have no such account.
            let secrets = pod.volumes.iter_mut().flatten().filter_map(|volume| volume.secret.as_mut());
            for items in secrets.filter_map(|secret| secret.items.as_mut()) {
                items.retain(|item| item.key != "replication-password");
            }
        }
        set_image(pod, RUNNER, images.reference(Role::Tool)?)?;
        set_env(pod, RUNNER, &[("WPLAB_LAB", spec.name.as_str())])
    })?;
    Ok(objects)
}
