//! What is declared becomes objects: the members' set and their settings. What servers take as they run they have then; for the rest members
//! have yet to be restarted, which is [`super::roll`]'s.

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::StatefulSet, core::v1::ConfigMap, storage::v1::StorageClass};
use kube::{ResourceExt, api::ListParams, core::DynamicObject};
use serde_json::json;

use super::{
    declare::{NotTaken, resize},
    declared::Declared,
    grow, live,
    members::pods,
    names::MEMBERS,
    objects::{CONFIG, config_of, files, objects, objects_with},
    roll::{FORMER, Former, annotate, config_name, patch, proven},
    stuck::template_of,
    taken_back::Alone,
};
use crate::{
    cluster::{Cluster, Refused, manifests::typed},
    parts::images::ImageSet,
    run::{StepCx, advice::Trouble},
    spec::{LabSpec, VolumeClass},
};

/// Makes sure that the volumes' class is one of the cluster's: without it members would wait for good.
///
/// # Errors
/// [`NotTaken`], with the classes that there are; the API server does not answer.
pub(super) async fn class_exists(cluster: &Cluster, spec: &LabSpec) -> Result<()> {
    let Some(wanted) = spec.database.volume_class.name() else { return Ok(()) };
    let classes = cluster.all::<StorageClass>().list(&ListParams::default()).await;
    let classes = classes.map_err(Refused).context("cannot list the StorageClasses")?;
    let names: Vec<String> = classes.items.iter().map(ResourceExt::name_any).collect();
    // A new cluster's own class comes in a moment.
    if wanted == VolumeClass::OF_KIND || names.iter().any(|name| name == wanted) {
        return Ok(());
    }
    let why = format!("database.volume-class: there is no StorageClass {wanted}; there is: {}", names.join(", "));
    Err(Trouble::from(NotTaken { lab: cluster.lab.clone(), why }).into())
}

/// What of the database nobody changes while it lives, and the members themselves where there are none yet; whether anything changed.
/// The number of members of a lab whose data does not exist yet may be another one.
///
/// # Errors
/// The API server refuses.
pub(super) async fn begin(cluster: &Cluster, spec: &LabSpec, images: &ImageSet) -> Result<bool> {
    let objects = objects(spec, images)?;
    let Some(before) = cluster.get::<StatefulSet>(MEMBERS).await? else {
        return Ok(cluster.apply(&objects).await? > 0);
    };
    let members = of_members(objects.clone());
    let rest: Vec<DynamicObject> = objects.into_iter().filter(|object| !members.contains(object)).collect();
    let changed = cluster.apply(&rest).await? > 0;
    let other = before.spec.as_ref().and_then(|spec| spec.replicas) != Some(i32::from(spec.database.members));
    if other {
        resize(cluster, spec.database.members).await?;
    }
    Ok(changed | other)
}

/// Applies the members; what of that they can be given as they run, they have then. Whether anything changed, and what there is to tell.
///
/// # Errors
/// The API server refuses.
pub(super) async fn apply(
    cx: &StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
) -> Result<(bool, Option<String>)> {
    let Some(before) = cluster.get::<StatefulSet>(MEMBERS).await? else {
        return Ok((cluster.apply(&of_members(objects(spec, images)?)).await? > 0, None));
    };
    by_hand(cluster, &before).await?;
    // What a take-back has left larger stays so.
    let mut spec = spec.clone();
    let has = grow::size_of(&before).filter(|has| has.value() > spec.database.volume.value());
    spec.database.volume = has.unwrap_or(spec.database.volume);
    let spec = &spec;
    let grows = grow::size_of(&before).is_some_and(|has| has.value() < spec.database.volume.value());
    let left = grow::expand(cluster, spec).await?;
    if !left.is_empty() && spec.database.members == 1 {
        let lab = cluster.lab.clone();
        return Err(Trouble::from(Alone { lab }).into());
    }
    let (config, told) = settings(cx, cluster, spec, images, &before).await?;
    let objects = of_members(objects_with(spec, images, &config)?);
    let restarts = template(&objects) != template_of(&before);
    let remembers = restarts && proven(&before, &pods(cluster).await?) && !before.annotations().contains_key(FORMER);
    let former = if remembers {
        let template = before.spec.as_ref().context("the members' StatefulSet has no spec")?.template.clone();
        Some(serde_json::to_string(&Former { template, declared: Declared::read(&before) })?)
    } else {
        before.annotations().get(FORMER).cloned()
    };
    let changed = if grows {
        cx.say("the members' StatefulSet is made anew around its pods, for larger volumes");
        grow::orphan(cx, cluster).await?;
        let changed = cluster.apply(&objects).await? > 0;
        annotate(cluster, former.as_deref()).await?;
        changed
    } else {
        if remembers {
            annotate(cluster, former.as_deref()).await?;
        }
        // Their number is somebody else's, who may change it in this moment.
        cluster.apply(&upon(objects, cluster.get::<StatefulSet>(MEMBERS).await?)).await? > 0
    };
    if let Some(told) = &told {
        live::hurry(cluster, told).await?;
    }
    Ok((changed, told))
}

