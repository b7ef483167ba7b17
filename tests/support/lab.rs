//! A real lab as the tests see it: the tool as a process, the cluster through the Kubernetes API, the engine through its
//! own. Nothing here uses the tool's library.

#![expect(clippy::print_stderr, reason = "a test tells what it sees as it happens")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bollard::query_parameters as query;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api, Client, ResourceExt,
    api::{AttachParams, DynamicObject, ListParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ClusterResourceScope, NamespaceResourceScope as NamespaceScope},
    discovery::{Discovery, Scope, verbs},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One runtime for all the tests' own questions; the tool is always a process of its own.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Runtime::new().expect("a runtime")
});

/// How long one run of the tool may take; a cold machine builds every image in the first one.
const PATIENCE: Duration = Duration::from_secs(75 * 60);

/// What a run of the tool did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Most memory that the tool itself held at once, in KiB.
    pub(crate) peak: u64,
}

impl Ran {
    #[track_caller]
    pub(crate) fn assert_code(&self, code: i32) -> &Ran {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("stdout is not JSON ({e}):\n{}", self.stdout))
    }
}

/// A lab with a name of its own; when the test ends, however it ends, the lab is removed. A failed test's diagnostics are
/// kept in `target/lab-diagnostics/NAME`.
pub(crate) struct Lab {
    name: String,
    files: tempfile::TempDir,
}

impl Lab {
    pub(crate) fn new(name: &str) -> Lab {
        let lab = Lab { name: name.to_owned(), files: tempfile::tempdir().expect("a folder") };
        if Engine::answers() {
            lab.run(&["down", name]);
        }
        lab
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The lab's folder on this machine.
    pub(crate) fn folder(&self) -> PathBuf {
        let home = || std::env::home_dir().expect("a home").join(".local/share");
        std::env::var_os("XDG_DATA_HOME").map_or_else(home, PathBuf::from).join("wplab").join(&self.name)
    }

    /// A lab file with this content.
    pub(crate) fn file(&self, text: &str) -> String {
        let path = self.files.path().join("lab.yaml");
        std::fs::write(&path, text).expect("the lab file is written");
        path.to_string_lossy().into_owned()
    }

    /// `wplab ARGS` to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Running::start(args, &[]).end()
    }

    /// `wplab up NAME --fix --yes -o json …`.
    pub(crate) fn up(&self, more: &[&str]) -> Ran {
        Running::start(&self.up_args(more), &[]).end()
    }

    /// `up`, which gets `signal` as soon as it says `moment`.
    pub(crate) fn up_until(&self, moment: &str, signal: &str) -> Ran {
        let running = Running::start(&self.up_args(&[]), &[]);
        running.wait_for(moment);
        running.signal(signal);
        running.end()
    }

    /// `up`, during which `harm` is done as soon as it says `moment`.
    pub(crate) fn up_while(&self, moment: &str, harm: impl FnOnce()) -> Ran {
        let running = Running::start(&self.up_args(&[]), &[]);
        running.wait_for(moment);
        harm();
        running.end()
    }

    /// The same, with the tool talking to an engine behind `wire`.
    pub(crate) fn up_while_on(&self, wire: &Wire, moment: &str, harm: impl FnOnce()) -> Ran {
        let host = format!("unix://{}", wire.socket.display());
        let running = Running::start(&self.up_args(&[]), &[("DOCKER_HOST", &host)]);
        running.wait_for(moment);
        harm();
        running.end()
    }

