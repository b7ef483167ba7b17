//! What of a database somebody else has declared: whoever writes an object is remembered by the API server, field by field
//! (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>). `up` leaves that alone unless it is told not to.

use anyhow::Result;
use kube::ResourceExt;
use serde_json::Value;

use crate::{
    cluster::Cluster,
    inside::kinds::{DATABASE, Database, DatabaseSpec},
    labels::FIELD_MANAGER,
    spec::LabSpec,
};

/// A field that others have written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Theirs {
    /// Its name in a lab file, below `database`.
    pub field: String,
    /// What it is to be.
    pub value: String,
    /// Who has written it.
    pub by: String,
}

/// Every field that others have written to the database of a lab; nothing in a lab that declares none.
///
/// # Errors
/// The API server does not answer.
pub(super) async fn theirs(cluster: &Cluster) -> Result<Vec<Theirs>> {
    Ok(cluster.get::<Database>(DATABASE).await?.map(|database| of(&database)).unwrap_or_default())
}

/// Those of them that a lab file asks to be something else.
///
/// # Errors
/// The API server does not answer.
pub async fn disputed(cluster: &Cluster, wanted: &LabSpec) -> Result<Vec<Theirs>> {
    let asked = super::Declared::of(wanted);
    let mut all = theirs(cluster).await?;
    all.retain(|one| asked.value(&one.field).is_some_and(|asked| asked != one.value));
    Ok(all)
}

fn of(database: &Database) -> Vec<Theirs> {
    let leaves = leaves(&database.spec);
    let mut all = Vec::new();
    for entry in database.managed_fields() {
        // What we applied is ours, and so is the number of members, which `scale` writes.
        let manager = entry.manager.as_deref().unwrap_or_default();
        let Some(fields) = entry.fields_v1.as_ref().filter(|_| manager != FIELD_MANAGER && entry.subresource.is_none())
        else {
            continue;
        };
        for (path, value) in &leaves {
            let pointer: String = path.iter().map(|part| format!("/f:{part}")).collect();
            if fields.0.pointer(&format!("/f:spec{pointer}")).is_some() {
                all.push(Theirs { field: path.join("."), value: value.clone(), by: manager.to_owned() });
            }
        }
    }
    all
}

/// Every text of a declaration, with the way to it.
fn leaves(spec: &DatabaseSpec) -> Vec<(Vec<String>, String)> {
    fn walk(value: &Value, path: &[String], into: &mut Vec<(Vec<String>, String)>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    walk(value, &[path, std::slice::from_ref(name)].concat(), into);
                }
            }
            Value::String(text) => into.push((path.to_vec(), text.clone())),
            _ => {}
        }
    }
    let mut all = Vec::new();
    walk(&serde_json::to_value(spec).unwrap_or_default(), &[], &mut all);
    all
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::parts::{database::object::object, testing};

    #[test]
    fn what_others_have_written_is_known_field_by_field() {
        let mut database = object(&testing::spec(), &testing::images()).expect("an object");
        database.spec.settings.insert("back_log".into(), "71".into());
        let entry = |manager: &str, operation: &str, fields: Value| {
            serde_json::from_value(json!({"manager": manager, "operation": operation, "fieldsV1": fields}))
                .expect("an entry")
        };
        database.metadata.managed_fields = Some(vec![
            entry("wplab", "Apply", json!({"f:spec": {"f:volume": {}, "f:settings": {"f:max_connections": {}}}})),
            entry("wplab", "Update", json!({"f:spec": {"f:members": {}}})),
            entry(
                "kubectl-edit",
                "Update",
                json!({"f:spec": {"f:resources": {"f:memory": {}}, "f:settings": {"f:back_log": {}}}}),
            ),
        ]);
        let told: Vec<String> =
            of(&database).into_iter().map(|one| format!("{} {} {}", one.field, one.value, one.by)).collect();
        let memory = testing::spec().database.resources.memory;
        let memory = format!("resources.memory {} kubectl-edit", memory.as_str());
        assert_eq!(told, [memory.as_str(), "settings.back_log 71 kubectl-edit"]);
    }
}
