//! The only file that starts `kind`. Stub.
#![allow(missing_docs, dead_code, unused_variables, clippy::unused_async, reason = "skeleton")]
use std::path::{Path, PathBuf};
use anyhow::{Result, bail};
use crate::{host::Host, run::StepCx, spec::{LabName, LabSpec}};

#[derive(Clone, Debug)]
pub struct Kind { pub path: PathBuf, pub version: String }

/// A cluster that is there.
#[derive(Clone, Debug)]
pub struct Nodes { pub kubeconfig: PathBuf, pub control_plane: String, pub all: Vec<String>, pub port: u16, pub created: bool }

pub fn node_names(lab: &LabName, workers: u8) -> Vec<String> { Vec::new() }
pub fn kubeconfig_path(lab: &LabName) -> PathBuf { PathBuf::new() }
pub async fn ensure(cx: &StepCx, host: &Host, spec: &LabSpec, node_image: &str) -> Result<Nodes> { bail!("stub") }

/// A kind cluster of this name exists and carries no labels of ours: it is never touched. (The host owner's; same signature.)
#[derive(Clone, Debug)]
pub struct NotOurs { pub lab: LabName, pub containers: Vec<String> }

impl std::fmt::Display for NotOurs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (lab, containers) = (&self.lab, self.containers.join(", "));
        write!(f, "the kind cluster {lab} was not made by wplab and is left alone ({containers}); choose another lab name")
    }
}

impl std::error::Error for NotOurs {}
