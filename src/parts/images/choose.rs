//! For each role the way to its image: what Docker has, what a registry has, what is built. The decision is a pure
//! function ([`super::rule`]); looking and doing are here.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use futures_util::{StreamExt, TryStreamExt, future::try_join, stream};

use super::{
    ImageSet, Origin, PullError, PullErrorKind, Role, build, bundle,
    catalogue::{Catalogue, RoleSource},
    here::{Local, local},
    needed::{self, Chances},
    pull,
    rule::{self, Choice, Circumstances, How, Kept, NoRecipe, Pulling},
    set::named,
};
use crate::{
    host::{
        Host,
        docker::{Docker, LocalImage},
        machine::registry,
    },
    run::{
        StepCx,
        advice::{self, Hint, Trouble},
    },
    spec::{ImageSource, LabSpec, Topology},
};

/// Pulls at once.
const PULLS: usize = 3;

/// The roles of a lab; looks for the flavours only when there is a choice.
pub(super) async fn roles(
    docker: &Docker,
    catalogue: &Catalogue,
    spec: &LabSpec,
    mirror: Option<&str>,
) -> Result<Vec<Role>> {
    let chances = chances(docker, catalogue, spec, mirror).await?;
    Ok(needed::roles(spec, needed::server(&spec.database, &spec.images, &chances)))
}

/// What the flavours' ways depend on, as far as it decides something.
pub(super) async fn chances(
    docker: &Docker,
    catalogue: &Catalogue,
    spec: &LabSpec,
    mirror: Option<&str>,
) -> Result<Chances> {
    let mut chances = Chances::default();
    if spec.database.topology == Topology::Galera {
        if let ImageSource::Bundle(path) = &spec.images {
            let bundled = bundle::roles(path, docker.arch())?;
            chances.percona = bundled.contains(&Role::Percona);
            chances.mariadb = bundled.contains(&Role::Mariadb);
        } else {
            let percona = of_role(docker, catalogue, Role::Percona).await?;
            chances.percona = percona.here().public;
            chances.percona_breaks = percona.breaks.map(|broken| broken.to_string());
            let mariadb = of_role(docker, catalogue, Role::Mariadb).await?.here();
            chances.mariadb = mariadb.built || mariadb.public;
        }
        if needed::hangs_on_a_registry(spec, &chances) {
            chances.registry = registry::answers(mirror).await;
        }
    }
    Ok(chances)
}

async fn of_role(docker: &Docker, catalogue: &Catalogue, role: Role) -> Result<Local> {
    match catalogue.role(role) {
        Some(source) => local(docker, catalogue, role, source).await,
        None => Ok(Local::default()),
    }
}

