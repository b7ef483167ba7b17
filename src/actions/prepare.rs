//! Makes this machine ready (`--fix`): on the way to a lab, or for its own sake.

use anyhow::Result;
use futures_util::future::BoxFuture;

use crate::{
    host::{
        Host,
        docker::Docker,
        machine::{
            Diagnosis, doctor,
            fix::{Consent, Fixer},
            outlook::ImagesAhead,
        },
    },
    parts::images::{self, forecast},
    run::{Run, StepCx, Stepped, event::StepId},
    spec::LabSpec,
};

/// Installs what this machine lacks for the lab and `consent` agrees to; says what it found afterwards. `mirror` is
/// asked instead of the public registry. For `wplab` itself only: where processes never have CAP_SYS_RESOURCE, the
/// executable that runs becomes part of the engine (see [`crate::host::machine::runc_shim`]).
///
/// # Errors
/// The first installation that failed. What is missing still is no error: it is in the diagnosis.
pub async fn prepare(run: &Run, spec: &LabSpec, mirror: Option<&str>, consent: &dyn Consent) -> Result<Diagnosis> {
    run.step(StepId::Fix, |cx| async move { doctor::cure(&cx, spec, mirror, &fixer(&cx, spec, mirror, consent)).await })
        .await
}

/// The machine for a lab, after installing what `consent` agrees to, if anybody is there to ask.
///
/// # Errors
/// [`crate::host::machine::Missing`], or an installation failed.
pub(crate) async fn preflight(
    cx: StepCx,
    spec: &LabSpec,
    mirror: Option<&str>,
    consent: Option<&dyn Consent>,
) -> Result<Stepped<Host>> {
    let fixer = consent.map(|consent| fixer(&cx, spec, mirror, consent));
    doctor::preflight(cx, spec, mirror, fixer.as_ref()).await
}

/// When nothing on the machine has `kind`, it is built like an image; and what follows is images above all. Both belong
/// to a room that the machine's does not know.
fn fixer<'a>(cx: &StepCx, spec: &'a LabSpec, mirror: Option<&'a str>, consent: &'a dyn Consent) -> Fixer<'a> {
    let cx = cx.clone();
    let kind_recipe = move |docker: Docker| -> BoxFuture<'a, Result<String>> {
        let cx = cx.clone();
        Box::pin(async move { images::kind_recipe(&cx, &docker).await })
    };
    let images_ahead = move |docker, facts, kind| -> BoxFuture<'a, Result<ImagesAhead>> {
        Box::pin(forecast::ahead(docker, facts, spec, mirror, kind))
    };
    Fixer { consent, kind_recipe: Box::new(kind_recipe), images_ahead: Box::new(images_ahead) }
}
