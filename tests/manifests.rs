//! What the cluster gets, checked without a cluster: every document fits its Kubernetes type and the lab's rules, and what
//! is applied reaches an API server (here: a map in memory) as it should.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use http_body_util::BodyExt;
use hyper::{Method, Request, Response};
use k8s_openapi::{
    api::{
        admissionregistration::v1::{ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding},
        apps::v1::{Deployment, StatefulSet},
        autoscaling::v2::HorizontalPodAutoscaler,
        batch::v1::{CronJob, Job},
        core::v1::{
            ConfigMap, Container, Namespace, PersistentVolume, PersistentVolumeClaim, PodSpec, Secret, Service,
            ServiceAccount,
        },
        policy::v1::PodDisruptionBudget,
        rbac::v1::{ClusterRole, ClusterRoleBinding, Role as RbacRole, RoleBinding},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    kube_aggregator::pkg::apis::apiregistration::v1::APIService,
};
use kube::{Client, ResourceExt, client::Body, core::DynamicObject};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use wplab::{
    actions::render,
    cluster::{
        Cluster,
        apply::Unchangeable,
        manifests::{self, name_of, typed},
    },
    inside::kinds::Database,
    labels::{COMPONENT, LAB, PART_OF},
    parts::images::{Image, ImageSet, Origin, Role},
    run::advice::{self, Advise, Blame, Hint},
    spec::{
        AutoscaleSpec, ClusterSpec, DatabaseSpec, Flavour, FreedVolumes, ImageSource, LabName, LabSpec, Quantity,
        Reads, Resources, ServerImage, StorageSpec, Topology, VolumeClass, WordpressSpec, backup::BackupSpec,
    },
};

/// Containers that must be root, with the reason.
const ROOT: [(&str, &str); 1] = [("StatefulSet/nfs ganesha", "an NFS server acts as whatever user a client names")];

fn quantity(text: &str) -> Quantity {
    Quantity::new(text).expect("a quantity")
}

fn spec() -> LabSpec {
    let resources = || Resources { cpu: quantity("150m"), memory: quantity("640Mi") };
    LabSpec {
        name: LabName::new("other").expect("a name"),
        cluster: ClusterSpec { workers: 3, port: 8081 },
        images: ImageSource::Bundle(PathBuf::from("images.tar")),
        storage: StorageSpec { size: quantity("3Gi") },
        database: DatabaseSpec {
            placement: wplab::spec::placement::Placement::default(),
            topology: Topology::Replication,
            flavour: Flavour::Auto,
            members: 3,
            freed_volumes: FreedVolumes::Keep,
            image: ServerImage::default(),
            volume_class: VolumeClass::default(),
            volume: quantity("3Gi"),
            resources: resources(),
            settings: BTreeMap::from([("max_connections".to_owned(), "77".to_owned())]),
        },
        wordpress: WordpressSpec {
            title: "Title".to_owned(),
            replicas: 3,
            reads: Reads::Readers,
            resources: resources(),
        },
        autoscale: AutoscaleSpec { min: 3, max: 6, cpu: 50, scale_down_window: 60 },
        backup: BackupSpec::default(),
        monitoring: true,
    }
}

/// The images of a lab whose members run this server.
fn images(server: &[Role]) -> ImageSet {
    let common = [
        Role::Node,
        Role::Wordpress,
        Role::Nfs,
        Role::MetricsServer,
        Role::Prometheus,
        Role::MysqldExporter,
        Role::Tool,
    ];
    let image = |role: Role| Image {
        reference: format!("docker.io/wplab/{}:0123456789ab", format!("{role:?}").to_lowercase()),
        id: String::new(),
        size: 0,
        origin: Origin::Packages(String::new()),
    };
    ImageSet(common.iter().chain(server).map(|role| (*role, image(*role))).collect())
}

/// Every lab that there can be: both topologies, the second with both flavours.
fn labs() -> [Vec<DynamicObject>; 3] {
    let of = |topology, server: &[Role]| {
        let mut spec = spec();
        spec.database.topology = topology;
        render::objects(&spec, &images(server), 8081).expect("renders")
    };
    [
        of(Topology::Replication, &[Role::Mysql]),
        of(Topology::Galera, &[Role::Mariadb, Role::Etcd]),
        of(Topology::Galera, &[Role::Percona, Role::Etcd]),
    ]
}

fn rendered() -> Vec<DynamicObject> {
    labs().into_iter().flatten().collect()
}

fn embedded() -> Vec<DynamicObject> {
    manifests::PARTS.iter().flat_map(|part| manifests::part(part).expect("parses")).collect()
}

fn kind_of(object: &DynamicObject) -> &str {
    object.types.as_ref().map(|types| types.kind.as_str()).expect("a kind")
}

/// The pod that a workload makes.
fn pod_of(object: &DynamicObject) -> Option<PodSpec> {
    let paths = ["/spec/template/spec", "/spec/jobTemplate/spec/template/spec"];
    let found = paths.iter().find_map(|path| object.data.pointer(path))?;
    Some(serde_json::from_value(found.clone()).expect("a pod"))
}

/// Every container, with a name for messages and whether it runs for good.
fn containers(objects: &[DynamicObject]) -> Vec<(String, PodSpec, Container, bool)> {
    let mut all = Vec::new();
    for object in objects {
        let Some(pod) = pod_of(object) else { continue };
        let stays = matches!(kind_of(object), "Deployment" | "StatefulSet");
        let inits = pod.init_containers.iter().flatten().map(|c| (c, false));
        for (container, stays) in inits.chain(pod.containers.iter().map(|c| (c, stays))) {
            all.push((format!("{} {}", name_of(object), container.name), pod.clone(), container.clone(), stays));
        }
    }
    assert!(all.len() > 5, "the workloads were not found");
    all
}

/// Reads an object as its type and demands that nothing of it was lost on the way: a misspelt field would be.
fn fits<K: DeserializeOwned + serde::Serialize>(object: &DynamicObject) {
    let read: K = typed(object).unwrap_or_else(|error| panic!("{error:#}"));
    let back = serde_json::to_value(&read).expect("serializes");
    let lost = lost(&serde_json::to_value(object).expect("serializes"), &back, String::new());
    assert!(lost.is_empty(), "{}: unknown fields {lost:?}", name_of(object));
}

fn lost(from: &Value, to: &Value, path: String) -> Vec<String> {
    match (from, to) {
        (Value::Object(from), Value::Object(to)) => from
            .iter()
            .flat_map(|(key, value)| {
                let path = format!("{path}.{key}");
                to.get(key).map_or_else(|| vec![path.clone()], |to| lost(value, to, path.clone()))
            })
            .collect(),
        (Value::Array(from), Value::Array(to)) if from.len() == to.len() => {
            from.iter().zip(to).flat_map(|(from, to)| lost(from, to, format!("{path}[]"))).collect()
        }
        (Value::Object(_) | Value::Array(_), _) => vec![path],
        _ => Vec::new(),
    }
}

#[test]
fn every_document_fits_its_kubernetes_type() {
    for object in embedded().iter().chain(&rendered()) {
        match kind_of(object) {
            "Namespace" => fits::<Namespace>(object),
            "ConfigMap" => fits::<ConfigMap>(object),
            "Secret" => fits::<Secret>(object),
            "Service" => fits::<Service>(object),
            "ServiceAccount" => fits::<ServiceAccount>(object),
            "PersistentVolume" => fits::<PersistentVolume>(object),
            "PersistentVolumeClaim" => fits::<PersistentVolumeClaim>(object),
            "StatefulSet" => fits::<StatefulSet>(object),
            "Deployment" => fits::<Deployment>(object),
            "Job" => fits::<Job>(object),
            "CronJob" => fits::<CronJob>(object),
            "PodDisruptionBudget" => fits::<PodDisruptionBudget>(object),
            "HorizontalPodAutoscaler" => fits::<HorizontalPodAutoscaler>(object),
            "Role" => fits::<RbacRole>(object),
            "RoleBinding" => fits::<RoleBinding>(object),
            "ClusterRole" => fits::<ClusterRole>(object),
            "ClusterRoleBinding" => fits::<ClusterRoleBinding>(object),
            "ValidatingAdmissionPolicy" => fits::<ValidatingAdmissionPolicy>(object),
            "ValidatingAdmissionPolicyBinding" => fits::<ValidatingAdmissionPolicyBinding>(object),
            "APIService" => fits::<APIService>(object),
            "CustomResourceDefinition" => fits::<CustomResourceDefinition>(object),
            "Database" => fits::<Database>(object),
            kind => panic!("{} is of kind {kind}, which this test does not know", name_of(object)),
        }
    }
}

#[test]
fn every_object_names_its_namespace_unless_it_is_cluster_wide() {
    let wide = ["Namespace", "PersistentVolume", "ClusterRole", "ClusterRoleBinding", "APIService"];
    for object in embedded() {
        let namespace = object.namespace();
        match wide.contains(&kind_of(&object)) || kind_of(&object).starts_with("ValidatingAdmissionPolicy") {
            true => assert_eq!(namespace, None, "{}", name_of(&object)),
            false => assert!(matches!(namespace.as_deref(), Some("wplab" | "kube-system")), "{}", name_of(&object)),
        }
    }
}

#[test]
fn every_object_and_every_pod_carries_the_labs_labels() {
    for object in rendered() {
        let labels = object.labels();
        assert_eq!(labels.get(PART_OF).map(String::as_str), Some("wplab"), "{}", name_of(&object));
        assert_eq!(labels.get(LAB).map(String::as_str), Some("other"), "{}", name_of(&object));
        assert!(labels.contains_key(COMPONENT), "{}", name_of(&object));
        for path in ["/spec/template", "/spec/jobTemplate/spec/template"] {
            let Some(template) = object.data.pointer(path) else { continue };
            for key in [PART_OF, LAB, COMPONENT] {
                assert!(
                    template["metadata"]["labels"][key].is_string(),
                    "{} has a pod without {key}",
                    name_of(&object)
                );
            }
        }
    }
}

#[test]
fn every_image_is_pinned_and_filled_in() {
    for (name, _, container, _) in containers(&embedded()) {
        let image = container.image.unwrap_or_default();
        assert!(image.starts_with("docker.io/wplab/") && image.ends_with(":unset"), "{name}: {image}");
    }
    for (name, _, container, _) in containers(&rendered()) {
        let image = container.image.unwrap_or_default();
        let tag = image.rsplit_once(':').map(|(_, tag)| tag).unwrap_or_default();
        assert!(!matches!(tag, "" | "latest" | "unset"), "{name}: {image}");
        assert_eq!(container.image_pull_policy.as_deref(), Some("IfNotPresent"), "{name}");
    }
}

#[test]
fn every_container_asks_for_cpu_and_memory_and_has_a_memory_limit() {
    for (name, _, container, _) in containers(&rendered()) {
        let resources = container.resources.unwrap_or_default();
        let requests = resources.requests.unwrap_or_default();
        assert!(requests.contains_key("cpu") && requests.contains_key("memory"), "{name}");
        assert!(resources.limits.unwrap_or_default().contains_key("memory"), "{name}");
    }
}

#[test]
fn every_container_that_stays_has_readiness_and_liveness() {
    for (name, _, container, stays) in containers(&rendered()) {
        if stays {
            assert!(container.readiness_probe.is_some() && container.liveness_probe.is_some(), "{name}");
        }
    }
}

#[test]
fn nothing_is_privileged_and_root_is_an_exception_with_a_reason() {
    for (name, pod, container, _) in containers(&rendered()) {
        let own = container.security_context.unwrap_or_default();
        assert_ne!(own.privileged, Some(true), "{name}");
        assert_eq!(own.allow_privilege_escalation, Some(false), "{name}");
        let dropped = own.capabilities.and_then(|c| c.drop).unwrap_or_default();
        assert_eq!(dropped, ["ALL"], "{name}");
        let of_pod = pod.security_context.unwrap_or_default();
        let not_root = own.run_as_non_root.or(of_pod.run_as_non_root) == Some(true);
        assert!(not_root || ROOT.iter().any(|(root, _)| *root == name), "{name} may be root");
        assert!(pod.host_network.is_none() && pod.host_pid.is_none(), "{name}");
        assert!(pod.volumes.iter().flatten().all(|volume| volume.host_path.is_none()), "{name}");
    }
}

#[test]
fn no_manifest_holds_a_password_and_no_rendered_secret_a_value() {
    assert!(
        embedded().iter().all(|object| kind_of(object) != "Secret"),
        "Secrets are generated, never in the manifests"
    );
    let secrets = |lab: &[DynamicObject]| -> Vec<Secret> {
        lab.iter().filter(|o| kind_of(o) == "Secret").map(|o| typed(o).expect("typed")).collect()
    };
    assert_eq!(labs().map(|lab| secrets(&lab).len()), [6, 7, 7]);
    for secret in secrets(&rendered()) {
        assert!(secret.data.is_none());
        assert!(secret.string_data.expect("values").values().all(|value| value == render::SECRET_PLACEHOLDER));
    }
    for (name, _, container, _) in containers(&rendered()) {
        for variable in container.env.into_iter().flatten() {
            let upper = variable.name.to_uppercase();
            let secret = ["PASSWORD", "SECRET", "TOKEN", "SALT"].iter().any(|word| upper.contains(word));
            assert!(!secret || variable.value.is_none(), "{name} has {} in the open", variable.name);
        }
    }
}

#[test]
fn what_is_rendered_is_yaml_that_reads_back_the_same() {
    let text = render::render(&spec(), &images(&[Role::Mysql])).expect("renders");
    assert_eq!(manifests::parse(&text).expect("parses"), labs()[0]);
}

#[test]
fn nothing_of_monitoring_is_in_a_lab_that_does_not_want_it() {
    let without = LabSpec { monitoring: false, ..spec() };
    let objects = render::objects(&without, &images(&[Role::Mysql]), 8081).expect("renders");
    let of = |objects: &[DynamicObject]| {
        let watches = objects.iter().filter(|o| o.labels().get(COMPONENT).is_some_and(|c| c == "monitoring"));
        watches.count()
    };
    assert_eq!(of(&objects), 0);
    assert!(of(&labs()[0]) > 5);
}

#[test]
fn the_autoscaler_owns_the_number_of_replicas() {
    let deployment = rendered().into_iter().find(|o| name_of(o) == "Deployment/wordpress").expect("is there");
    assert!(deployment.data["spec"].get("replicas").is_none());
}

// ---- applying, against an API server in memory ----

/// Objects by path, what was asked, and how often to be unavailable first.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, Value>,
    asked: Vec<String>,
    unavailable: usize,
    immutable: bool,
}

