//! What is applied: `manifests/database` as the topology needs it, with the values of the lab file.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{
            ConfigMap, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec, PodTemplateSpec,
            PreferredSchedulingTerm, Toleration,
        },
    },
    apimachinery::pkg::api::resource::Quantity,
};
use kube::core::DynamicObject;
use sha2::{Digest, Sha256};

use super::{
    declared::{DECLARED, Declared},
    names::MEMBERS,
};
use crate::{
    cluster::{
        manifests::{edit, part},
        pods::{container, pod_of, set_env, set_image, set_resources, without, without_volume},
    },
    inside::member::{CONTAINER, options},
    parts::images::{ImageSet, Role},
    spec::{
        Flavour, LabSpec, Topology,
        placement::{NodeLabels, Placement},
    },
    wire::hex,
};

/// The ConfigMap with the server's settings, in the manifests; in a lab a hash follows.
pub(super) const CONFIG: &str = "db-config";
/// On the pods: what their template hashes to. A pod with another one than the template has yet to be restarted.
pub(super) const TEMPLATE: &str = "wplab.dev/template";

/// The init container that brings the supervisor.
pub(super) const TOOLS: &str = "tools";

/// What a container of the members is made of.
pub(super) fn image_of(set: &StatefulSet, container: &str) -> Option<String> {
    image_in(&set.spec.as_ref()?.template, container)
}

/// The same of a template.
pub(super) fn image_in(template: &PodTemplateSpec, container: &str) -> Option<String> {
    let pod = template.spec.as_ref()?;
    let mut all = pod.containers.iter().chain(pod.init_containers.iter().flatten());
    all.find(|one| one.name == container)?.image.clone()
}

/// The database's objects for this lab, in the order in which they are applied.
///
/// # Errors
/// An image is missing from the set, or a setting cannot be written into an option file.
pub fn objects(spec: &LabSpec, images: &ImageSet) -> Result<Vec<DynamicObject>> {
    let config = config_of(spec, images, None)?;
    objects_with(spec, images, &config)
}

/// The option files of this lab's server, by name.
pub(super) fn files(spec: &LabSpec, images: &ImageSet) -> Result<BTreeMap<String, String>> {
    options::files(Server::of(spec, images)?.role.name(), &spec.database.settings)
}

/// A name for a ConfigMap with this lab's settings that is not `beside`, which others may still need as it is.
pub(super) fn config_of(spec: &LabSpec, images: &ImageSet, beside: Option<&str>) -> Result<String> {
    let mut files = files(spec, images)?;
    let name = |files: &BTreeMap<String, String>| format!("{CONFIG}-{}", hash_of(files));
    let plain = name(&files);
    if beside != Some(plain.as_str()) {
        return Ok(plain);
    }
    // What was made for these settings has had others since, in place.
    files.insert("beside".to_owned(), plain);
    Ok(name(&files))
}

/// The same with the settings in this ConfigMap.
pub(super) fn objects_with(spec: &LabSpec, images: &ImageSet, config_name: &str) -> Result<Vec<DynamicObject>> {
    let declared = serde_json::to_string(&Declared::of(spec)).context("cannot write down what is declared")?;
    let database = &spec.database;
    let server = Server::of(spec, images)?;
    let mut objects = part("database")?;
    edit(&mut objects, CONFIG, |config: &mut ConfigMap| {
        config.data = Some(files(spec, images)?);
        config.metadata.name = Some(config_name.to_owned());
        Ok(())
    })?;
    edit(&mut objects, MEMBERS, |set: &mut StatefulSet| {
        set.metadata.annotations.get_or_insert_default().insert(DECLARED.to_owned(), declared);
        let spec = set.spec.as_mut().context("it has no spec")?;
        spec.replicas = Some(i32::from(database.members));
        let pod = pod_of(&mut spec.template)?;
        set_image(pod, TOOLS, images.reference(Role::Tool)?)?;
        set_image(pod, CONTAINER, images.reference(server.role)?)?;
        set_resources(pod, CONTAINER, &database.resources)?;
        place(pod, &database.placement);
        let config =
            pod.volumes.iter_mut().flatten().find_map(|volume| volume.config_map.as_mut().filter(|c| c.name == CONFIG));
        config.context("its pods mount no settings")?.name = config_name.to_owned();
        let runs_as = pod.security_context.get_or_insert_default();
        let user = Some(server.user);
        (runs_as.run_as_user, runs_as.run_as_group, runs_as.fs_group) = (user, user, user);
        let member = match database.topology {
            Topology::Replication => {
                without(pod, CONTAINER, &["POD_IP", "WPLAB_FLAVOUR", "ETCD_ENDPOINTS"], &["galera", "ist", "sst"])?;
                without_volume(pod, "etcd")?;
                "mysql"
            }
            Topology::Galera => {
                set_env(pod, CONTAINER, &[("WPLAB_FLAVOUR", server.role.name())])?;
                without(pod, CONTAINER, &[], &["orders"])?;
                without_volume(pod, "orders")?;
                "galera"
            }
        };
        container(pod, CONTAINER)?.command.get_or_insert_default().push(member.to_owned());
        let text = serde_json::to_string(&spec.template).context("cannot write the template")?;
        let hash = hash_of(&BTreeMap::from([(String::new(), text)]));
        let annotations = spec.template.metadata.get_or_insert_default().annotations.get_or_insert_default();
        annotations.insert(TEMPLATE.to_owned(), hash);
        let claim = spec.volume_claim_templates.iter_mut().flatten().next().context("it has no volume")?;
        let claim = claim.spec.get_or_insert_default();
        claim.storage_class_name = database.volume_class.name().map(str::to_owned);
        let claim = claim.resources.get_or_insert_default();
        let size = Quantity(database.volume.as_str().to_owned());
        claim.requests = Some(BTreeMap::from([("storage".to_owned(), size)]));
        Ok(())
    })?;
    Ok(objects)
}

