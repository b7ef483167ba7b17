//! One command at a time works on a lab: an exclusive lock on a file in the lab's folder. The open file is also handed
//! to `kind` as its standard input: a `kind` whose parent was killed keeps the lock for the moment until it ends, too.

use std::{
    fs::{File, OpenOptions, TryLockError},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{
    host::folders,
    run::{StepCx, wait::Look},
    spec::LabName,
};

/// How long another command may hold a lab before we give up; an `up` that builds every image stays below.
const PATIENCE: Duration = Duration::from_mins(60);
const EVERY: Duration = Duration::from_millis(500);

/// The lock on a lab; it ends when this is dropped and no child holds a copy.
#[derive(Debug)]
pub struct LabLock {
    file: File,
    lab: LabName,
}

impl LabLock {
    /// Makes the lab's folder if need be and waits until nobody else works on the lab.
    ///
    /// # Errors
    /// The folder cannot be made; or the lab is still held after an hour (or the run's own timeout).
    pub async fn take(cx: &StepCx, lab: &LabName) -> Result<LabLock> {
        Self::take_at(cx, lab, &folder(lab)).await
    }

    async fn take_at(cx: &StepCx, lab: &LabName, folder: &Path) -> Result<LabLock> {
        let what = format!("lab {lab}");
        cx.until(&what, PATIENCE, EVERY, || async move {
            Ok(match attempt(folder)? {
                Some(file) => Look::Ready(LabLock { file, lab: lab.clone() }),
                None => Look::NotYet(format!("another wplab is working on lab {lab}")),
            })
        })
        .await
    }

    /// The lab that is locked.
    pub fn lab(&self) -> &LabName {
        &self.lab
    }

    /// A copy of the locked file, for a child that has to keep the lock when we are killed.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn share(&self) -> Result<File> {
        self.file.try_clone().context("cannot copy the lab's lock")
    }
}

/// Makes this process the only one of this user that works on something that labs share, as long as the file is held.
///
/// # Errors
/// The lock cannot be made; or it is still held after an hour (or the run's own timeout).
pub async fn shared(cx: &StepCx, name: &str) -> Result<File> {
    let folder = folders::cache_home().join(name);
    let folder = &folder;
    cx.until(name, PATIENCE, EVERY, || async move {
        Ok(match attempt(folder)? {
            Some(file) => Look::Ready(file),
            None => Look::NotYet("another wplab is working on it".to_owned()),
        })
    })
    .await
}

/// The lab's own folder on this machine: kubeconfig, lock, diagnostics.
pub fn folder(lab: &LabName) -> PathBuf {
    folders::data_home().join(lab.as_str())
}

/// The locked file, or nothing when somebody else has it.
fn attempt(folder: &Path) -> Result<Option<File>> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let path = folder.join("lock");
    let open = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path);
    let file = match open {
        // A `down` took the whole folder away between the two lines above.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("cannot open {}", path.display()))?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => bail!("cannot lock {}: {error}", path.display()),
    }
    // Who held it before may have removed the file with the folder; a lock on a file that has no name keeps nobody out.
    let inode = |m: std::fs::Metadata| (m.dev(), m.ino());
    let ours = file.metadata().map(inode).ok();
    Ok((ours.is_some() && ours == std::fs::metadata(&path).map(inode).ok()).then_some(file))
}

/// Which folder to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Only {
    /// Only one that holds nothing but our lock.
    OurLock,
    /// With whatever is in it.
    Whatever,
}

/// Removes a lab's folder; returns it when there was more in it than our lock.
pub(crate) fn remove_folder(folder: &Path, only: Only) -> Result<Option<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.with_context(|| format!("cannot read {}", folder.display()))?,
    };
    let full = entries.flatten().any(|entry| entry.file_name() != "lock");
    if full && only == Only::OurLock {
        return Ok(None);
    }
    std::fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(full.then(|| folder.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::{Run, event::StepId};

    fn lab() -> LabName {
        LabName::new("locktest").expect("a name")
    }

    #[tokio::test]
    async fn the_second_waits_and_says_why() {
        let home = tempfile::tempdir().expect("a folder");
        let (run, mut events) = Run::new(None);
        let cx = StepCx::new(&run, StepId::Cluster);
        let first = LabLock::take_at(&cx, &lab(), home.path()).await.expect("free");
        let (second_lab, other) = (lab(), home.path().to_owned());
        let second = tokio::spawn(async move { LabLock::take_at(&cx, &second_lab, &other).await });
        let event = format!("{:?}", events.recv().await.expect("an event"));
        assert!(event.contains("another wplab is working on lab locktest"), "{event}");
        drop(first);
        second.await.expect("joined").expect("free now");
    }

    #[test]
    fn a_child_keeps_the_lock_of_a_parent_that_is_gone() {
        let home = tempfile::tempdir().expect("a folder");
        let lock = LabLock { file: attempt(home.path()).expect("opens").expect("free"), lab: lab() };
        let held_by_child = lock.share().expect("copied");
        drop(lock);
        assert!(attempt(home.path()).expect("opens").is_none());
        drop(held_by_child);
        assert!(attempt(home.path()).expect("opens").is_some());
    }

    #[test]
    fn a_lock_on_a_removed_file_does_not_count() {
        let home = tempfile::tempdir().expect("a folder");
        let held = attempt(home.path()).expect("opens").expect("free");
        std::fs::remove_file(home.path().join("lock")).expect("removed");
        // The holder of the old file goes on; whoever comes now locks the new one.
        assert!(attempt(home.path()).expect("opens").is_some());
        drop(held);
    }

    #[test]
    fn a_folder_with_nothing_but_our_lock_was_no_lab() {
        let home = tempfile::tempdir().expect("a folder");
        let lab = home.path().join("lab");
        assert_eq!(remove_folder(&lab, Only::Whatever).expect("nothing there"), None);
        std::fs::create_dir(&lab).expect("made");
        std::fs::write(lab.join("lock"), "").expect("written");
        assert_eq!(remove_folder(&lab, Only::OurLock).expect("removed"), None);
        assert!(!lab.exists());
        std::fs::create_dir(&lab).expect("made");
        std::fs::write(lab.join("kubeconfig"), "").expect("written");
        assert_eq!(remove_folder(&lab, Only::OurLock).expect("left"), None);
        assert_eq!(remove_folder(&lab, Only::Whatever).expect("removed"), Some(lab));
    }
}