/// What changes with what is declared: the members and their settings. Services and the rest are `up`'s.
fn of_members(mut objects: Vec<DynamicObject>) -> Vec<DynamicObject> {
    objects.retain(|object| {
        object.types.as_ref().is_some_and(|types| ["StatefulSet", "ConfigMap"].contains(&types.kind.as_str()))
    });
    objects
}

/// The same with as many members as there are at this moment, for the very version of the set that says so.
fn upon(mut objects: Vec<DynamicObject>, now: Option<StatefulSet>) -> Vec<DynamicObject> {
    for object in objects.iter_mut().filter(|object| object.name_any() == MEMBERS) {
        object.metadata.resource_version = now.as_ref().and_then(ResourceExt::resource_version);
        if let Some(members) = now.as_ref().and_then(|set| set.spec.as_ref()?.replicas) {
            object.data["spec"]["replicas"] = json!(members);
        }
    }
    objects
}

/// What the template among these objects hashes to.
fn template(objects: &[DynamicObject]) -> Option<String> {
    objects.iter().filter_map(|object| typed::<StatefulSet>(object).ok()).find_map(|set| template_of(&set))
}

/// The ConfigMap that the members shall have their settings from, and which options they were given as they run.
async fn settings(
    cx: &StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    before: &StatefulSet,
) -> Result<(String, Option<String>)> {
    let anew = |beside: Option<&str>| config_of(spec, images, beside);
    let Some(has) = config_name(before).filter(|name| name != CONFIG) else { return Ok((anew(None)?, None)) };
    let Some(had) = cluster.get::<ConfigMap>(&has).await?.and_then(|map| map.data) else { return Ok((has, None)) };
    let wanted = files(spec, images)?;
    if had == wanted {
        return Ok((has, None));
    }
    let fixed = ["my.cnf", "fixed.cnf"].iter().all(|file| had.get(*file) == wanted.get(*file));
    let same = objects_with(spec, images, &has)?;
    if fixed && template(&same) == template_of(before) {
        let options = live::differing(&had, &wanted);
        match live::set(cluster, &options).await? {
            Ok(()) => {
                let names: Vec<&str> = options.iter().map(|option| option.name.as_str()).collect();
                return Ok((has, Some(names.join(", "))));
            }
            Err(why) => cx.say(format!("members have to be restarted: {why}")),
        }
    }
    Ok((anew(Some(&has))?, None))
}

/// A StatefulSet of an earlier version restarts its pods by itself, in the order of their numbers.
async fn by_hand(cluster: &Cluster, before: &StatefulSet) -> Result<()> {
    let strategy = before.spec.as_ref().and_then(|spec| spec.update_strategy.as_ref());
    if strategy.is_some_and(|strategy| strategy.rolling_update.is_some()) {
        patch(cluster, json!({ "spec": { "updateStrategy": { "type": "OnDelete", "rollingUpdate": null } } })).await?;
    }
    Ok(())
}
