//! For each role the way to its image: what Docker has, what a registry has, what is built. The decision is a pure
//! function; looking and doing are around it.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, future::try_join, stream};
use serde::Serialize;

use super::{
    ImageSet, Origin, PullError, PullErrorKind, Role, build, bundle,
    catalogue::{Catalogue, RoleSource},
    named,
    needed::{self, Chances},
    pull,
};
use crate::{
    host::{
        Host,
        docker::{Docker, LocalImage},
        registry,
    },
    run::StepCx,
    spec::{ImageSource, LabSpec, Topology},
};

/// Pulls at once.
const PULLS: usize = 3;

/// The way to an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Docker has it, from there.
    Present(Origin),
    /// From this public reference.
    Pull(String),
    /// From this recipe.
    Build(String),
    /// Out of the bundle.
    Bundle,
    /// Made of this executable.
    Tool,
}

/// What Docker has for a role.
#[derive(Clone, Debug, Default)]
struct Local {
    built: Option<LocalImage>,
    public: Option<LocalImage>,
}

/// What decides beside the role.
#[derive(Clone, Copy, Debug)]
struct Circumstances<'a> {
    source: &'a ImageSource,
    kernel_nfs: bool,
    registry: bool,
}

/// An image was to be built that can only be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRecipe {
    /// What it is for.
    pub role: Role,
    /// The only way to it.
    pub public: String,
    /// Pulling was allowed, and no registry answers.
    pub silent: bool,
}

impl fmt::Display for NoRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoRecipe { role, public, silent } = self;
        let silent = if *silent { ", and no registry answers" } else { "" };
        write!(f, "the image for {} cannot be built from packages: it exists only as {public}{silent}", role.name())?;
        if *role == Role::Percona { f.write_str("; flavour mariadb can be built") } else { Ok(()) }
    }
}

impl std::error::Error for NoRecipe {}

/// The decision: already there, else a registry if it answers, else packages; or what was asked for.
fn choose(role: Role, source: &RoleSource, built: bool, public: bool, now: Circumstances<'_>) -> Result<How, NoRecipe> {
    let from_packages = || match &source.recipe {
        Some(recipe) if built => Ok(How::Present(Origin::Packages(recipe.clone()))),
        Some(recipe) => Ok(How::Build(recipe.clone())),
        None => Err(NoRecipe { role, public: source.public.clone(), silent: matches!(now.source, ImageSource::Auto) }),
    };
    let from_registry = || {
        if public { How::Present(Origin::Registry(source.public.clone())) } else { How::Pull(source.public.clone()) }
    };
    match now.source {
        ImageSource::Packages => from_packages(),
        ImageSource::Registry => Ok(from_registry()),
        ImageSource::Bundle(_) => Ok(How::Bundle),
        // The public node image mounts NFS only where the kernel can.
        ImageSource::Auto if role == Role::Node && !now.kernel_nfs => from_packages(),
        ImageSource::Auto if built || !(public || now.registry) => from_packages(),
        ImageSource::Auto => Ok(from_registry()),
    }
}

/// The roles of a lab; looks for the flavours only when there is a choice.
pub(super) async fn roles(
    docker: &Docker,
    catalogue: &Catalogue,
    spec: &LabSpec,
    mirror: Option<&str>,
) -> Result<Vec<Role>> {
    let mut chances = Chances::default();
    if spec.database.topology == Topology::Galera {
        if let ImageSource::Bundle(path) = &spec.images {
            let bundled = bundle::roles(path, docker.arch())?;
            chances.percona = bundled.contains(&Role::Percona);
            chances.mariadb = bundled.contains(&Role::Mariadb);
        } else {
            chances.percona = is_here(docker, catalogue, Role::Percona).await?;
            chances.mariadb = is_here(docker, catalogue, Role::Mariadb).await?;
        }
        if needed::hangs_on_a_registry(spec, chances) {
            chances.registry = registry::answers(mirror).await;
        }
    }
    Ok(needed::roles(needed::server(&spec.database, &spec.images, chances)))
}

