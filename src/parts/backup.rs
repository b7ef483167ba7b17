//! Backups: the store that they go to, the kinds of objects that ask for them, and the runner that makes them. What it does is in
//! [`crate::inside::backup`]; nothing of this is in a lab that has asked for none.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    CustomResourceExt,
    api::PostParams,
    core::{DynamicObject, ObjectMeta},
};
use sha2::{Digest, Sha256};

use super::{
    database::{CONTAINER, Server},
    images::{self, ImageSet, Role},
    kinds,
    store::{self, Store},
};
use crate::{
    cluster::{
        Cluster, Refused,
        apply::labelled,
        manifests::{edit, name_of, part},
        pods::{container, pod_of, set_env, set_image, set_resources},
        ready,
        secrets::password,
    },
    host::Host,
    inside::{
        backup::{
            DESTINATION, LAB_FILE,
            objects::{Backup, BackupSchedule, BackupScheduleSpec, Restore, SCHEDULE},
            verify::SCRATCH,
        },
        member::options,
    },
    labels::{COMPONENT, Component, NAMESPACE},
    run::StepCx,
    spec::{
        ImageSource, LabName, LabSpec,
        backup::{Keep, NO_ARCHIVE, Place, Schedule},
        destination::Destination,
    },
    wire::{
        backup::{credentials::Credentials, shelf::Shelf},
        hex,
        sql::CERTIFICATE_NAME,
        tls::{Authority, Issued, Use},
    },
};

/// The runner's Deployment, and the ConfigMap with what it has to know.
pub const RUNNER: &str = "backup";
/// The Secret with what lets it into the destination.
pub const CREDENTIALS: &str = "backup-credentials";
/// In the ConfigMap: whom the runner trusts in front of a destination.
const AUTHORITIES: &str = "ca.pem";
/// The Secret with what lets it into where a backup lies that is restored, if that is another one.
pub const SOURCE_CREDENTIALS: &str = "restore-credentials";
/// How long the runner may take.
const RUNNER_LIMIT: Duration = Duration::from_mins(2);

/// A lab's place in the store that it asks for, as this machine and as its pods reach it.
pub struct Reached {
    /// As this machine reaches it.
    pub shelf: Shelf,
    /// As pods do.
    pub inside: Destination,
    credentials: Credentials,
}

/// Whether a lab file asks for more than that backups can be asked for.
pub fn is_wanted(spec: &LabSpec) -> bool {
    let backup = &spec.backup;
    !backup.schedule.is_never()
        || !backup.verify.is_never()
        || backup.archive.is_on()
        || backup.destination != Place::Store
}

/// Opens a lab's place in its store, which is made, or started, if it is this machine's own; and asks it whether we are let in.
///
/// # Errors
/// Credentials are missing or refused; the store does not answer; or ours does not come up.
pub async fn reach(cx: &StepCx, host: &Host, spec: &LabSpec) -> Result<Reached> {
    reach_at(cx, host, &spec.name, &spec.backup.destination).await
}

/// The same of another destination than the lab's.
///
/// # Errors
/// As [`reach`].
pub async fn reach_at(cx: &StepCx, host: &Host, lab: &LabName, place: &Place) -> Result<Reached> {
    let own = match place {
        Place::Store => Some(store::Place::Embedded),
        Place::At(destination) => store::Place::of(destination),
    };
    let (outside, inside, credentials) = match (own, place) {
        (Some(own), _) => {
            let images = images::get(cx.clone(), host, &ImageSource::Auto, &[Role::Versitygw], None).await?;
            let image = images.value().0.get(&Role::Versitygw).context("there is no image of a store")?;
            let Store { outside, inside, credentials } = store::ensure(cx, &host.docker, image, lab, &own).await?;
            (outside, inside, credentials)
        }
        (None, Place::At(destination)) => (destination.clone(), destination.clone(), Credentials::from_environment()?),
        (None, Place::Store) => unreachable!("the store is our own"),
    };
    let shelf = Shelf::open(&outside, &credentials, lab)?;
    // Before anything relies on it.
    shelf.list().await?;
    Ok(Reached { shelf, inside, credentials })
}

