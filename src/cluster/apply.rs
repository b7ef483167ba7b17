//! The one server-side apply: our field manager, our labels, and never an object that somebody else made.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use kube::{
    Api, Resource, ResourceExt,
    api::{Patch, PatchParams},
    core::{ApiResource, DynamicObject, GroupVersionKind, NamespaceResourceScope, Status},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Cluster, Object, Refused, gone,
    manifests::{name_of, untyped},
    passing,
};
use crate::{
    labels::{FIELD_MANAGER, LAB, PART_OF, of_lab},
    run::{
        advice::{Advise, Blame, Hint, Trouble},
        wait::{self, Look},
    },
    spec::LabName,
};

/// How long an apply tries while the API server does not answer: a node container that is just being restarted.
const PATIENCE: Duration = Duration::from_secs(30);

impl Cluster {
    /// Server-side apply of objects with the lab's labels added: side by side, and what makes pods after everything that
    /// pods need. Returns how many changed, so that a step can say "already there".
    ///
    /// # Errors
    /// The API server refuses an object (the error names it), does not answer for half a minute, or an object of that name
    /// exists without this lab's labels: it is left alone.
    pub async fn apply(&self, objects: &[DynamicObject]) -> Result<usize> {
        let labelled = objects.iter().map(|object| labelled(object, &self.inside)).collect::<Result<Vec<_>>>()?;
        let (workloads, first): (Vec<_>, Vec<_>) = labelled.iter().partition(|object| makes_pods(object));
        let mut changed = 0;
        for wave in [first, workloads] {
            let applied = try_join_all(wave.into_iter().map(|object| self.apply_one(object))).await?;
            changed += applied.into_iter().filter(|changed| *changed).count();
        }
        Ok(changed)
    }

    async fn apply_one(&self, object: &DynamicObject) -> Result<bool> {
        let shown = name_of(object);
        let api = self.api_of(object)?;
        let name = object.name_any();
        // One retry loop for both requests; what is looked at again is at worst the result of our own first try.
        let first = wait::until(
            &shown,
            PATIENCE,
            Duration::from_millis(500),
            |_| {},
            || async {
                match self.look_and_apply(&api, &name, object).await {
                    Err(error) if error.downcast_ref::<Refused>().is_some_and(|e| passing(&e.0)) => {
                        Ok(Look::NotYet(error.to_string()))
                    }
                    result => result.map(Look::Ready),
                }
            },
        );
        first.await.with_context(|| format!("cannot apply {shown}"))
    }

    async fn look_and_apply(&self, api: &Api<DynamicObject>, name: &str, object: &DynamicObject) -> Result<bool> {
        let before = api.get_opt(name).await.map_err(Refused)?;
        if let Some(before) = &before {
            ours(before, &self.inside)?;
        }
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let after = api
            .patch(name, &params, &Patch::Apply(object))
            .await
            .map_err(|error| explained(error, object, &self.lab))?;
        Ok(before.is_none_or(|before| differs(&before, &after)))
    }

    /// Server-side apply of an object that other people may change as well: what somebody else has written differently stays,
    /// and is told, unless `take_over`. Returns the object, and whether it changed.
    ///
    /// # Errors
    /// [`Elsewhere`]; the API server refuses; or an object of that name exists without this lab's labels.
    pub async fn declare<K>(&self, object: &K, take_over: bool) -> Result<(K, bool)>
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
    {
        let object = labelled(&untyped(object)?, &self.inside)?;
        let (shown, name, api) = (name_of(&object), object.name_any(), self.api::<K>());
        let before = api.get_opt(&name).await.map_err(Refused).with_context(|| format!("cannot read {shown}"))?;
        if let Some(before) = &before {
            ours(&untyped(before)?, &self.inside)?;
        }
        let params = PatchParams { force: take_over, ..PatchParams::apply(FIELD_MANAGER) };
        match api.patch(&name, &params, &Patch::Apply(&object)).await {
            Ok(after) => {
                let changed = match &before {
                    Some(before) => differs(&untyped(before)?, &untyped(&after)?),
                    None => true,
                };
                Ok((after, changed))
            }
            Err(kube::Error::Api(status)) if status.code == 409 => {
                let others = others(&status);
                match others.is_empty() {
                    false => Err(Trouble::from(Elsewhere { lab: self.lab.clone(), object: shown, others }).into()),
                    true => Err(Refused(kube::Error::Api(status))).with_context(|| format!("cannot apply {shown}")),
                }
            }
            Err(error) => Err(Refused(error)).with_context(|| format!("cannot apply {shown}")),
        }
    }

