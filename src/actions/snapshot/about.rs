//! What a snapshot says of itself: all that a lab is made of again, but for files and images. It has no secret in it.

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use crate::{
    host::nodes::{
        again::Shot,
        roots::{Key, Roots, kept::Kept},
    },
    parts::images::ImageSet,
    spec::{LabName, LabSpec, SnapshotName},
};

/// The form below. Another one is read by another version.
const FORM: u32 = 1;

/// What is written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct About {
    form: u32,
    pub(super) name: SnapshotName,
    /// The lab that it is of.
    pub(super) lab: LabName,
    /// When, in the form of RFC 3339.
    pub(super) taken: String,
    /// The lab file.
    pub(super) file: String,
    /// The port of its site.
    pub(super) port: u16,
    pub(super) images: ImageSet,
    /// Its golden root.
    pub(super) key: Key,
    /// Its nodes, the control plane first.
    pub(super) shots: Vec<Shot>,
}

impl About {
    /// Of a lab; what is not known yet is filled in by whoever takes the snapshot.
    pub(super) fn new(
        name: &SnapshotName,
        lab: &LabName,
        spec: &LabSpec,
        port: u16,
        images: &ImageSet,
        shots: Vec<Shot>,
    ) -> About {
        About {
            form: FORM,
            name: name.clone(),
            lab: lab.clone(),
            taken: String::new(),
            file: spec.to_file(),
            port,
            images: images.clone(),
            key: Key::default(),
            shots,
        }
    }

    pub(super) fn text(&self) -> Result<String> {
        serde_json::to_string(self).context("cannot write down what the snapshot is")
    }
}

/// A snapshot, for people and programs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Snapshot {
    /// Its name.
    pub name: SnapshotName,
    /// The lab that it is of.
    pub lab: LabName,
    /// When it was taken, in the form of RFC 3339.
    pub taken: String,
    /// The nodes of that lab.
    pub nodes: usize,
    /// What it takes of the disk by itself, in bytes; the images are in a golden root, which labs share.
    pub bytes: u64,
}

/// All of them, by name. What an other version has written in another form is told, not left out.
pub(super) async fn all(roots: &Roots<'_>) -> Result<Vec<(About, Snapshot)>> {
    let mut all = roots.snapshots().await?.iter().map(read).collect::<Result<Vec<_>>>()?;
    all.sort_by(|(one, _), (other, _)| one.name.cmp(&other.name));
    Ok(all)
}

fn read(kept: &Kept) -> Result<(About, Snapshot)> {
    #[derive(Deserialize)]
    struct Form {
        form: u32,
    }
    let form: Form = serde_json::from_str(&kept.about).context("a snapshot does not say what it is")?;
    ensure!(
        form.form == FORM,
        "a snapshot was written in form {} by another version; this one reads {FORM}",
        form.form
    );
    let about: About = serde_json::from_str(&kept.about).context("a snapshot does not say all that it is")?;
    let snapshot = Snapshot {
        name: about.name.clone(),
        lab: about.lab.clone(),
        taken: about.taken.clone(),
        nodes: about.shots.len(),
        bytes: kept.bytes,
    };
    Ok((about, snapshot))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_says_what_it_is_and_another_form_is_refused() {
        let (name, lab) = (SnapshotName::new("lesson").expect("a name"), LabName::default());
        let about = About::new(&name, &lab, &LabSpec::default(), 8080, &ImageSet::default(), Vec::new());
        let text = about.text().expect("JSON");
        assert!(!text.contains('\n'), "one line: {text}");
        let (read_again, snapshot) = read(&Kept { bytes: 7, about: text.clone() }).expect("a snapshot");
        assert_eq!((read_again.file, snapshot.bytes, snapshot.name), (about.file, 7, name));
        let other = text.replace("\"form\":1", "\"form\":2");
        let error = read(&Kept { bytes: 7, about: other }).expect_err("another form").to_string();
        assert!(error.contains("form 2 by another version"), "{error}");
    }
}
