//! What is known before anything is made: that the machine can carry the lab, that the name is free or ours, and what a lab
//! of that name keeps.

use anyhow::Result;

use super::UpOptions;
use crate::{
    actions::{
        keep::{self, Standing},
        prepare,
    },
    host::{
        Host,
        nodes::{self, NotOurs, freeze},
    },
    parts::database::{self, NotTaken},
    run::{StepCx, Stepped, advice::Trouble},
};

/// Looks at the machine, after installing what was agreed to; and at whatever has the lab's name already.
///
/// # Errors
/// [`crate::host::machine::Missing`], an installation that failed, [`NotOurs`], [`super::OtherData`], or others have declared something else ([`crate::cluster::apply::Elsewhere`]).
pub(super) async fn preflight(cx: StepCx, options: &UpOptions) -> Result<Stepped<(Host, Standing)>> {
    let UpOptions { spec, fix, registry_mirror, stream: _, from: _, take_over, sequential: _ } = options;
    let not_taken = |why| Trouble::from(NotTaken { lab: spec.name.clone(), why });
    database::brought().map_err(not_taken)?;
    let host = prepare::preflight(cx, spec, registry_mirror.as_deref(), fix.as_deref()).await?;
    // Before anything is built or pulled for a name that belongs to somebody else, or for a lab of another kind.
    let docker = &host.value().docker;
    let there = nodes::containers(docker, &spec.name).await?;
    NotOurs::check(&spec.name, &there)?;
    // What is frozen cannot say what it keeps.
    freeze::thaw(docker, &there).await?;
    let standing = keep::foresee(spec).await?;
    if !take_over {
        keep::undisputed(spec).await?;
    }
    Ok(host.map(|host| (host, standing)))
}
