//! Passwords and certificates: generated once, never replaced but for root's, which somebody may bring (docs/decisions/0007-secrets-once.md).

use std::collections::BTreeMap;

use anyhow::Result;

use super::{
    declare::NotTaken,
    names::{CREDENTIALS, MEMBERS, MOST, ROOT, ROOT_KEY, TLS, password_of},
};
use crate::{
    cluster::{Cluster, secrets::password},
    inside::orders,
    labels::{Component, NAMESPACE},
    parts::discovery,
    run::advice::Trouble,
    spec::Topology,
    wire::tls::{Authority, Use},
};

/// The authority that clients of the database trust, and members among themselves.
const DATABASE: &str = "db-ca";
/// The authority that those trust who give orders to members, and those who take them.
const ORDERS: &str = "orders-ca";
/// The authority that etcd and its clients trust.
const ETCD: &str = "etcd-ca";
/// The authority that etcd's members trust among themselves.
const ETCD_PEERS: &str = "etcd-peer-ca";

/// The keys of the Secret with the accounts' passwords.
pub fn keys(topology: Topology) -> &'static [&'static str] {
    match topology {
        Topology::Replication => &["root-password", "wordpress-password", "replication-password"],
        Topology::Galera => &["root-password", "wordpress-password", "replication-password", "sst-password"],
    }
}

/// The Secrets with a certificate, its key and its authority's certificate.
pub fn certificates(topology: Topology) -> Vec<(&'static str, Component)> {
    papers(topology).into_iter().map(|paper| (paper.secret, paper.component)).collect()
}

/// The variable of the environment in which somebody may bring a password of root: for a new lab, in which nobody can make a Secret
/// before.
const ROOT_VARIABLE: &str = "WPLAB_ROOT_PASSWORD";

/// What that variable has.
///
/// # Errors
/// It is no good password, which is not repeated.
pub fn brought() -> Result<Option<BTreeMap<String, String>>, String> {
    let Ok(password) = std::env::var(ROOT_VARIABLE) else { return Ok(None) };
    let values = BTreeMap::from([(ROOT_KEY.to_owned(), password)]);
    match password_of(&values) {
        Ok(_) => Ok(Some(values)),
        Err(why) => Err(format!("the variable {ROOT_VARIABLE}: {why}")),
    }
}

/// Makes sure that the Secrets are there; returns whether one had to be made. A lab whose database does not exist yet begins with the
/// password of root that somebody brings; one that does is given it by the operator.
///
/// # Errors
/// The API server refuses or does not answer; [`NotTaken`]: a password that is brought is none.
pub(super) async fn ensure(cluster: &Cluster, topology: Topology) -> Result<bool> {
    let not_taken = |why| Trouble::from(NotTaken { lab: cluster.lab.clone(), why });
    let mut changed = match brought().map_err(not_taken)? {
        Some(values) => cluster.replace_secret(ROOT, Component::Database, values).await?,
        None => false,
    };
    let mut first = passwords(topology);
    if let Some(brought) = cluster.secret(ROOT).await? {
        let password = password_of(&brought).map_err(|why| not_taken(format!("Secret {ROOT}: {why}")))?;
        first.insert("root-password".to_owned(), password.to_owned());
    }
    changed |= cluster.ensure_secret(CREDENTIALS, Component::Database, || Ok(first)).await?;
    for paper in papers(topology) {
        changed |= certificate(cluster, &paper).await?;
    }
    Ok(changed)
}

/// A certificate of the lab's: the Secret that pods mount, and all that is said in it.
struct Paper {
    secret: &'static str,
    component: Component,
    /// The Secret with the authority that signs it. No pod mounts that.
    authority: &'static str,
    used: Use,
    names: Vec<String>,
}

