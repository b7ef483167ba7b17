//! When a step fails, what a person would look at next is saved into a folder, and the error names it with the likely
//! cause first.

use std::{fmt, path::PathBuf};

use crate::{host::Host, run::Run, spec::LabName};

/// Part of the error of a failed step: where the diagnostics are, and the likely cause if one was seen.
#[derive(Clone, Debug)]
pub struct Diagnosed {
    /// The folder: events, objects, logs of every container including previous ones, journals of the nodes, versions.
    pub folder: PathBuf,
    /// The likely cause in one sentence.
    pub cause: Option<String>,
}

impl fmt::Display for Diagnosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Some(cause) => write!(f, "{cause} (diagnostics: {})", self.folder.display()),
            None => write!(f, "diagnostics were saved to {}", self.folder.display()),
        }
    }
}

impl std::error::Error for Diagnosed {}

/// Saves diagnostics, if there is a cluster to ask, and puts [`Diagnosed`] around the error.
pub(super) async fn attach(run: &Run, host: &Host, lab: &LabName, error: anyhow::Error) -> anyhow::Error {
    match crate::actions::diagnose::save(&host.docker, lab, None).await {
        Ok(Some(saved)) => error.context(Diagnosed { folder: saved.folder, cause: saved.cause }),
        Ok(None) => error,
        Err(reason) => {
            run.warn(format!("the diagnostics could not be saved: {reason:#}"));
            error
        }
    }
}
