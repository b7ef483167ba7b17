//! etcd, spoken to through the JSON gateway of its v3 API; the only room that knows that gateway.
//!
//! Why not a client library: every Rust etcd client compiles etcd's protobuf files while it is built, and so needs `protoc`
//! on the machine of whoever builds this tool. The gateway is etcd's own, is on at the client port by default, and its v3
//! has kept its shape since etcd 3.4. How it writes things is in `wire`.

mod wire;

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use reqwest::{Certificate, Client, Url};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wire::{Done, Found, Granted, Kept, Message, StatusAnswer, below, encode, put};

use crate::wire::net::{self, innermost};

/// How long the cluster's name server may take.
const LOOKUP: Duration = Duration::from_secs(1);
/// How long one endpoint may take to answer one request. An endpoint that is gone does not answer at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// What a client shows and trusts, as PEM.
#[derive(Clone)]
pub struct Identity {
    /// The authority that signed the servers' certificates. Nothing else is trusted.
    pub ca: String,
    /// The client's own certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// An etcd cluster. Endpoints are tried in turn, the one that answered last first.
pub struct Etcd {
    client: Client,
    endpoints: Vec<Url>,
    /// The endpoint that answered last.
    good: AtomicUsize,
}

/// One key, as one revision of etcd has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// The whole key.
    pub key: String,
    /// Its value.
    pub value: String,
    /// The revision that created it.
    pub created: i64,
    /// The revision that changed it last.
    pub modified: i64,
}

/// A lease: what is put under it is gone when it is not kept alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(i64);

/// What must hold for a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// There is no such key.
    Absent(String),
    /// The key has not been changed, nor removed, since this revision changed it.
    Unchanged {
        /// The key.
        key: String,
        /// [`KeyValue::modified`] as it was read.
        modified: i64,
    },
    /// The key has this value.
    Holds {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// No key that begins so has been made or changed after this revision. (A key that was removed is not noticed.)
    NothingAfter {
        /// What the keys begin with.
        prefix: String,
        /// The revision.
        revision: i64,
    },
}

/// What a transaction does when all holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Then {
    /// Writes a key.
    Put {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// The lease with which it ends.
        lease: Option<Lease>,
    },
    /// Removes a key; one that is not there is no error.
    Delete(String),
}

/// What one etcd member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its id.
    pub member: u64,
    /// The id of the member that it takes for the leader; `None` while there is none.
    pub leader: Option<u64>,
    /// Its version (`3.6.8`).
    pub version: String,
    /// The size of its database file in bytes.
    pub size: u64,
}

impl Etcd {
    /// A client of these endpoints (`https://etcd-0.etcd:2379`). `at` says where a host really is, for a caller outside the
    /// cluster who comes through a forward: that host is then asked at this address and port, under its own name. All other
    /// names are looked up without the C library, which a static executable cannot use.
    ///
    /// # Errors
    /// An endpoint is no URL, or the identity is not PEM.
    pub fn new(endpoints: &[String], identity: Option<&Identity>, at: &[(String, SocketAddr)]) -> Result<Etcd> {
        ensure!(!endpoints.is_empty(), "no etcd endpoint was given");
        let mut urls = Vec::new();
        for endpoint in endpoints {
            let mut url = Url::parse(endpoint).with_context(|| format!("{endpoint:?} is no URL of an etcd member"))?;
            let fixed = at.iter().find(|(host, _)| Some(host.as_str()) == url.host_str());
            // reqwest takes the port from the URL, not from the address that it is told.
            if let Some((_, address)) = fixed
                && url.set_port(Some(address.port())).is_err()
            {
                bail!("{endpoint:?} cannot have a port");
            }
            urls.push(url);
        }
        // The lab is near, whatever the environment says about proxies to the rest of the world.
        let mut builder = net::client(LOOKUP).no_proxy().timeout(PATIENCE);
        for (host, address) in at {
            builder = builder.resolve(host, *address);
        }
        if let Some(identity) = identity {
            let ca = Certificate::from_pem(identity.ca.as_bytes()).context("etcd's authority is no PEM certificate")?;
            let own = format!("{}\n{}", identity.certificate, identity.key);
            let own = reqwest::Identity::from_pem(own.as_bytes()).context("the certificate for etcd is not PEM")?;
            builder = builder.tls_certs_only([ca]).identity(own);
        }
        let client = builder.build().context("cannot make an HTTP client for etcd")?;
        Ok(Etcd { client, endpoints: urls, good: AtomicUsize::new(0) })
    }

