//! What `up` would apply, without a cluster: for `wplab render`, and for those who put it into a repository of their own.

use std::collections::BTreeMap;

use anyhow::Result;
use k8s_openapi::api::core::v1::Secret;
use kube::{api::ObjectMeta, core::DynamicObject};

use crate::{
    cluster::{
        apply::labelled,
        manifests::{part, to_yaml, untyped},
    },
    host::docker::Docker,
    labels::{COMPONENT, Component, NAMESPACE},
    parts::{
        autoscale,
        database::{self, agent},
        discovery, frontend,
        images::{self, ImageSet},
        monitoring, storage,
    },
    spec::LabSpec,
};

/// Stands for every value of a Secret; `up` generates the real ones inside the cluster.
pub const SECRET_PLACEHOLDER: &str = "generated-by-wplab-up";

/// What `up` would apply, with the images that Docker has here; without an engine, with the public ones.
///
/// # Errors
/// As [`objects`].
pub async fn local(spec: &LabSpec) -> Result<String> {
    let images = match Docker::connect().await {
        Ok(docker) => images::present(&docker, spec).await?,
        Err(_) => images::public_set(spec)?,
    };
    render(spec, &images)
}

/// [`objects`] as YAML documents that `kubectl apply` accepts.
///
/// # Errors
/// As [`objects`].
pub fn render(spec: &LabSpec, images: &ImageSet) -> Result<String> {
    to_yaml(&objects(spec, images, spec.cluster.port)?)
}

/// Every object of a lab, in the order in which `up` applies them. Some things are only known inside a cluster. The
/// values of Secrets and the address of Service `nfs` in the PersistentVolume are placeholders here; the addresses of the database's Services,
/// which `up` writes into the hosts file of the site's replicas, are left out, and their names are asked for. Object `Database` is not among
/// them: `kubectl` takes no object of a kind that the same file makes known, and without it the operator changes nothing.
///
/// # Errors
/// `images` lacks one; a manifest and its code do not fit (which the tests rule out).
pub fn objects(spec: &LabSpec, images: &ImageSet, port: u16) -> Result<Vec<DynamicObject>> {
    let mut objects = part("namespace")?;
    objects.extend(secrets(spec)?);
    objects.extend(storage::objects(spec, images, storage::SERVER_PLACEHOLDER)?);
    objects.extend(agent::objects(spec, images)?);
    objects.extend(discovery::objects(spec, images)?);
    objects.extend(database::operator_objects(spec, images)?);
    objects.extend(database::objects(spec, images)?);
    objects.extend(frontend::objects(spec, images, port)?);
    objects.extend(autoscale::objects(spec, images)?);
    if spec.monitoring {
        objects.extend(monitoring::objects(spec, images)?);
    }
    objects.iter().map(|object| labelled(object, &spec.name)).collect()
}

fn secrets(spec: &LabSpec) -> Result<Vec<DynamicObject>> {
    const CERTIFICATE: &[&str] = &["ca.crt", "tls.crt", "tls.key"];
    let topology = spec.database.topology;
    let passwords = database::keys(topology);
    let mut all: Vec<(&str, Component, &[&str])> = vec![
        (database::CREDENTIALS, Component::Database, passwords),
        ("wordpress-credentials", Component::Frontend, &frontend::CREDENTIALS),
    ];
    all.extend(database::certificates(topology).into_iter().map(|(name, component)| (name, component, CERTIFICATE)));
    if spec.monitoring {
        all.push((monitoring::CREDENTIALS, Component::Monitoring, &monitoring::KEYS));
    }
    let make = |(name, component, keys): (&str, Component, &[&str])| {
        let value = |key: &&str| ((*key).to_owned(), SECRET_PLACEHOLDER.to_owned());
        untyped(&Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                labels: Some(BTreeMap::from([(COMPONENT.to_owned(), component.as_str().to_owned())])),
                ..Default::default()
            },
            string_data: Some(keys.iter().map(value).collect()),
            ..Default::default()
        })
    };
    all.into_iter().map(make).collect()
}
