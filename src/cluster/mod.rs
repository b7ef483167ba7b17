//! The Kubernetes side: the [`Cluster`] handle and what is done through it. Knows nothing of Docker; a cluster is always
//! reached by an explicit kubeconfig.
#![allow(missing_docs, dead_code, unused_variables, clippy::unused_async, reason = "skeleton")]

use std::path::Path;
use anyhow::{Result, bail};
use kube::{Client, core::DynamicObject};
use crate::{spec::LabName};

#[derive(Clone)]
pub struct Cluster { pub client: Client, pub lab: LabName }

impl Cluster {
    /// Reads the kubeconfig and checks nothing; the first request does.
    pub async fn connect(kubeconfig: &Path, lab: &LabName) -> Result<Cluster> { bail!("stub") }
    /// Server-side apply of objects in the given order, with the lab's labels added; returns how many changed
    /// (resourceVersion differs from before).
    pub async fn apply(&self, objects: &[DynamicObject]) -> Result<usize> { bail!("stub") }
}