    /// A new lease. etcd rounds up what is shorter than a few of its heartbeats (2 s).
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn grant(&self, ttl: Duration) -> Result<Lease> {
        let granted: Granted = self.ask("lease/grant", &json!({"TTL": ttl.as_secs().to_string()})).await?;
        Ok(Lease(granted.id))
    }

    /// Begins the lease's time again; `false`: it is gone, and so is what was under it.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn keep_alive(&self, lease: Lease) -> Result<bool> {
        let kept: Kept = self.ask("lease/keepalive", &json!({"ID": lease.0.to_string()})).await?;
        Ok(kept.result.ttl > 0)
    }

    /// Ends a lease and removes what is under it. One that is gone already is no error.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn revoke(&self, lease: Lease) -> Result<()> {
        match self.ask::<Value>("lease/revoke", &json!({"ID": lease.0.to_string()})).await {
            Err(error) if error.downcast_ref::<BadStatus>().is_some_and(|r| r.status == 404) => Ok(()),
            answer => answer.map(drop),
        }
    }

    /// Writes a key.
    ///
    /// # Errors
    /// etcd does not answer, or the lease is gone.
    pub async fn put(&self, key: &str, value: &str, lease: Option<Lease>) -> Result<()> {
        self.ask::<Value>("kv/put", &put(key, value, lease)).await.map(drop)
    }

    /// Removes a key; one that is not there is no error.
    ///
    /// # Errors
    /// etcd does not answer.
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.ask::<Value>("kv/deleterange", &json!({"key": encode(key)})).await.map(drop)
    }

    /// Every key that begins so, by name, all from one revision.
    ///
    /// # Errors
    /// etcd does not answer, or a key or value is not text.
    pub async fn under(&self, prefix: &str) -> Result<Vec<KeyValue>> {
        self.range(&below(prefix)).await
    }

    /// The value of a key.
    ///
    /// # Errors
    /// As [`Etcd::under`].
    pub async fn get(&self, key: &str) -> Result<Option<String>> {
        Ok(self.look(key).await?.map(|found| found.value))
    }

    /// A key with its revisions.
    ///
    /// # Errors
    /// As [`Etcd::under`].
    pub async fn look(&self, key: &str) -> Result<Option<KeyValue>> {
        Ok(self.range(&json!({"key": encode(key)})).await?.pop())
    }

    /// Does all of `then` if all of `when` holds, and nothing otherwise; says which.
    ///
    /// A `false` may also mean that it was done at an endpoint whose answer was lost, and then no longer held at the next.
    /// Who must know reads again.
    ///
    /// # Errors
    /// etcd does not answer (it may have been done all the same), or a lease is gone.
    pub async fn transact(&self, when: &[When], then: &[Then]) -> Result<bool> {
        let compare: Vec<Value> = when.iter().map(When::json).collect();
        let success: Vec<Value> = then.iter().map(Then::json).collect();
        let done: Done = self.ask("kv/txn", &json!({"compare": compare, "success": success})).await?;
        Ok(done.succeeded)
    }

    /// What the first endpoint says of itself; the others are not asked.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn status(&self) -> Result<Status> {
        let status: StatusAnswer = self.ask_at(&self.endpoints[0], "maintenance/status", &json!({})).await?;
        Ok(Status {
            member: status.header.member_id,
            leader: Some(status.leader).filter(|&id| id != 0),
            version: status.version,
            size: status.db_size,
        })
    }

    async fn range(&self, body: &Value) -> Result<Vec<KeyValue>> {
        let found: Found = self.ask("kv/range", body).await?;
        found.kvs.into_iter().map(KeyValue::try_from).collect()
    }

    /// Asks one endpoint after the other until one answers; a refusal is an answer.
    async fn ask<T: DeserializeOwned>(&self, method: &str, body: &Value) -> Result<T> {
        let first = self.good.load(Ordering::Relaxed);
        let mut silent = Vec::new();
        for turn in 0..self.endpoints.len() {
            let at = (first + turn) % self.endpoints.len();
            match self.ask_at(&self.endpoints[at], method, body).await {
                Err(error) if error.downcast_ref::<BadStatus>().is_none_or(|r| r.status >= 500) => {
                    silent.push(format!("{error:#}"));
                }
                answer => {
                    self.good.store(at, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        bail!("no etcd member answers: {}", silent.join("; "))
    }

    async fn ask_at<T: DeserializeOwned>(&self, endpoint: &Url, method: &str, body: &Value) -> Result<T> {
        let host = endpoint.host_str().unwrap_or_default().to_owned();
        let url = endpoint.join(&format!("/v3/{method}")).with_context(|| format!("{method} cannot be asked"))?;
        let sent = self.client.post(url).json(body).send().await;
        let response = sent.map_err(|e| anyhow::anyhow!("{host}: {}", reason(&e)))?;
        let status = response.status();
        let text = response.text().await.map_err(|e| anyhow::anyhow!("{host}: {}", reason(&e)))?;
        if !status.is_success() {
            let message: Option<Message> = serde_json::from_str(&text).ok();
            let reason = message.map(|message| message.message).filter(|message| !message.is_empty());
            let reason = reason.unwrap_or_else(|| format!("HTTP status {status}"));
            return Err(BadStatus { host, method: method.to_owned(), reason, status: status.as_u16() }.into());
        }
        serde_json::from_str(&text).with_context(|| format!("{host} did not answer {method} as etcd does"))
    }
}

/// etcd answered that it does not do what it was asked to; below 500, no other member would either.
#[derive(Debug)]
struct BadStatus {
    host: String,
    method: String,
    reason: String,
    status: u16,
}

impl std::fmt::Display for BadStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} refused {}: {}", self.host, self.method, self.reason)
    }
}

