//! The Docker engine. The only file that names bollard. (Signatures agreed; bodies: the images owner.)
#![allow(missing_docs, dead_code, unused_variables, clippy::unused_async, reason = "skeleton")]

use std::collections::BTreeMap;
use anyhow::{Result, bail};
use bytes::Bytes;
use futures_util::{Stream, stream::BoxStream};

#[derive(Clone, Debug)]
pub struct Docker;

#[derive(Clone, Debug)]
pub struct EngineInfo { pub version: String, pub api_version: String, pub arch: String, pub cgroup_version: u8, pub storage_driver: String, pub containerd_store: bool, pub root_dir: String, pub rootless: bool, pub cpus: u64, pub memory: u64, pub os: String }
#[derive(Clone, Debug)]
pub struct LocalImage { pub id: String, pub size: u64, pub repo_digests: Vec<String>, pub labels: BTreeMap<String, String> }
#[derive(Clone, Debug)]
pub struct Container { pub name: String, pub running: bool, pub image: String, pub labels: BTreeMap<String, String>, pub ports: Vec<(u16, u16)> }
#[derive(Clone, Debug)]
pub struct Exec { pub code: i64, pub stdout: String, pub stderr: String }
#[derive(Clone, Debug)]
pub struct PullProgress { pub done: u64, pub total: Option<u64>, pub note: String }

impl Docker {
    pub async fn connect() -> Result<Docker> { bail!("stub") }
    pub async fn info(&self) -> Result<EngineInfo> { bail!("stub") }
    pub async fn image(&self, reference: &str) -> Result<Option<LocalImage>> { bail!("stub") }
    /// Images with all of these labels (name=value): their tags and ids.
    pub async fn images_labelled(&self, labels: &BTreeMap<String, String>) -> Result<Vec<(String, Vec<String>)>> { bail!("stub") }
    /// Builds with the classic builder, network host; `log` hears each line.
    pub async fn build(&self, context_tar: Bytes, tag: &str, args: &BTreeMap<String, String>, labels: &BTreeMap<String, String>, log: impl FnMut(&str) + Send) -> Result<()> { bail!("stub") }
    pub async fn pull(&self, reference: &str, progress: impl FnMut(PullProgress) + Send) -> Result<()> { bail!("stub") }
    pub async fn tag(&self, source: &str, target: &str) -> Result<()> { bail!("stub") }
    pub async fn remove_image(&self, reference: &str) -> Result<bool> { bail!("stub") }
    /// `docker import -`.
    pub async fn import_rootfs(&self, tar: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static, tag: &str) -> Result<()> { bail!("stub") }
    /// `docker save` of one platform.
    pub fn save(&self, references: &[String]) -> BoxStream<'static, Result<Bytes>> { unimplemented!("stub") }
    /// `docker load`.
    pub async fn load(&self, tar: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Result<()> { bail!("stub") }
    /// Containers (also stopped ones) with all of these labels.
    pub async fn containers(&self, labels: &BTreeMap<String, String>) -> Result<Vec<Container>> { bail!("stub") }
    pub async fn start(&self, container: &str) -> Result<()> { bail!("stub") }
    pub async fn remove_container(&self, container: &str) -> Result<()> { bail!("stub") }
    pub async fn exec(&self, container: &str, command: &[&str]) -> Result<Exec> { bail!("stub") }
    /// Runs a command in a container with `input` on its standard input.
    pub async fn exec_with_input(&self, container: &str, command: &[&str], input: impl Stream<Item = Bytes> + Send + 'static) -> Result<Exec> { bail!("stub") }
    /// One file out of an image, by way of a container that is never started.
    pub async fn file_of_image(&self, image: &str, path: &str) -> Result<Vec<u8>> { bail!("stub") }
    /// Runs a throw-away privileged container of an image and waits for its end.
    pub async fn try_privileged(&self, image: &str, command: &[&str]) -> Result<Exec> { bail!("stub") }
    pub async fn ensure_network(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<bool> { bail!("stub") }
    /// Removes networks with all of these labels; returns their names.
    pub async fn remove_networks(&self, labels: &BTreeMap<String, String>) -> Result<Vec<String>> { bail!("stub") }
    /// Ports of 127.0.0.1/0.0.0.0 that containers publish.
    pub async fn published_ports(&self) -> Result<Vec<u16>> { bail!("stub") }
}
