//! The rule by which a role gets its image: a pure function over what was asked for, what the lab has, what Docker has
//! and what this machine can do. [`super::choose`] looks and does.

use std::{collections::BTreeMap, fmt};

use anyhow::Result;
use serde::Serialize;

use super::{
    Origin, Role,
    catalogue::{Prefer, RoleSource},
};
use crate::{
    host::HostFacts,
    run::advice::{Advise, Blame, Hint, Trouble},
    spec::ImageSource,
};

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

/// The way to an image, and why it is that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) how: How,
    /// A sentence fragment.
    pub(super) because: String,
}

/// Where the images of a lab that stands came from.
pub type Kept = BTreeMap<Role, Origin>;

/// What Docker has for a role.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Here {
    /// What its recipe builds now.
    pub(super) built: bool,
    /// Its public image.
    pub(super) public: bool,
    /// That one was looked at, and breaks its contract.
    pub(super) breaks: bool,
}

/// What decides beside the role.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) source: &'a ImageSource,
    pub(super) facts: &'a HostFacts,
    /// A registry answers.
    pub(super) registry: bool,
    /// What the lab has, if it stands.
    pub(super) kept: &'a Kept,
}

/// An image was to be built that can only be pulled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoRecipe {
    /// What it is for.
    pub role: Role,
    /// The only way to it.
    pub public: String,
    /// Why it is not pulled.
    pub pulling: Pulling,
}

/// Why something is not pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pulling {
    /// Images from packages were asked for.
    NotAsked,
    /// No registry answers.
    Silent,
    /// It was tried.
    Failed,
}

impl fmt::Display for NoRecipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NoRecipe { role, public, pulling } = self;
        let silent = if *pulling == Pulling::Silent { ", and no registry answers" } else { "" };
        write!(f, "the image for {} cannot be built from packages: it exists only as {public}{silent}", role.name())?;
        if *role == Role::Percona { f.write_str("; flavour mariadb can be built") } else { Ok(()) }
    }
}

impl Advise for NoRecipe {
    fn blame(&self) -> Blame {
        match self.pulling {
            Pulling::NotAsked => Blame::User,
            Pulling::Silent => Blame::Machine,
            Pulling::Failed => Blame::Step,
        }
    }

    fn hints(&self) -> Vec<Hint> {
        match self.pulling {
            Pulling::NotAsked => vec![Hint::Images { lab: None, source: ImageSource::Auto }],
            Pulling::Silent => vec![Hint::Mirror],
            // What led to it says more.
            Pulling::Failed => Vec::new(),
        }
    }
}

/// A lab that stands runs a public image that cannot be had now. Another build of the same program may be another
/// version, which its data may not fit, so it is not put there unasked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotKept {
    /// What the image is for.
    pub role: Role,
    /// What the lab has.
    pub public: String,
}

impl fmt::Display for NotKept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the lab's image for {} came from {}, which is not in Docker, and no registry answers; it can be moved to images from packages",
            self.role.name(),
            self.public
        )
    }
}

impl Advise for NotKept {
    fn blame(&self) -> Blame {
        Blame::Machine
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Mirror, Hint::Images { lab: None, source: ImageSource::Packages }]
    }
}

/// The decision. What was asked for (`--images packages`, `registry` or a bundle) is done, whatever else there is. With
/// `auto`, the first of these that applies:
///
/// 1. what exists only at a registry comes from there;
/// 2. what this machine cannot run as a public image comes from packages;
/// 3. a lab that stands keeps the origin of its image: a newer build of the same recipe or a newer public image may take
///    its place, an image of the other origin may not, though Docker has it;
/// 4. a public image that was looked at and breaks its contract is not taken;
/// 5. what Docker has is taken before anything is fetched or built, from whichever side; of two, the preferred one;
/// 6. the preferred way of the catalogue, save that packages do for a registry that is silent.
///
/// # Errors
/// [`NoRecipe`], [`NotKept`].
pub(super) fn choose(role: Role, source: &RoleSource, here: Here, now: Circumstances<'_>) -> Result<Choice> {
    let choice = |how, because: &str| Ok(Choice { how, because: because.to_owned() });
    let registry = |because| {
        let public = source.public.clone();
        choice(if here.public { How::Present(Origin::Registry(public)) } else { How::Pull(public) }, because)
    };
    let packages = |recipe: &String, because| {
        let recipe = recipe.clone();
        choice(if here.built { How::Present(Origin::Packages(recipe)) } else { How::Build(recipe) }, because)
    };
    let only_there = |pulling| Err(Trouble::from(NoRecipe { role, public: source.public.clone(), pulling }).into());
    let recipe = match (now.source, &source.recipe) {
        (ImageSource::Bundle(_), _) => return choice(How::Bundle, ASKED),
        (ImageSource::Registry, _) => return registry(ASKED),
        (ImageSource::Packages, Some(recipe)) => return packages(recipe, ASKED),
        (ImageSource::Packages, None) => return only_there(Pulling::NotAsked),
        (ImageSource::Auto, None) if here.public || now.registry => return registry(&source.because),
        (ImageSource::Auto, None) => return only_there(Pulling::Silent),
        (ImageSource::Auto, Some(recipe)) => recipe,
    };
    if let Some(why) = unfit(role, now.facts) {
        return packages(recipe, why);
    }
    match now.kept.get(&role) {
        Some(Origin::Packages(_)) => return packages(recipe, KEPT),
        Some(Origin::Registry(_)) if here.public || now.registry => return registry(KEPT),
        Some(Origin::Registry(public)) => return Err(Trouble::from(NotKept { role, public: public.clone() }).into()),
        // What a lab file named is no way of the catalogue's.
        Some(Origin::Named(_)) | None => {}
    }
    if here.breaks {
        return packages(recipe, BREAKS);
    }
    match (here, source.prefer) {
        (Here { built: true, .. }, Prefer::Packages) | (Here { built: true, public: false, .. }, Prefer::Registry) => {
            packages(recipe, HERE)
        }
        (Here { public: true, .. }, _) => registry(HERE),
        (Here { .. }, Prefer::Registry) if now.registry => registry(&source.because),
        (Here { .. }, Prefer::Registry) => packages(recipe, "no registry answers"),
        (Here { .. }, Prefer::Packages) => packages(recipe, &source.because),
    }
}

const ASKED: &str = "asked for";
const KEPT: &str = "the lab has it from there";
const HERE: &str = "Docker has it";
const BREAKS: &str = "the public image that Docker has breaks its contract";

/// Why this machine cannot run a role's public image, if so.
pub(super) fn unfit(role: Role, facts: &HostFacts) -> Option<&'static str> {
    if role == Role::Node { facts.unfit_for_public_node() } else { None }
}

/// Whether a pull of a role that goes wrong may be made good by a build, or the other way round.
pub(super) fn may_change_sides(role: Role, now: Circumstances<'_>) -> bool {
    matches!(now.source, ImageSource::Auto) && !now.kept.contains_key(&role)
}

#[cfg(test)]
#[path = "rule_tests.rs"]
pub(crate) mod tests;
