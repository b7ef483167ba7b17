//! Somebody who watches a lab come up from outside, in the same way whoever brings it up: through the cluster's API (watches,
//! not polls), the front port, and for the images the container runtime of each worker.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bollard::{
    Docker,
    exec::{CreateExecOptions, StartExecOptions, StartExecResults},
    query_parameters as query,
};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::{
    autoscaling::v2::HorizontalPodAutoscaler,
    core::v1::{Node, Pod},
};
use kube::{
    Api, Client, ResourceExt,
    config::{KubeConfigOptions, Kubeconfig},
    runtime::watcher,
};

pub(crate) static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    let _ = rustls::crypto::ring::default_provider().install_default();
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
});

/// How often it looks where nothing tells it.
const EVERY: Duration = Duration::from_millis(100);
/// How often at what costs the cluster something: a page of WordPress, a process in a node.
const RARELY: Duration = Duration::from_millis(500);
/// A lab that is thawed or started again has old conditions in its API, so only what answers counts.
const ANSWERS: [&str; 2] = ["api", "page"];

/// What to look for.
#[derive(Clone, Debug)]
pub(crate) struct Sought {
    /// Name of the kind cluster.
    pub(crate) cluster: String,
    pub(crate) workers: usize,
    pub(crate) members: usize,
    /// What the names of the database's pods begin with.
    pub(crate) database: &'static str,
    pub(crate) port: u16,
    pub(crate) title: String,
    /// Parts of the names of the images that every worker must have.
    pub(crate) images: Vec<String>,
    /// Whether the lab was there before, asleep.
    pub(crate) again: bool,
}

/// Seconds from the beginning at which each milestone was first seen.
type Seen = Arc<Mutex<BTreeMap<&'static str, f64>>>;

/// Watches until it is dropped.
pub(crate) struct Observer {
    seen: Seen,
    work: tokio::task::JoinHandle<()>,
}

impl Observer {
    pub(crate) fn start(sought: Sought, begin: Instant) -> Observer {
        let seen = Seen::default();
        let marks = Marks { seen: seen.clone(), begin, only: sought.again.then_some(&ANSWERS[..]) };
        let work = RUNTIME.spawn(async move {
            let cluster = async {
                let client = api(&sought.cluster, &marks).await;
                tokio::join!(
                    nodes(&client, &sought, &marks),
                    database(&client, &sought, &marks),
                    autoscaler(&client, &marks),
                    images(&sought, &marks)
                );
            };
            tokio::join!(page(&sought, &marks), cluster);
        });
        Observer { seen, work }
    }

    /// Waits a moment for watches that lag behind what has ended, and tells all that was seen.
    pub(crate) fn end(self) -> BTreeMap<&'static str, f64> {
        std::thread::sleep(EVERY * 2);
        self.work.abort();
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Where milestones are written down.
struct Marks {
    seen: Seen,
    begin: Instant,
    only: Option<&'static [&'static str]>,
}

impl Marks {
    fn mark(&self, what: &'static str) {
        if self.only.is_none_or(|only| only.contains(&what)) {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.entry(what).or_insert(self.begin.elapsed().as_secs_f64());
        }
    }
}

/// Waits until the API server says that it is ready.
async fn api(cluster: &str, marks: &Marks) -> Client {
    loop {
        if let Some(client) = administrator(cluster).await {
            // Asked over one connection; a new client where it was made for a cluster that went away.
            for _ in 0..100 {
                let request = hyper::Request::get("/readyz").body(Vec::new()).expect("a request");
                let asked = tokio::time::timeout(Duration::from_secs(1), client.request_text(request)).await;
                if matches!(asked, Ok(Ok(text)) if text == "ok") {
                    marks.mark("api");
                    return client;
                }
                tokio::time::sleep(EVERY).await;
            }
        }
        tokio::time::sleep(RARELY).await;
    }
}

/// A client with the administrator's own kubeconfig, which kubeadm writes into the control plane.
async fn administrator(cluster: &str) -> Option<Client> {
    let docker = Docker::connect_with_local_defaults().ok()?;
    let node = format!("{cluster}-control-plane");
    let inspected = docker.inspect_container(&node, None::<query::InspectContainerOptions>).await.ok()?;
    let ports = inspected.network_settings?.ports?;
    let port = ports.get("6443/tcp")?.as_ref()?.first()?.host_port.clone()?;
    let options = query::DownloadFromContainerOptionsBuilder::default().path("/etc/kubernetes/admin.conf").build();
    let parts: Vec<_> = docker.download_from_container(&node, Some(options)).try_collect().await.ok()?;
    let mut config = Kubeconfig::from_yaml(&first_file(&parts.concat())?).ok()?;
    for cluster in &mut config.clusters {
        cluster.cluster.as_mut()?.server = Some(format!("https://127.0.0.1:{port}"));
    }
    let config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await.ok()?;
    Client::try_from(config).ok()
}

