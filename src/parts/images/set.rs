//! What an image is for, where it came from, what it is called; and the images of one lab.

use std::{collections::BTreeMap, fmt, str::FromStr};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{
    host::docker::{Docker, LocalImage},
    spec::Flavour,
};

/// Digits of a hash or image id in a tag: enough that no two are alike by chance.
pub(super) const SHORT: usize = 12;

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A Kubernetes node for kind.
    Node,
    /// MySQL, for topology `replication`.
    #[serde(alias = "database")] // as labs and bundles from before there was a choice call it
    Mysql,
    /// Percona XtraDB Cluster, for topology `galera`.
    Percona,
    /// MariaDB with Galera, for topology `galera`.
    Mariadb,
    /// etcd, through which the members of topology `galera` find each other.
    Etcd,
    /// WordPress with Apache and PHP.
    Wordpress,
    /// nfs-ganesha.
    Nfs,
    /// metrics-server.
    MetricsServer,
    /// Prometheus, where the lab is watched.
    Prometheus,
    /// mysqld-exporter, which asks the database's members for it.
    MysqldExporter,
    /// versitygw, the S3 server beside the clusters. No lab runs it: it is there where backups are wanted.
    Versitygw,
    /// wplab itself, for what runs inside the cluster.
    Tool,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 12] = [
        Role::Node,
        Role::Mysql,
        Role::Percona,
        Role::Mariadb,
        Role::Etcd,
        Role::Wordpress,
        Role::Nfs,
        Role::MetricsServer,
        Role::Prometheus,
        Role::MysqldExporter,
        Role::Versitygw,
        Role::Tool,
    ];

    /// Its name in the catalogue, on the command line and in image names.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Node => "node",
            Role::Mysql => "mysql",
            Role::Percona => "percona",
            Role::Mariadb => "mariadb",
            Role::Etcd => "etcd",
            Role::Wordpress => "wordpress",
            Role::Nfs => "nfs",
            Role::MetricsServer => "metrics-server",
            Role::Prometheus => "prometheus",
            Role::MysqldExporter => "mysqld-exporter",
            Role::Versitygw => "versitygw",
            Role::Tool => "tool",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(name: &str) -> Result<Role, String> {
        let names = || Role::ALL.map(Role::name).join(", ");
        Role::ALL
            .into_iter()
            .find(|role| role.name() == name)
            .ok_or_else(|| format!("{name:?} is no role: it is one of {}", names()))
    }
}

/// Where an image came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Pulled from this reference.
    Registry(String),
    /// Named by the lab file: as Docker had it, or pulled from there.
    Named(String),
    /// Built from this recipe; the tool's own image of its executable.
    Packages(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Registry(reference) | Origin::Named(reference) => f.write_str(reference),
            Origin::Packages(recipe) => write!(f, "recipe {recipe}"),
        }
    }
}

/// An image that is in Docker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// The name that manifests use and that it has on every node: `docker.io/wplab/ROLE:ID12`. It changes with the content.
    pub reference: String,
    /// Docker's image id (`sha256:…`).
    pub id: String,
    /// Size in bytes, as Docker tells it.
    pub size: u64,
    /// Where it came from.
    pub origin: Origin,
}

/// The images of one lab.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSet(pub BTreeMap<Role, Image>);

impl ImageSet {
    /// The image for a role.
    ///
    /// # Errors
    /// The set has none; [`super::ensure`] returns all.
    pub fn get(&self, role: Role) -> Result<&Image> {
        self.0.get(&role).with_context(|| format!("there is no image for {}", role.name()))
    }

    /// The name under which a role's image is on the nodes.
    ///
    /// # Errors
    /// As [`ImageSet::get`].
    pub fn reference(&self, role: Role) -> Result<&str> {
        Ok(&self.get(role)?.reference)
    }

    /// The flavour of Galera that is in the set; `None` in topology `replication`.
    pub fn flavour(&self) -> Option<Flavour> {
        let has = |role| self.0.contains_key(&role);
        if has(Role::Percona) { Some(Flavour::Percona) } else { has(Role::Mariadb).then_some(Flavour::Mariadb) }
    }
}

/// `wplab/ROLE:ID12`.
pub(super) fn name(role: Role, id: &str) -> Result<String> {
    let short = id.trim_start_matches("sha256:").get(..SHORT).context("an image has no id")?;
    Ok(format!("wplab/{}:{short}", role.name()))
}

/// Gives an image the name that manifests use.
pub(super) async fn named(docker: &Docker, role: Role, image: &LocalImage, origin: Origin) -> Result<Image> {
    let name = name(role, &image.id)?;
    if !image.repo_tags.contains(&name) {
        docker.tag(&image.id, &name).await?;
    }
    Ok(Image { reference: format!("docker.io/{name}"), id: image.id.clone(), size: image.size, origin })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_images_of_an_older_lab_are_read_and_a_set_tells_its_flavour() {
        let image = r#"{"reference": "docker.io/wplab/database:0", "id": "sha256:0", "size": 1, "origin": {"packages": "mysql"}}"#;
        let older: ImageSet = serde_json::from_str(&format!(r#"{{"database": {image}}}"#)).expect("it is read");
        assert!(older.get(Role::Mysql).is_ok() && older.flavour().is_none());
        let galera: ImageSet = serde_json::from_str(&format!(r#"{{"mariadb": {image}}}"#)).expect("it is read");
        assert_eq!(galera.flavour(), Some(Flavour::Mariadb));
    }
}