impl Server {
    fn answer(&mut self, method: &Method, path: &str, query: &str, body: &[u8]) -> (u16, Value) {
        self.asked.push(format!("{method} {path} {query}"));
        if self.unavailable > 0 {
            self.unavailable -= 1;
            return (503, status(503, "etcd has no leader"));
        }
        if *method == Method::GET {
            let found = self.objects.get(path).cloned();
            return found.map_or_else(|| (404, status(404, "not found")), |object| (200, object));
        }
        if self.immutable {
            return (
                422,
                status(
                    422,
                    "StatefulSet.apps \"x\" is invalid: spec: Forbidden: updates to statefulset spec are forbidden",
                ),
            );
        }
        let mut new: Value = serde_json::from_slice(body).expect("JSON, which is YAML");
        let old = self.objects.get(path);
        let version = old.and_then(|o| o["metadata"]["resourceVersion"].as_str()?.parse::<u64>().ok()).unwrap_or(0);
        new["metadata"]["resourceVersion"] = json!(version.to_string());
        if old != Some(&new) {
            new["metadata"]["resourceVersion"] = json!((version + 1).to_string());
        }
        self.objects.insert(path.to_owned(), new.clone());
        (200, new)
    }
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": message, "reason": if code == 404 { "NotFound" } else { "Other" }})
}