    /// Writes what `manager` has to say in the status of an object; what others say there stays. One that is gone needs none.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn tell<K: Object + Resource<Scope = NamespaceResourceScope>>(
        &self,
        name: &str,
        manager: &str,
        status: &impl Serialize,
    ) -> Result<()> {
        let (kind, version) = (K::kind(&()), K::api_version(&()));
        let told = json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name }, "status": status });
        let api = self.api::<K>();
        let written = api.patch_status(name, &PatchParams::apply(manager).force(), &Patch::Apply(&told)).await;
        gone(written).with_context(|| format!("cannot write the status of {kind} {name}"))
    }

    /// Makes sure that an object, if there is one of that name, may be changed or removed.
    ///
    /// # Errors
    /// [`Foreign`]; or the API server does not answer.
    pub async fn ours(&self, api: &Api<DynamicObject>, name: &str) -> Result<()> {
        match api.get_opt(name).await.map_err(Refused)? {
            Some(object) => Ok(ours(&object, &self.inside)?),
            None => Ok(()),
        }
    }

    /// The API of an object's kind: in its namespace, or cluster-wide when it names none.
    ///
    /// # Errors
    /// The object has no kind, or an `apiVersion` that is none.
    pub fn api_of(&self, object: &DynamicObject) -> Result<Api<DynamicObject>> {
        let types = object.types.as_ref().with_context(|| format!("{} has no kind", name_of(object)))?;
        let kind =
            GroupVersionKind::try_from(types).with_context(|| format!("{} has no usable kind", name_of(object)))?;
        let resource = ApiResource::from_gvk(&kind);
        Ok(match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), &namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        })
    }
}

/// Whether a controller makes pods for an object; without their account it would wait before it tries again.
fn makes_pods(object: &DynamicObject) -> bool {
    let kind = object.types.as_ref().map_or("", |types| types.kind.as_str());
    ["Deployment", "StatefulSet", "Job", "CronJob"].contains(&kind)
}

/// An object with the lab's labels on itself, on its pod template and on its volume claim templates. Labels that are there
/// already stay; the component comes from the manifest, and a pod template inherits it.
///
/// # Errors
/// The object has no component label of its own: a mistake in a manifest.
pub fn labelled(object: &DynamicObject, lab: &LabName) -> Result<DynamicObject> {
    let mut object = object.clone();
    let component = object.labels().get(crate::labels::COMPONENT).cloned();
    let component = component.with_context(|| format!("{} has no component label", name_of(&object)))?;
    let mut labels = of_lab(lab);
    labels.insert(crate::labels::COMPONENT.to_owned(), component);
    let own = object.metadata.labels.get_or_insert_default();
    own.extend(labels.iter().map(|(key, value)| (key.clone(), value.clone())));
    for template in ["/spec/template", "/spec/jobTemplate", "/spec/jobTemplate/spec/template"] {
        add_labels(object.data.pointer_mut(template), &labels);
    }
    let claims = object.data.pointer_mut("/spec/volumeClaimTemplates").and_then(Value::as_array_mut);
    claims.into_iter().flatten().for_each(|claim| add_labels(Some(claim), &labels));
    Ok(object)
}

fn add_labels(holder: Option<&mut Value>, labels: &BTreeMap<String, String>) {
    let Some(holder) = holder.and_then(Value::as_object_mut) else { return };
    let metadata = holder.entry("metadata").or_insert_with(|| json!({}));
    let Some(metadata) = metadata.as_object_mut() else { return };
    let own = metadata.entry("labels").or_insert_with(|| json!({}));
    if let Some(own) = own.as_object_mut() {
        for (key, value) in labels {
            own.entry(key.clone()).or_insert_with(|| json!(value));
        }
    }
}

/// What we did not label we never touch.
fn ours(existing: &DynamicObject, lab: &LabName) -> Result<(), Trouble> {
    let wanted = of_lab(lab);
    if wanted.iter().all(|(key, value)| existing.labels().get(key) == Some(value)) {
        return Ok(());
    }
    let other = existing.labels().get(LAB).filter(|_| existing.labels().contains_key(PART_OF)).cloned();
    Err(Foreign { object: name_of(existing), owner: other }.into())
}

/// Whether applying changed the object itself. A newer resource version alone may be a controller writing the status.
fn differs(before: &DynamicObject, after: &DynamicObject) -> bool {
    if before.resource_version() == after.resource_version() {
        return false;
    }
    let content = |object: &DynamicObject| {
        let mut data = object.data.clone();
        data.as_object_mut().map(|data| data.remove("status"));
        (data, object.labels().clone(), object.annotations().clone())
    };
    content(before) != content(after)
}

