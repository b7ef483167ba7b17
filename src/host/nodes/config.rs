//! The configuration that `kind create cluster` gets: one control plane that lets the frontend's port in, and workers.

use serde::Serialize;

use crate::host::nodes::there::NODE_PORT;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    kind: &'static str,
    api_version: &'static str,
    networking: Networking,
    kubeadm_config_patches: Vec<&'static str>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Networking {
    pod_subnet: &'static str,
    service_subnet: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Node {
    role: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extra_port_mappings: Vec<PortMapping>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extra_mounts: Vec<Mount>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    host_path: String,
    container_path: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PortMapping {
    container_port: u16,
    host_port: u16,
    listen_address: &'static str,
}

/// Addresses of pods; kind's default, spelled out because [`super::rules`] keeps them on this machine.
pub(crate) const PODS: &str = "10.244.0.0/16";
/// Addresses of Services; likewise.
pub(crate) const SERVICES: &str = "10.96.0.0/16";

/// From 1.35 on the kubelet refuses to start on cgroup v1 unless it is told.
const CGROUP_V1: &str = "kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\nfailCgroupV1: false\n";

/// What of kubeadm's own choices costs a lab time (docs/performance.md). Maps, because kind turns them into what each version of
/// kubeadm wants (kind 0.33, `pkg/internal/patch/kubeadm_merge.go`).
///
/// - Keys of elliptic curves are made in no time; RSA's take a second of a core each that is slow (kubeadm from 1.31 on,
///   `v1beta4`; an older one warns and makes RSA's).
/// - The autoscaler's controller looks every 15 s, and ignores what a pod used in the first five minutes after it started:
///   here every 2 s, and ten seconds.
/// - The controller manager may ask 20 times a second, and its forty controllers have an account made each before the first of
///   them begins: five seconds. One of them signs what workers join by, and a worker that comes too early waits for five more.
const QUICK: &str = "\
kind: ClusterConfiguration
encryptionAlgorithm: ECDSA-P256
controllerManager:
  extraArgs:
    horizontal-pod-autoscaler-sync-period: 2s
    horizontal-pod-autoscaler-cpu-initialization-period: 10s
    kube-api-qps: \"200\"
    kube-api-burst: \"400\"
";

/// A container that ended is started again after a second, however often it ended before: the second pause within a minute
/// must not wait for the controller manager's back-off ([`super::freeze`]).
const RESTARTS: &str = "\
kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
crashLoopBackOff:
  maxContainerRestartPeriod: 1s
";

/// What a container uses is looked at every five to ten seconds (cAdvisor adds up to as much again, so that not all come at once):
/// two looks of metrics-server, ten seconds apart, never see the same. With the usual ten the autoscaler's first value comes a
/// look later; every two seconds, this alone was half of what the kubelets of a lab at rest used.
const LOOKS_OFTEN: [&str; 2] = [
    "kind: InitConfiguration\nnodeRegistration:\n  kubeletExtraArgs:\n    housekeeping-interval: 5s\n",
    "kind: JoinConfiguration\nnodeRegistration:\n  kubeletExtraArgs:\n    housekeeping-interval: 5s\n",
];

/// One control plane has nobody to share the lead with: after a start, nobody waits until a lease has run out.
const LEADS_ALONE: &str = "\
kind: ClusterConfiguration
controllerManager:
  extraArgs:
    leader-elect: \"false\"
scheduler:
  extraArgs:
    leader-elect: \"false\"
";

/// The configuration as YAML. `clones` are what nodes have as /var, in their order: kind's own volume for it, into which
/// the engine copies what the image has there, is left out then.
///
/// # Errors
/// None that is known of; the serializer could have one.
pub fn yaml(workers: u8, port: u16, cgroup_version: u8, clones: &[String]) -> anyhow::Result<String> {
    let mounts = |nth: usize| {
        let clone = clones.get(nth).into_iter();
        clone.map(|path| Mount { host_path: path.clone(), container_path: "/var" }).collect()
    };
    let mapping = PortMapping { container_port: NODE_PORT, host_port: port, listen_address: "127.0.0.1" };
    let control_plane = Node { role: "control-plane", extra_port_mappings: vec![mapping], extra_mounts: mounts(0) };
    let worker = |nth| Node { role: "worker", extra_port_mappings: Vec::new(), extra_mounts: mounts(nth) };
    let config = Config {
        kind: "Cluster",
        api_version: "kind.x-k8s.io/v1alpha4",
        networking: Networking { pod_subnet: PODS, service_subnet: SERVICES },
        kubeadm_config_patches: [QUICK, LEADS_ALONE, RESTARTS]
            .into_iter()
            .chain(LOOKS_OFTEN)
            .chain((cgroup_version == 1).then_some(CGROUP_V1))
            .collect(),
        nodes: std::iter::once(control_plane).chain((1..=usize::from(workers)).map(worker)).collect(),
    };
    Ok(serde_yaml::to_string(&config)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_yaml_on_cgroup_v1() {
        let want = "\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  podSubnet: 10.244.0.0/16
  serviceSubnet: 10.96.0.0/16
kubeadmConfigPatches:
- |
  kind: ClusterConfiguration
  encryptionAlgorithm: ECDSA-P256
  controllerManager:
    extraArgs:
      horizontal-pod-autoscaler-sync-period: 2s
      horizontal-pod-autoscaler-cpu-initialization-period: 10s
      kube-api-qps: \"200\"
      kube-api-burst: \"400\"
- |
  kind: ClusterConfiguration
  controllerManager:
    extraArgs:
      leader-elect: \"false\"
  scheduler:
    extraArgs:
      leader-elect: \"false\"
- |
  kind: KubeletConfiguration
  apiVersion: kubelet.config.k8s.io/v1beta1
  crashLoopBackOff:
    maxContainerRestartPeriod: 1s
- |
  kind: InitConfiguration
  nodeRegistration:
    kubeletExtraArgs:
      housekeeping-interval: 5s
- |
  kind: JoinConfiguration
  nodeRegistration:
    kubeletExtraArgs:
      housekeeping-interval: 5s
- |
  kind: KubeletConfiguration
  apiVersion: kubelet.config.k8s.io/v1beta1
  failCgroupV1: false
nodes:
- role: control-plane
  extraPortMappings:
  - containerPort: 30080
    hostPort: 8081
    listenAddress: \"127.0.0.1\"
- role: worker
- role: worker
";
        assert_eq!(yaml(2, 8081, 1, &[]).expect("YAML"), want);
    }

    #[test]
    fn no_word_of_cgroup_v1_on_cgroup_v2() {
        let text = yaml(1, 8080, 2, &[]).expect("YAML");
        assert!(!text.contains("failCgroupV1"), "{text}");
        assert_eq!(text.matches("role: worker").count(), 1);
    }

    #[test]
    fn each_node_gets_its_own_clone_as_var() {
        let text = yaml(1, 8080, 2, &["/v/a".into(), "/v/b".into()]).expect("YAML");
        let mount = |path: &str| format!("  extraMounts:\n  - hostPath: {path}\n    containerPath: /var\n");
        let (first, second) = text.split_once("- role: worker").expect("a worker");
        assert!(first.ends_with(&mount("/v/a")) && second.ends_with(&mount("/v/b")), "{text}");
    }
}