fn cluster(server: Server) -> (Cluster, Arc<Mutex<Server>>) {
    let server = Arc::new(Mutex::new(server));
    let shared = server.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let server = shared.clone();
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
            let (code, answer) = server.lock().expect("not poisoned").answer(&head.method, path, query, &body);
            let body = Body::from(serde_json::to_vec(&answer).expect("serializes"));
            Ok::<_, Infallible>(Response::builder().status(code).body(body).expect("a response"))
        }
    });
    (Cluster::new(Client::new(service, "default"), LabName::default()), server)
}

fn map(value: &str) -> Vec<DynamicObject> {
    let text = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: x, namespace: wplab, labels: {{{COMPONENT}: storage}}}}\ndata: {{key: '{value}'}}\n"
    );
    manifests::parse(&text).expect("parses")
}

const PATH: &str = "/api/v1/namespaces/wplab/configmaps/x";

#[tokio::test]
async fn applying_counts_what_changed_and_a_second_time_nothing_does() {
    let (cluster, server) = cluster(Server::default());
    assert_eq!(cluster.apply(&map("1")).await.expect("applies"), 1);
    assert_eq!(cluster.apply(&map("1")).await.expect("applies"), 0);
    assert_eq!(cluster.apply(&map("2")).await.expect("applies"), 1);
    let server = server.lock().expect("not poisoned");
    assert_eq!(server.objects[PATH]["metadata"]["labels"][LAB], "wplab");
    let patch = server.asked.iter().find(|asked| asked.starts_with("PATCH")).expect("patched");
    assert!(patch.contains("force=true") && patch.contains("fieldManager=wplab"), "{patch}");
}