/// Makes sure of everything, and waits until the runner is there; says whether anything had to be done. With a `source` the runner gets
/// in there as well.
///
/// # Errors
/// As [`reach`]; the API server refuses an object; or the runner does not come up.
pub async fn ensure(
    cx: &StepCx,
    host: &Host,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    source: Option<&Reached>,
) -> Result<(Reached, bool)> {
    if spec.backup.archive.is_on() && Server::of(spec, images)?.role == Role::Percona {
        bail!("backup.archive: {NO_ARCHIVE}; leave it off, or set database.flavour to mariadb");
    }
    let reached = reach(cx, host, spec).await?;
    let own = reached.credentials.values().clone();
    let other = source.map(|source| source.credentials.values().clone()).unwrap_or_default();
    let mut changed = cluster.replace_secret(CREDENTIALS, Component::Backup, own).await?;
    changed |= cluster.replace_secret(SOURCE_CREDENTIALS, Component::Backup, other).await?;
    changed |= kinds::ensure(cx, cluster, &kinds()?).await?;
    // One that is there may say something else by now than the lab's record.
    if cluster.get::<BackupSchedule>(SCHEDULE).await?.is_none() {
        changed |= declare(cluster, spec, false).await?;
    }
    changed |= cluster.ensure_secret(SCRATCH, Component::Backup, scratch_papers).await?;
    let mut objects = objects(spec, images, &reached, source)?;
    changed |= scratch_exists(cluster, &objects).await?;
    // How many there are of it is the runner's: to apply a number would end the proof that is under way.
    edit(&mut objects, SCRATCH, |scratch: &mut Deployment| {
        scratch.spec.as_mut().context("it has no spec")?.replicas = None;
        Ok(())
    })?;
    changed |= cluster.apply(&objects).await? > 0;
    cluster.until_ready(cx, &cluster.api::<Deployment>(), RUNNER, RUNNER_LIMIT, ready::deployment).await?;
    Ok((reached, changed))
}

/// When the lab is backed up, as the lab file says it.
fn schedule(spec: &LabSpec) -> BackupSchedule {
    let backup = &spec.backup;
    let mut schedule = BackupSchedule::new(
        SCHEDULE,
        BackupScheduleSpec {
            schedule: backup.schedule.to_string(),
            keep: backup.keep.to_string(),
            verify: backup.verify.to_string(),
            suspend: None,
        },
    );
    schedule.metadata = ObjectMeta {
        name: Some(SCHEDULE.to_owned()),
        namespace: Some(NAMESPACE.to_owned()),
        labels: Some(BTreeMap::from([(COMPONENT.to_owned(), Component::Backup.as_str().to_owned())])),
        ..ObjectMeta::default()
    };
    schedule
}

/// Declares when the lab is backed up, as the lab file says it; says whether that is something else than before. `take_over`: also where
/// somebody else has declared something else.
///
/// # Errors
/// [`crate::cluster::apply::Elsewhere`]; the API server refuses.
pub async fn declare(cluster: &Cluster, spec: &LabSpec, take_over: bool) -> Result<bool> {
    Ok(cluster.declare(&schedule(spec), take_over).await?.1)
}

