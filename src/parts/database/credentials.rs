//! Passwords and certificates: generated once, never replaced (decision 7).

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::{CREDENTIALS, TLS};
use crate::{
    cluster::{Cluster, secrets::password},
    labels::{Component, NAMESPACE},
    tls::Authority,
};

/// The Secret with the authority itself, which no pod mounts.
const AUTHORITY: &str = "db-ca";
/// The most members that a lab can have.
const MOST_MEMBERS: u32 = 9;

/// Makes sure that the three Secrets are there; returns whether one had to be made.
///
/// # Errors
/// The API server refuses or does not answer.
pub(super) async fn ensure(cluster: &Cluster) -> Result<bool> {
    let kinds = ["root", "wordpress", "replication"];
    let generate = || Ok(kinds.iter().map(|kind| (format!("{kind}-password"), password())).collect());
    let mut changed = cluster.ensure_secret(CREDENTIALS, Component::Database, generate).await?;
    if cluster.secret(TLS).await?.is_some() {
        return Ok(changed);
    }
    let generate = || {
        let Authority { certificate, key } = Authority::new()?;
        Ok(BTreeMap::from([("ca.crt".to_owned(), certificate), ("ca.key".to_owned(), key)]))
    };
    changed |= cluster.ensure_secret(AUTHORITY, Component::Database, generate).await?;
    let mut made = cluster.secret(AUTHORITY).await?.with_context(|| format!("there is no Secret {AUTHORITY}"))?;
    let mut take = |key: &str| made.remove(key).with_context(|| format!("Secret {AUTHORITY} has no {key}"));
    let authority = Authority { certificate: take("ca.crt")?, key: take("ca.key")? };
    let issued = authority.issue(&names())?;
    let generate = || {
        let pairs = [("ca.crt", authority.certificate), ("tls.crt", issued.certificate), ("tls.key", issued.key)];
        Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    changed |= cluster.ensure_secret(TLS, Component::Database, generate).await?;
    Ok(changed)
}

/// Every name under which a member is reached. Members are named one by one as well, because OpenSSL takes a wildcard only
/// with two more labels behind it.
fn names() -> Vec<String> {
    let members = (0..MOST_MEMBERS).map(|ordinal| format!("db-{ordinal}.db-members"));
    let hosts = ["db".to_owned(), "db-read".to_owned()].into_iter().chain(members);
    let suffixes = [
        String::new(),
        format!(".{NAMESPACE}"),
        format!(".{NAMESPACE}.svc"),
        format!(".{NAMESPACE}.svc.cluster.local"),
    ];
    let mut names: Vec<String> =
        hosts.flat_map(|host| suffixes.iter().map(move |s| format!("{host}{s}")).collect::<Vec<_>>()).collect();
    names.push(format!("*.db-members.{NAMESPACE}.svc.cluster.local"));
    names.push("localhost".to_owned());
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificate_holds_for_every_way_to_a_member() {
        let names = names();
        for name in [
            "db",
            "db.wplab",
            "db.wplab.svc",
            "db-read",
            "db-0.db-members",
            "db-8.db-members.wplab.svc.cluster.local",
            "localhost",
        ] {
            assert!(names.iter().any(|n| n == name), "{name}");
        }
    }
}
