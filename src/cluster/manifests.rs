//! The manifests that travel inside the executable: plain Kubernetes YAML, one folder per part. Values of a lab are set
//! by changing the parsed objects ([`edit`]), never by text templates (docs/decisions/0003-typed-edits.md).

use anyhow::{Context, Result, bail};
use include_dir::{Dir, include_dir};
use kube::{ResourceExt, core::DynamicObject};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

static MANIFESTS: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/manifests");

/// Every part that has manifests, in the order in which `up` needs them.
pub const PARTS: [&str; 10] = [
    "namespace",
    "storage",
    "agent",
    "operator",
    "discovery",
    "database",
    "frontend",
    "autoscale",
    "monitoring/prometheus",
    "monitoring/mysqld-exporter",
];

/// The objects of one part: `manifests/PART/*.yaml` in the order of the file names, documents in the order of the file.
///
/// # Errors
/// There is no such part, or a document is not a Kubernetes object (which the tests rule out).
pub fn part(part: &str) -> Result<Vec<DynamicObject>> {
    let folder = MANIFESTS.get_dir(part).with_context(|| format!("there are no manifests for {part}"))?;
    let mut files: Vec<_> = folder.files().filter(|f| f.path().extension().is_some_and(|e| e == "yaml")).collect();
    files.sort_by_key(|file| file.path());
    let mut objects = Vec::new();
    for file in files {
        let shown = file.path().display();
        let text = file.contents_utf8().with_context(|| format!("manifests/{shown} is not text"))?;
        objects.extend(parse(text).with_context(|| format!("in manifests/{shown}"))?);
    }
    Ok(objects)
}

/// A file beside the manifests that objects take their content from.
///
/// # Errors
/// There is no such file.
pub fn file(path: &str) -> Result<&'static str> {
    let file = MANIFESTS.get_file(path).and_then(|file| file.contents_utf8());
    file.with_context(|| format!("there is no manifests/{path}"))
}

/// All manifests as one text, for who wants to know whether they are still the same.
pub fn fingerprint() -> String {
    fn collect(folder: &'static Dir<'static>, text: &mut String) {
        for file in folder.files() {
            *text += &format!("{}\n{}\n", file.path().display(), file.contents_utf8().unwrap_or_default());
        }
        folder.dirs().for_each(|folder| collect(folder, text));
    }
    let mut text = String::new();
    collect(&MANIFESTS, &mut text);
    text
}

/// The objects of a text of one or more YAML documents; empty documents are passed over.
///
/// # Errors
/// A document is not YAML or not a Kubernetes object: no `apiVersion`, `kind` or `metadata.name`.
pub fn parse(text: &str) -> Result<Vec<DynamicObject>> {
    let documents: Vec<Value> = serde_yaml::from_multiple(text).context("cannot read the YAML")?;
    documents.into_iter().filter(|d| !d.is_null()).map(object).collect()
}

fn object(document: Value) -> Result<DynamicObject> {
    let object: DynamicObject = serde_json::from_value(document).context("not a Kubernetes object")?;
    if object.types.is_none() || object.metadata.name.is_none() {
        bail!("a document lacks apiVersion, kind or metadata.name");
    }
    Ok(object)
}

/// The objects as YAML documents that `kubectl apply` accepts.
///
/// # Errors
/// An object cannot be written as YAML.
pub fn to_yaml(objects: &[DynamicObject]) -> Result<String> {
    let mut text = String::new();
    for object in objects {
        let document = serde_yaml::to_string(object).with_context(|| format!("cannot write {}", name_of(object)))?;
        text.push_str("---\n");
        text.push_str(&document);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

/// `Kind/name`, as messages name an object.
pub fn name_of(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    format!("{kind}/{}", object.name_any())
}

/// Changes the one object of type `K` that is called `name`, as a typed value.
///
/// # Errors
/// There is no such object, it does not fit its type, or the change fails.
pub fn edit<K>(objects: &mut [DynamicObject], name: &str, change: impl FnOnce(&mut K) -> Result<()>) -> Result<()>
where
    K: kube::Resource<DynamicType = ()> + Serialize + DeserializeOwned,
{
    let kind = K::kind(&());
    let fits = |o: &&mut DynamicObject| o.types.as_ref().is_some_and(|t| t.kind == kind) && o.name_any() == name;
    let found = objects.iter_mut().find(fits).with_context(|| format!("the manifests have no {kind}/{name}"))?;
    let mut typed: K = typed(found)?;
    change(&mut typed).with_context(|| format!("cannot fill in {kind}/{name}"))?;
    let types = found.types.clone();
    *found = object(serde_json::to_value(&typed).with_context(|| format!("cannot write {kind}/{name}"))?)?;
    found.types = types;
    Ok(())
}

/// An object as its Kubernetes type.
///
/// # Errors
/// It does not fit the type.
pub fn typed<K: DeserializeOwned>(object: &DynamicObject) -> Result<K> {
    let value = serde_json::to_value(object).with_context(|| format!("cannot read {}", name_of(object)))?;
    serde_json::from_value(value).with_context(|| format!("{} does not fit its type", name_of(object)))
}

/// A typed object as one that can be applied.
///
/// # Errors
/// It cannot be written as JSON.
pub fn untyped<K: Serialize>(typed: &K) -> Result<DynamicObject> {
    object(serde_json::to_value(typed).context("cannot write an object")?)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;

    use super::*;

    const TWO: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: 'no'}\n---\n\n---\n# only words\n---\napiVersion: v1\nkind: Secret\nmetadata: {name: b}\n";

    #[test]
    fn documents_are_read_in_order_and_empty_ones_passed_over() {
        let objects = parse(TWO).expect("parses");
        assert_eq!(objects.iter().map(name_of).collect::<Vec<_>>(), ["ConfigMap/a", "Secret/b"]);
        assert_eq!(objects[0].data["data"]["x"], "no");
    }

    #[test]
    fn a_document_that_is_no_object_is_refused() {
        assert!(parse("kind: ConfigMap\nmetadata: {name: a}\n").is_err());
        assert!(parse("apiVersion: v1\nkind: ConfigMap\n").is_err());
        assert!(parse("a: [1").is_err());
    }

    #[test]
    fn an_edit_changes_one_object_and_keeps_its_kind() {
        let mut objects = parse(TWO).expect("parses");
        let set = |map: &mut ConfigMap| {
            map.data.get_or_insert_default().insert("y".into(), "1".into());
            Ok(())
        };
        edit(&mut objects, "a", set).expect("edits");
        assert_eq!(objects[0].data["data"]["y"], "1");
        assert_eq!(name_of(&objects[0]), "ConfigMap/a");
        let missing = edit::<ConfigMap>(&mut objects, "b", |_| Ok(())).expect_err("there is no such ConfigMap");
        assert_eq!(missing.to_string(), "the manifests have no ConfigMap/b");
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let objects = parse(TWO).expect("parses");
        assert_eq!(parse(&to_yaml(&objects).expect("writes")).expect("reads back"), objects);
    }
}