/// Every certificate of a lab, each by the authority of whoever has to trust it.
fn papers(topology: Topology) -> Vec<Paper> {
    let paper = |secret, component, authority, used, names| Paper { secret, component, authority, used, names };
    let mut papers = vec![paper(TLS, Component::Database, DATABASE, Use::Peer, names())];
    match topology {
        Topology::Replication => {
            let members = (0..MOST).map(|ordinal| orders::host(&format!("{MEMBERS}-{ordinal}"))).collect();
            let agent = vec![orders::AGENT.to_owned()];
            papers.push(paper("orders-member", Component::Database, ORDERS, Use::Server, members));
            papers.push(paper("orders-agent", Component::Agent, ORDERS, Use::Client, agent));
        }
        Topology::Galera => {
            let names = discovery::names();
            let client = vec!["client".to_owned()];
            papers.push(paper(discovery::SERVER, Component::Discovery, ETCD, Use::Peer, names.clone()));
            papers.push(paper(discovery::CLIENT, Component::Discovery, ETCD, Use::Client, client));
            papers.push(paper(discovery::PEER, Component::Discovery, ETCD_PEERS, Use::Peer, names));
        }
    }
    papers
}

/// Replaces every password. The servers are given them by their next start, and do not run now.
///
/// # Errors
/// The API server refuses or does not answer.
pub async fn renew(cluster: &Cluster, topology: Topology) -> Result<()> {
    cluster.renew_secret(CREDENTIALS, Component::Database, passwords(topology)).await
}

fn passwords(topology: Topology) -> BTreeMap<String, String> {
    keys(topology).iter().map(|key| ((*key).to_owned(), password())).collect()
}

/// Makes sure of one certificate, and of its authority, which is made with the first one that it signs.
async fn certificate(cluster: &Cluster, paper: &Paper) -> Result<bool> {
    let Paper { secret, component, authority, used, names } = paper;
    if cluster.secret(secret).await?.is_some() {
        return Ok(false);
    }
    let generate = || {
        let Authority { certificate, key } = Authority::new()?;
        Ok(BTreeMap::from([("ca.crt".to_owned(), certificate), ("ca.key".to_owned(), key)]))
    };
    cluster.ensure_secret(authority, *component, generate).await?;
    let [certificate, key] = cluster.secret_values(authority, ["ca.crt", "ca.key"]).await?;
    let authority = Authority { certificate, key };
    let issued = authority.issue(*used, &subject(*component), names)?;
    let generate = || {
        let pairs = [("ca.crt", authority.certificate), ("tls.crt", issued.certificate), ("tls.key", issued.key)];
        Ok(pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    };
    cluster.ensure_secret(secret, *component, generate).await
}

/// The common name of a certificate. MariaDB from 11.8.9 on hands that of a joiner to the donor, and the donor takes only
/// what a shell has no other word for: a space is refused ("Illegal character in variable", "Bad remote auth string").
pub(in crate::parts) fn subject(component: Component) -> String {
    format!("wplab-{}", component.as_str())
}

/// Every name under which a member is reached. Members are named one by one as well, because OpenSSL takes a wildcard only
/// with two more labels behind it.
pub(in crate::parts) fn names() -> Vec<String> {
    let members = (0..MOST).map(|ordinal| format!("db-{ordinal}.db-members"));
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
    fn a_donor_can_hand_the_subject_to_a_script() {
        for component in [Component::Database, Component::Discovery, Component::Agent] {
            let subject = subject(component);
            assert!(subject.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{subject:?}");
        }
    }

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
    #[test]
    fn a_key_is_good_for_one_purpose() {
        let of = |topology| {
            let papers = papers(topology);
            papers.into_iter().map(|paper| (paper.secret, paper.authority, paper.used)).collect::<Vec<_>>()
        };
        let database = ("db-tls", "db-ca", Use::Peer);
        let orders = [("orders-member", "orders-ca", Use::Server), ("orders-agent", "orders-ca", Use::Client)];
        assert_eq!(of(Topology::Replication), [&[database][..], &orders[..]].concat());
        let etcd = [
            ("etcd-server", "etcd-ca", Use::Peer),
            ("etcd-client", "etcd-ca", Use::Client),
            ("etcd-peer", "etcd-peer-ca", Use::Peer),
        ];
        assert_eq!(of(Topology::Galera), [&[database][..], &etcd[..]].concat());
        let agents = papers(Topology::Replication).into_iter().filter(|paper| paper.used == Use::Client);
        assert_eq!(agents.flat_map(|paper| paper.names).collect::<Vec<_>>(), ["agent"]);
    }
}
