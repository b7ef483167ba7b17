//! The real world of [`super::recipe`]: each step is one call into a room below.

use std::path::Path;

use anyhow::Result;

use super::{UpOptions, World};
use crate::{
    cluster::Cluster,
    host::{Host, doctor, kind, kind::Nodes},
    parts::{autoscale, database, database::Database, frontend, frontend::Site, images, images::ImageSet, storage, storage::Storage},
    run::{StepCx, Stepped},
    smoke::{self, SmokeReport},
};

/// The machine and the cluster, for one lab.
pub(super) struct Real<'a> {
    pub(super) options: &'a UpOptions,
}

impl<'a> Real<'a> {
    pub(super) fn new(options: &'a UpOptions) -> Self {
        Real { options }
    }

    fn node_image<'i>(&self, images: &'i ImageSet) -> Result<&'i str> {
        Ok(&images.get(images::Role::Node)?.reference)
    }
}
