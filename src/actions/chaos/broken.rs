//! What can be broken for a while: how it is broken, how it is put right, and how it is found by whoever knows nothing of the
//! one that broke it. Putting right what is not broken changes nothing.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{Node, Pod},
};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{disk, ground::SYSTEM};
use crate::{
    actions::{prove, scale::db::Resizing},
    cluster::{Cluster, Refused, gone, ready},
    host::{
        docker::{Container, Docker},
        machine::engine,
        nodes::{self, halt},
    },
    parts::{database, workers},
    run::{StepCx, wait::Look},
    spec::LabName,
};

/// The annotation of a Deployment that was taken down: how many replicas it had.
const REPLICAS: &str = "wplab.dev/chaos-replicas";
/// The annotation of a Node that takes no pods while one of its volumes is changed.
const CLOSED: &str = "wplab.dev/chaos-closed";
/// The annotation of the members' StatefulSet while it has others: how many it had.
const MEMBERS: &str = "wplab.dev/chaos-members";
/// Who takes them down, so that nobody else's fields become ours.
const MANAGER: &str = "wplab-chaos";
/// How long an API server may take that has just been put back, until it takes a patch.
const API: Duration = Duration::from_mins(2);
const EVERY: Duration = Duration::from_millis(500);
/// How long a pod may take to end, and its node to let go of its volume.
const AWAY_LIMIT: Duration = Duration::from_mins(3);

/// Where the API server's manifest is, and where it is put away.
const MANIFEST: &str = "/etc/kubernetes/manifests/kube-apiserver.yaml";
const AWAY: &str = "/etc/kubernetes/wplab-chaos-kube-apiserver.yaml";

/// The file server's pod.
const NFS: &str = "nfs-0";

/// Servers that can be frozen, as the kernel calls them.
pub(super) const SERVERS: &str = "mysqld|mariadbd|ganesha.nfsd|etcd";

/// Something that is broken, until somebody puts it right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "what")]
pub(super) enum Broken {
    /// A node's container is frozen.
    NodeFrozen { node: String },
    /// A node's container does not run.
    NodeStopped { node: String },
    /// A node's packets are dropped, all or some, or come late.
    Network { node: String, loss: u8, delay: u32 },
    /// A server's process on a node is frozen.
    ServerFrozen { node: String, process: String },
    /// The API server's manifest is put away.
    ApiServerAway { node: String },
    /// A Deployment has no replicas.
    TakenDown { deployment: String },
    /// The database has other members than it is to have.
    Scaled { from: u8, to: u8 },
    /// A node takes no pods.
    NodeClosed { node: String },
    /// The engine is being restarted.
    EngineAway,
    /// A pod's volume has a small file system of its own.
    VolumeSmall { node: String, pod: String, path: String },
    /// A volume is full.
    VolumeFull { node: String, path: String },
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Broken::NodeFrozen { node } => write!(f, "{node} is frozen"),
            Broken::NodeStopped { node } => write!(f, "{node} is stopped"),
            Broken::Network { node, .. } => write!(f, "the network of {node} is disturbed"),
            Broken::ServerFrozen { node, process } => write!(f, "{process} on {node} is frozen"),
            Broken::ApiServerAway { .. } => write!(f, "the API server is taken away"),
            Broken::TakenDown { deployment } => write!(f, "{deployment} is taken down"),
            Broken::Scaled { from, .. } => write!(f, "the database has not its {from} members"),
            Broken::NodeClosed { node } => write!(f, "{node} takes no pods"),
            Broken::EngineAway => write!(f, "the container engine is restarted"),
            Broken::VolumeSmall { pod, .. } => write!(f, "the volume of {pod} is a small one"),
            Broken::VolumeFull { node, .. } => write!(f, "a volume on {node} is full"),
        }
    }
}

