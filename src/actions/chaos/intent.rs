//! What is about to be broken, written down in the lab's folder before it is: so that whoever comes after a run that was killed
//! knows it. It is an intention; what is really broken is looked at, too.

use std::path::PathBuf;

use anyhow::{Context, Result};

use super::broken::Broken;
use crate::{host::lock, spec::LabName};

/// The file, and who may change it: whoever has the lab's lock.
#[derive(Debug)]
pub(super) struct Intent(PathBuf);

impl Intent {
    pub(super) fn of(lab: &LabName) -> Intent {
        Intent(lock::folder(lab).join("chaos.json"))
    }

    /// Writes down what is about to be broken, instead of what was there.
    ///
    /// # Errors
    /// The file cannot be written: then nothing may be broken.
    pub(super) fn write(&self, broken: &[Broken]) -> Result<()> {
        let new = self.0.with_extension("new");
        let text = serde_json::to_vec_pretty(broken)?;
        let written = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &self.0));
        written.with_context(|| format!("cannot write {}", self.0.display()))
    }

    /// What somebody wrote down; nothing when nobody did, or not so that it can be read.
    pub(super) fn read(&self) -> Vec<Broken> {
        std::fs::read(&self.0).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
    }

    /// Nothing is broken any more.
    ///
    /// # Errors
    /// The file cannot be removed.
    pub(super) fn forget(&self) -> Result<()> {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", self.0.display()))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_down_is_read_until_it_is_forgotten() {
        let folder = tempfile::tempdir().expect("a folder");
        let intent = Intent(folder.path().join("chaos.json"));
        assert_eq!(intent.read(), []);
        let broken =
            [Broken::NodeStopped { node: "lab-worker".into() }, Broken::TakenDown { deployment: "coredns".into() }];
        intent.write(&broken).expect("written");
        assert_eq!(intent.read(), broken);
        intent.forget().expect("removed");
        intent.forget().expect("nothing to remove");
        assert_eq!(intent.read(), []);
    }
}