/// Lets a member run where it may. That two of them never share a node stays as the manifest has it.
fn place(pod: &mut PodSpec, placement: &Placement) {
    let terms = |labels: &NodeLabels| NodeSelectorTerm {
        match_expressions: Some(labels.labels().iter().map(one_of).collect()),
        match_fields: None,
    };
    let any = |labels: &NodeLabels| labels.labels().is_empty();
    let (nodes, prefer) = (&placement.nodes, &placement.prefer);
    if !any(nodes) || !any(prefer) {
        pod.affinity.get_or_insert_default().node_affinity = Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: (!any(nodes))
                .then(|| NodeSelector { node_selector_terms: vec![terms(nodes)] }),
            preferred_during_scheduling_ignored_during_execution: (!any(prefer))
                .then(|| vec![PreferredSchedulingTerm { weight: 100, preference: terms(prefer) }]),
        });
    }
    let tolerations = placement.tolerate.each().iter().map(|taint| Toleration {
        key: Some(taint.key.clone()),
        operator: Some(if taint.value.is_some() { "Equal" } else { "Exists" }.to_owned()),
        value: taint.value.clone(),
        effect: taint.effect.clone(),
        toleration_seconds: None,
    });
    pod.tolerations = Some(tolerations.collect::<Vec<_>>()).filter(|all| !all.is_empty());
}

fn one_of((key, value): (&String, &String)) -> NodeSelectorRequirement {
    NodeSelectorRequirement { key: key.clone(), operator: "In".to_owned(), values: Some(vec![value.clone()]) }
}

/// Whose server the members run.
pub(in crate::parts) struct Server {
    pub(in crate::parts) role: Role,
    /// The user and group that the image made its folders for.
    pub(in crate::parts) user: i64,
}

impl Server {
    pub(in crate::parts) fn of(spec: &LabSpec, images: &ImageSet) -> Result<Server> {
        Ok(match (spec.database.topology, images.flavour()) {
            (Topology::Replication, _) => Server { role: Role::Mysql, user: 999 },
            (Topology::Galera, Some(Flavour::Percona)) => Server { role: Role::Percona, user: 1001 },
            (Topology::Galera, Some(Flavour::Mariadb)) => Server { role: Role::Mariadb, user: 999 },
            (Topology::Galera, _) => bail!("there is no image of a Galera server"),
        })
    }
}