async fn is_here(docker: &Docker, catalogue: &Catalogue, role: Role) -> Result<bool> {
    let Some(source) = catalogue.role(role) else { return Ok(false) };
    let found = local(docker, catalogue, source).await?;
    Ok(found.built.is_some() || found.public.is_some())
}

/// Makes sure of the images of these roles; returns them by role, and whether anything was pulled or built.
pub(super) async fn gather(
    cx: &StepCx,
    host: &Host,
    catalogue: &Catalogue,
    source: &ImageSource,
    mirror: Option<&str>,
    roles: &[Role],
) -> Result<(ImageSet, bool)> {
    let docker = &host.docker;
    let chosen = survey(host, catalogue, source, mirror, roles).await?;
    if matches!(source, ImageSource::Auto)
        && chosen.iter().any(|c| matches!(&c.how, How::Build(_)) && c.role == Role::Node)
        && !host.facts.kernel_nfs
    {
        cx.say("the kernel has no NFS client, so the node image is built from packages: it mounts NFS by itself");
    }
    if matches!(source, ImageSource::Registry) && !host.facts.kernel_nfs && roles.contains(&Role::Node) {
        cx.warn("the kernel has no NFS client, and the public node image has none either: WordPress will not get its volume; use --images auto");
    }
    let (mut recipes, mut pulls) = (Vec::new(), Vec::new());
    for c in &chosen {
        match &c.how {
            How::Build(recipe) => recipes.push(recipe.as_str()),
            How::Pull(public) => pulls.push((c.role, public.as_str(), c.source.recipe.is_some())),
            How::Present(_) | How::Bundle | How::Tool => {}
        }
    }
    let fall_back = matches!(source, ImageSource::Auto);
    let pulled = async {
        let pulled = stream::iter(&pulls).map(|&(role, public, has_recipe)| async move {
            match pull::pull(cx, docker, role.name(), public, mirror).await {
                Ok(image) => Ok((role, Some(image))),
                Err(error) if fall_back && has_recipe && !mismatch(&error) => {
                    cx.warn(format!("{error:#}; the image for {} is built from packages", role.name()));
                    Ok((role, None))
                }
                Err(error) if has_recipe => Err(error),
                Err(error) => Err(error.context(NoRecipe { role, public: public.to_owned(), silent: false })),
            }
        });
        pulled.buffer_unordered(PULLS).try_collect::<BTreeMap<Role, Option<LocalImage>>>().await
    };
    let (mut pulled, mut built) = try_join(pulled, build::build(cx, docker, catalogue, &recipes, mirror)).await?;
    let refused: Vec<&str> = chosen
        .iter()
        .filter(|c| pulled.get(&c.role).is_some_and(Option::is_none))
        .filter_map(|c| c.source.recipe.as_deref())
        .collect();
    built.extend(build::build(cx, docker, catalogue, &refused, mirror).await?);
    let changed = !built.is_empty() || !pulled.is_empty();
    let mut images = ImageSet::default();
    for c in chosen {
        let arrived = pulled.remove(&c.role).flatten();
        let (image, origin) = match (c.how, arrived) {
            (How::Present(origin @ Origin::Registry(_)), _) => (c.local.public, origin),
            (How::Present(origin), _) => (c.local.built, origin),
            (How::Pull(public), Some(image)) => (Some(image), Origin::Registry(public)),
            _ => {
                let recipe =
                    c.source.recipe.clone().context("an image without a recipe was neither here nor pulled")?;
                (docker.image(&catalogue.tag(&recipe, docker.arch())?).await?, Origin::Packages(recipe))
            }
        };
        let image = image.ok_or_else(|| anyhow::anyhow!("the image for {} was there and is gone", c.role.name()))?;
        images.0.insert(c.role, named(docker, c.role, &image, origin).await?);
    }
    Ok((images, changed))
}

fn mismatch(error: &anyhow::Error) -> bool {
    error.downcast_ref::<PullError>().is_some_and(|e| matches!(e.kind, PullErrorKind::DigestMismatch(_)))
}