/// Makes sure of the images of these roles; returns them by role, and whether anything was pulled or built. `kept` is what
/// the lab has, if it stands.
pub(super) async fn gather(
    cx: &StepCx,
    host: &Host,
    catalogue: &Catalogue,
    source: &ImageSource,
    mirror: Option<&str>,
    kept: &Kept,
    roles: &[Role],
) -> Result<(ImageSet, bool)> {
    let docker = &host.docker;
    let chosen = survey(host, catalogue, source, mirror, kept, roles).await?;
    if matches!(source, ImageSource::Auto) {
        announcements(&chosen).into_iter().for_each(|line| cx.say(line));
    }
    if matches!(source, ImageSource::Registry) && roles.contains(&Role::Node) {
        let unfit = rule::unfit(Role::Node, &host.facts);
        let auto = || [Hint::Images { lab: None, source: ImageSource::Auto }];
        unfit.into_iter().for_each(|why| cx.run().advise(format!("the lab may not work: {why}"), auto()));
    }
    let recipes: Vec<&str> = chosen
        .iter()
        .filter_map(|c| if let How::Build(recipe) = &c.how { Some(recipe.as_str()) } else { None })
        .collect();
    let pulled = async {
        let pulls = chosen.iter().filter(|c| matches!(c.how, How::Pull(_)));
        let pulled = stream::iter(pulls).map(|c| async move {
            match pull::pull(cx, docker, c.role.name(), &c.source.public, mirror).await {
                Ok(image) => Ok((c.role, Some(image))),
                Err(error) if c.may_build() && !mismatch(&error) => {
                    cx.warn(format!("{error:#}; the image for {} is built from packages", c.role.name()));
                    Ok((c.role, None))
                }
                Err(error) if c.source.recipe.is_some() => Err(error),
                Err(error) => {
                    let only = NoRecipe { role: c.role, public: c.source.public.clone(), pulling: Pulling::Failed };
                    Err(Trouble::from(only).because(error).into())
                }
            }
        });
        pulled.buffer_unordered(PULLS).try_collect::<BTreeMap<Role, Option<LocalImage>>>().await
    };
    let built = async {
        match build::build(cx, docker, catalogue, &recipes, mirror).await {
            Ok(built) => Ok((built, BTreeMap::new())),
            Err(error) => Ok((Vec::new(), instead(cx, docker, catalogue, &chosen, mirror, error).await?)),
        }
    };
    let (mut pulled, (mut built, instead)) = try_join(pulled, built).await?;
    let refused: Vec<&str> = chosen
        .iter()
        .filter(|c| pulled.get(&c.role).is_some_and(Option::is_none))
        .filter_map(|c| c.source.recipe.as_deref())
        .collect();
    built.extend(build::build(cx, docker, catalogue, &refused, mirror).await?);
    pulled.extend(instead.into_iter().map(|(role, image)| (role, Some(image))));
    let changed = !built.is_empty() || !pulled.is_empty();
    let mut images = ImageSet::default();
    for c in chosen {
        let arrived = pulled.remove(&c.role).flatten();
        let (image, origin) = match (c.how, arrived) {
            (_, Some(image)) => (Some(image), Origin::Registry(c.source.public.clone())),
            (How::Present(origin @ Origin::Registry(_)), None) => (c.local.public, origin),
            (How::Present(origin), None) => (c.local.built, origin),
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

/// After a build that failed: the public images of what is not built by now, if this is allowed to every one of them and
/// a registry answers. A machine may have a way to a registry and none to Debian.
async fn instead(
    cx: &StepCx,
    docker: &Docker,
    catalogue: &Catalogue,
    chosen: &[Chosen<'_>],
    mirror: Option<&str>,
    error: anyhow::Error,
) -> Result<BTreeMap<Role, LocalImage>> {
    let mut missing = Vec::new();
    for c in chosen {
        if let How::Build(recipe) = &c.how
            && docker.image(&catalogue.tag(recipe, docker.arch())?).await?.is_none()
        {
            missing.push(c);
        }
    }
    if !missing.iter().all(|c| c.may_pull) || !registry::answers(mirror).await {
        return Err(error);
    }
    let names: Vec<&str> = missing.iter().map(|c| c.role.name()).collect();
    cx.warn(format!("pulling {} instead of building: {error:#}", names.join(", ")));
    let pulled = stream::iter(missing)
        .map(|c| async move { Ok((c.role, pull::pull(cx, docker, c.role.name(), &c.source.public, mirror).await?)) });
    pulled.buffer_unordered(PULLS).try_collect().await
}

/// What is fetched or built and why, one line per reason.
fn announcements(chosen: &[Chosen<'_>]) -> Vec<String> {
    let mut lines: Vec<(&str, &str, Vec<&str>)> = Vec::new();
    for c in chosen {
        let verb = match &c.how {
            How::Pull(_) => "pulling",
            How::Build(_) => "building",
            How::Present(_) | How::Bundle | How::Tool => continue,
        };
        match lines.iter_mut().find(|(v, because, _)| (*v, *because) == (verb, c.because.as_str())) {
            Some((.., names)) => names.push(c.role.name()),
            None => lines.push((verb, &c.because, vec![c.role.name()])),
        }
    }
    lines.into_iter().map(|(verb, because, names)| format!("{verb} {} ({because})", names.join(", "))).collect()
}

fn mismatch(error: &anyhow::Error) -> bool {
    advice::find::<PullError>(error).is_some_and(|e| matches!(e.kind, PullErrorKind::DigestMismatch(_)))
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
    kept: &Kept,
    role: Role,
) -> Result<Option<How>> {
    let chosen = survey(host, catalogue, source, mirror, kept, &[role]).await?;
    Ok(chosen.into_iter().next().map(|chosen| chosen.how))
}

/// A role and what was decided for it.
pub(super) struct Chosen<'a> {
    pub(super) role: Role,
    source: &'a RoleSource,
    local: Local,
    pub(super) how: How,
    pub(super) because: String,
    /// Its origin may change when the chosen way turns out to be closed.
    open: bool,
    /// So it may, and this machine can run the public image.
    may_pull: bool,
}

impl Chosen<'_> {
    fn may_build(&self) -> bool {
        self.open && self.source.recipe.is_some()
    }
}

pub(super) async fn survey<'a>(
    host: &Host,
    catalogue: &'a Catalogue,
    source: &ImageSource,
    mirror: Option<&str>,
    kept: &Kept,
    roles: &[Role],
) -> Result<Vec<Chosen<'a>>> {
    let mut found = Vec::new();
    for &role in roles {
        let Some(of_role) = catalogue.role(role) else { continue };
        found.push((role, of_role, local(&host.docker, catalogue, role, of_role).await?));
    }
    let silent = Circumstances { source, facts: &host.facts, registry: false, kept };
    let answers = Circumstances { registry: true, ..silent };
    // A registry is asked only when its answer decides something.
    let decides = found.iter().any(|(role, source, local)| {
        let how = |now| rule::choose(*role, source, local.here(), now).ok().map(|choice| choice.how);
        how(silent) != how(answers)
    });
    let now = if decides && registry::answers(mirror).await { answers } else { silent };
    let chosen = found.into_iter().map(|(role, source, local)| {
        let Choice { how, because } = rule::choose(role, source, local.here(), now)?;
        let open = rule::may_change_sides(role, now);
        let may_pull = open && rule::unfit(role, &host.facts).is_none();
        Ok(Chosen { role, source, local, how, because, open, may_pull })
    });
    chosen.collect()
}
