//! Secrets: read, and made once. What is in an existing Secret is never replaced, because members and sessions rely on it
//! (docs/decisions/0007-secrets-once.md).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use k8s_openapi::{ByteString, api::core::v1::Secret};
use kube::api::{ObjectMeta, Patch, PatchParams};
use rand::RngExt;
use serde_json::json;

use super::Cluster;
use crate::labels::{Component, FIELD_MANAGER, NAMESPACE};

const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl Cluster {
    /// The values of a Secret in the lab's namespace, or `None` when there is no such Secret.
    ///
    /// # Errors
    /// The API server does not answer; a value is not text.
    pub async fn secret(&self, name: &str) -> Result<Option<BTreeMap<String, String>>> {
        let Some(secret) = self.get::<Secret>(name).await? else { return Ok(None) };
        let data = secret.data.unwrap_or_default().into_iter();
        let text = data.map(|(key, ByteString(value))| Ok((key, String::from_utf8(value)?))).collect::<Result<_>>();
        text.map(Some).with_context(|| format!("a value of Secret {name} is not text"))
    }

    /// The values under these keys of a Secret that must be there.
    ///
    /// # Errors
    /// As [`Cluster::secret`]; or there is no such Secret, or it lacks one of the keys.
    pub async fn secret_values<const N: usize>(&self, name: &str, keys: [&str; N]) -> Result<[String; N]> {
        let values = self.secret(name).await?.with_context(|| format!("there is no Secret {name}"))?;
        if let Some(key) = keys.iter().find(|key| !values.contains_key(**key)) {
            bail!("Secret {name} has no {key}");
        }
        Ok(keys.map(|key| values.get(key).cloned().unwrap_or_default()))
    }

    /// Makes sure that a Secret has a value under every key that `generate` knows. Values that are there stay; missing ones
    /// are added. Returns whether anything was added.
    ///
    /// # Errors
    /// The API server refuses, or `generate` failed.
    pub async fn ensure_secret(
        &self,
        name: &str,
        component: Component,
        generate: impl FnOnce() -> Result<BTreeMap<String, String>>,
    ) -> Result<bool> {
        let existing = self.secret(name).await?;
        let mut data = existing.clone().unwrap_or_default();
        for (key, value) in generate()? {
            data.entry(key).or_insert(value);
        }
        if existing.as_ref() == Some(&data) {
            return Ok(false);
        }
        self.write_secret(name, component, data).await.map(|()| true)
    }

    /// Replaces values of a Secret; those under other keys stay. For a lab that nobody uses yet: whoever was given the old ones
    /// is not told.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn renew_secret(&self, name: &str, component: Component, values: BTreeMap<String, String>) -> Result<()> {
        let mut data = self.secret(name).await?.unwrap_or_default();
        data.extend(values);
        self.write_secret(name, component, data).await
    }

    /// Makes a Secret what it is to be, without what else was in it; says whether it was something else.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn replace_secret(
        &self,
        name: &str,
        component: Component,
        values: BTreeMap<String, String>,
    ) -> Result<bool> {
        if self.secret(name).await?.as_ref() == Some(&values) {
            return Ok(false);
        }
        self.write_secret(name, component, values).await.map(|()| true)
    }

    /// An annotation of a Secret; `None` where there is none of that name, or no such Secret.
    ///
    /// # Errors
    /// The API server does not answer.
    pub async fn secret_note(&self, name: &str, note: &str) -> Result<Option<String>> {
        let secret = self.get::<Secret>(name).await?;
        Ok(secret.and_then(|secret| secret.metadata.annotations?.remove(note)))
    }

    /// Changes values and annotations of a Secret that is there, and leaves the rest; in the name of `manager`.
    ///
    /// # Errors
    /// The API server refuses or does not answer.
    pub async fn change_secret(
        &self,
        name: &str,
        manager: &str,
        values: &[(&str, &str)],
        notes: &[(&str, Option<&str>)],
    ) -> Result<()> {
        let values: BTreeMap<&str, ByteString> =
            values.iter().map(|(key, value)| (*key, ByteString(value.as_bytes().to_vec()))).collect();
        let notes: BTreeMap<&str, Option<&str>> = notes.iter().copied().collect();
        let patch = Patch::Merge(json!({ "metadata": { "annotations": notes }, "data": values }));
        let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        let changed = self.api::<Secret>().patch(name, &params, &patch).await;
        // As below: what it answers may repeat what it was sent.
        changed
            .map_err(|_| anyhow::anyhow!("cannot change Secret {name}: the API server refused it or did not answer"))
            .map(drop)
    }

    async fn write_secret(&self, name: &str, component: Component, data: BTreeMap<String, String>) -> Result<()> {
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(NAMESPACE.to_owned()),
                labels: Some(self.labels_of(component)),
                ..Default::default()
            },
            data: Some(data.into_iter().map(|(key, value)| (key, ByteString(value.into_bytes()))).collect()),
            type_: Some("Opaque".to_owned()),
            ..Default::default()
        };
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let applied = self.api::<Secret>().patch(name, &params, &Patch::Apply(&secret)).await;
        // The API server's answer to a bad object may repeat it, so its text does not go into the error.
        applied
            .map_err(|_| anyhow::anyhow!("cannot write Secret {name}: the API server refused it or did not answer"))
            .map(drop)
    }
}

/// A random password of letters and digits: safe in URLs, option files and SQL. 32 characters are 190 bits.
pub fn password() -> String {
    let mut random = rand::rng();
    (0..32).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_plain_and_never_the_same() {
        let (one, two) = (password(), password());
        assert_eq!(one.len(), 32);
        assert!(one.chars().all(|c| c.is_ascii_alphanumeric()));
        assert_ne!(one, two);
    }
}
