//! The labels that are the record of what is ours. What does not carry them we never touch.

use std::collections::BTreeMap;

use crate::spec::LabName;

/// On every object, container, network and image of ours; its value is [`PART_OF_VALUE`].
pub const PART_OF: &str = "app.kubernetes.io/part-of";
/// The value of [`PART_OF`].
pub const PART_OF_VALUE: &str = "wplab";
/// Which part of the lab an object belongs to; the values are [`Component`]'s.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// Which lab an object belongs to.
pub const LAB: &str = "wplab.dev/lab";
/// On what is a snapshot's: its images, and the node containers that were made of it.
pub const SNAPSHOT: &str = "wplab.dev/snapshot";
/// On a server of backups that lie in a folder of this machine: the folder.
pub const FOLDER: &str = "wplab.dev/folder";
/// Annotation of the lab's namespace: the lab file, as one line of JSON.
pub const LAB_FILE: &str = "wplab.dev/lab-file";
/// Annotation of the lab's namespace: the images in use, as JSON.
pub const IMAGES: &str = "wplab.dev/images";
/// On a database member's pod: [`WRITER`] or [`READER`].
pub const ROLE: &str = "wplab.dev/role";
/// The role of the member that takes writes.
pub const WRITER: &str = "writer";
/// The role of the others.
pub const READER: &str = "reader";
/// On a database member's pod that may be read from: `true`. The Service `db-read` selects by it.
pub const READS: &str = "wplab.dev/reads";
/// The namespace of everything that is not cluster-wide.
pub const NAMESPACE: &str = "wplab";
/// Our field manager in server-side apply.
pub const FIELD_MANAGER: &str = "wplab";

/// A part of the lab, as the label [`COMPONENT`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// The NFS server and the claim.
    Storage,
    /// etcd.
    Discovery,
    /// The database's members.
    Database,
    /// The agent that gives the members their roles.
    Agent,
    /// What makes the members what is declared.
    Operator,
    /// WordPress.
    Frontend,
    /// metrics-server and the HPA.
    Autoscale,
    /// What keeps copies of the lab's data.
    Backup,
    /// What watches the lab.
    Monitoring,
}

impl Component {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Component::Storage => "storage",
            Component::Discovery => "discovery",
            Component::Database => "database",
            Component::Agent => "agent",
            Component::Operator => "operator",
            Component::Frontend => "frontend",
            Component::Autoscale => "autoscale",
            Component::Backup => "backup",
            Component::Monitoring => "monitoring",
        }
    }
}

/// The label that everything of ours carries, whichever lab's it is.
pub fn ours() -> BTreeMap<String, String> {
    BTreeMap::from([(PART_OF.to_owned(), PART_OF_VALUE.to_owned())])
}

/// The same of a part.
pub fn with(mut labels: BTreeMap<String, String>, component: Component) -> BTreeMap<String, String> {
    labels.insert(COMPONENT.to_owned(), component.as_str().to_owned());
    labels
}

/// What the servers of backups beside the labs carry, whichever lab's backups they have.
pub fn of_stores() -> BTreeMap<String, String> {
    with(ours(), Component::Backup)
}

/// The two labels that every thing of a lab carries.
pub fn of_lab(lab: &LabName) -> BTreeMap<String, String> {
    let mut labels = ours();
    labels.insert(LAB.to_owned(), lab.to_string());
    labels
}