/// The way to one role's image; `None` for a role that the catalogue does not have.
///
/// # Errors
/// [`NoRecipe`], or Docker's own.
pub(super) async fn way(
    host: &Host,
    catalogue: &Catalogue,
    source: &ImageSource,
    mirror: Option<&str>,
    role: Role,
) -> Result<Option<How>> {
    let chosen = survey(host, catalogue, source, mirror, &[role]).await?;
    Ok(chosen.into_iter().next().map(|chosen| chosen.how))
}

/// A role and what was decided for it.
struct Chosen<'a> {
    role: Role,
    source: &'a RoleSource,
    local: Local,
    how: How,
}

async fn survey<'a>(
    host: &Host,
    catalogue: &'a Catalogue,
    source: &ImageSource,
    mirror: Option<&str>,
    roles: &[Role],
) -> Result<Vec<Chosen<'a>>> {
    let mut found = Vec::new();
    for &role in roles {
        let Some(of_role) = catalogue.role(role) else { continue };
        found.push((role, of_role, local(&host.docker, catalogue, of_role).await?));
    }
    // A registry is asked only when its answer decides something.
    let open = found.iter().any(|(_, _, local)| local.built.is_none() && local.public.is_none());
    let registry = open && matches!(source, ImageSource::Auto) && registry::answers(mirror).await;
    let now = Circumstances { source, kernel_nfs: host.facts.kernel_nfs, registry };
    let chosen = found.into_iter().map(|(role, source, local)| {
        let how = choose(role, source, local.built.is_some(), local.public.is_some(), now)?;
        Ok(Chosen { role, source, local, how })
    });
    chosen.collect()
}

async fn local(docker: &Docker, catalogue: &Catalogue, source: &RoleSource) -> Result<Local> {
    let built = match &source.recipe {
        Some(recipe) => docker.image(&catalogue.tag(recipe, docker.arch())?).await?,
        None => None,
    };
    Ok(Local { built, public: pull::present(docker, &source.public).await? })
}

/// What `up` would do for one role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RoleEstimate {
    /// The role.
    pub role: Role,
    /// The way to its image.
    pub how: How,
}

/// What `up` would do about images.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Estimate {
    /// By role.
    pub roles: Vec<RoleEstimate>,
    /// Everything that would be built, in that order, each with its seconds on two cores.
    pub builds: Vec<(String, u64)>,
    /// Seconds of all builds on two cores.
    pub build_seconds: u64,
}

/// What [`super::ensure`] would do, without doing it.
///
/// # Errors
/// [`NoRecipe`], [`super::NotABundle`], or Docker's own.
pub async fn estimate(host: &Host, spec: &LabSpec, mirror: Option<&str>) -> Result<Estimate> {
    let catalogue = Catalogue::embedded()?;
    let roles = roles(&host.docker, &catalogue, spec, mirror).await?;
    let mut estimate = Estimate::default();
    if let ImageSource::Bundle(path) = &spec.images {
        bundle::demand(path, host.docker.arch(), &roles)?;
        let bundled = roles.into_iter().filter(|role| *role != Role::Tool);
        estimate.roles = bundled.map(|role| RoleEstimate { role, how: How::Bundle }).collect();
    } else {
        let chosen = survey(host, &catalogue, &spec.images, mirror, &roles).await?;
        estimate.roles = chosen.into_iter().map(|c| RoleEstimate { role: c.role, how: c.how }).collect();
    }
    let recipes: Vec<&str> = estimate
        .roles
        .iter()
        .filter_map(|r| if let How::Build(recipe) = &r.how { Some(recipe.as_str()) } else { None })
        .collect();
    let missing = build::missing(&host.docker, &catalogue, &recipes).await?;
    estimate.builds = missing
        .into_iter()
        .map(|name| {
            let seconds = catalogue.seconds(&name);
            (name, seconds)
        })
        .collect();
    estimate.build_seconds = estimate.builds.iter().map(|(_, seconds)| seconds).sum();
    estimate.roles.push(RoleEstimate { role: Role::Tool, how: How::Tool });
    Ok(estimate)
}

