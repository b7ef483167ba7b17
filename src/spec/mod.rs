//! What was asked for: the lab file's types. Their defaults are read from the lab files that people are shown (`defaults`),
//! loading and every rule are in the neighbours [`load`] and `validate`; whoever holds a [`LabSpec`] may rely on all rules.

#[macro_use]
mod text;

pub mod backup;
mod defaults;
pub mod destination;
mod file;
pub mod load;
mod overrides;
pub mod placement;
mod problem;
pub mod scenario;
mod server;
mod settings;
mod tree;
mod validate;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

pub use self::server::{ServerImage, VolumeClass};
pub(crate) use self::settings::size;
use self::{backup::BackupSpec, placement::Placement};

/// A lab's name, which is also the kind cluster's: a DNS label of at most 40 characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct LabName(String);

/// What a name of a thing may be: a DNS label of at most 40 characters.
fn named(name: &str, thing: &str) -> Result<String, String> {
    let label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let fits = !name.is_empty() && name.len() <= 40 && name.chars().all(label);
    if fits && !name.starts_with('-') && !name.ends_with('-') {
        return Ok(name.to_owned());
    }
    Err(format!(
        "{} is not a {thing} name: use at most 40 lowercase letters, digits and '-', beginning and ending with a letter or digit",
        problem::quoted(name)
    ))
}

impl LabName {
    /// Checks a name.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(name: &str) -> Result<LabName, String> {
        named(name, "lab").map(LabName)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for LabName {
    type Error = String;

    fn try_from(name: String) -> Result<LabName, String> {
        LabName::new(&name)
    }
}

impl fmt::Display for LabName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a snapshot; what it may be is as for a lab's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct SnapshotName(String);

impl SnapshotName {
    /// Checks a name.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(name: &str) -> Result<SnapshotName, String> {
        named(name, "snapshot").map(SnapshotName)
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for SnapshotName {
    type Error = String;

    fn try_from(name: String) -> Result<SnapshotName, String> {
        SnapshotName::new(&name)
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The whole lab, as asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LabSpec {
    /// The lab's name.
    pub name: LabName,
    /// The nodes and the way in.
    pub cluster: ClusterSpec,
    /// Where images come from.
    pub images: ImageSource,
    /// The shared file system.
    pub storage: StorageSpec,
    /// The database.
    pub database: DatabaseSpec,
    /// The site.
    pub wordpress: WordpressSpec,
    /// The HorizontalPodAutoscaler.
    pub autoscale: AutoscaleSpec,
    /// Backups.
    #[serde(default)]
    pub backup: BackupSpec,
    /// Whether Prometheus watches it.
    #[serde(default)]
    pub monitoring: bool,
}

/// The nodes and the way in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClusterSpec {
    /// Worker nodes beside the one control plane, 2 to 9 (for topology `galera` 3 to 9): two database members never share
    /// a node, and neither do two members of etcd.
    pub workers: u8,
    /// Wanted port of the frontend on 127.0.0.1; the next free one is taken when it is in use.
    pub port: u16,
}

/// Where images come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ImageSource {
    /// Already present, else a registry if it answers, else packages.
    Auto,
    /// The public references, from their registries.
    Registry,
    /// Built from Debian packages and Go modules.
    Packages,
    /// Read from a bundle that `wplab images save` wrote.
    Bundle(PathBuf),
}

impl ImageSource {
    /// Reads `auto`, `registry`, `packages` or the path of a bundle; a relative path begins at `folder`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str, folder: &Path) -> Result<ImageSource, String> {
        match text {
            "auto" => Ok(ImageSource::Auto),
            "registry" => Ok(ImageSource::Registry),
            "packages" => Ok(ImageSource::Packages),
            path if path.ends_with(".tar") => Ok(ImageSource::Bundle(folder.join(path))),
            other => {
                let other = problem::quoted(other);
                Err(format!(
                    "{other} is no source of images: use auto, registry, packages or the path of a .tar bundle"
                ))
            }
        }
    }
}

impl TryFrom<String> for ImageSource {
    type Error = String;

