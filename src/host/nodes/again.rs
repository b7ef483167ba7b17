//! Nodes of a snapshot: what is written down of nodes that are there, and nodes made like them again, under the same lab's
//! name or another's. Containers, networks and ports may have other names; inside, nodes keep theirs, because everything in a
//! cluster knows them by these.

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    host::{
        docker::{Cast, Container, Docker, Mould},
        nodes::{
            create::{image_of, network},
            halt::{ADDITIONS, ADDRESS},
            roots::{Clones, kept::Lent},
            there::{CLUSTER_LABEL, NODE_PORT, control_plane_first, kubeconfig_path, node_names, write_kubeconfig},
        },
        ports,
    },
    labels,
    run::StepCx,
    spec::{LabName, SnapshotName},
};

/// Where a node has what the engine keeps apart from its own files.
const VAR: &str = "/var";
/// The port of the API server.
const API: u16 = 6443;
/// The administrator's kubeconfig, as kubeadm left it on the control plane.
const ADMIN: (&str, &str) = ("/etc/kubernetes/admin.conf", "/etc/kubernetes");

/// The name of our addition to the kubelet's unit where the control plane has moved.
const MOVED: &str = "kubelet.service.d/80-wplab-moved.conf";

/// One node of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Shot {
    /// The container that it was.
    pub container: String,
    /// What it is called inside; its Node, too.
    pub name: String,
    /// The image of what it had in its own files.
    pub image: String,
    /// The address that it had.
    pub address: String,
    /// What its container was made with.
    pub mould: Mould,
}

impl Shot {
    /// The ports of the machine that it published: (inside, on the machine).
    pub fn ports(&self) -> BTreeMap<u16, u16> {
        self.mould.ports()
    }
}

/// What these nodes of a lab are like, the control plane first; and where each has its /var, for whoever copies it.
///
/// # Errors
/// A node is not as ours are.
pub async fn look(docker: &Docker, snapshot: &SnapshotName, nodes: &[Container]) -> Result<(Vec<Shot>, Vec<Lent>)> {
    let (first, rest) = control_plane_first(nodes);
    let shots = first.into_iter().chain(rest).map(async |node| {
        let (mould, folder) = docker.mould(&node.name, VAR).await?;
        let name = mould.hostname().to_owned();
        let image = format!("wplab/snapshot-{snapshot}:{name}");
        let address = docker.read_file(&node.name, ADDRESS).await?.unwrap_or_default().trim().to_owned();
        let lent = super::roots::kept::lent(folder, &name);
        anyhow::Ok((Shot { container: node.name.clone(), name, image, address, mould }, lent))
    });
    Ok(try_join_all(shots).await?.into_iter().unzip())
}

/// Makes the images of what the nodes have in their own files.
///
/// # Errors
/// The engine cannot.
pub async fn commit(docker: &Docker, snapshot: &SnapshotName, shots: &[Shot]) -> Result<()> {
    let marks = of_snapshot(snapshot);
    try_join_all(shots.iter().map(|shot| docker.commit(&shot.container, &shot.image, &marks))).await.map(drop)
}

/// Removes what a snapshot has in the engine beside its volume.
///
/// # Errors
/// The engine does not answer.
pub async fn forget(docker: &Docker, snapshot: &SnapshotName) -> Result<()> {
    for (id, tags) in docker.images_labelled(&of_snapshot(snapshot)).await? {
        // A lab that was made of it has the same under another name.
        let own = tags.iter().filter(|tag| tag.starts_with(&format!("wplab/snapshot-{snapshot}:")));
        for name in own.chain(Some(&id).filter(|_| tags.is_empty())) {
            docker.remove_image(name).await?;
        }
    }
    Ok(())
}

/// What a snapshot's images carry, which are no lab's.
fn of_snapshot(snapshot: &SnapshotName) -> BTreeMap<String, String> {
    let mut marks = labels::ours();
    marks.extend([(labels::SNAPSHOT.to_owned(), snapshot.to_string()), (labels::LAB.to_owned(), String::new())]);
    marks
}