    fn up_args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["up", &self.name, "--fix", "--yes", "-o", "json"];
        args.extend(more);
        args
    }

    fn client(&self) -> Client {
        let path = self.folder().join("kubeconfig");
        RUNTIME.block_on(async {
            let file = Kubeconfig::read_from(&path).expect("the lab's kubeconfig");
            let config =
                kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a config");
            Client::try_from(config).expect("a client")
        })
    }

    /// Objects without a namespace.
    pub(crate) fn list<K>(&self, params: &ListParams) -> Vec<K>
    where
        K: kube::Resource<Scope = ClusterResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::all(self.client());
        RUNTIME.block_on(api.list(params)).expect("the API server answers").items
    }

    /// Objects of a namespace.
    pub(crate) fn list_in<K>(&self, namespace: &str, params: &ListParams) -> Vec<K>
    where
        K: kube::Resource<Scope = NamespaceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client(), namespace);
        RUNTIME.block_on(api.list(params)).expect("the API server answers").items
    }

    /// What stands in namespace wplab, as kind/name, with its labels; only what somebody applied, not what Kubernetes
    /// derives from it (endpoints, events, controller revisions, …).
    pub(crate) fn every_object_in_namespace(&self) -> Vec<(String, BTreeMap<String, String>)> {
        let client = self.client();
        RUNTIME.block_on(async {
            let mut found = Vec::new();
            let discovery = Discovery::new(client.clone()).run().await.expect("discovery");
            for group in
                discovery.groups().filter(|g| !g.name().ends_with("metrics.k8s.io") && g.name() != "events.k8s.io")
            {
                for (resource, capabilities) in group.recommended_resources() {
                    let derived = ["Event", "Endpoints", "EndpointSlice", "ControllerRevision", "PodMetrics", "Lease"];
                    let namespaced =
                        capabilities.scope == Scope::Namespaced && capabilities.supports_operation(verbs::LIST);
                    if !namespaced || derived.contains(&resource.kind.as_str()) {
                        continue;
                    }
                    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), "wplab", &resource);
                    for object in api.list(&ListParams::default()).await.expect("a list").items {
                        let default = matches!(object.name_any().as_str(), "kube-root-ca.crt" | "default");
                        if !default {
                            let what = format!("{}/{}", resource.kind, object.name_any());
                            found.push((what, object.labels().clone()));
                        }
                    }
                }
            }
            found
        })
    }

    /// Runs a command in a pod's first container and returns what it printed.
    pub(crate) fn exec(&self, pod: &str, command: &[&str]) -> String {
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client(), "wplab");
        RUNTIME.block_on(async {
            let params = AttachParams::default().stderr(false);
            let mut attached = api.exec(pod, command.iter().copied(), &params).await.expect("exec begins");
            let mut text = String::new();
            let mut out = attached.stdout().expect("a standard output");
            tokio::io::AsyncReadExt::read_to_string(&mut out, &mut text).await.expect("text");
            let status = attached.take_status().expect("a status").await;
            attached.join().await.expect("exec ends");
            let ok = status.as_ref().and_then(|s| s.status.as_deref()) == Some("Success");
            assert!(ok, "{command:?} in {pod}: {status:?}");
            text
        })
    }

    /// One value of a Secret.
    pub(crate) fn secret(&self, name: &str, key: &str) -> String {
        let api: Api<Secret> = Api::namespaced(self.client(), "wplab");
        let secret = RUNTIME.block_on(api.get(name)).expect("the Secret");
        let data = secret.data.unwrap_or_default();
        String::from_utf8(data.get(key).expect("the key").0.clone()).expect("text")
    }

    /// Takes one thing away that a smoke check looks at.
    pub(crate) fn delete_horizontal_pod_autoscaler(&self) {
        let api: Api<k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler> =
            Api::namespaced(self.client(), "wplab");
        RUNTIME.block_on(api.delete("wordpress", &kube::api::DeleteParams::default())).expect("the HPA is deleted");
    }

    /// Status and body of a page.
    pub(crate) fn get(&self, url: &str) -> (u16, String) {
        RUNTIME.block_on(async {
            let response = reqwest::get(url).await.expect("the site answers");
            (response.status().as_u16(), response.text().await.expect("a body"))
        })
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() && Engine::answers() {
            let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lab-diagnostics").join(&self.name);
            let folder = folder.to_string_lossy().into_owned();
            let saved = self.run(&["diagnose", &self.name, "--folder", &folder]);
            eprintln!("diagnostics of the failed test: {folder}\n{}", saved.stderr);
        }
        if Engine::answers() {
            let down = self.run(&["down", &self.name]);
            if down.code != Some(0) {
                eprintln!("the lab {} could not be removed:\n{}", self.name, down.stderr);
            }
        }
    }
}