#[tokio::test]
async fn cluster_wide_objects_go_to_the_whole_cluster() {
    let (cluster, server) = cluster(Server::default());
    assert!(cluster.ensure_namespace(BTreeMap::new()).await.expect("applies"));
    assert!(!cluster.ensure_namespace(BTreeMap::new()).await.expect("applies"));
    assert!(cluster.has_namespace().await.expect("answers"));
    assert!(server.lock().expect("not poisoned").objects.contains_key("/api/v1/namespaces/wplab"));
}

#[tokio::test]
async fn what_somebody_else_made_is_left_alone_and_named() {
    let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "wplab", "resourceVersion": "5"}});
    let (cluster, server) = cluster(Server { objects: [(PATH.to_owned(), foreign)].into(), ..Server::default() });
    let error = cluster.apply(&map("1")).await.expect_err("refused");
    assert_eq!(
        format!("{error:#}"),
        "cannot apply ConfigMap/x: ConfigMap/x exists already and was not made by wplab, so it is left alone"
    );
    assert!(server.lock().expect("not poisoned").asked.iter().all(|asked| asked.starts_with("GET")));
}

#[tokio::test]
async fn a_server_that_is_away_for_a_moment_is_asked_again() {
    let (cluster, server) = cluster(Server { unavailable: 2, ..Server::default() });
    assert_eq!(cluster.apply(&map("1")).await.expect("applies"), 1);
    assert_eq!(server.lock().expect("not poisoned").asked.len(), 4);
}