/// Nodes that are to be made.
#[derive(Clone, Copy, Debug)]
pub struct Again<'a> {
    /// The snapshot.
    pub snapshot: &'a SnapshotName,
    /// Its nodes, the control plane first.
    pub shots: &'a [Shot],
    /// The lab that they are for.
    pub lab: &'a LabName,
    /// The wanted port of the site.
    pub port: u16,
    /// What they have as /var, in their order.
    pub clones: &'a Clones,
}

impl Again<'_> {
    /// Makes the nodes of a lab that has none, and does not start them; writes the lab's kubeconfig. Returns the port of the
    /// site.
    ///
    /// # Errors
    /// No port is free, or the engine refuses.
    pub async fn make(&self, cx: &StepCx, docker: &Docker) -> Result<u16> {
        let Again { snapshot, shots, lab, .. } = *self;
        let own = labels::of_lab(lab);
        let net = network(lab);
        docker.ensure_network(&net, &own).await.context("cannot make the lab's Docker network")?;
        let subnet = docker.subnet(&net).await?;
        let published = docker.published_ports().await.context("cannot list the published ports")?;
        let had: BTreeMap<u16, u16> = shots.iter().flat_map(Shot::ports).collect();
        let api = ports::next_free(had.get(&API).copied().context("nobody published an API server")?, &published)?;
        let port = ports::next_free(self.port, &published)?;
        if port != self.port {
            cx.warn(format!("port {} is taken; lab {lab} gets 127.0.0.1:{port}", self.port));
        }
        let ports = BTreeMap::from([(API, api), (NODE_PORT, port)]);
        let mut marks = own.clone();
        marks.insert(CLUSTER_LABEL.to_owned(), lab.to_string());
        marks.insert(labels::SNAPSHOT.to_owned(), snapshot.to_string());
        let workers = u8::try_from(shots.len().saturating_sub(1)).context("these are too many nodes")?;
        let names = node_names(lab, workers);
        ensure!(names.len() == self.clones.len(), "there is not one clone for each node");
        let made = names.iter().zip(shots).zip(self.clones).map(async |((name, shot), clone)| {
            let image = image_of(lab, &shot.name);
            docker.tag(&shot.image, &image).await?;
            let address = subnet.as_deref().and_then(|subnet| within(subnet, &shot.address));
            let cast = Cast {
                name,
                image: &image,
                labels: &marks,
                network: (&net, &shot.name, address),
                folder: (VAR, Some(clone)),
                ports: &ports,
            };
            docker.cast(&shot.mould, &cast).await?;
            match moved(subnet.as_deref(), &shots[0].address, shot.name == shots[0].name) {
                Some(told) => docker.write_file(name, ADDITIONS, MOVED, &told).await,
                None => Ok(()),
            }
        });
        try_join_all(made).await?;
        let (admin, folder) = ADMIN;
        let admin = docker.read_file(&names[0], admin).await?;
        let admin = admin.with_context(|| format!("the control plane of the snapshot has nothing in {folder}"))?;
        let inside = shots[0].name.trim_end_matches("-control-plane");
        write_kubeconfig(&kubeconfig_path(lab), &kubeconfig(&admin, lab.as_str(), inside, api)?)?;
        Ok(port)
    }
}

/// An addition to the kubelet's unit of a node whose control plane has another address now; `None` where it has not.
///
/// The API server tells everybody in the cluster the address that it last had, beside its own, for a quarter of a minute
/// (`/registry/masterleases`), and who asks there reaches nobody, or another lab. So it still answers there, for its own nodes.
fn moved(subnet: Option<&str>, had: &str, first: bool) -> Option<String> {
    let has = within(subnet?, had).filter(|has| has != had)?;
    let answer = format!("ip address replace {had}/32 dev eth0");
    let ask = format!("ip route replace {had}/32 via {has}");
    Some(format!("[Service]\nExecStartPre=-/bin/sh -c '{}'\n", if first { answer } else { ask }))
}

