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
