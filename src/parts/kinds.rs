//! Kinds of objects of our own: made known to the API server, and waited for, because nobody can make an object of a kind before.

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionCondition,
};
use kube::core::DynamicObject;

use crate::{
    cluster::{Cluster, manifests::untyped},
    labels::{COMPONENT, Component},
    run::{StepCx, wait::Look},
};

/// How long the kinds may take until objects of them can be made.
const LIMIT: Duration = Duration::from_secs(30);

/// Kinds as objects of a part of the lab.
///
/// # Errors
/// A type and Kubernetes do not fit (which the tests rule out).
pub(super) fn objects<const N: usize>(
    kinds: [CustomResourceDefinition; N],
    component: Component,
) -> Result<Vec<DynamicObject>> {
    let kinds = kinds.map(|mut kind| {
        let labels = kind.metadata.labels.get_or_insert_default();
        labels.insert(COMPONENT.to_owned(), component.as_str().to_owned());
        untyped(&kind)
    });
    kinds.into_iter().collect()
}

/// Applies kinds and waits until objects of them can be made; says whether one changed.
///
/// # Errors
/// The API server refuses one, or does not take it up in time.
pub(super) async fn ensure(cx: &StepCx, cluster: &Cluster, kinds: &[DynamicObject]) -> Result<bool> {
    let changed = cluster.apply(kinds).await? > 0;
    for kind in kinds {
        let name = kind.metadata.name.as_deref().unwrap_or_default();
        cluster.until_ready(cx, &cluster.all::<CustomResourceDefinition>(), name, LIMIT, established).await?;
    }
    Ok(changed)
}

fn established(kind: Option<&CustomResourceDefinition>) -> Look<()> {
    let conditions = kind.and_then(|kind| kind.status.as_ref()).and_then(|status| status.conditions.as_ref());
    let is = |one: &CustomResourceDefinitionCondition| one.type_ == "Established" && one.status == "True";
    match conditions.into_iter().flatten().any(is) {
        true => Look::Ready(()),
        false => Look::NotYet("it is not established yet".to_owned()),
    }
}