impl Broken {
    /// The container of the node that it is on; `None` of what is on none.
    pub(super) fn node(&self) -> Option<&str> {
        match self {
            Broken::NodeFrozen { node }
            | Broken::NodeStopped { node }
            | Broken::Network { node, .. }
            | Broken::ServerFrozen { node, .. }
            | Broken::ApiServerAway { node }
            | Broken::NodeClosed { node }
            | Broken::VolumeSmall { node, .. }
            | Broken::VolumeFull { node, .. } => Some(node),
            Broken::TakenDown { .. } | Broken::Scaled { .. } | Broken::EngineAway => None,
        }
    }
}

/// Whoever can reach what is broken. The cluster may not answer.
pub(super) struct Hands<'a> {
    pub(super) cx: &'a StepCx,
    pub(super) docker: &'a Docker,
    pub(super) cluster: &'a Cluster,
    pub(super) lab: &'a LabName,
}

impl Hands<'_> {
    /// Breaks it.
    pub(super) async fn make(&self, broken: &Broken) -> Result<()> {
        match broken {
            Broken::NodeFrozen { node } => self.docker.pause(node).await,
            Broken::NodeStopped { node } => self.docker.kill(node).await,
            Broken::Network { node, loss, delay } => self.shell(node, &disturb(*loss, *delay)).await.map(drop),
            Broken::ServerFrozen { node, process } => self.signal(node, "STOP", process).await,
            Broken::ApiServerAway { node } => self.shell(node, &format!("mv {MANIFEST} {AWAY}")).await.map(drop),
            Broken::TakenDown { deployment } => self.take_down(deployment).await,
            Broken::Scaled { from, to } => {
                self.note_members(Some(*from)).await?;
                self.scale(*to).await
            }
            Broken::NodeClosed { node } => self.close(&self.inside(node)).await,
            Broken::EngineAway => engine::restart(self.cx).await,
            Broken::VolumeSmall { node, pod, path } => self.without(node, pod, &disk::shrink(pod, path)).await,
            Broken::VolumeFull { node, path } => self.shell(node, &disk::fill(path)).await.map(drop),
        }
    }

    /// Puts it right. It need not be broken any more.
    pub(super) async fn undo(&self, broken: &Broken) -> Result<()> {
        match broken {
            Broken::NodeFrozen { node } => self.docker.unpause(node).await,
            Broken::NodeStopped { node } => self.start(node).await,
            Broken::Network { node, .. } => self.shell(node, UNDISTURB).await.map(drop),
            Broken::ServerFrozen { node, process } => {
                // One that was ended meanwhile need not go on.
                self.docker.exec(node, &["pkill", "-CONT", "-x", process]).await.map(drop)
            }
            Broken::ApiServerAway { node } => {
                self.shell(node, &format!("[ ! -e {AWAY} ] || mv {AWAY} {MANIFEST}")).await.map(drop)
            }
            Broken::TakenDown { deployment } => self.put_up(deployment).await,
            Broken::Scaled { .. } => {
                let Some(from) = self.noted_members().await? else { return Ok(()) };
                self.scale(from).await?;
                self.note_members(None).await
            }
            Broken::NodeClosed { node } => self.open(&self.inside(node)).await,
            // Whoever asks has an engine that answers.
            Broken::EngineAway => Ok(()),
            Broken::VolumeSmall { node, pod, path } => {
                let there = self.shell(node, &disk::look()).await?;
                if !there.contains("small ") {
                    return Ok(());
                }
                self.without(node, pod, &disk::widen(path)).await
            }
            Broken::VolumeFull { node, path } => self.shell(node, &disk::free(path)).await.map(drop),
        }
    }

    /// Kills a server's process on a node, or stops it there.
    pub(super) async fn signal(&self, node: &str, signal: &str, process: &str) -> Result<()> {
        let sent = self.docker.exec(node, &["pkill", &format!("-{signal}"), "-x", process]).await?;
        ensure!(sent.code == 0, "no process {process} runs on {node}");
        Ok(())
    }

    fn inside(&self, node: &str) -> String {
        nodes::inside_name(node, self.lab, &self.cluster.inside)
    }

    /// Does something to a pod's volume while the pod is away: its node takes no pods meanwhile, and none afterwards if it was
    /// not done, because who would start there might find half of what it had.
    async fn without(&self, node: &str, pod: &str, words: &str) -> Result<()> {
        let inside = self.inside(node);
        self.close(&inside).await?;
        let pods: Api<Pod> = self.cluster.api();
        let pods = &pods;
        let had = pods.get_opt(pod).await.map_err(Refused).with_context(|| format!("cannot read pod {pod}"))?;
        let served = matches!(ready::pod(had.as_ref()), Look::Ready(()));
        // One that waits for a node has nothing mounted.
        let had = had.filter(|pod| pod.spec.as_ref().is_some_and(|spec| spec.node_name.is_some()));
        if let Some(uid) = had.and_then(|pod| pod.metadata.uid) {
            gone(pods.delete(pod, &DeleteParams::default()).await).with_context(|| format!("cannot end pod {pod}"))?;
            // The kubelet lets a pod go when it has let go of its volumes.
            let uid = &uid;
            self.cx
                .until(&format!("the end of {pod}"), AWAY_LIMIT, EVERY, || async move {
                    let there = pods.get_opt(pod).await.map_err(Refused)?;
                    let same = there.is_some_and(|there| there.metadata.uid.as_ref() == Some(uid));
                    Ok(if same { Look::NotYet("it is ending".to_owned()) } else { Look::Ready(()) })
                })
                .await?;
        }
        self.shell(node, words).await?;
        self.open(&inside).await?;
        if pod == NFS {
            // Files have other numbers in another file system, so what clients hold of them is worth nothing any more.
            let site = ListParams::default().labels("app.kubernetes.io/name=wordpress");
            let gone =
                self.cluster.api::<Pod>().delete_collection(&DeleteParams::default().grace_period(0), &site).await;
            gone.map_err(Refused).context("cannot make the site's replicas anew")?;
        }
        // The next member's turn comes when this one is back, unless it was not there before either: it may wait for that one.
        if served { self.cluster.until_ready(self.cx, pods, pod, AWAY_LIMIT, ready::pod).await } else { Ok(()) }
    }

    /// Lets a node take no pods.
    async fn close(&self, node: &str) -> Result<()> {
        let there = self.cluster.all::<Node>().get(node).await.map_err(Refused);
        let there = there.with_context(|| format!("cannot read Node {node}"))?;
        let closed = there.spec.as_ref().is_some_and(|spec| spec.unschedulable == Some(true));
        ensure!(
            !closed || there.annotations().contains_key(CLOSED),
            "{node} takes no pods, so that nobody could come back to it: it has to be opened first (kubectl uncordon)"
        );
        workers::mark(self.cluster, node, CLOSED, true).await
    }

    /// Lets a node take pods again that was closed by us.
    async fn open(&self, node: &str) -> Result<()> {
        let there = self.cluster.all::<Node>().get_opt(node).await.map_err(Refused);
        let there = there.with_context(|| format!("cannot read Node {node}"))?;
        match there {
            Some(there) if there.annotations().contains_key(CLOSED) => {
                workers::mark(self.cluster, node, CLOSED, false).await
            }
            _ => Ok(()),
        }
    }

    async fn shell(&self, node: &str, words: &str) -> Result<String> {
        let ended = self.docker.exec(node, &["sh", "-ec", words]).await?;
        ensure!(ended.code == 0, "`{words}` on {node} ended with {}: {}", ended.code, ended.stderr.trim());
        Ok(ended.stdout)
    }

    /// Starts a node under the address that it had.
    pub(super) async fn start(&self, node: &str) -> Result<()> {
        let all = nodes::ours(self.docker, self.lab).await?;
        let stopped: Vec<&Container> = all.iter().filter(|c| c.name == node && !c.running && !c.paused).collect();
        if !stopped.is_empty() {
            halt::start(self.cx, self.docker, self.lab, &stopped).await;
        }
        ensure!(self.docker.running(node).await? == Some(true), "{node} does not start");
        Ok(())
    }

    async fn take_down(&self, deployment: &str) -> Result<()> {
        let api: Api<Deployment> = self.cluster.api_in(SYSTEM);
        let there = api.get(deployment).await.map_err(Refused).with_context(|| format!("cannot read {deployment}"))?;
        let had = there.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        let patch = json!({"metadata": {"annotations": {REPLICAS: had.to_string()}}, "spec": {"replicas": 0}});
        self.patch(&api, deployment, &patch).await
    }

    /// Waits for the API server, which may have been away itself.
    async fn put_up(&self, deployment: &str) -> Result<()> {
        let api: Api<Deployment> = self.cluster.api_in(SYSTEM);
        let api = &api;
        self.cx
            .until("the API server", API, EVERY, || async move {
                let had = match api.get(deployment).await {
                    Ok(there) => there.annotations().get(REPLICAS).and_then(|had| had.parse::<i32>().ok()),
                    Err(error) => return Ok(Look::NotYet(Refused(error).to_string())),
                };
                let Some(had) = had else { return Ok(Look::Ready(())) };
                let patch = json!({"metadata": {"annotations": {REPLICAS: null}}, "spec": {"replicas": had}});
                Ok(match self.patch(api, deployment, &patch).await {
                    Ok(()) => Look::Ready(()),
                    Err(error) => Look::NotYet(format!("{error:#}")),
                })
            })
            .await
    }

    /// Gives the database another number of members, as `wplab scale db` does.
    async fn scale(&self, members: u8) -> Result<()> {
        let images = prove::images_of(self.cluster).await?;
        let mut wanted = self.cluster.lab_file().await?;
        wanted.database.members = members;
        let Hands { cx, docker, cluster, .. } = *self;
        Resizing { cx, docker, cluster, wanted: &wanted, images: &images, protected: true }.resize().await.map(drop)
    }

    /// Writes at the members' set how many there were; nothing once there are as many again.
    async fn note_members(&self, members: Option<u8>) -> Result<()> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patch = json!({"metadata": {"annotations": {MEMBERS: members.map(|members| members.to_string())}}});
        let patched = self.cluster.api::<StatefulSet>().patch(database::MEMBERS, &params, &Patch::Merge(&patch)).await;
        patched.map_err(Refused).context("cannot mark the database's members").map(drop)
    }

    async fn noted_members(&self) -> Result<Option<u8>> {
        let set: Option<StatefulSet> = self.cluster.get(database::MEMBERS).await?;
        Ok(set.and_then(|set| set.annotations().get(MEMBERS)?.parse().ok()))
    }

    async fn patch(&self, api: &Api<Deployment>, name: &str, patch: &serde_json::Value) -> Result<()> {
        let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        let patched = api.patch(name, &params, &Patch::Merge(patch)).await.map_err(Refused);
        patched.map(drop).with_context(|| format!("cannot change Deployment {name}"))
    }

    /// What is broken, by looking at everything that can be.
    pub(super) async fn find(&self, nodes: &[Container]) -> Result<Vec<Broken>> {
        let mut found = Vec::new();
        for node in nodes {
            let name = node.name.clone();
            if node.paused {
                found.push(Broken::NodeFrozen { node: name });
            } else if !node.running {
                found.push(Broken::NodeStopped { node: name });
            } else {
                let seen = self.docker.exec(&name, &["sh", "-c", &look()]).await?;
                found.extend(seen.stdout.lines().filter_map(|line| read(&name, line)));
            }
        }
        // An API server that is away, or whose node is frozen, cannot be asked; what was taken down is looked for later.
        let api: Api<Deployment> = self.cluster.api_in(SYSTEM);
        let all = tokio::time::timeout(Duration::from_secs(5), api.list(&ListParams::default())).await;
        if let Ok(Ok(all)) = all {
            let down = all.items.iter().filter(|deployment| deployment.annotations().contains_key(REPLICAS));
            found.extend(down.map(|deployment| Broken::TakenDown { deployment: deployment.name_any() }));
            let closed = self.cluster.all::<Node>().list(&ListParams::default()).await.map_err(Refused);
            let closed = closed.context("cannot list the nodes")?.items;
            let closed =
                closed.iter().filter(|node| node.annotations().contains_key(CLOSED)).map(ResourceExt::name_any);
            found.extend(closed.filter_map(|closed| {
                let container = nodes.iter().find(|node| self.inside(&node.name) == closed)?;
                Some(Broken::NodeClosed { node: container.name.clone() })
            }));
            let from = self.noted_members().await?;
            found.extend(from.map(|from| Broken::Scaled { from, to: from }));
        }
        Ok(found)
    }
}