fn hash_of(files: &BTreeMap<String, String>) -> String {
    let mut hash = Sha256::new();
    for (name, text) in files {
        hash.update(name.as_bytes());
        hash.update([0]);
        hash.update(text.as_bytes());
        hash.update([0]);
    }
    hex(&hash.finalize()[..8])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::manifests::{name_of, typed},
        parts::{
            images::{Image, Origin},
            testing,
        },
        spec,
    };

    fn lab() -> LabSpec {
        let quantity = |text: &str| spec::Quantity::new(text).expect("a quantity");
        let mut lab = testing::spec();
        lab.database.members = 5;
        lab.database.volume = quantity("7Gi");
        lab.database.resources = spec::Resources { cpu: quantity("300m"), memory: quantity("768Mi") };
        lab.database.settings.insert("max_connections".to_owned(), "42".to_owned());
        lab
    }

    fn images() -> ImageSet {
        let image = |name: &str| Image {
            reference: format!("docker.io/wplab/{name}:0123456789ab"),
            id: "sha256:0".into(),
            size: 1,
            origin: Origin::Packages(name.into()),
        };
        ImageSet(BTreeMap::from([(Role::Mysql, image("database")), (Role::Tool, image("tool"))]))
    }

    fn settings(objects: &[DynamicObject]) -> ConfigMap {
        let found = objects.iter().find(|o| name_of(o).starts_with("ConfigMap/db-config-"));
        typed(found.expect("there")).expect("typed")
    }

    #[test]
    fn a_topology_takes_out_what_only_the_other_one_needs() {
        let of = |topology, role| {
            let mut lab = lab();
            lab.database.topology = topology;
            let mut images = images();
            let image = images.0.remove(&Role::Mysql).expect("an image");
            images.0.insert(role, image);
            let objects = objects(&lab, &images).expect("objects");
            let set = objects.iter().find(|o| name_of(o) == "StatefulSet/db").expect("a StatefulSet");
            let pod = typed::<StatefulSet>(set).expect("typed").spec.expect("spec").template.spec.expect("a pod");
            let server = pod.containers[0].clone();
            let volumes: Vec<String> = pod.volumes.expect("volumes").into_iter().map(|volume| volume.name).collect();
            let env: Vec<String> = server.env.expect("env").into_iter().map(|variable| variable.name).collect();
            let ports: Vec<i32> = server.ports.expect("ports").into_iter().map(|port| port.container_port).collect();
            let has = ["state", "orders", "etcd"].map(|wanted| volumes.iter().any(|name| name == wanted));
            (server.command.expect("a command").join(" "), env, ports, has)
        };
        let words = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(
            of(Topology::Replication, Role::Mysql),
            ("/tools/wplab member mysql".into(), words("POD_NAME"), vec![3306, 8081, 8083], [true, true, false])
        );
        let env = words("POD_NAME POD_IP WPLAB_FLAVOUR ETCD_ENDPOINTS");
        assert_eq!(
            of(Topology::Galera, Role::Mariadb),
            ("/tools/wplab member galera".into(), env, vec![3306, 8081, 4567, 4568, 4444], [true, false, true])
        );
    }

    #[test]
    fn a_flavour_brings_its_options_and_its_user() {
        let mut lab = lab();
        lab.database.topology = Topology::Galera;
        for (role, name, user, option) in [
            (Role::Mariadb, "mariadb", 999, "innodb_force_primary_key"),
            (Role::Percona, "percona", 1001, "pxc_strict_mode"),
        ] {
            let mut images = images();
            let image = images.0.remove(&Role::Mysql).expect("an image");
            images.0.insert(role, image);
            let objects = objects(&lab, &images).expect("objects");
            let find = |name: &str| objects.iter().find(|o| name_of(o) == name).expect("there");
            let set: StatefulSet = typed(find("StatefulSet/db")).expect("typed");
            let pod = set.spec.expect("spec").template.spec.expect("pod");
            assert_eq!(pod.security_context.expect("a user").run_as_user, Some(user));
            let env = pod.containers[0].env.clone().expect("env");
            assert!(env.iter().any(|v| v.name == "WPLAB_FLAVOUR" && v.value.as_deref() == Some(name)));
            let config = settings(&objects);
            let files = config.data.expect("files");
            assert!(files["fixed.cnf"].contains(option) && files["lab.cnf"].contains("max_connections=\"42\""));
            assert!(["my.cnf", "defaults.cnf", "lab.cnf", "fixed.cnf"].iter().all(|file| files.contains_key(*file)));
        }
        assert!(objects(&lab, &images()).is_err(), "there is no image of a Galera server");
    }

    #[test]
    fn the_lab_files_values_reach_the_objects() {
        let objects = objects(&lab(), &images()).expect("objects");
        let set = objects.iter().find(|o| name_of(o) == "StatefulSet/db").expect("a StatefulSet");
        let set: StatefulSet = typed(set).expect("typed");
        let spec = set.spec.expect("a spec");
        let pod = spec.template.spec.expect("a pod");
        let mysql = &pod.containers[0];
        assert_eq!(spec.replicas, Some(5));
        assert_eq!(mysql.image.as_deref(), Some("docker.io/wplab/database:0123456789ab"));
        let resources = mysql.resources.as_ref().expect("resources");
        assert_eq!(resources.limits.as_ref().expect("limits")["memory"].0, "768Mi");
        assert_eq!(resources.requests.as_ref().expect("requests")["cpu"].0, "300m");
        let tools = &pod.init_containers.as_ref().expect("init")[0];
        assert_eq!(tools.image.as_deref(), Some("docker.io/wplab/tool:0123456789ab"));
        let claim =
            spec.volume_claim_templates.expect("claims").remove(0).spec.expect("a claim").resources.expect("resources");
        assert_eq!(claim.requests.expect("requests")["storage"].0, "7Gi");
    }

    #[test]
    fn a_class_is_the_claims() {
        let class = |class: &str| {
            let mut lab = lab();
            lab.database.volume_class = spec::VolumeClass::new(class).expect("a class");
            let objects = objects(&lab, &images()).expect("objects");
            let set = objects.iter().find(|o| name_of(o) == "StatefulSet/db").expect("there");
            set.data["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"].as_str().map(str::to_owned)
        };
        assert_eq!((class("default"), class("fast.example")), (None, Some("fast.example".to_owned())));
        for wrong in ["", "Fast", "-fast", "fast.", "a b"] {
            spec::VolumeClass::new(wrong).expect_err("no name of a class");
        }
    }

    #[test]
    fn secret_files_are_for_the_group_only() {
        let objects = objects(&lab(), &images()).expect("objects");
        let set: StatefulSet =
            typed(objects.iter().find(|o| name_of(o) == "StatefulSet/db").expect("there")).expect("typed");
        let volumes = set.spec.expect("spec").template.spec.expect("pod").volumes.expect("volumes");
        let modes: Vec<_> = volumes.iter().filter_map(|v| v.secret.as_ref()).map(|s| s.default_mode).collect();
        assert_eq!(modes, [Some(0o440); 3]);
    }

    fn template(objects: &[DynamicObject]) -> (String, String) {
        let set = objects.iter().find(|o| name_of(o) == "StatefulSet/db").expect("there");
        let template = &set.data["spec"]["template"];
        let mounted = template["spec"]["volumes"].as_array().expect("volumes");
        let mounted = mounted.iter().find(|volume| volume["name"] == "config").expect("settings");
        let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
        (text(&template["metadata"]["annotations"][TEMPLATE]), text(&mounted["configMap"]["name"]))
    }

    #[test]
    fn a_changed_setting_changes_the_pods_unless_it_reaches_them_as_they_run() {
        let (one, mut two) = (lab(), lab());
        two.database.settings.insert("max_connections".into(), "43".into());
        let of = |lab: &LabSpec| template(&objects(lab, &images()).expect("objects"));
        assert_eq!(of(&one), of(&lab()));
        assert!(of(&one).0 != of(&two).0 && of(&one).1 != of(&two).1);
        let in_place = objects_with(&two, &images(), &of(&one).1).expect("objects");
        assert_eq!(template(&in_place), of(&one));
        assert!(settings(&in_place).data.expect("files")["lab.cnf"].contains("max_connections=\"43\""));
        let beside = config_of(&one, &images(), Some(&of(&one).1)).expect("a name");
        assert!(beside != of(&one).1 && beside != of(&two).1, "what was changed in place is not used again");
    }

    #[test]
    fn members_run_where_they_may_and_never_two_on_a_node() {
        let mut lab = lab();
        lab.database.placement = Placement {
            nodes: NodeLabels::new("disk=ssd").expect("labels"),
            prefer: NodeLabels::new("zone=a").expect("labels"),
            tolerate: spec::placement::Taints::new("dedicated=database:NoSchedule gpu").expect("taints"),
        };
        let objects = objects(&lab, &images()).expect("objects");
        let set = objects.iter().find(|o| name_of(o) == "StatefulSet/db").expect("there");
        let pod = &set.data["spec"]["template"]["spec"];
        assert!(pod["affinity"]["podAntiAffinity"].is_object());
        let nodes = &pod["affinity"]["nodeAffinity"];
        let needs =
            &nodes["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"][0]["matchExpressions"][0];
        assert_eq!((&needs["key"], &needs["values"][0]), (&"disk".into(), &"ssd".into()));
        let likes = &nodes["preferredDuringSchedulingIgnoredDuringExecution"][0]["preference"]["matchExpressions"][0];
        assert_eq!(likes["key"], "zone");
        let told: Vec<_> = pod["tolerations"].as_array().expect("some").iter().map(|one| &one["operator"]).collect();
        assert_eq!(told, ["Equal", "Exists"]);
        assert_ne!(template(&objects).0, template(&super::objects(&self::lab(), &images()).expect("objects")).0);
    }

    #[test]
    fn what_the_lab_relies_on_is_read_last() {
        let objects = objects(&lab(), &images()).expect("objects");
        let config = settings(&objects);
        let files = config.data.expect("data");
        let order: Vec<&str> = files["my.cnf"].lines().filter_map(|line| line.rsplit('/').next()).collect();
        assert_eq!(order, ["defaults.cnf", "lab.cnf", "fixed.cnf"]);
        assert_eq!(files["lab.cnf"], "[mysqld]\nmax_connections=\"42\"\n");
        assert!(
            files["fixed.cnf"].contains("\nsuper_read_only=ON\n") && files["fixed.cnf"].contains("\ngtid_mode=ON\n")
        );
    }
}