#[tokio::test]
async fn a_pods_answer_counts_only_with_a_good_status() {
    let path = "/api/v1/namespaces/wplab/pods/db-0:8081/proxy/status";
    let (cluster, server) =
        cluster(Server { objects: [(path.to_owned(), json!({"role": "writer"}))].into(), ..Server::default() });
    assert_eq!(cluster.pod_get("db-0", 8081, "/status").await.expect("answers"), r#"{"role":"writer"}"#);
    let error = cluster.pod_get("db-1", 8081, "/status").await.expect_err("is not there");
    assert_eq!(format!("{error:#}"), "cannot get /status from pod db-1: status 404 Not Found: not found");
    drop(server);
}

#[tokio::test]
async fn a_field_that_cannot_change_is_explained() {
    let (cluster, _) = cluster(Server { immutable: true, ..Server::default() });
    let error = cluster.apply(&map("1")).await.expect_err("refused");
    let anew = Hint::Anew { lab: cluster.lab.clone() };
    let unchangeable = advice::find::<Unchangeable>(&error).expect("typed");
    assert_eq!((unchangeable.blame(), unchangeable.hints()), (Blame::User, vec![anew]));
    let said =
        "cannot apply ConfigMap/x: ConfigMap/x of lab wplab cannot be changed as it is asked for: the API server";
    assert!(format!("{error:#}").starts_with(said), "{error:#}");
}