/// The chain that drops what comes from and goes to other machines; what a node says to itself is left alone.
const CHAIN: &str = "WPLAB-CHAOS";

fn disturb(loss: u8, delay: u32) -> String {
    let mut words = String::new();
    if loss > 0 {
        let some = if loss == 100 {
            String::new()
        } else {
            format!("-m statistic --mode random --probability {:.2} ", f32::from(loss) / 100.0)
        };
        words += &format!(
            "iptables -w -N {CHAIN}; iptables -w -A {CHAIN} -i eth0 {some}-j DROP; iptables -w -A {CHAIN} -o eth0 {some}-j DROP; \
             for chain in INPUT OUTPUT FORWARD; do iptables -w -I $chain 1 -j {CHAIN}; done; "
        );
    }
    if delay > 0 {
        words += &format!("tc qdisc add dev eth0 root netem delay {delay}ms");
    }
    words
}

const UNDISTURB: &str = "\
for chain in INPUT OUTPUT FORWARD; do while iptables -w -D $chain -j WPLAB-CHAOS 2>/dev/null; do :; done; done
if iptables -w -F WPLAB-CHAOS 2>/dev/null; then iptables -w -X WPLAB-CHAOS; fi
if tc qdisc show dev eth0 | grep -q netem; then tc qdisc del dev eth0 root; fi";