    fn try_from(text: String) -> Result<ImageSource, String> {
        ImageSource::new(&text, Path::new(""))
    }
}

impl From<ImageSource> for String {
    fn from(source: ImageSource) -> String {
        source.to_string()
    }
}

/// As [`ImageSource::new`] reads it.
impl fmt::Display for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ImageSource::Auto => f.write_str("auto"),
            ImageSource::Registry => f.write_str("registry"),
            ImageSource::Packages => f.write_str("packages"),
            ImageSource::Bundle(path) => path.display().fmt(f),
        }
    }
}

/// The shared file system.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StorageSpec {
    /// Size of the volume behind the export.
    pub size: Quantity,
}

/// How the database keeps its copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topology {
    /// A MySQL source and replicas: CLONE, GTID, semi-synchronous.
    Replication,
    /// A synchronous cluster whose members find each other through etcd.
    Galera,
}

impl Topology {
    /// Reads a topology's name.
    ///
    /// # Errors
    /// A sentence that says what is allowed, or what was probably meant.
    pub fn new(text: &str) -> Result<Topology, String> {
        known(text, "topology", [Topology::Replication, Topology::Galera], Topology::name)
    }

    /// The name in a lab file.
    pub const fn name(self) -> &'static str {
        match self {
            Topology::Replication => "replication",
            Topology::Galera => "galera",
        }
    }
}

/// Which server a Galera cluster is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flavour {
    /// Percona where its image is present or a registry answers, else MariaDB built from packages.
    Auto,
    /// Percona XtraDB Cluster.
    Percona,
    /// MariaDB with Galera.
    Mariadb,
}

impl Flavour {
    /// Reads a flavour's name.
    ///
    /// # Errors
    /// A sentence that says what is allowed, or what was probably meant.
    pub fn new(text: &str) -> Result<Flavour, String> {
        known(text, "flavour", [Flavour::Auto, Flavour::Percona, Flavour::Mariadb], Flavour::name)
    }

    /// The name in a lab file.
    pub const fn name(self) -> &'static str {
        match self {
            Flavour::Auto => "auto",
            Flavour::Percona => "percona",
            Flavour::Mariadb => "mariadb",
        }
    }
}

/// What becomes of the volume of a member that the lab has no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FreedVolumes {
    /// It stays, and the member has it again if it comes back.
    #[default]
    Keep,
    /// It goes with the member.
    Remove,
}

impl FreedVolumes {
    /// Reads its name.
    ///
    /// # Errors
    /// A sentence that says what is allowed, or what was probably meant.
    pub fn new(text: &str) -> Result<FreedVolumes, String> {
        known(text, "use for a freed volume", [FreedVolumes::Keep, FreedVolumes::Remove], FreedVolumes::name)
    }

    /// The name in a lab file.
    pub const fn name(self) -> &'static str {
        match self {
            FreedVolumes::Keep => "keep",
            FreedVolumes::Remove => "remove",
        }
    }
}

/// Where the site reads what need not be fresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reads {
    /// At the writer, as long as there is one.
    #[default]
    Writer,
    /// At the readers: read/write splitting.
    Readers,
}

impl Reads {
    /// Reads its name.
    ///
    /// # Errors
    /// A sentence that says what is allowed, or what was probably meant.
    pub fn new(text: &str) -> Result<Reads, String> {
        known(text, "place to read", [Reads::Writer, Reads::Readers], Reads::name)
    }

    /// The name in a lab file.
    pub const fn name(self) -> &'static str {
        match self {
            Reads::Writer => "writer",
            Reads::Readers => "readers",
        }
    }
}