/// What lets in at the server beside the lab: a password, and a certificate of an authority that is good for nothing else, and forgotten.
/// Made once, as what is there stays.
fn scratch_papers() -> Result<BTreeMap<String, String>> {
    let authority = Authority::new()?;
    let Issued { certificate, key } = authority.issue(Use::Server, SCRATCH, &[CERTIFICATE_NAME.to_owned()])?;
    let papers =
        [("password", password()), ("ca.crt", authority.certificate), ("tls.crt", certificate), ("tls.key", key)];
    Ok(papers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// Makes the server beside the lab, of which there is none at first; says whether it had to be made.
async fn scratch_exists(cluster: &Cluster, objects: &[DynamicObject]) -> Result<bool> {
    if cluster.get::<Deployment>(SCRATCH).await?.is_some() {
        return Ok(false);
    }
    let object = objects.iter().find(|object| name_of(object) == format!("Deployment/{SCRATCH}"));
    let object = labelled(object.context("there is no server beside the lab")?, &cluster.inside)?;
    match cluster.api_of(&object)?.create(&PostParams::default(), &object).await {
        Ok(_) => Ok(true),
        // Somebody else was first.
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(Refused(error)).with_context(|| format!("cannot make Deployment {SCRATCH}")),
    }
}

/// The kinds of objects that ask for backups.
///
/// # Errors
/// A type and Kubernetes do not fit (which the tests rule out).
pub fn kinds() -> Result<Vec<DynamicObject>> {
    kinds::objects([Backup::crd(), Restore::crd(), BackupSchedule::crd()], Component::Backup)
}

/// The authorities that this machine trusts, as PEM: the runner's image has none, and trusts the same. Empty where there are none.
fn trusted() -> String {
    /// Debian, Fedora, Alpine and macOS, OpenSUSE.
    const FILES: [&str; 4] = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/cert.pem",
        "/etc/ssl/ca-bundle.pem",
    ];
    let asked = std::env::var("SSL_CERT_FILE").ok();
    let files = asked.iter().map(String::as_str).chain(FILES);
    files.filter_map(|file| std::fs::read_to_string(file).ok()).next().unwrap_or_default()
}

/// Everything in the cluster but the kinds and the Secret.
fn objects(
    spec: &LabSpec,
    images: &ImageSet,
    reached: &Reached,
    source: Option<&Reached>,
) -> Result<Vec<DynamicObject>> {
    let mut objects = part("backup")?;
    let data = BTreeMap::from([
        (LAB_FILE.to_owned(), spec.to_file()),
        (DESTINATION.to_owned(), reached.inside.to_string()),
        (AUTHORITIES.to_owned(), trusted()),
    ]);
    // When it is to work stands in an object that it follows: for that it need not begin anew, and give up what it has begun.
    let mut timeless = spec.clone();
    timeless.backup.schedule = Schedule::default();
    timeless.backup.verify = Schedule::default();
    timeless.backup.keep = Keep::default();
    let fixed = (timeless.to_file(), &data[DESTINATION], &data[AUTHORITIES]);
    // A hash of random passwords, cut short, tells nobody anything.
    let known = (fixed, reached.credentials.values(), source.map(|source| source.credentials.values()));
    let known = serde_json::to_vec(&known).context("cannot hash what it has to know")?;
    let hash = hex(&Sha256::digest(&known)[..4]);
    edit(&mut objects, RUNNER, |map: &mut ConfigMap| {
        map.data = Some(data);
        Ok(())
    })?;
    edit(&mut objects, RUNNER, |deployment: &mut Deployment| {
        let template = &mut deployment.spec.as_mut().context("it has no spec")?.template;
        let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
        annotations.insert("wplab.dev/config".to_owned(), hash);
        let pod = pod_of(template)?;
        set_image(pod, RUNNER, images.reference(Role::Tool)?)?;
        set_env(pod, RUNNER, &[("WPLAB_LAB", spec.name.as_str())])
    })?;
    edit(&mut objects, SCRATCH, |settings: &mut ConfigMap| {
        settings.data = Some(options::files(Server::of(spec, images)?.role.name(), &spec.database.settings)?);
        Ok(())
    })?;
    edit(&mut objects, SCRATCH, |scratch: &mut Deployment| {
        let Server { role, user } = Server::of(spec, images)?;
        let pod = pod_of(&mut scratch.spec.as_mut().context("it has no spec")?.template)?;
        set_image(pod, "tools", images.reference(Role::Tool)?)?;
        set_image(pod, CONTAINER, images.reference(role)?)?;
        set_resources(pod, CONTAINER, &spec.database.resources)?;
        let (runs_as, user) = (pod.security_context.get_or_insert_default(), Some(user));
        (runs_as.run_as_user, runs_as.run_as_group, runs_as.fs_group) = (user, user, user);
        container(pod, CONTAINER)?.command.get_or_insert_default().push(role.name().to_owned());
        Ok(())
    })?;
    Ok(objects)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::{
        apps::v1::StatefulSet,
        core::v1::{PodSpec, PodTemplateSpec, Service},
        rbac::v1::{PolicyRule, Role as Rights},
    };
    use serde::de::DeserializeOwned;

    use super::*;
    use crate::{
        cluster::manifests::typed,
        parts::testing,
        spec::{Topology, backup::Switch},
        wire::backup::credentials::Credentials,
    };

    fn lab(topology: Topology, server: Role) -> (LabSpec, Vec<DynamicObject>) {
        let mut spec = testing::spec();
        spec.database.topology = topology;
        let objects = of(&spec, server);
        (spec, objects)
    }

    fn of(spec: &LabSpec, server: Role) -> Vec<DynamicObject> {
        let mut images = testing::images();
        let image = images.0.remove(&Role::Mysql).expect("an image");
        images.0.insert(server, image);
        let inside = Destination::new("file:///srv/backups").expect("a destination");
        let folder = tempfile::tempdir().expect("a folder");
        let at = Destination::File { folder: folder.path().to_owned() };
        let credentials = Credentials::default();
        let shelf = Shelf::open(&at, &credentials, &spec.name).expect("a shelf");
        objects(spec, &images, &Reached { shelf, inside, credentials }, None).expect("objects")
    }

    fn find<K: DeserializeOwned>(objects: &[DynamicObject], name: &str) -> K {
        typed(objects.iter().find(|object| name_of(object) == name).expect(name)).expect("typed")
    }

    fn scratch(objects: &[DynamicObject]) -> (Option<i32>, PodTemplateSpec, PodSpec) {
        let spec = find::<Deployment>(objects, "Deployment/db-scratch").spec.expect("a spec");
        let pod = spec.template.spec.clone().expect("a pod");
        (spec.replicas, spec.template, pod)
    }

    #[test]
    fn a_schedule_does_not_begin_the_runner_anew_and_what_it_has_to_know_does() {
        let template = |change: &dyn Fn(&mut LabSpec)| {
            let mut spec = testing::spec();
            change(&mut spec);
            find::<Deployment>(&of(&spec, Role::Mysql), "Deployment/backup").spec.expect("a spec").template
        };
        let stands = template(&|_| {});
        let nightly = template(&|spec| {
            spec.backup.schedule = Schedule::new("30 3 * * *").expect("a schedule");
            spec.backup.verify = Schedule::new("0 5 * * 0").expect("a schedule");
            spec.backup.keep = Keep::new("7 daily").expect("a rule");
        });
        assert_eq!(stands, nightly);
        assert_ne!(stands, template(&|spec| spec.backup.archive = Switch::new("on").expect("a switch")));
    }

    #[test]
    fn the_server_beside_the_lab_is_what_a_member_is_but_for_what_is_the_labs() {
        for (topology, role, user) in [
            (Topology::Replication, Role::Mysql, 999),
            (Topology::Galera, Role::Mariadb, 999),
            (Topology::Galera, Role::Percona, 1001),
        ] {
            let (lab, objects) = lab(topology, role);
            let (replicas, _, pod) = scratch(&objects);
            assert_eq!(replicas, Some(0), "nobody needs one yet");
            let server = &pod.containers[0];
            assert_eq!(
                server.command.clone().expect("a command").join(" "),
                format!("/tools/wplab member scratch --server {}", role.name())
            );
            assert!(!server.image.as_ref().expect("an image").ends_with("unset"));
            let limits = server.resources.clone().expect("resources").limits.expect("limits");
            assert_eq!(limits["memory"].0, lab.database.resources.memory.as_str());
            let runs_as = pod.security_context.expect("a context");
            assert_eq!((runs_as.run_as_user, runs_as.fs_group), (Some(user), Some(user)));
            let settings: ConfigMap = find(&objects, "ConfigMap/db-scratch");
            assert!(settings.data.expect("files")["lab.cnf"].starts_with("[mysqld]"));
            // It reads the lab's settings, and no secret but its own; what it writes goes with it.
            assert_eq!(pod.automount_service_account_token, Some(false));
            for volume in pod.volumes.expect("volumes") {
                let secret = volume.secret.and_then(|secret| secret.secret_name);
                assert!(volume.persistent_volume_claim.is_none() && secret.is_none_or(|name| name == SCRATCH));
            }
        }
    }

    #[test]
    fn nobody_takes_it_for_a_member_or_for_the_runner() {
        let (spec, ours) = lab(Topology::Replication, Role::Mysql);
        let (_, template, _) = scratch(&ours);
        let labels = template.metadata.expect("metadata").labels.expect("labels");
        let images = testing::images();
        let others = crate::parts::database::objects(&spec, &images).expect("objects");
        let mut selectors = Vec::new();
        for object in &others {
            selectors.extend(match name_of(object).split_once('/').expect("a kind").0 {
                "Service" => typed::<Service>(object).expect("typed").spec.and_then(|spec| spec.selector),
                "StatefulSet" => {
                    typed::<StatefulSet>(object).expect("typed").spec.and_then(|s| s.selector.match_labels)
                }
                _ => None,
            });
        }
        assert_eq!(selectors.len(), 4, "three Services and the members");
        for selector in selectors {
            assert!(selector.iter().any(|(key, value)| labels.get(key) != Some(value)), "{selector:?}");
        }
        assert_eq!(labels[COMPONENT], Component::Backup.as_str());
    }

    #[test]
    fn the_runner_may_scale_it_and_nothing_else() {
        let (_, objects) = lab(Topology::Replication, Role::Mysql);
        let rules = find::<Rights>(&objects, "Role/backup").rules.expect("rules");
        let is = |rule: &&PolicyRule, group: &str| rule.api_groups.iter().flatten().any(|one| one == group);
        let apps: Vec<_> = rules.iter().filter(|rule| is(rule, "apps")).collect();
        assert_eq!(apps.len(), 1);
        assert_eq!(apps[0].resources.clone().expect("resources"), ["deployments/scale"]);
        assert_eq!(
            (apps[0].resource_names.clone().expect("names"), &apps[0].verbs),
            (vec![SCRATCH.to_owned()], &vec!["patch".to_owned()])
        );
        let secrets =
            rules.iter().filter(|rule| is(rule, "") && rule.resources.iter().flatten().any(|one| one == "secrets"));
        for rule in secrets {
            assert_eq!(rule.resource_names.clone().expect("names"), ["backup-key"]);
        }
    }

    #[test]
    fn what_lets_in_there_is_made_of_nothing_that_is_the_labs() {
        let papers = scratch_papers().expect("papers");
        assert_eq!(papers.keys().collect::<Vec<_>>(), ["ca.crt", "password", "tls.crt", "tls.key"]);
        assert_ne!(papers["password"], scratch_papers().expect("papers")["password"]);
    }
}
