//! Checks of the shared volume, from inside the replicas: what they see mounted, and whether one reads what another wrote.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;

use crate::{
    actions::smoke::{check::Check, frontend::replicas, marker::Marker},
    cluster::Cluster,
    run::advice::Hint,
    spec::LabSpec,
};

const SUBJECT: &str = "storage";
const LIMIT: Duration = Duration::from_secs(60);
/// Where the claim is mounted in a replica. What WordPress has in its own folder is a copy of the code in it.
const CONTENT: &str = "/mnt/wp-content";

/// The shared volume as the checks use it.
pub(super) struct Volume<'a> {
    cluster: &'a Cluster,
    marker: &'a Marker,
    wrote: AtomicBool,
}

impl<'a> Volume<'a> {
    pub(super) fn new(cluster: &'a Cluster, marker: &'a Marker) -> Volume<'a> {
        Volume { cluster, marker, wrote: AtomicBool::new(false) }
    }

    pub(super) fn checks(&'a self, spec: &LabSpec) -> Vec<Check<'a>> {
        // A lab may be asked for with a single worker or a single replica.
        let nodes = usize::from(2.min(spec.cluster.workers).min(spec.wordpress.replicas)).max(1);
        let sentence = match nodes {
            1 => "the NFS volume is mounted".to_owned(),
            _ => format!("the NFS volume is mounted on at least {nodes} nodes"),
        };
        let hint = [Hint::Logs { lab: self.cluster.lab.clone(), of: Some("storage") }];
        let shared = "a file written by one replica is read by every other";
        vec![
            Check::new("mounted", SUBJECT, sentence, LIMIT, &hint, move || self.mounted(nodes)),
            Check::new("shared", SUBJECT, shared, LIMIT, &hint, || self.shared()).needs("mounted"),
        ]
    }

    async fn mounted(&self, wanted: usize) -> Result<String> {
        let mut nodes = BTreeSet::new();
        let mut server = String::new();
        for pod in replicas(self.cluster).await? {
            let mounts = self.exec(&pod, &["cat", "/proc/self/mounts"]).await?;
            server = nfs_server(&mounts).with_context(|| format!("{CONTENT} of {} is not on NFS", pod.name_any()))?;
            nodes.extend(pod.spec.and_then(|spec| spec.node_name));
        }
        let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
        ensure!(nodes.len() >= wanted, "only on {}", names.join(", "));
        Ok(format!("{server} on {}", names.join(", ")))
    }

    async fn shared(&self) -> Result<String> {
        let pods = replicas(self.cluster).await?;
        let (writer, readers) = pods.split_first().context("there are no replicas")?;
        let file = format!("{CONTENT}/{}.txt", self.marker.as_str());
        self.wrote.store(true, Ordering::Relaxed);
        let write = ["sh", "-c", "printf %s \"$1\" > \"$2\"", "sh", self.marker.as_str(), &file];
        self.exec(writer, &write).await?;
        // A single replica can only be asked itself.
        let readers = if readers.is_empty() { std::slice::from_ref(writer) } else { readers };
        for reader in readers {
            let read = self.exec(reader, &["cat", &file]).await?;
            ensure!(
                read == self.marker.as_str(),
                "{} reads something else than {} wrote",
                reader.name_any(),
                writer.name_any()
            );
        }
        Ok(format!("written by {}, read by {}", writer.name_any(), names(readers)))
    }

    /// Removes what this run wrote and what long dead runs left.
    ///
    /// # Errors
    /// No replica can be asked, or the file stays.
    pub(super) async fn clean_up(&self) -> Result<usize> {
        if !self.wrote.load(Ordering::Relaxed) {
            return Ok(0);
        }
        let pods = replicas(self.cluster).await?;
        let pod = pods.first().context("there are no replicas")?;
        let listing = self.exec(pod, &["ls", CONTENT]).await?;
        let files = listing.lines().filter(|name| self.marker.may_remove(name)).map(|name| format!("{CONTENT}/{name}"));
        let files: Vec<String> = files.collect();
        if !files.is_empty() {
            let command: Vec<&str> = ["rm", "-f", "--"].into_iter().chain(files.iter().map(String::as_str)).collect();
            self.exec(pod, &command).await?;
        }
        Ok(files.len())
    }

    async fn exec(&self, pod: &Pod, command: &[&str]) -> Result<String> {
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first()).map_or("", |c| c.name.as_str());
        self.cluster.exec(&pod.name_any(), container, command).await
    }
}

fn names(pods: &[Pod]) -> String {
    pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(", ")
}

/// `SERVER:PATH` of the NFS mount that WordPress' content lies on, out of `/proc/self/mounts`. The kernel's client says
/// `nfs4`; of one over FUSE it says `fuse`, with or without a kind of its own, and only the source tells what it is.
fn nfs_server(mounts: &str) -> Option<String> {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let at: BTreeMap<_, _> = fields.filter_map(|f| Some((*f.get(1)?, (*f.first()?, *f.get(2)?)))).collect();
    let (server, kind) = at.get(CONTENT)?;
    let over_fuse = kind.starts_with("fuse") && server.contains(":/");
    (kind.starts_with("nfs") || over_fuse).then(|| (*server).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_clients_of_nfs_are_known_and_the_last_mount_counts() {
        let line = |kind: &str| {
            format!("overlay / overlay rw 0 0\n10.96.0.7:/export {CONTENT} {kind} rw 0 0\nproc /proc proc rw 0 0\n")
        };
        assert_eq!(nfs_server(&line("nfs4")).as_deref(), Some("10.96.0.7:/export"));
        assert_eq!(nfs_server(&line("fuse.nfs4")).as_deref(), Some("10.96.0.7:/export"));
        assert_eq!(nfs_server(&line("fuse")).as_deref(), Some("10.96.0.7:/export"));
        assert_eq!(nfs_server(&line("fuse").replace("10.96.0.7:/export", "overlayfs")), None);
        assert_eq!(nfs_server(&line("ext4")), None);
        assert_eq!(nfs_server(&(line("nfs4") + &line("tmpfs"))), None);
        assert_eq!(nfs_server("overlay / overlay rw 0 0\n\nbroken"), None);
    }
}