/// The tool at work. What it says on standard error is shown as it comes and kept.
struct Running {
    child: Child,
    said: Arc<std::sync::Mutex<String>>,
    readers: Vec<std::thread::JoinHandle<String>>,
    args: String,
}

impl Running {
    fn start(args: &[&str], envs: &[(&str, &str)]) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wplab"));
        command.args(args).envs(envs.iter().copied()).env("NO_COLOR", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let begin = Instant::now();
        let args = args.join(" ");
        eprintln!("$ wplab {args}");
        let mut child = command.spawn().expect("the tool starts");
        let mut out = child.stdout.take().expect("piped");
        let err = child.stderr.take().expect("piped");
        let said = Arc::new(std::sync::Mutex::new(String::new()));
        let hearing = said.clone();
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            let _ = out.read_to_string(&mut text);
            text
        });
        let stderr = std::thread::spawn(move || {
            for line in BufReader::new(err).lines().map_while(Result::ok) {
                eprintln!("  {:6.1} {line}", begin.elapsed().as_secs_f64());
                let mut said = hearing.lock().expect("not poisoned");
                said.push_str(&line);
                said.push('\n');
            }
            String::new()
        });
        Running { child, said, readers: vec![stdout, stderr], args }
    }

    /// Waits until the tool says `words`.
    fn wait_for(&self, words: &str) {
        let begin = Instant::now();
        let said = |said: &str| said.contains(words);
        while !said(&self.said.lock().expect("not poisoned")) {
            assert!(begin.elapsed() < PATIENCE, "`wplab {}` never said {words:?}", self.args);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().expect("kill runs");
        assert!(sent.success(), "the signal is sent");
    }

    fn end(mut self) -> Ran {
        let begin = Instant::now();
        let mut peak = 0;
        let status = loop {
            peak = peak.max(peak_memory(self.child.id()));
            if let Some(status) = self.child.try_wait().expect("the tool can be waited for") {
                break status;
            }
            if begin.elapsed() > PATIENCE {
                let _ = self.child.kill();
                panic!("`wplab {}` did not end:\n{}", self.args, self.said.lock().expect("not poisoned"));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        let mut read = self.readers.drain(..).map(|r| r.join().expect("a reader ends"));
        let stdout = read.next().unwrap_or_default();
        read.for_each(drop);
        let stderr = self.said.lock().expect("not poisoned").clone();
        eprintln!("  peak memory {peak} KiB");
        Ran { code: status.code(), stdout, stderr, peak }
    }
}

/// `VmHWM` of a process in KiB; 0 when it has ended.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// A node container as the engine tells it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) labels: BTreeMap<String, String>,
}

/// The Docker engine, asked directly.
pub(crate) struct Engine;

impl Engine {
    fn docker() -> bollard::Docker {
        bollard::Docker::connect_with_local_defaults().expect("a socket")
    }

    /// Whether an engine answers; on a bare machine the first `up --fix` starts one.
    pub(crate) fn answers() -> bool {
        RUNTIME.block_on(async { bollard::Docker::connect_with_local_defaults().ok()?.ping().await.ok() }).is_some()
    }

    /// Names of all kind nodes, networks and volumes: what `down` must leave as it was. Other containers come and go on a
    /// machine where people work.
    pub(crate) fn snapshot() -> BTreeSet<String> {
        if !Self::answers() {
            return Self::bare();
        }
        RUNTIME.block_on(async {
            let docker = Self::docker();
            let nodes = [("label".to_owned(), vec!["io.x-k8s.kind.cluster".to_owned()])];
            let all = query::ListContainersOptionsBuilder::default().all(true).filters(&nodes.into()).build();
            let containers = docker.list_containers(Some(all)).await.expect("containers");
            let networks = docker.list_networks(None::<query::ListNetworksOptions>).await.expect("networks");
            let volumes = docker.list_volumes(None::<query::ListVolumesOptions>).await.expect("volumes");
            let containers = containers.into_iter().flat_map(|c| c.names.unwrap_or_default());
            let networks = networks.into_iter().filter_map(|n| n.name);
            let volumes = volumes.volumes.unwrap_or_default().into_iter().map(|v| v.name);
            containers.chain(networks).chain(volumes).collect()
        })
    }

    /// What a fresh engine has.
    fn bare() -> BTreeSet<String> {
        ["bridge", "host", "none"].map(str::to_owned).into()
    }

    pub(crate) fn containers_of(lab: &str) -> Vec<Node> {
        RUNTIME.block_on(async {
            let filter = [("label", vec![format!("io.x-k8s.kind.cluster={lab}")])].map(|(k, v)| (k.to_owned(), v));
            let all = query::ListContainersOptionsBuilder::default().all(true).filters(&filter.into()).build();
            let found = Self::docker().list_containers(Some(all)).await.expect("containers");
            found.into_iter().map(|c| Node { labels: c.labels.unwrap_or_default().into_iter().collect() }).collect()
        })
    }

    pub(crate) fn container_exists(name: &str) -> bool {
        RUNTIME.block_on(Self::docker().inspect_container(name, None::<query::InspectContainerOptions>)).is_ok()
    }

    pub(crate) fn kill_container(name: &str) {
        RUNTIME.block_on(Self::docker().kill_container(name, None::<query::KillContainerOptions>)).expect("killed");
    }

    pub(crate) fn remove_container(name: &str) {
        let options = query::RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        RUNTIME.block_on(Self::docker().remove_container(name, Some(options))).expect("removed");
    }

    /// A container that looks like kind's node of a cluster called `lab`, and is not ours.
    pub(crate) fn stranger(lab: &str) -> Stranger {
        let name = format!("{lab}-control-plane");
        RUNTIME.block_on(async {
            let docker = Self::docker();
            let images = docker.list_images(None::<query::ListImagesOptions>).await.expect("images");
            let image = images.first().expect("an image in the engine").id.clone();
            let body = bollard::models::ContainerCreateBody {
                image: Some(image),
                cmd: Some(vec!["true".to_owned()]),
                labels: Some([("io.x-k8s.kind.cluster".to_owned(), lab.to_owned())].into()),
                ..Default::default()
            };
            let options = query::CreateContainerOptionsBuilder::default().name(&name).build();
            docker.create_container(Some(options), body).await.expect("created");
        });
        Stranger(name)
    }

    /// A socket that leads to the engine until it is cut.
    pub(crate) fn behind_a_wire() -> Wire {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("docker.sock");
        let whole = Arc::new(AtomicBool::new(true));
        let listener = {
            let _guard = RUNTIME.enter();
            tokio::net::UnixListener::bind(&socket).expect("a socket")
        };
        let (cut, _) = tokio::sync::watch::channel(());
        let (closing, is_whole) = (cut.clone(), whole.clone());
        RUNTIME.spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                if !is_whole.load(Ordering::Relaxed) {
                    continue;
                }
                let mut closed = closing.subscribe();
                tokio::spawn(async move {
                    let Ok(mut far) = tokio::net::UnixStream::connect("/var/run/docker.sock").await else { return };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = closed.changed() => {}
                    }
                });
            }
        });
        Wire { socket, whole, cut, _folder: folder }
    }
}

/// Removed when dropped.
pub(crate) struct Stranger(String);

impl Drop for Stranger {
    fn drop(&mut self) {
        Engine::remove_container(&self.0);
    }
}

/// A way to the engine that can be cut.
pub(crate) struct Wire {
    socket: PathBuf,
    whole: Arc<AtomicBool>,
    cut: tokio::sync::watch::Sender<()>,
    _folder: tempfile::TempDir,
}

impl Wire {
    /// From now on the engine is gone, in the middle of whatever is being said.
    pub(crate) fn cut(&self) {
        self.whole.store(false, Ordering::Relaxed);
        let _ = self.cut.send(());
    }
}