/// The address with the same end in a subnet such as `172.18.0.0/16`.
fn within(subnet: &str, address: &str) -> Option<String> {
    let (base, length) = subnet.split_once('/')?;
    let (base, address): (Ipv4Addr, Ipv4Addr) = (base.parse().ok()?, address.parse().ok()?);
    let mask = u32::MAX.checked_shl(32 - length.parse::<u32>().ok().filter(|bits| (1..=30).contains(bits))?)?;
    Some(Ipv4Addr::from_bits((base.to_bits() & mask) | (address.to_bits() & !mask)).to_string())
}

/// The administrator's kubeconfig of a control plane as kind would hand it out: for this machine, and named after the lab;
/// only the cluster is named as it is called inside.
fn kubeconfig(admin: &str, lab: &str, inside: &str, port: u16) -> Result<String> {
    let mut config: Value = serde_yaml::from_str(admin).context("the control plane's kubeconfig is none")?;
    let (cluster, user) = (format!("kind-{inside}"), format!("kind-{lab}"));
    let context = user.clone();
    for (part, name) in [("clusters", &cluster), ("users", &user), ("contexts", &context)] {
        let one = config.pointer_mut(&format!("/{part}/0/name")).with_context(|| format!("it has no {part}"))?;
        *one = Value::from(name.as_str());
    }
    config["clusters"][0]["cluster"]["server"] = Value::from(format!("https://127.0.0.1:{port}"));
    config["contexts"][0]["context"] = serde_json::json!({"cluster": cluster, "user": user});
    config["current-context"] = Value::from(context);
    Ok(serde_yaml::to_string(&config)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_end_in_another_subnet() {
        assert_eq!(within("172.20.0.0/16", "172.19.0.3").as_deref(), Some("172.20.0.3"));
        assert_eq!(within("172.19.0.0/16", "172.19.0.3").as_deref(), Some("172.19.0.3"));
        for (subnet, address) in [("fc00::/64", "172.19.0.3"), ("172.20.0.0/16", ""), ("172.20.0.0/33", "172.19.0.3")] {
            assert_eq!(within(subnet, address), None, "{subnet} {address}");
        }
    }

    #[test]
    fn a_control_plane_that_has_moved_answers_for_its_nodes_where_it_was() {
        let told = |first| moved(Some("172.20.0.0/16"), "172.19.0.3", first);
        assert_eq!(
            told(true).as_deref(),
            Some("[Service]\nExecStartPre=-/bin/sh -c 'ip address replace 172.19.0.3/32 dev eth0'\n")
        );
        assert!(told(false).is_some_and(|told| told.contains("ip route replace 172.19.0.3/32 via 172.20.0.3")));
        assert_eq!(moved(Some("172.19.0.0/16"), "172.19.0.3", true), None, "it is where it was");
        assert_eq!(moved(None, "172.19.0.3", true), None);
    }

    #[test]
    fn a_kubeconfig_is_for_this_machine_and_tells_what_the_cluster_is_called_inside() {
        let admin = "apiVersion: v1\nkind: Config\ncurrent-context: kubernetes-admin@zoo\n\
            clusters:\n- name: zoo\n  cluster: {server: 'https://zoo-control-plane:6443', certificate-authority-data: Q0E=}\n\
            users:\n- name: kubernetes-admin\n  user: {client-key-data: S0VZ}\n\
            contexts:\n- name: kubernetes-admin@zoo\n  context: {cluster: zoo, user: kubernetes-admin}\n";
        let text = kubeconfig(admin, "ark", "zoo", 40001).expect("a kubeconfig");
        let config: Value = serde_yaml::from_str(&text).expect("YAML");
        assert_eq!(config["clusters"][0]["name"], "kind-zoo");
        assert_eq!(config["clusters"][0]["cluster"]["server"], "https://127.0.0.1:40001");
        assert_eq!(config["clusters"][0]["cluster"]["certificate-authority-data"], "Q0E=");
        assert_eq!(
            (&config["current-context"], &config["contexts"][0]["name"]),
            (&"kind-ark".into(), &"kind-ark".into())
        );
        let context = &config["contexts"][0]["context"];
        assert_eq!((&context["cluster"], &context["user"]), (&"kind-zoo".into(), &config["users"][0]["name"]));
        assert!(kubeconfig("{}", "ark", "zoo", 1).is_err());
    }
}