impl std::error::Error for BadStatus {}

fn reason(error: &reqwest::Error) -> String {
    if error.is_timeout() { format!("no answer within {} s", PATIENCE.as_secs()) } else { innermost(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_is_asked_under_the_members_own_name() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let at = [("etcd-1.etcd".to_owned(), SocketAddr::from(([127, 0, 0, 1], 40001)))];
        let endpoints = ["https://etcd-0.etcd:2379".to_owned(), "https://etcd-1.etcd:2379".to_owned()];
        let etcd = Etcd::new(&endpoints, None, &at).expect("a client");
        let urls: Vec<&str> = etcd.endpoints.iter().map(Url::as_str).collect();
        assert_eq!(urls, ["https://etcd-0.etcd:2379/", "https://etcd-1.etcd:40001/"]);
        assert!(Etcd::new(&[], None, &[]).is_err());
        assert!(Etcd::new(&["etcd".to_owned()], None, &[]).is_err());
    }

    #[tokio::test]
    async fn every_silent_member_is_named_with_its_reason() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let endpoints = ["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()];
        let etcd = Etcd::new(&endpoints, None, &[]).expect("a client");
        let error = format!("{:#}", etcd.get("/a").await.expect_err("nobody there"));
        assert!(error.starts_with("no etcd member answers: 127.0.0.1: Connection refused"), "{error}");
        assert_eq!(error.matches("Connection refused").count(), 2, "{error}");
    }
}
