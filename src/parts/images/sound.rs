//! No image is trusted by its name: what was gathered is held against its contract before anything runs on it. What was
//! pulled and breaks is told in one sentence and built instead, where that was left open; otherwise it is an error.

use anyhow::Result;

use super::{
    Image, ImageSet, Origin, Role,
    catalogue::Catalogue,
    check::{self, Candidate, Checked, ContractBroken},
    choose,
};
use crate::{host::Host, run::StepCx, spec::ImageSource};

/// The same images, or others in place of those that break their contracts; and whether any was replaced.
///
/// # Errors
/// [`ContractBroken`] of an image that was asked for, or that cannot be replaced; and as [`choose::gather`].
pub(super) async fn only(
    cx: &StepCx,
    host: &Host,
    catalogue: &Catalogue,
    source: &ImageSource,
    mirror: Option<&str>,
    mut images: ImageSet,
) -> Result<(ImageSet, bool)> {
    let broken: Vec<ContractBroken> = look(cx, host, &images).await?.iter().filter_map(Checked::broken).collect();
    let (replaceable, fatal): (Vec<_>, Vec<_>) = broken.into_iter().partition(|broken| {
        let built = images.0.get(&broken.role).is_none_or(|image| matches!(image.origin, Origin::Packages(_)));
        let recipe = catalogue.role(broken.role).is_some_and(|role| role.recipe.is_some());
        matches!(source, ImageSource::Auto) && recipe && !built
    });
    if let Some(broken) = fatal.into_iter().next() {
        return Err(broken.into());
    }
    if replaceable.is_empty() {
        return Ok((images, false));
    }
    for broken in &replaceable {
        cx.warn(format!("{broken}; one is built from packages instead"));
    }
    let roles: Vec<Role> = replaceable.iter().map(|broken| broken.role).collect();
    let (built, _) = choose::gather(cx, host, catalogue, &ImageSource::Packages, mirror, &roles).await?;
    if let Some(broken) = look(cx, host, &built).await?.iter().find_map(Checked::broken) {
        return Err(broken.into());
    }
    images.0.extend(built.0);
    Ok((images, true))
}

/// Looks at every image of a set.
///
/// # Errors
/// As [`check::check`].
pub(super) async fn look(cx: &StepCx, host: &Host, images: &ImageSet) -> Result<Vec<Checked>> {
    let candidates = images.0.iter().map(|(role, image)| candidate(*role, image)).collect();
    check::check(cx, &host.docker, candidates).await
}

fn candidate(role: Role, image: &Image) -> Candidate {
    let name = match &image.origin {
        Origin::Registry(reference) => reference.clone(),
        Origin::Packages(_) => image.reference.trim_start_matches("docker.io/").to_owned(),
    };
    Candidate { role, image: name, id: image.id.clone() }
}
