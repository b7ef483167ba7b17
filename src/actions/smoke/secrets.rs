//! Checks that no password is empty, well known or in plain text. What is found is told by its place, never by its value.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::{
    ByteString, NamespaceResourceScope,
    api::{
        apps::v1::{Deployment, StatefulSet},
        batch::v1::{CronJob, Job},
        core::v1::{ConfigMap, Pod, Secret},
    },
};
use kube::{Resource, ResourceExt, api::ListParams};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    actions::smoke::check::{Check, Hopeless},
    cluster::{Cluster, Refused},
    run::advice::Hint,
};

/// Passwords that everybody tries first, in lower case. The last is what WordPress ships for its keys and salts.
const KNOWN: [&str; 24] = [
    "admin",
    "changeit",
    "changeme",
    "change-me",
    "default",
    "demo",
    "example",
    "letmein",
    "mysql",
    "pass",
    "passw0rd",
    "passwd",
    "password",
    "qwerty",
    "root",
    "rootpassword",
    "secret",
    "test",
    "toor",
    "welcome",
    "wordpress",
    "wplab",
    "123456",
    "put your unique phrase here",
];

/// Shorter ones can be guessed, however random.
const SHORTEST: usize = 12;

/// No object of the lab carries a default or empty password, and no password stands outside a Secret.
pub(super) fn checks(cluster: &Cluster) -> Vec<Check<'_>> {
    let lab = || cluster.lab.clone();
    let hint = [Hint::words("remove what is named"), Hint::Up { lab: lab() }, Hint::Anew { lab: lab() }];
    let sentence = "no object carries a default, empty or readable password";
    vec![Check::new("secrets", "secrets", sentence, Duration::from_secs(30), hint, || look(cluster))]
}

async fn look(cluster: &Cluster) -> Result<String> {
    let all = ListParams::default();
    let secrets = cluster.api::<Secret>().list(&all).await.map_err(Refused).context("cannot list the Secrets")?.items;
    let values = confidential(&secrets);
    ensure!(!values.is_empty(), "there are no Secrets with passwords yet");
    let mut objects = Vec::new();
    objects.extend(list::<ConfigMap>(cluster).await?);
    objects.extend(list::<Pod>(cluster).await?);
    objects.extend(list::<Deployment>(cluster).await?);
    objects.extend(list::<StatefulSet>(cluster).await?);
    objects.extend(list::<Job>(cluster).await?);
    objects.extend(list::<CronJob>(cluster).await?);
    let mut found: Vec<String> = values.iter().filter_map(weakness).collect();
    found.extend(objects.iter().flat_map(|(name, object)| exposures(name, object, &values)));
    if !found.is_empty() {
        bail!(Hopeless(found.join("; ")));
    }
    Ok(format!("{} secret values, {} other objects", values.len(), objects.len()))
}

async fn list<K>(cluster: &Cluster) -> Result<Vec<(String, Value)>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + Serialize
        + DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let kind = K::kind(&());
    let items = cluster
        .api::<K>()
        .list(&ListParams::default())
        .await
        .map_err(Refused)
        .with_context(|| format!("cannot list every {kind}"))?
        .items;
    let object = |item: K| Ok((format!("{kind} {}", item.name_any()), serde_json::to_value(item)?));
    items.into_iter().map(object).collect()
}

/// One value of a Secret that nobody else may know.
struct Confidential {
    /// `Secret NAME, KEY`.
    place: String,
    value: String,
}

/// The values of Secrets that are confidential: all but names, addresses and certificates.
fn confidential(secrets: &[Secret]) -> Vec<Confidential> {
    let mut values = Vec::new();
    for secret in secrets {
        for (key, ByteString(value)) in secret.data.iter().flatten() {
            let open = key.ends_with(".crt")
                || ["user", "host", "url", "email", "database"].iter().any(|word| key.contains(word));
            if !open {
                let place = format!("Secret {}, {key}", secret.name_any());
                values.push(Confidential { place, value: String::from_utf8_lossy(value).into_owned() });
            }
        }
    }
    values
}

fn weakness(secret: &Confidential) -> Option<String> {
    let (place, value) = (&secret.place, secret.value.trim());
    match value.chars().count() {
        0 => Some(format!("{place} is empty")),
        _ if KNOWN.contains(&value.to_lowercase().as_str()) => Some(format!("{place} is a well-known default")),
        length if length < SHORTEST => Some(format!("{place} has only {length} characters")),
        _ => None,
    }
}

/// Where an object shows a confidential value, or sets a password without a Secret.
fn exposures(name: &str, object: &Value, secrets: &[Confidential]) -> Vec<String> {
    let mut found = Vec::new();
    walk(object, &mut String::new(), &mut |path, node| {
        if let Value::String(text) = node {
            let shown = secrets.iter().filter(|s| s.value.len() >= SHORTEST && text.contains(s.value.trim()));
            found.extend(shown.map(|s| format!("{name} shows the value of {} at {path}", s.place)));
            if name.starts_with("ConfigMap ") && path.starts_with("data.") && !path.ends_with(".php") {
                let lines = text.lines().filter_map(known_setting);
                found.extend(
                    lines.map(|setting| {
                        format!("{name} sets {setting} to nothing or to a well-known default at {path}")
                    }),
                );
            }
        }
        if let Some(variable) = literal_variable(node) {
            found.push(format!("{name} sets {variable} without a Secret at {path}"));
        }
    });
    found
}

