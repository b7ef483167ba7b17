//! The image that a lab file names for the database's server, where it names one: as Docker has it, else from its registry. It takes the
//! place of the catalogue's, and is held against the same contract.

use anyhow::Result;

use super::{Image, Origin, Role, pull, rule::How, set::named};
use crate::{host::docker::Docker, run::StepCx, spec::LabSpec};

/// Why it is that one.
const NAMED: &str = "the lab file names it";

/// What a lab file names for a role; `None` where the catalogue says it.
pub(super) fn named_for(spec: &LabSpec, role: Role) -> Option<&str> {
    let serves = matches!(role, Role::Mysql | Role::Percona | Role::Mariadb);
    spec.database.image.reference().filter(|_| serves)
}

/// Makes sure of it; says whether it had to be pulled.
///
/// # Errors
/// [`super::PullError`], or Docker's own.
pub(super) async fn gather(
    cx: &StepCx,
    docker: &Docker,
    role: Role,
    reference: &str,
    mirror: Option<&str>,
) -> Result<(Image, bool)> {
    let there = pull::present(docker, reference).await?;
    let (image, pulled) = match there {
        Some(image) => (image, false),
        None => (pull::pull(cx, docker, role.name(), reference, mirror).await?, true),
    };
    Ok((named(docker, role, &image, Origin::Named(reference.to_owned())).await?, pulled))
}

/// The way to it, and why.
///
/// # Errors
/// Docker does not answer.
pub(super) async fn way(docker: &Docker, reference: &str) -> Result<(How, String)> {
    let how = match pull::present(docker, reference).await? {
        Some(_) => How::Present(Origin::Named(reference.to_owned())),
        None => How::Pull(reference.to_owned()),
    };
    Ok((how, NAMED.to_owned()))
}