/// Which fields of an object somebody else has written, as the API server lists them.
fn others(status: &Status) -> Vec<(String, String)> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let conflicts = causes.filter(|cause| cause.reason == "FieldManagerConflict");
    let told = conflicts.map(|cause| {
        let manager = cause.message.split('"').nth(1).unwrap_or(&cause.message);
        (cause.field.trim_start_matches('.').to_owned(), manager.to_owned())
    });
    told.collect()
}

/// Somebody else has written fields of an object that are asked to be something else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Elsewhere {
    /// The lab.
    pub lab: LabName,
    /// The object.
    pub object: String,
    /// Each field, and who has written it.
    pub others: Vec<(String, String)>,
}

impl fmt::Display for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<String> =
            self.others.iter().map(|(field, manager)| format!("{field} was written by {manager}")).collect();
        write!(f, "{} is to be something else than others have made it: {}", self.object, others.join(", "))
    }
}

impl Advise for Elsewhere {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        let keep = Hint::words("with the same values in the lab file they are kept");
        vec![keep, Hint::TakeOver { lab: self.lab.clone() }]
    }
}

/// Adds the cure to the one refusal that a user can cause: a field of an existing object that cannot be changed.
fn explained(error: kube::Error, object: &DynamicObject, lab: &LabName) -> anyhow::Error {
    let fixed = matches!(&error, kube::Error::Api(s) if s.code == 422 && (s.message.contains("immutable") || s.message.contains("Forbidden")));
    let error = anyhow::Error::new(Refused(error));
    if !fixed {
        return error;
    }
    Trouble::from(Unchangeable { lab: lab.clone(), object: name_of(object) }).because(error).into()
}

/// An object of that name is somebody else's: what we did not label we never touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Foreign {
    /// The object.
    pub object: String,
    /// The lab that it belongs to, if it is one's.
    pub owner: Option<String>,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => write!(f, "{} belongs to the lab {owner}", self.object),
            None => write!(f, "{} exists already and was not made by wplab, so it is left alone", self.object),
        }
    }
}

impl Advise for Foreign {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::OtherName]
    }
}

/// What is wanted would change what cannot be changed on a lab that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchangeable {
    /// The lab.
    pub lab: LabName,
    /// The object.
    pub object: String,
}

impl fmt::Display for Unchangeable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of lab {} cannot be changed as it is asked for", self.object, self.lab)
    }
}

impl Advise for Unchangeable {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Anew { lab: self.lab.clone() }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::manifests::parse;

    fn one(text: &str) -> DynamicObject {
        parse(text).expect("parses").remove(0)
    }

    #[test]
    fn labels_reach_the_object_its_pods_and_its_claims() {
        let set = one(
            "apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: x, labels: {app.kubernetes.io/component: storage}}\n\
             spec: {template: {metadata: {labels: {app: x}}}, volumeClaimTemplates: [{metadata: {name: v}}]}",
        );
        let set = labelled(&set, &LabName::default()).expect("labelled");
        assert_eq!(set.labels()[LAB], "wplab");
        let pod = &set.data["spec"]["template"]["metadata"]["labels"];
        assert_eq!(
            (&pod["app"], &pod[LAB], &pod[crate::labels::COMPONENT]),
            (&json!("x"), &json!("wplab"), &json!("storage"))
        );
        assert_eq!(set.data["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"][PART_OF], "wplab");
    }

    #[test]
    fn an_object_without_component_is_a_mistake() {
        let map = one("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}");
        assert!(labelled(&map, &LabName::default()).is_err());
    }

    #[test]
    fn somebody_elses_object_is_left_alone_and_the_message_says_whose() {
        let lab = LabName::default();
        let foreign = one("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}");
        assert!(ours(&foreign, &lab).expect_err("not ours").to_string().contains("not made by wplab"));
        let other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x, labels: {app.kubernetes.io/part-of: wplab, wplab.dev/lab: two}}";
        assert_eq!(ours(&one(other), &lab).expect_err("not ours").to_string(), "ConfigMap/x belongs to the lab two");
    }

    #[test]
    fn a_new_status_is_no_change_but_a_new_value_is() {
        let make = |version: &str, value: &str, status: &str| {
            one(&format!(
                "apiVersion: v1\nkind: Service\nmetadata: {{name: x, resourceVersion: '{version}'}}\nspec: {{a: {value}}}\nstatus: {{s: {status}}}"
            ))
        };
        assert!(!differs(&make("1", "1", "1"), &make("2", "1", "2")));
        assert!(differs(&make("1", "1", "1"), &make("2", "2", "1")));
        assert!(!differs(&make("1", "1", "1"), &make("1", "1", "1")));
    }
}
