//! etcd's JSON gateway to the letter: keys and values are base64, 64-bit integers are strings, and what is zero, false or
//! empty is left out of an answer.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

use super::{KeyValue, Lease, Then, When};

impl When {
    pub(super) fn json(&self) -> Value {
        match self {
            When::Absent(key) => {
                json!({"key": encode(key), "target": "CREATE", "result": "EQUAL", "create_revision": "0"})
            }
            When::Unchanged { key, modified } => {
                json!({"key": encode(key), "target": "MOD", "result": "EQUAL", "mod_revision": modified.to_string()})
            }
            When::Holds { key, value } => {
                json!({"key": encode(key), "target": "VALUE", "result": "EQUAL", "value": encode(value)})
            }
            When::NothingAfter { prefix, revision } => json!({
                "key": encode(prefix), "range_end": BASE64.encode(after(prefix)),
                "target": "MOD", "result": "LESS", "mod_revision": (revision + 1).to_string(),
            }),
        }
    }
}

impl Then {
    pub(super) fn json(&self) -> Value {
        match self {
            Then::Put { key, value, lease } => json!({"request_put": put(key, value, *lease)}),
            Then::Delete(key) => json!({"request_delete_range": {"key": encode(key)}}),
        }
    }
}

pub(super) fn put(key: &str, value: &str, lease: Option<Lease>) -> Value {
    let lease = lease.map_or(0, |lease| lease.0).to_string();
    json!({"key": encode(key), "value": encode(value), "lease": lease})
}

pub(super) fn encode(text: &str) -> String {
    BASE64.encode(text)
}

/// The first key that no longer begins so. Keys are ASCII here, so that the last byte can always be one more.
fn after(prefix: &str) -> Vec<u8> {
    let mut end = prefix.as_bytes().to_vec();
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    end
}

/// The `key` and `range_end` of all keys that begin so.
pub(super) fn below(prefix: &str) -> Value {
    json!({"key": encode(prefix), "range_end": BASE64.encode(after(prefix))})
}

/// A 64-bit integer as the gateway writes it.
fn number<'de, D: Deserializer<'de>, T: std::str::FromStr<Err: std::fmt::Display>>(from: D) -> Result<T, D::Error> {
    String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
}

#[derive(Deserialize)]
pub(super) struct Granted {
    #[serde(rename = "ID", deserialize_with = "number")]
    pub(super) id: i64,
}

#[derive(Deserialize)]
pub(super) struct Kept {
    pub(super) result: KeptResult,
}

#[derive(Deserialize)]
pub(super) struct KeptResult {
    #[serde(rename = "TTL", default, deserialize_with = "number")]
    pub(super) ttl: i64,
}

#[derive(Deserialize)]
pub(super) struct Done {
    #[serde(default)]
    pub(super) succeeded: bool,
}

#[derive(Deserialize)]
pub(super) struct Found {
    #[serde(default)]
    pub(super) kvs: Vec<Raw>,
}

#[derive(Deserialize)]
pub(super) struct Raw {
    pub(super) key: String,
    #[serde(default)]
    pub(super) value: String,
    #[serde(deserialize_with = "number")]
    pub(super) create_revision: i64,
    #[serde(deserialize_with = "number")]
    pub(super) mod_revision: i64,
}

#[derive(Deserialize)]
pub(super) struct StatusAnswer {
    pub(super) header: Header,
    #[serde(default)]
    pub(super) version: String,
    #[serde(rename = "dbSize", default, deserialize_with = "number")]
    pub(super) db_size: u64,
    #[serde(default, deserialize_with = "number")]
    pub(super) leader: u64,
}

#[derive(Deserialize)]
pub(super) struct Header {
    #[serde(default, deserialize_with = "number")]
    pub(super) member_id: u64,
}

#[derive(Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    pub(super) message: String,
}

impl TryFrom<Raw> for KeyValue {
    type Error = anyhow::Error;

    fn try_from(raw: Raw) -> Result<KeyValue> {
        let text = |encoded: &str| -> Result<String> { Ok(String::from_utf8(BASE64.decode(encoded)?)?) };
        let key = text(&raw.key).context("a key in etcd is not text")?;
        let value = text(&raw.value).with_context(|| format!("the value of {key} in etcd is not text"))?;
        Ok(KeyValue { key, value, created: raw.create_revision, modified: raw.mod_revision })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_name() {
        assert_eq!(after("/wplab/galera/"), b"/wplab/galera0");
    }

    #[test]
    fn what_is_zero_or_false_is_left_out_of_answers() {
        let kept = |text| serde_json::from_str::<Kept>(text).expect("an answer").result.ttl;
        assert_eq!(kept(r#"{"result":{"header":{"revision":"7"},"ID":"123","TTL":"10"}}"#), 10);
        assert_eq!(kept(r#"{"result":{"header":{"revision":"7"},"ID":"123"}}"#), 0);
        assert!(!serde_json::from_str::<Done>(r#"{"header":{}}"#).expect("an answer").succeeded);
        assert!(serde_json::from_str::<Found>(r#"{"header":{}}"#).expect("an answer").kvs.is_empty());
        let raw = r#"{"kvs":[{"key":"L2E=","create_revision":"5","mod_revision":"6","version":"1"}],"count":"1"}"#;
        let found = serde_json::from_str::<Found>(raw).expect("an answer").kvs.pop().expect("one");
        let wanted = KeyValue { key: "/a".into(), value: String::new(), created: 5, modified: 6 };
        assert_eq!(KeyValue::try_from(found).expect("text"), wanted);
    }
}
