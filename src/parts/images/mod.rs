//! Images: from a registry, from packages or from a bundle, behind one function; and onto every node. The rest of the
//! code cannot tell where an image came from (decision 10).

use std::collections::BTreeMap;

use serde::Serialize;

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A Kubernetes node for kind.
    Node,
    /// The database server.
    Database,
    /// WordPress with Apache and PHP.
    Wordpress,
    /// nfs-ganesha.
    Nfs,
    /// metrics-server.
    MetricsServer,
    /// wplab itself, for what runs inside the cluster.
    Tool,
}

/// Where an image came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// Pulled from this reference.
    Registry(String),
    /// Built from this recipe.
    Packages(String),
}

/// An image that is in Docker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImageSet(pub BTreeMap<Role, Image>);
