//! No image is trusted by its name: what was gathered is held against its contract before anything runs on it. What was
//! pulled and breaks is told in one sentence and built instead, where that was left open; otherwise it is an error.

use anyhow::Result;

use super::{
    Image, ImageSet, Origin, Role, bundle,
    catalogue::Catalogue,
    check::{self, Candidate, Checked, ContractBroken},
    choose, own, pull,
    rule::{How, Kept},
};
use crate::{
    host::Host,
    run::{StepCx, advice::Trouble},
    spec::{Flavour, ImageSource, LabSpec},
};

/// What decides where images come from, and the ways to them.
pub(super) struct Gathering<'a> {
    pub(super) cx: &'a StepCx,
    pub(super) host: &'a Host,
    pub(super) catalogue: &'a Catalogue,
    pub(super) spec: &'a LabSpec,
    pub(super) mirror: Option<&'a str>,
    pub(super) kept: &'a Kept,
}

impl Gathering<'_> {
    /// Images for these roles that keep their contracts, and whether anything was pulled or built.
    ///
    /// # Errors
    /// [`ContractBroken`] of an image that was asked for, or that cannot be replaced; and as [`choose::gather`].
    pub(super) async fn sound(&self, roles: &[Role]) -> Result<(ImageSet, bool)> {
        let docker = &self.host.docker;
        let (own, roles): (Vec<Role>, Vec<Role>) = roles.iter().partition(|role| self.own(**role).is_some());
        let (mut images, mut changed) = match &self.spec.images {
            ImageSource::Bundle(path) => bundle::load(self.cx, docker, path, &roles).await?,
            source => self.gather(source, self.kept, &roles).await?,
        };
        for role in own {
            let Some(reference) = self.own(role) else { continue };
            let (image, pulled) = own::gather(self.cx, docker, role, reference, self.mirror).await?;
            images.0.insert(role, image);
            changed |= pulled;
        }
        let (images, replaced) = self.only_sound(images).await?;
        Ok((images, changed | replaced))
    }

    fn own(&self, role: Role) -> Option<&str> {
        own::named_for(self.spec, role)
    }

    /// Whether a role's image can be had without building anything.
    ///
    /// # Errors
    /// As [`choose::way`].
    pub(super) async fn is_at_hand(&self, role: Role) -> Result<bool> {
        let source = &self.spec.images;
        if matches!(source, ImageSource::Bundle(_)) {
            return Ok(false);
        }
        let way = choose::way(self.host, self.catalogue, source, self.mirror, self.kept, role).await?;
        Ok(!matches!(way, Some(How::Build(_))))
    }

    /// Whether Docker has a role's image, or it is the tool's own.
    ///
    /// # Errors
    /// As [`choose::way`].
    pub(super) async fn is_here(&self, role: Role) -> Result<bool> {
        if let Some(reference) = self.own(role) {
            return Ok(pull::present(&self.host.docker, reference).await?.is_some());
        }
        let source = &self.spec.images;
        if matches!(source, ImageSource::Bundle(_)) {
            return Ok(false);
        }
        let way = choose::way(self.host, self.catalogue, source, self.mirror, self.kept, role).await?;
        Ok(!matches!(way, Some(How::Build(_) | How::Pull(_))))
    }

    async fn gather(&self, source: &ImageSource, kept: &Kept, roles: &[Role]) -> Result<(ImageSet, bool)> {
        choose::gather(self.cx, self.host, self.catalogue, source, self.mirror, kept, roles).await
    }

    async fn only_sound(&self, mut images: ImageSet) -> Result<(ImageSet, bool)> {
        let broken: Vec<ContractBroken> = self.look(&images).await?.iter().filter_map(Checked::broken).collect();
        let (replaceable, fatal): (Vec<_>, Vec<_>) =
            broken.into_iter().partition(|it| self.is_replaceable(it, &images));
        if let Some(broken) = fatal.into_iter().next() {
            return Err(Trouble::from(broken).into());
        }
        if replaceable.is_empty() {
            return Ok((images, false));
        }
        let mut roles = Vec::new();
        for broken in &replaceable {
            // The flavour that was left open is the other one.
            let instead = if broken.role == Role::Percona { Role::Mariadb } else { broken.role };
            images.0.remove(&broken.role);
            roles.push(instead);
            self.cx.warn(if instead == broken.role {
                format!("{broken}; one is built from packages instead")
            } else {
                format!("{broken}; MariaDB takes its place")
            });
        }
        let (others, _) = self.gather(&ImageSource::Packages, &Kept::new(), &roles).await?;
        if let Some(broken) = self.look(&others).await?.iter().find_map(Checked::broken) {
            return Err(Trouble::from(broken).into());
        }
        images.0.extend(others.0);
        Ok((images, true))
    }

    /// It was pulled, nobody asked for just that, and there is another way.
    fn is_replaceable(&self, broken: &ContractBroken, images: &ImageSet) -> bool {
        let pulled = images.0.get(&broken.role).is_some_and(|image| matches!(image.origin, Origin::Registry(_)));
        let other_way = match broken.role {
            Role::Percona => self.spec.database.flavour == Flavour::Auto,
            role => self.catalogue.role(role).is_some_and(|source| source.recipe.is_some()),
        };
        // A lab that stands keeps the origin of its images: what took its place might not read its data.
        let free = matches!(self.spec.images, ImageSource::Auto) && !self.kept.contains_key(&broken.role);
        pulled && other_way && free && self.own(broken.role).is_none()
    }

    async fn look(&self, images: &ImageSet) -> Result<Vec<Checked>> {
        let candidates = images.0.iter().map(|(role, image)| candidate(*role, image)).collect();
        check::check(self.cx, &self.host.docker, candidates).await
    }
}

fn candidate(role: Role, image: &Image) -> Candidate {
    let name = match &image.origin {
        Origin::Registry(reference) | Origin::Named(reference) => reference.clone(),
        Origin::Packages(_) => image.reference.trim_start_matches("docker.io/").to_owned(),
    };
    Candidate { role, image: name, id: image.id.clone() }
}
