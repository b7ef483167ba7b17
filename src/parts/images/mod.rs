//! Images: from a registry, from packages or from a bundle, behind one function; and onto every node. The rest of the
//! code cannot tell where an image came from (decision 10).

mod base;
mod build;
mod bundle;
pub mod catalogue;
mod choose;
mod load;
pub mod pull;
mod stream;
mod tool;
mod transport;

use std::{collections::BTreeMap, fmt, path::Path, str::FromStr};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use bundle::NotABundle;
pub use choose::{Estimate, How, ImageRow, Present, RoleEstimate, estimate, list};
pub use load::{load, on_nodes};
pub use pull::{PullError, PullErrorKind};
pub use transport::DiskFull;

use crate::{
    host::{
        Host,
        docker::{Docker, LocalImage},
    },
    run::{StepCx, Stepped},
    spec::ImageSource,
};
use catalogue::{Catalogue, SHORT};

/// What an image is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
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

impl Role {
    /// Every role.
    pub const ALL: [Role; 6] =
        [Role::Node, Role::Database, Role::Wordpress, Role::Nfs, Role::MetricsServer, Role::Tool];

    /// Its name in the catalogue, on the command line and in image names.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Node => "node",
            Role::Database => "database",
            Role::Wordpress => "wordpress",
            Role::Nfs => "nfs",
            Role::MetricsServer => "metrics-server",
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
    /// Built from this recipe; the tool's own image of its executable.
    Packages(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Registry(reference) => f.write_str(reference),
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
    /// The set has none; [`ensure`] returns all.
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
}

/// Makes sure that every image of a lab is in Docker, and has the name that manifests use.
///
/// # Errors
/// [`PullError`], [`NotABundle`], [`crate::host::docker::BuildFailed`], or Docker's own.
pub async fn ensure(cx: StepCx, host: &Host, source: &ImageSource, mirror: Option<&str>) -> Result<Stepped<ImageSet>> {
    let catalogue = Catalogue::embedded()?;
    let (mut images, mut changed) = match source {
        ImageSource::Bundle(path) => bundle::load(&cx, &host.docker, path).await?,
        ImageSource::Auto | ImageSource::Registry | ImageSource::Packages => {
            let roles: Vec<Role> = Role::ALL.into_iter().filter(|&role| role != Role::Tool).collect();
            choose::gather(&cx, host, &catalogue, source, mirror, &roles).await?
        }
    };
    let (tool, made) = tool::ensure(&cx, &host.docker).await?;
    images.0.insert(Role::Tool, named(&host.docker, Role::Tool, &tool, Origin::Packages("tool".to_owned())).await?);
    changed |= made;
    let size: u64 = images.0.values().map(|image| image.size).sum();
    let detail = format!("{} images in Docker, {} MB", images.0.len(), size / 1_000_000);
    Ok(Stepped::changed(changed, images, detail))
}

/// Builds the images of these roles (all, when there are none) from packages, and what they are built from.
///
/// # Errors
/// [`crate::host::docker::BuildFailed`], or Docker's own.
pub async fn build(cx: StepCx, host: &Host, roles: &[Role], mirror: Option<&str>) -> Result<Stepped<ImageSet>> {
    some(cx, host, &ImageSource::Packages, roles, mirror, "built").await
}

/// Pulls the public images of these roles (all, when there are none).
///
/// # Errors
/// [`PullError`], or Docker's own.
pub async fn pull(cx: StepCx, host: &Host, roles: &[Role], mirror: Option<&str>) -> Result<Stepped<ImageSet>> {
    some(cx, host, &ImageSource::Registry, roles, mirror, "pulled").await
}

async fn some(
    cx: StepCx,
    host: &Host,
    source: &ImageSource,
    roles: &[Role],
    mirror: Option<&str>,
    verb: &str,
) -> Result<Stepped<ImageSet>> {
    let chosen = |role: &Role| *role != Role::Tool && (roles.is_empty() || roles.contains(role));
    let roles: Vec<Role> = Role::ALL.into_iter().filter(chosen).collect();
    let (images, changed) = choose::gather(&cx, host, &Catalogue::embedded()?, source, mirror, &roles).await?;
    let detail = format!("{} images {verb}", images.0.len());
    Ok(Stepped::changed(changed, images, detail))
}

/// Writes every image of a lab into one file (see [`ImageSource::Bundle`]), after making sure that they are there;
/// returns its size in bytes.
///
/// # Errors
/// As [`ensure`]; or the file cannot be written.
pub async fn save(
    cx: StepCx,
    host: &Host,
    source: &ImageSource,
    mirror: Option<&str>,
    path: &Path,
) -> Result<Stepped<u64>> {
    let roles: Vec<Role> = Role::ALL.into_iter().filter(|&role| role != Role::Tool).collect();
    let (images, _) = choose::gather(&cx, host, &Catalogue::embedded()?, source, mirror, &roles).await?;
    let size = bundle::save(&cx, &host.docker, &images, path).await?;
    Ok(Stepped::done(size, format!("{} images in {}, {} MB", images.0.len(), path.display(), size / 1_000_000)))
}

/// Builds the image of the recipe `kind`, whose `/kind` is the executable, and returns its reference.
///
/// # Errors
/// [`crate::host::docker::BuildFailed`], or Docker's own.
pub async fn kind_recipe(cx: &StepCx, docker: &Docker) -> Result<String> {
    let catalogue = Catalogue::embedded()?;
    let recipe = catalogue.tool("kind").context("the catalogue has no tool kind")?.recipe.clone();
    build::build(cx, docker, &catalogue, &[recipe.as_str()], None).await?;
    catalogue.tag(&recipe, docker.arch())
}

/// The images that Docker has for a lab, under the names that manifests use, without changing anything; where one is
/// absent, its public reference stands for it.
///
/// # Errors
/// Docker does not answer.
pub async fn present(docker: &Docker) -> Result<ImageSet> {
    let mut images = public_set()?;
    for row in choose::list(docker).await? {
        if let Some(Present { id, size, origin }) = row.present {
            let reference = format!("docker.io/{}", name(row.role, &id)?);
            images.0.insert(row.role, Image { reference, id, size, origin });
        }
    }
    Ok(images)
}

/// The public references of the catalogue, for who has no engine at hand.
///
/// # Errors
/// The catalogue is broken, which the tests rule out.
pub fn public_set() -> Result<ImageSet> {
    let catalogue = Catalogue::embedded()?;
    let of = |role| Some((role, public(&catalogue.role(role)?.public)));
    let mut images = ImageSet(Role::ALL.into_iter().filter_map(of).collect());
    images.0.insert(Role::Tool, public(concat!("wplab/tool:", env!("CARGO_PKG_VERSION"))));
    Ok(images)
}

fn public(reference: &str) -> Image {
    Image {
        reference: reference.to_owned(),
        id: String::new(),
        size: 0,
        origin: Origin::Registry(reference.to_owned()),
    }
}

/// `wplab/ROLE:ID12`.
fn name(role: Role, id: &str) -> Result<String> {
    let short = id.trim_start_matches("sha256:").get(..SHORT).context("an image has no id")?;
    Ok(format!("wplab/{}:{short}", role.name()))
}

/// Gives an image the name that manifests use.
async fn named(docker: &Docker, role: Role, image: &LocalImage, origin: Origin) -> Result<Image> {
    let name = name(role, &image.id)?;
    if !image.repo_tags.contains(&name) {
        docker.tag(&image.id, &name).await?;
    }
    Ok(Image { reference: format!("docker.io/{name}"), id: image.id.clone(), size: image.size, origin })
}
