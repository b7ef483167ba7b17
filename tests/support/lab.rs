//! A real lab as the tests see it: the tool as a process, the cluster through the Kubernetes API, the engine (`engine`)
//! through its own. Nothing here uses the tool's library.

#![expect(clippy::print_stderr, reason = "a test tells what it sees as it happens")]

#[path = "engine.rs"]
mod engine;
#[path = "order.rs"]
mod order;

use std::{
    collections::BTreeMap,
    fmt::Debug,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{PersistentVolumeClaim, Pod, Secret},
};
use kube::{
    Api, Client, ResourceExt,
    api::{AttachParams, DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
    config::{KubeConfigOptions, Kubeconfig},
    core::{ClusterResourceScope, NamespaceResourceScope as NamespaceScope},
    discovery::{Discovery, Scope, verbs},
};
use serde::de::DeserializeOwned;
use serde_json::Value;

pub(crate) use engine::{Engine, Wire};

/// One runtime for all the tests' own questions; the tool is always a process of its own.
static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Runtime::new().expect("a runtime")
});

/// Whether this is a run of the long tier, `just test-lab-thoroughly`.
pub(crate) fn thoroughly() -> bool {
    std::env::var_os("DRILLS").is_some()
}

/// Tells what a test has seen.
pub(crate) fn say(line: &str) {
    eprintln!("  {line}");
}

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

    /// `up` that brings a new lab up, with its steps held against the order of the recipe. `GOLDEN=update` keeps them for the
    /// tests that need no Docker.
    pub(crate) fn up_in_order(&self, topology: &str) -> Ran {
        let file = self.files.path().join("events.jsonl");
        let events = file.to_string_lossy().into_owned();
        let up = self.up(&["--topology", topology, "--events", &events]);
        up.assert_code(0);
        let mut stream = order::parse(&std::fs::read_to_string(file).expect("the events were written"));
        assert_eq!(order::wrong(&stream), Vec::<String>::new(), "the order of the recipe");
        if std::env::var_os("GOLDEN").is_some_and(|value| value == "update") {
            stream.retain(|line| !["progress", "task-done", "warning"].contains(&line["event"].as_str().unwrap_or("")));
            let lines: String = stream.iter().map(|line| format!("{line}\n")).collect();
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/recipe/{topology}.jsonl"));
            std::fs::create_dir_all(path.parent().expect("a folder"))
                .and_then(|()| std::fs::write(path, lines))
                .expect("kept");
        }
        up
    }

    /// `up`, which gets `signal` as soon as it says `moment`.
    pub(crate) fn up_until(&self, more: &[&str], moment: &str, signal: &str) -> Ran {
        self.run_until(&self.up_args(more), moment, signal)
    }

    /// The tool with these arguments, which gets a signal as soon as it says `moment`.
    pub(crate) fn run_until(&self, args: &[&str], moment: &str, signal: &str) -> Ran {
        let running = Running::start(args, &[]);
        running.wait_for(moment);
        running.signal(signal);
        running.end()
    }

    /// `up`, during which `harm` is done as soon as it says `moment`.
    pub(crate) fn up_while(&self, moment: &str, harm: impl FnOnce()) -> Ran {
        self.run_while(&self.up_args(&[]), moment, harm)
    }

    /// The tool with these arguments, during which `harm` is done as soon as it says `moment`.
    pub(crate) fn run_while(&self, args: &[&str], moment: &str, harm: impl FnOnce()) -> Ran {
        let running = Running::start(args, &[]);
        running.wait_for(moment);
        harm();
        running.end()
    }

    /// `up` that streams images, with the tool talking to an engine behind `wire`.
    pub(crate) fn up_while_on(&self, wire: &Wire, moment: &str, harm: impl FnOnce()) -> Ran {
        let host = format!("unix://{}", wire.socket.display());
        let running = Running::start(&self.up_args(&["--stream"]), &[("DOCKER_HOST", &host)]);
        running.wait_for(moment);
        harm();
        running.end()
    }

    fn up_args<'a>(&'a self, more: &[&'a str]) -> Vec<&'a str> {
        let mut args = vec!["up", &self.name, "--fix", "--yes", "-o", "json"];
        args.extend(more);
        args
    }

    pub(crate) fn client(&self) -> Client {
        self.client_for(None)
    }

    /// As whom the lab's owner, who may do anything, acts.
    pub(crate) fn client_as(&self, user: &str) -> Client {
        self.client_for(Some(user.to_owned()))
    }

    fn client_for(&self, user: Option<String>) -> Client {
        let path = self.folder().join("kubeconfig");
        RUNTIME.block_on(async {
            let file = Kubeconfig::read_from(&path).expect("the lab's kubeconfig");
            let mut config =
                kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.expect("a config");
            config.auth_info.impersonate = user;
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
        self.exec_with(pod, command, None)
    }

    /// The same with something on the command's standard input.
    pub(crate) fn exec_told(&self, pod: &str, command: &[&str], input: &str) -> String {
        self.exec_with(pod, command, Some(input))
    }

    fn exec_with(&self, pod: &str, command: &[&str], input: Option<&str>) -> String {
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.client(), "wplab");
        RUNTIME.block_on(async {
            let found = api.get(pod).await.expect("the pod").spec.expect("a spec");
            let params =
                AttachParams::default().stdin(input.is_some()).stderr(false).container(&found.containers[0].name);
            let mut attached = api.exec(pod, command.iter().copied(), &params).await.expect("exec begins");
            if let (Some(input), Some(mut to)) = (input, attached.stdin()) {
                tokio::io::AsyncWriteExt::write_all(&mut to, input.as_bytes()).await.expect("it reads");
                tokio::io::AsyncWriteExt::shutdown(&mut to).await.expect("it reads");
            }
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

    /// Runs a test's own questions.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        RUNTIME.block_on(work)
    }

    /// What a pod answers at `PORT/proxy/PATH`, or why it does not.
    pub(crate) fn try_pod(&self, pod: &str, at: &str) -> Result<String, String> {
        let request = hyper::Request::get(format!("/api/v1/namespaces/wplab/pods/{pod}:{at}"));
        let request = request.body(Vec::new()).expect("a request");
        let client = self.client();
        let asked = async { tokio::time::timeout(Duration::from_secs(5), client.request_text(request)).await };
        let text = RUNTIME.block_on(asked).map_err(|_| format!("{pod} does not answer"))?;
        text.map_err(|error| format!("{pod}: {error}"))
    }

    /// What a database member's supervisor says, or why it does not.
    pub(crate) fn try_member(&self, pod: &str) -> Result<Value, String> {
        serde_json::from_str(&self.try_pod(pod, "8081/proxy/status")?).map_err(|error| error.to_string())
    }

    #[track_caller]
    pub(crate) fn member(&self, pod: &str) -> Value {
        self.try_member(pod).expect("the member's supervisor answers")
    }

    /// Pods by label, or why the API server does not tell.
    pub(crate) fn try_pods(&self, labels: &str) -> Result<Vec<Pod>, String> {
        let api: Api<Pod> = Api::namespaced(self.client(), "wplab");
        let found = RUNTIME.block_on(api.list(&ListParams::default().labels(labels)));
        found.map(|list| list.items).map_err(|error| error.to_string())
    }

    /// The site's replicas that are ready and stay. One that ends says for seconds that it is ready, and then it ends under
    /// whoever has begun to ask it something.
    pub(crate) fn replicas(&self) -> Vec<Pod> {
        let serves = |pod: &Pod| {
            let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
            let ready =
                conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"));
            ready && pod.metadata.deletion_timestamp.is_none()
        };
        let mut pods = self.try_pods("app.kubernetes.io/name=wordpress").expect("the API server answers");
        pods.retain(serves);
        pods
    }

    /// Deletes pods at the same moment and waits until those very pods are gone.
    pub(crate) fn delete_pods(&self, pods: &[&str], grace: u32) {
        let api: Api<Pod> = Api::namespaced(self.client(), "wplab");
        let delete = async |pod: &str| {
            let uid = api.get(pod).await.expect("the pod").uid();
            api.delete(pod, &DeleteParams::default().grace_period(grace)).await.expect("deleted");
            while api.get_opt(pod).await.expect("an answer").is_some_and(|found| found.uid() == uid) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        RUNTIME.block_on(futures_util::future::join_all(pods.iter().map(|pod| delete(pod))));
    }

    /// Waits until the supervisors of these pods answer.
    pub(crate) fn until_running(&self, pods: &[&str]) {
        let begin = Instant::now();
        while let Some(error) = pods.iter().find_map(|pod| self.try_member(pod).err()) {
            assert!(begin.elapsed() < Duration::from_secs(120), "{error}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Gives a StatefulSet another number of pods, and waits until those beyond it are gone.
    pub(crate) fn scale(&self, set: &str, replicas: i32) {
        let (sets, pods): (Api<StatefulSet>, Api<Pod>) =
            (Api::namespaced(self.client(), "wplab"), Api::namespaced(self.client(), "wplab"));
        RUNTIME.block_on(async {
            let patch = serde_json::json!({"spec": {"replicas": replicas}});
            sets.patch(set, &PatchParams::default(), &Patch::Merge(&patch)).await.expect("scaled");
            for number in replicas..3 {
                while pods.get_opt(&format!("{set}-{number}")).await.expect("an answer").is_some() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        });
    }

    /// Deletes a volume with its claim.
    pub(crate) fn delete_claim(&self, claim: &str) {
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client(), "wplab");
        RUNTIME.block_on(async {
            api.delete(claim, &DeleteParams::default()).await.expect("deleted");
            while api.get_opt(claim).await.expect("an answer").is_some() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
    }

    /// Ends, on the nodes of these pods and all at once, every process whose command line begins so: SIGKILL, as from a
    /// kernel that runs out of memory.
    pub(crate) fn kill(&self, command: &str, pods: &[&str]) {
        let all = self.try_pods("app.kubernetes.io/part-of=wplab").expect("the API server answers");
        let node = |pod: &&str| {
            let found = all.iter().find(|p| p.name_any() == **pod).expect("the pod");
            found.spec.as_ref().and_then(|spec| spec.node_name.clone()).expect("a node")
        };
        let script = format!(
            "for p in /proc/[0-9]*; do case \"$(tr '\\0' ' ' <$p/cmdline 2>/dev/null)\" in '{command}'*) kill -9 ${{p#/proc/}};; esac; done"
        );
        let nodes: Vec<String> = pods.iter().map(node).collect();
        RUNTIME.block_on(futures_util::future::join_all(nodes.iter().map(|node| Engine::sh(node, &script))));
    }

    /// The memory that a pod holds, in bytes, as its node's kernel counts it for all its processes.
    pub(crate) fn memory_of(&self, pod: &str) -> u64 {
        let text = self.exec(
            pod,
            &["sh", "-c", "cat /sys/fs/cgroup/memory.current || cat /sys/fs/cgroup/memory/memory.usage_in_bytes"],
        );
        text.trim().parse().unwrap_or_default()
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
