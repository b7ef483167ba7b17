//! What of a changed lab file `up` would do to the database of a lab that stands; nothing is changed by asking.

use anyhow::Result;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::ResourceExt;

use super::{
    declared::{Change, Declared},
    dispute::{self, Theirs},
    live,
    members::pods,
    names::MEMBERS,
    objects::image_of,
    stuck::is_stale,
};
use crate::{cluster::Cluster, inside::member::CONTAINER, parts::images::Image, spec::LabSpec};

/// What is to be different, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Foreseen {
    /// Each difference.
    pub changes: Vec<Change>,
    /// Those of them that others have declared, and that are changed only if that is taken over.
    pub theirs: Vec<Theirs>,
    /// Why members are restarted for it; `None` when they are not.
    pub restarts: Option<String>,
    /// Members that wait for a restart that somebody began.
    pub waiting: Vec<String>,
}

/// Compares what is wanted with what the members were made of, and asks them whether they would take it as they run. `None` when there
/// are none, or a version made them that did not write that down. `image` is what the server would run, if that is known.
///
/// # Errors
/// The API server does not answer.
pub async fn foresee(cluster: &Cluster, wanted: &LabSpec, image: Option<&Image>) -> Result<Option<Foreseen>> {
    let Some(set) = cluster.get::<StatefulSet>(MEMBERS).await? else { return Ok(None) };
    let Some(had) = Declared::read(&set) else { return Ok(None) };
    let theirs = dispute::theirs(cluster).await?;
    let asked = Declared::of(wanted);
    let mut changes = had.differs(&asked);
    let runs = image_of(&set, CONTAINER);
    if let Some((had, image)) = runs.zip(image).filter(|(had, image)| *had != image.reference) {
        let wanted = format!("{} ({})", image.reference, image.origin);
        changes.insert(0, Change { what: "image".to_owned(), had, wanted });
    }
    // What others have declared and the lab file says nothing of stays as it is.
    changes.retain(|change| {
        change.option().is_none()
            || asked.value(&change.what).is_some()
            || theirs.iter().all(|one| one.field != change.what)
    });
    let theirs = theirs.into_iter().filter(|one| changes.iter().any(|change| change.what == one.field)).collect();
    let waiting = pods(cluster).await?.iter().filter(|pod| is_stale(pod, &set)).map(ResourceExt::name_any).collect();
    let options: Vec<String> = changes.iter().filter_map(|change| Some(change.option()?.to_owned())).collect();
    let restarts = match changes.iter().find(|change| change.option().is_none()) {
        Some(change) if change.what == "volume" => {
            Some("each is made anew with a larger volume where it cannot grow".to_owned())
        }
        Some(change) => Some(format!("{} is of the pods", change.what)),
        None if options.is_empty() => None,
        None => live::probe(cluster, &options).await?,
    };
    Ok(Some(Foreseen { changes, theirs, restarts, waiting }))
}