/// Words of the shell that print a line for everything on a node that is broken.
fn look() -> String {
    format!(
        "iptables -w -S {CHAIN} >/dev/null 2>&1 && echo network\n\
         tc qdisc show dev eth0 2>/dev/null | grep -q netem && echo network\n\
         [ -e {AWAY} ] && echo api-server\n\
         ps -eo stat=,comm= | sed -n -E 's/^T[^ ]* +({SERVERS})$/frozen \\1/p'\n\
         {}",
        disk::look()
    )
}

fn read(node: &str, line: &str) -> Option<Broken> {
    let node = node.to_owned();
    match line.split_once(' ').unwrap_or((line, "")) {
        ("network", _) => Some(Broken::Network { node, loss: 0, delay: 0 }),
        ("api-server", _) => Some(Broken::ApiServerAway { node }),
        ("frozen", process) => Some(Broken::ServerFrozen { node, process: process.to_owned() }),
        ("full", path) => Some(Broken::VolumeFull { node, path: path.to_owned() }),
        ("small", about) => {
            let (pod, path) = about.split_once(' ')?;
            Some(Broken::VolumeSmall { node, pod: pod.to_owned(), path: path.to_owned() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_node_tells_of_itself_is_read() {
        let read = |line| read("lab-worker", line);
        let node = || "lab-worker".to_owned();
        assert_eq!(read("network"), Some(Broken::Network { node: node(), loss: 0, delay: 0 }));
        assert_eq!(read("frozen mysqld"), Some(Broken::ServerFrozen { node: node(), process: "mysqld".into() }));
        assert_eq!(read("full /v"), Some(Broken::VolumeFull { node: node(), path: "/v".into() }));
        let small = Broken::VolumeSmall { node: node(), pod: "db-0".into(), path: "/v".into() };
        assert_eq!(read("small db-0 /v"), Some(small));
        assert_eq!(read("something else"), None);
    }

    #[test]
    fn a_node_is_cut_off_both_ways_and_hears_itself() {
        let cut = disturb(100, 0);
        assert!(cut.contains("-i eth0 -j DROP") && cut.contains("-o eth0 -j DROP") && !cut.contains("tc "), "{cut}");
        let bad = disturb(30, 200);
        assert!(bad.contains("--probability 0.30 -j DROP") && bad.ends_with("netem delay 200ms"), "{bad}");
        assert!(UNDISTURB.contains(CHAIN));
    }
}
