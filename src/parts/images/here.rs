//! What Docker has of the catalogue: for the choice of a way, and for who asks to see it.

use anyhow::Result;
use serde::Serialize;

use super::{
    Origin, Role,
    catalogue::{Catalogue, Prefer, RoleSource},
    check::{self, Candidate, ContractBroken},
    pull,
    rule::Here,
};
use crate::host::docker::{Docker, LocalImage};

/// What Docker has for a role.
#[derive(Clone, Debug, Default)]
pub(super) struct Local {
    /// Built from its recipe.
    pub(super) built: Option<LocalImage>,
    /// Under its public name.
    pub(super) public: Option<LocalImage>,
    /// What the public image breaks of its contract, if it was looked at and does.
    pub(super) breaks: Option<ContractBroken>,
}

impl Local {
    /// The same as the rule wants it.
    pub(super) fn here(&self) -> Here {
        Here { built: self.built.is_some(), public: self.public.is_some(), breaks: self.breaks.is_some() }
    }
}

pub(super) async fn local(docker: &Docker, catalogue: &Catalogue, role: Role, source: &RoleSource) -> Result<Local> {
    let built = match &source.recipe {
        Some(recipe) => docker.image(&catalogue.tag(recipe, docker.arch())?).await?,
        None => None,
    };
    let public = pull::present(docker, &source.public).await?;
    let known =
        |image: &LocalImage| check::recall(&Candidate { role, image: source.public.clone(), id: image.id.clone() });
    let breaks = public.as_ref().and_then(known).and_then(|checked| checked.broken());
    Ok(Local { built, public, breaks })
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
        let found = local(docker, &catalogue, role, source).await?;
        let built = found.built.zip(source.recipe.clone().map(Origin::Packages));
        let public = found.public.map(|image| (image, Origin::Registry(source.public.clone())));
        let built_first = source.prefer == Prefer::Packages || found.breaks.is_some();
        let found = if built_first { built.or(public) } else { public.or(built) };
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
