//! What the command line says of a lab, beside its file.

use super::{Flavour, ImageSource, LabName, Topology};

/// What the command line says and the file has to give way to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The lab's name.
    pub name: Option<LabName>,
    /// Worker nodes.
    pub workers: Option<u8>,
    /// Port of the frontend.
    pub port: Option<u16>,
    /// Where images come from.
    pub images: Option<ImageSource>,
    /// How the database keeps its copies.
    pub topology: Option<Topology>,
    /// Which server a Galera cluster is made of.
    pub flavour: Option<Flavour>,
}