fn first_file(archive: &[u8]) -> Option<String> {
    let mut archive = tar::Archive::new(archive);
    let mut text = String::new();
    std::io::Read::read_to_string(&mut archive.entries().ok()?.next()?.ok()?, &mut text).ok()?;
    Some(text)
}

async fn nodes(client: &Client, sought: &Sought, marks: &Marks) {
    let is_ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    };
    until(Api::<Node>::all(client.clone()), is_ready, sought.workers + 1).await;
    marks.mark("nodes");
}

/// A member is ready when it replicates, in every arm.
async fn database(client: &Client, sought: &Sought, marks: &Marks) {
    let is_member = |pod: &Pod| {
        let name = pod.name_any();
        let number = name.strip_prefix(sought.database).is_some_and(|rest| rest.parse::<u8>().is_ok());
        let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
        number && conditions.is_some_and(|all| all.iter().any(|one| one.type_ == "Ready" && one.status == "True"))
    };
    until(Api::<Pod>::all(client.clone()), is_member, sought.members).await;
    marks.mark("database");
}

async fn autoscaler(client: &Client, marks: &Marks) {
    let has_value = |scaler: &HorizontalPodAutoscaler| {
        let metrics = scaler.status.as_ref().and_then(|status| status.current_metrics.as_ref());
        metrics.into_iter().flatten().any(|metric| {
            let current = metric.resource.as_ref().map(|resource| &resource.current);
            current.is_some_and(|current| current.average_utilization.is_some())
        })
    };
    until(Api::<HorizontalPodAutoscaler>::all(client.clone()), has_value, 1).await;
    marks.mark("autoscaler");
}

/// Waits until so many objects are as wanted.
async fn until<K>(api: Api<K>, wanted: impl Fn(&K) -> bool, count: usize)
where
    K: kube::Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned + Send + 'static,
{
    loop {
        let mut good = BTreeSet::new();
        let mut stream = std::pin::pin!(watcher(api.clone(), watcher::Config::default()));
        while let Some(Ok(event)) = stream.next().await {
            match event {
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) if wanted(&object) => {
                    good.insert(object.name_any());
                }
                watcher::Event::Apply(object) | watcher::Event::InitApply(object) | watcher::Event::Delete(object) => {
                    good.remove(&object.name_any());
                }
                watcher::Event::Init | watcher::Event::InitDone => {}
            }
            if good.len() >= count {
                return;
            }
        }
        // Not allowed yet, or the server went away: a watch is begun anew.
        tokio::time::sleep(EVERY).await;
    }
}

/// Asks one worker after the other what its container runtime has, until every one has all. The runtime's own list is
/// the only one that is not late: a node's status tells of new images after up to a minute.
async fn images(sought: &Sought, marks: &Marks) {
    let number = |number| if number == 1 { String::new() } else { usize::to_string(&number) };
    for node in (1..=sought.workers).map(|one| format!("{}-worker{}", sought.cluster, number(one))) {
        loop {
            let list = listed(&node).await.unwrap_or_default();
            if sought.images.iter().all(|image| list.contains(image)) {
                break;
            }
            tokio::time::sleep(RARELY * 2).await;
        }
    }
    marks.mark("images");
}

async fn listed(node: &str) -> Option<String> {
    let docker = Docker::connect_with_local_defaults().ok()?;
    let options = CreateExecOptions {
        cmd: Some(vec!["ctr", "-n", "k8s.io", "images", "ls", "-q"]),
        attach_stdout: Some(true),
        ..CreateExecOptions::default()
    };
    let made = docker.create_exec(node, options).await.ok()?;
    let started = docker.start_exec(&made.id, None::<StartExecOptions>).await.ok()?;
    let StartExecResults::Attached { output, .. } = started else { return None };
    let parts: Vec<_> = output.try_collect().await.ok()?;
    Some(parts.iter().map(ToString::to_string).collect())
}

/// Waits for the first page with the site's title; a redirect to the installer is none.
async fn page(sought: &Sought, marks: &Marks) {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(Duration::from_secs(5));
    let client = client.build().expect("a client");
    let (url, title) = (format!("http://127.0.0.1:{}/", sought.port), format!("<title>{}", sought.title));
    loop {
        let wait = match client.get(&url).send().await {
            Ok(response) if response.status() == 200 => {
                if response.text().await.is_ok_and(|text| text.contains(&title)) {
                    marks.mark("page");
                    return;
                }
                RARELY
            }
            Ok(_) => RARELY,
            Err(_) => EVERY,
        };
        tokio::time::sleep(wait).await;
    }
}