/// One line of `wplab images list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct ImageRow {
    /// The role.
    pub role: Role,
    /// Its public reference, pinned.
    pub public: String,
    /// The recipe that builds its like, if there is one.
    pub recipe: Option<String>,
    /// The name in Docker of what that recipe builds now; it changes with the recipe.
    pub built_tag: Option<String>,
    /// What Docker has, when it has one of the two.
    pub present: Option<Present>,
}

/// An image that Docker has for a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Present {
    /// Docker's image id.
    pub id: String,
    /// Size in bytes.
    pub size: u64,
    /// Where it came from.
    pub origin: Origin,
}

/// The catalogue, and what Docker has of it.
///
/// # Errors
/// Docker does not answer.
pub async fn list(docker: &Docker) -> Result<Vec<ImageRow>> {
    let catalogue = Catalogue::embedded()?;
    let mut rows = Vec::new();
    for role in Role::ALL {
        let Some(source) = catalogue.role(role) else { continue };
        let found = local(docker, &catalogue, source).await?;
        let built = found.built.zip(source.recipe.clone().map(Origin::Packages));
        let found = built.or_else(|| found.public.map(|image| (image, Origin::Registry(source.public.clone()))));
        rows.push(ImageRow {
            role,
            public: source.public.clone(),
            recipe: source.recipe.clone(),
            built_tag: source.recipe.as_ref().map(|recipe| catalogue.tag(recipe, docker.arch())).transpose()?,
            present: found.map(|(image, origin)| Present { id: image.id, size: image.size, origin }),
        });
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(role: Role, source: &ImageSource, built: bool, public: bool, kernel_nfs: bool, registry: bool) -> String {
        let recipe = (role != Role::Percona).then(|| "r".to_owned());
        let of_role = RoleSource { public: "p".to_owned(), recipe };
        let how = choose(role, &of_role, built, public, Circumstances { source, kernel_nfs, registry });
        match how {
            Ok(How::Present(origin)) => format!("has {origin}"),
            Ok(How::Pull(_)) => "pull".to_owned(),
            Ok(How::Build(_)) => "build".to_owned(),
            Ok(other) => format!("{other:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn auto_takes_what_is_there_then_a_registry_then_packages() {
        let auto = |built, public, registry| chosen(Role::Nfs, &ImageSource::Auto, built, public, true, registry);
        assert_eq!(auto(true, true, true), "has recipe r");
        assert_eq!(auto(false, true, false), "has p");
        assert_eq!(auto(false, false, true), "pull");
        assert_eq!(auto(false, false, false), "build");
    }

    #[test]
    fn without_an_nfs_client_in_the_kernel_auto_builds_the_node_image() {
        let node = |source: ImageSource, built, public| chosen(Role::Node, &source, built, public, false, true);
        assert_eq!(node(ImageSource::Auto, false, true), "build");
        assert_eq!(node(ImageSource::Auto, true, true), "has recipe r");
        assert_eq!(node(ImageSource::Registry, true, false), "pull");
    }

    #[test]
    fn what_was_asked_for_is_done() {
        assert_eq!(chosen(Role::Nfs, &ImageSource::Packages, false, true, true, true), "build");
        assert_eq!(chosen(Role::Nfs, &ImageSource::Registry, true, false, true, false), "pull");
        assert_eq!(chosen(Role::Nfs, &ImageSource::Bundle("x".into()), true, true, true, true), "Bundle");
    }

    #[test]
    fn what_exists_only_at_a_registry_is_never_built() {
        let percona = |source, public, registry| chosen(Role::Percona, &source, false, public, true, registry);
        assert_eq!(percona(ImageSource::Auto, true, false), "has p");
        assert_eq!(percona(ImageSource::Auto, false, true), "pull");
        assert_eq!(percona(ImageSource::Registry, false, false), "pull");
        let only = "the image for percona cannot be built from packages: it exists only as p";
        assert_eq!(
            percona(ImageSource::Auto, false, false),
            format!("{only}, and no registry answers; flavour mariadb can be built")
        );
        assert_eq!(percona(ImageSource::Packages, true, true), format!("{only}; flavour mariadb can be built"));
    }
}