/// Visits a value and all below it with their paths (`spec.containers.0.env`).
fn walk(node: &Value, path: &mut String, seen: &mut impl FnMut(&str, &Value)) {
    seen(path, node);
    let below: Vec<(String, &Value)> = match node {
        Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
        Value::Array(items) => items.iter().enumerate().map(|(place, value)| (place.to_string(), value)).collect(),
        _ => return,
    };
    for (name, value) in below {
        let length = path.len();
        if length > 0 {
            path.push('.');
        }
        path.push_str(&name);
        walk(value, path, seen);
        path.truncate(length);
    }
}

/// The name of an environment variable that holds a password as a literal.
fn literal_variable(node: &Value) -> Option<&str> {
    let (name, value) = (node.get("name")?.as_str()?, node.get("value")?.as_str()?);
    let upper = name.to_uppercase();
    let secret = ["PASSWORD", "PASSWD", "SECRET", "TOKEN"].iter().any(|word| upper.contains(word))
        || upper.ends_with("_KEY")
        || upper.ends_with("_SALT");
    // A path says where the secret is, not what it is.
    (secret && !upper.ends_with("_FILE") && !value.starts_with('/')).then_some(name)
}

/// The name of a setting `…password = value` whose value is empty or well known.
fn known_setting(line: &str) -> Option<&str> {
    let (name, value) = line.split_once(['=', ':'])?;
    let name = name.trim().trim_matches(['"', '\'']);
    let lower = name.to_lowercase();
    let secret = !lower.starts_with('#') && ["password", "passwd", "secret"].iter().any(|word| lower.ends_with(word));
    let value = value.trim().trim_end_matches([',', ';']).trim_matches(['"', '\'']).to_lowercase();
    (secret && (value.is_empty() || KNOWN.contains(&value.as_str()))).then_some(name)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GOOD: &str = "iX7qkR2vTz9LmWc4";

    fn secret(data: &[(&str, &str)]) -> Secret {
        let data = data.iter().map(|(key, value)| ((*key).to_owned(), ByteString(value.as_bytes().to_vec()))).collect();
        let metadata = kube::api::ObjectMeta { name: Some("creds".into()), ..Default::default() };
        Secret { metadata, data: Some(data), ..Secret::default() }
    }

    #[test]
    fn weak_values_are_told_by_place_and_names_are_none() {
        let weak = secret(&[
            ("a", ""),
            ("admin-user", "admin"),
            ("b", "ChangeMe"),
            ("c", "x7Kq"),
            ("d", GOOD),
            ("ca.crt", "short"),
        ]);
        let found: Vec<String> = confidential(&[weak]).iter().filter_map(weakness).collect();
        assert_eq!(
            found,
            [
                "Secret creds, a is empty",
                "Secret creds, b is a well-known default",
                "Secret creds, c has only 4 characters"
            ]
        );
        let salt = secret(&[("auth-key", "put your unique phrase here")]);
        assert!(weakness(&confidential(&[salt])[0]).is_some());
    }

    #[test]
    fn a_secrets_value_anywhere_else_is_found_and_not_repeated() {
        let values = confidential(&[secret(&[("root-password", GOOD)])]);
        let pod =
            json!({ "spec": { "containers": [{ "name": "a", "command": ["mysqladmin", format!("-p{GOOD}")] }] } });
        let found = exposures("Pod a", &pod, &values);
        assert_eq!(found, ["Pod a shows the value of Secret creds, root-password at spec.containers.0.command.1"]);
        assert!(!found[0].contains(GOOD));
    }

    #[test]
    fn a_literal_in_the_environment_is_found_but_not_a_reference_or_a_path() {
        let env = json!({ "spec": { "env": [
            { "name": "MYSQL_ROOT_PASSWORD", "value": "anything" },
            { "name": "MYSQL_ALLOW_EMPTY_PASSWORD", "value": "yes" },
            { "name": "DB_PASSWORD", "valueFrom": { "secretKeyRef": { "name": "creds", "key": "p" } } },
            { "name": "PASSWORD_FILE", "value": "x" },
            { "name": "DB_PASSWORD", "value": "/etc/credentials/p" },
            { "name": "WORDPRESS_URL", "value": "http://127.0.0.1" }
        ] } });
        let found = exposures("Pod a", &env, &[]);
        assert_eq!(
            found,
            [
                "Pod a sets MYSQL_ROOT_PASSWORD without a Secret at spec.env.0",
                "Pod a sets MYSQL_ALLOW_EMPTY_PASSWORD without a Secret at spec.env.1"
            ]
        );
    }

    #[test]
    fn a_known_password_in_a_configuration_file_is_found_and_an_option_about_passwords_is_not() {
        let file = "[client]\npassword = changeme\n# password = root\ncaching_sha2_password_auto_generate_rsa_keys=ON\nadmin_password: \"\"";
        let map = json!({ "data": { "my.cnf": file, "wp-config.php": "$password = '';" } });
        let found = exposures("ConfigMap c", &map, &[]);
        assert_eq!(
            found,
            [
                "ConfigMap c sets password to nothing or to a well-known default at data.my.cnf",
                "ConfigMap c sets admin_password to nothing or to a well-known default at data.my.cnf"
            ]
        );
    }
}