/// The one of these that a text names; `kind` is what they are.
fn known<T: Copy, const N: usize>(
    text: &str,
    kind: &str,
    all: [T; N],
    name: fn(T) -> &'static str,
) -> Result<T, String> {
    let names = all.map(name);
    if let Some((found, _)) = all.into_iter().zip(names).find(|(_, name)| *name == text) {
        return Ok(found);
    }
    let hint = match (problem::meant(text, names), names.split_last()) {
        (None, Some((last, others))) => format!("use {} or {last}", others.join(", ")),
        (meant, _) => format!("did you mean {}?", meant.unwrap_or_default()),
    };
    Err(format!("{} is no {kind}: {hint}", problem::quoted(text)))
}

/// The database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DatabaseSpec {
    /// How the members keep their copies.
    pub topology: Topology,
    /// Which server a Galera cluster is made of; always [`Flavour::Auto`] in the other topology.
    pub flavour: Flavour,
    /// The image of the server.
    #[serde(default)]
    pub image: ServerImage,
    /// Members, 1 to 9 (in a Galera cluster 1, or 3 to 9) and at most one per worker. A single one is not protected: its loss is
    /// the loss of its data.
    pub members: u8,
    /// What becomes of the volumes of members that the lab has no more.
    #[serde(default)]
    pub freed_volumes: FreedVolumes,
    /// Size of each member's volume.
    pub volume: Quantity,
    /// The StorageClass of these volumes. It does not change on a lab that stands.
    #[serde(default)]
    pub volume_class: VolumeClass,
    /// What each member asks for and may use.
    pub resources: Resources,
    /// Where members may run.
    #[serde(default)]
    pub placement: Placement,
    /// Lines for the `[mysqld]` section of `my.cnf`, by option name (lower case, with underscores). Those of the lab
    /// file are added to the defaults; none of them is an option that the lab sets itself.
    pub settings: BTreeMap<String, String>,
}

/// The site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WordpressSpec {
    /// The site's title.
    pub title: String,
    /// Replicas to begin with, 1 to 20; from then on the autoscaler decides.
    pub replicas: u8,
    /// Where pages are read for visitors whom nobody knows.
    #[serde(default)]
    pub reads: Reads,
    /// What each replica asks for and may use.
    pub resources: Resources,
}

/// The HorizontalPodAutoscaler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AutoscaleSpec {
    /// Fewest replicas.
    pub min: u8,
    /// Most replicas.
    pub max: u8,
    /// Target CPU use in percent of the request, 1 to 100.
    pub cpu: u8,
    /// Seconds without need before a replica goes, 0 to 3600.
    #[serde(with = "file::seconds")]
    pub scale_down_window: u32,
}

/// What a container asks for and may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resources {
    /// Requested CPU; there is no CPU limit, because throttling makes a lab flaky.
    pub cpu: Quantity,
    /// Requested memory, which is also the limit.
    pub memory: Quantity,
}

/// A Kubernetes quantity, as written (`500m`, `2Gi`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct Quantity(String);

impl Quantity {
    /// Checks a quantity: a non-negative number with an optional suffix `m`, `k`, `M`, `G`, `T`, `Ki`, `Mi`, `Gi`, `Ti`.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<Quantity, String> {
        match Self::parse(text) {
            Some(_) => Ok(Quantity(text.to_owned())),
            None => Err(format!("{text:?} is not a quantity: write a number and a unit, such as 500m, 512Mi or 2Gi")),
        }
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// In base units: bytes, or cores.
    pub fn value(&self) -> f64 {
        Self::parse(&self.0).unwrap_or_default()
    }

    fn parse(text: &str) -> Option<f64> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "" => 1.0,
            "m" => 1e-3,
            "k" => 1e3,
            "M" => 1e6,
            "G" => 1e9,
            "T" => 1e12,
            "Ki" => 1024.0,
            "Mi" => 1024f64.powi(2),
            "Gi" => 1024f64.powi(3),
            "Ti" => 1024f64.powi(4),
            _ => return None,
        };
        (number.starts_with(|c: char| c.is_ascii_digit())).then_some(())?;
        Some(number.parse::<f64>().ok()? * factor)
    }
}

impl TryFrom<String> for Quantity {
    type Error = String;

    fn try_from(text: String) -> Result<Quantity, String> {
        Quantity::new(&text)
    }
}
