//! WordPress: its configuration, the Job that installs it, the replicas and the way in.

mod spread;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::{
    apps::v1::Deployment,
    autoscaling::v2::HorizontalPodAutoscaler,
    batch::v1::{CronJob, Job},
    core::v1::{ConfigMap, HostAlias, PodTemplateSpec, Service},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
    core::DynamicObject,
};
use rand::RngExt;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{
    database::{READ_HOST, WRITE_HOST},
    images::{ImageSet, Role},
    storage::CLAIM,
};
use crate::{
    cluster::{
        Cluster, Refused,
        manifests::{edit, name_of, part},
        pods::{pod_of, set_env, set_image, set_resources},
        ready,
        secrets::password,
    },
    host::docker::Docker,
    labels::Component,
    run::{StepCx, Stepped, gate::Gate, wait::Look},
    spec::LabSpec,
    wire::hex,
};

/// The administrator's name. The password is generated.
const ADMIN: &str = "admin";

/// Where a replica listens in any case; the site's own port is added to it.
const PORT: u16 = 8080;

/// The keys of Secret `wordpress-credentials`: the administrator, and WordPress's keys and salts by the names of its
/// constants.
pub const CREDENTIALS: [&str; 10] = [
    "admin-user",
    "admin-password",
    "AUTH_KEY",
    "SECURE_AUTH_KEY",
    "LOGGED_IN_KEY",
    "NONCE_KEY",
    "AUTH_SALT",
    "SECURE_AUTH_SALT",
    "LOGGED_IN_SALT",
    "NONCE_SALT",
];

/// How long installation and replicas may take, tries and the wait for the database included, which has ten minutes for
/// itself.
const INSTALL_LIMIT: Duration = Duration::from_secs(900);
/// How long the database's Services may take, which are made at the same time.
const SERVICE_LIMIT: Duration = Duration::from_mins(2);

/// The site, as users see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Site {
    /// Its address, from this machine and from inside a replica.
    pub url: String,
    /// Its title.
    pub title: String,
}

impl Site {
    /// The site of a lab whose frontend is mapped to `port` of 127.0.0.1.
    pub fn new(spec: &LabSpec, port: u16) -> Site {
        Site { url: format!("http://127.0.0.1:{port}"), title: spec.wordpress.title.clone() }
    }
}

/// Everything that this part puts into the cluster but the Secret `wordpress-credentials`. The Job's name ends in a hash of
/// all that it does.
///
/// # Errors
/// `images` lacks one; a manifest and this code do not fit (which the tests rule out).
pub fn objects(spec: &LabSpec, images: &ImageSet, port: u16) -> Result<Vec<DynamicObject>> {
    let site = Site::new(spec, port);
    let image = images.reference(Role::Wordpress)?;
    let reads = spec.wordpress.reads.name();
    let mut objects = part("frontend")?;
    let mut config = String::new();
    edit(&mut objects, "wordpress-config", |map: &mut ConfigMap| {
        let ports = map.data.get_or_insert_default().get_mut("ports.conf").context("it has no ports.conf")?;
        // The site's address also answers from inside a replica, where WordPress calls itself.
        if port != PORT {
            ports.push_str(&format!("Listen 127.0.0.1:{port}\n"));
        }
        config = hash(map.data.as_ref())?;
        Ok(())
    })?;
    edit(&mut objects, "wordpress-code", |map: &mut ConfigMap| {
        config = hash((&config, map.data.as_ref()))?;
        Ok(())
    })?;
    let fill = |template: &mut PodTemplateSpec, name: &str| {
        let annotations = template.metadata.get_or_insert_default().annotations.get_or_insert_default();
        annotations.insert("wplab.dev/config".to_owned(), config.clone());
        let pod = pod_of(template)?;
        for volume in pod.volumes.iter_mut().flatten() {
            if let Some(source) = &mut volume.persistent_volume_claim {
                source.claim_name = CLAIM.to_owned();
            }
        }
        set_image(pod, name, image)?;
        set_env(pod, name, &[("WPLAB_DB_HOST", WRITE_HOST), ("WPLAB_SITE_URL", &site.url)])
    };
    edit(&mut objects, "wordpress", |deployment: &mut Deployment| {
        let template = &mut deployment.spec.as_mut().context("it has no spec")?.template;
        fill(template, "wordpress")?;
        set_env(pod_of(template)?, "wordpress", &[("WPLAB_DB_READ_HOST", READ_HOST), ("WPLAB_READS", reads)])?;
        set_image(pod_of(template)?, "content", images.reference(Role::Tool)?)?;
        set_resources(pod_of(template)?, "wordpress", &spec.wordpress.resources)
    })?;
    edit(&mut objects, "wordpress-cron", |cron: &mut CronJob| {
        let job = cron.spec.job_template.spec.as_mut().context("it has no job")?;
        fill(&mut job.template, "cron")
    })?;
    edit(&mut objects, "wordpress-install", |job: &mut Job| {
        let template = &mut job.spec.as_mut().context("it has no spec")?.template;
        fill(template, "install")?;
        set_env(pod_of(template)?, "install", &[("WPLAB_SITE_TITLE", &site.title)])?;
        job.metadata.name = Some(format!("wordpress-install-{}", hash(template)?));
        Ok(())
    })?;
    Ok(objects)
}

/// Lets replicas know where the database's Services are: pages are read and written also while nobody answers for names.
async fn name_the_database(cx: &StepCx, cluster: &Cluster, objects: &mut [DynamicObject]) -> Result<()> {
    let services = cluster.api::<Service>();
    let there = |service: Option<&Service>| match service {
        Some(_) => Look::Ready(()),
        None => Look::NotYet("it does not exist yet".to_owned()),
    };
    let mut known = Vec::new();
    for name in [WRITE_HOST, READ_HOST] {
        cluster.until_ready(cx, &services, name, SERVICE_LIMIT, there).await?;
        known.push(HostAlias { ip: cluster.address_of(name).await?, hostnames: Some(vec![name.to_owned()]) });
    }
    edit(objects, "wordpress", |deployment: &mut Deployment| {
        let template = &mut deployment.spec.as_mut().context("it has no spec")?.template;
        pod_of(template)?.host_aliases = Some(known);
        Ok(())
    })
}

/// Makes sure that WordPress is installed and every replica is ready. What pods mount from the database has to exist;
/// whether it answers they wait for themselves. `serves` opens when they are ready: from there the autoscaler goes on.
///
/// # Errors
/// The API server refuses an object, the installation fails, or a replica is not ready in time.
pub async fn ensure(
    cx: StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    images: &ImageSet,
    port: u16,
    serves: &Gate<()>,
) -> Result<Stepped<Site>> {
    cx.say("credentials and configuration");
    let mut changed =
        usize::from(cluster.ensure_secret("wordpress-credentials", Component::Frontend, credentials).await?);
    let mut objects = objects(spec, images, port)?;
    name_the_database(&cx, cluster, &mut objects).await?;
    let job = objects.iter().find(|o| name_of(o).starts_with("Job/")).map(ResourceExt::name_any);
    let job = job.context("the manifests have no Job")?;
    clear_jobs(&cx, cluster, &job).await?;
    let new = cluster.get::<Deployment>("wordpress").await?.is_none();
    // Replicas may start beside the installation: they are not ready before it is done.
    changed += cluster.apply(&objects).await?;
    changed += usize::from(begin_replicas(cluster, spec.wordpress.replicas).await?);

    // The first replica is ready when WordPress is installed, of which the Job tells two seconds later. What is waited for is
    // that it fails.
    let (jobs, deployments) = (cluster.api::<Job>(), cluster.api::<Deployment>());
    let installed = async {
        let installed = cluster.until(&cx, &jobs, &job, INSTALL_LIMIT, ready::job).await;
        let Err(error) = installed else { return Ok(()) };
        Err(error.context(format!("WordPress was not installed{}", last_words(cluster, &job).await)))
    };
    let rolled_out = cluster.until_ready(&cx, &deployments, "wordpress", INSTALL_LIMIT, ready::deployment);
    let mut rolled_out = std::pin::pin!(rolled_out);
    tokio::select! {
        rolled_out = &mut rolled_out, if new => rolled_out?,
        installed = installed => {
            installed?;
            rolled_out.await?;
        }
    }
    changed += spread::even(&cx, cluster).await?;
    serves.open(());
    let deployment = deployments.get("wordpress").await.map_err(Refused).context("cannot read Deployment wordpress")?;
    let replicas = deployment.status.and_then(|s| s.ready_replicas).unwrap_or(0);
    let site = Site::new(spec, port);
    let detail = format!("{replicas} replicas behind {}", site.url);
    Ok(Stepped::changed(changed > 0, site, detail))
}

/// Whether the installer has done its work in this lab.
///
/// # Errors
/// The API server does not answer.
pub async fn is_installed(cluster: &Cluster) -> Result<bool> {
    let found = installers(cluster).await?;
    Ok(found.iter().any(|job| job.status.as_ref().and_then(|status| status.succeeded).unwrap_or(0) > 0))
}

/// The version of the tables that an image's WordPress expects (`$wp_db_version` of its `wp-includes/version.php`).
///
/// # Errors
/// The image is not here, or says none.
pub async fn tables_of(docker: &Docker, image: &str) -> Result<u64> {
    let file = docker.file_of_image(image, "/usr/src/wordpress/wp-includes/version.php").await?;
    let text = String::from_utf8_lossy(&file);
    let line = text.lines().find_map(|line| line.strip_prefix("$wp_db_version = ")?.trim().strip_suffix(';'));
    let version = line.and_then(|version| version.parse().ok());
    version.with_context(|| format!("the WordPress of image {image} does not say what tables it expects"))
}

/// Replaces the administrator's password and all keys and salts, and has the next installation give them to the site.
///
/// # Errors
/// The API server refuses or does not answer.
pub async fn renew_passwords(cx: &StepCx, cluster: &Cluster) -> Result<()> {
    cluster.renew_secret("wordpress-credentials", Component::Frontend, credentials()?).await?;
    clear_jobs(cx, cluster, "").await
}

/// Deletes installers that can no longer help: of another version, or failed. A completed one of this version stays as the
/// record that it was done.
async fn clear_jobs(cx: &StepCx, cluster: &Cluster, wanted: &str) -> Result<()> {
    let (jobs, found) = (cluster.api::<Job>(), installers(cluster).await?);
    let useless = |job: &&Job| job.name_any() != wanted || ready::job_has_failed(job);
    for job in found.iter().filter(useless).map(ResourceExt::name_any) {
        jobs.delete(&job, &DeleteParams::foreground())
            .await
            .map_err(Refused)
            .with_context(|| format!("cannot delete Job {job}"))?;
        let gone = |job: Option<&Job>| {
            if job.is_none() { Look::Ready(()) } else { Look::NotYet("it is being deleted".to_owned()) }
        };
        cluster.until_ready(cx, &jobs, &job, Duration::from_secs(60), gone).await?;
    }
    Ok(())
}

async fn installers(cluster: &Cluster) -> Result<Vec<Job>> {
    let list = ListParams::default().labels("app.kubernetes.io/name=wordpress-install");
    Ok(cluster.api::<Job>().list(&list).await.map_err(Refused).context("cannot list the installers")?.items)
}

/// Sets the number of replicas to begin with, as long as there is no autoscaler: from then on the number is its own. It is
/// set through the scale subresource, so that our field manager never owns it.
async fn begin_replicas(cluster: &Cluster, replicas: u8) -> Result<bool> {
    if cluster.get::<HorizontalPodAutoscaler>("wordpress").await?.is_some() {
        return Ok(false);
    }
    let deployments = cluster.api::<Deployment>();
    let now =
        deployments.get_scale("wordpress").await.map_err(Refused).context("cannot read the number of replicas")?;
    if now.spec.and_then(|spec| spec.replicas) == Some(i32::from(replicas)) {
        return Ok(false);
    }
    let scale = Patch::Merge(json!({"spec": {"replicas": replicas}}));
    let scaled = deployments.patch_scale("wordpress", &PatchParams::default(), &scale).await;
    scaled.map_err(Refused).context("cannot set the number of replicas").map(|_| true)
}

/// The end of the log of an installer's newest pod, as part of an error. The installer never writes a secret.
async fn last_words(cluster: &Cluster, job: &str) -> String {
    let newest = async {
        let mut pods = cluster.pods(&format!("batch.kubernetes.io/job-name={job}")).await.ok()?;
        pods.sort_by_key(|pod| pod.metadata.creation_timestamp.clone());
        let lines = kube::api::LogParams { tail_lines: Some(3), ..Default::default() };
        let log = cluster.api::<k8s_openapi::api::core::v1::Pod>().logs(&pods.pop()?.name_any(), &lines).await.ok()?;
        Some(log.trim().replace('\n', " / ")).filter(|log| !log.is_empty())
    };
    newest.await.map_or_else(String::new, |log| format!(": {log}"))
}

fn credentials() -> Result<BTreeMap<String, String>> {
    let mut random = rand::rng();
    // A salt is printable and has no quotes, so that it also fits into a PHP string.
    let mut salt = || (0..64).map(|_| char::from(random.random_range(b'('..=b'['))).collect();
    let mut value = |name: &str| match name {
        "admin-user" => ADMIN.to_owned(),
        "admin-password" => password(),
        _ => salt(),
    };
    Ok(CREDENTIALS.into_iter().map(|name| (name.to_owned(), value(name))).collect())
}

/// Ten hexadecimal digits that change with the value.
fn hash(value: impl Serialize) -> Result<String> {
    let text = serde_json::to_vec(&value).context("cannot hash")?;
    Ok(hex(&Sha256::digest(text)[..5]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster::{manifests::typed, pods::container},
        parts::testing,
    };

    fn made(port: u16, title: &str) -> Vec<DynamicObject> {
        let mut spec = testing::spec();
        spec.wordpress.title = title.to_owned();
        objects(&spec, &testing::images(), port).expect("objects")
    }

    fn find<'a>(objects: &'a [DynamicObject], name: &str) -> &'a DynamicObject {
        objects.iter().find(|o| name_of(o).starts_with(name)).expect("is there")
    }

    #[test]
    fn apache_listens_on_the_sites_own_port_too_but_never_twice_on_one() {
        let ports = |port| find(&made(port, "x"), "ConfigMap/").data["data"]["ports.conf"].clone();
        assert_eq!(ports(8080), "Listen 8080\n");
        assert_eq!(ports(8081), "Listen 8080\nListen 127.0.0.1:8081\n");
    }

    #[test]
    fn a_changed_installer_has_another_name_and_an_unchanged_one_the_same() {
        let name = |port, title| name_of(find(&made(port, title), "Job/"));
        assert_eq!(name(8080, "one"), name(8080, "one"));
        assert_ne!(name(8080, "one"), name(8080, "two"));
        assert_ne!(name(8080, "one"), name(8081, "one"));
        assert!(name(8080, "one").starts_with("Job/wordpress-install-"));
    }

    #[test]
    fn the_deployment_says_nothing_about_replicas_and_carries_the_configurations_hash() {
        let one = find(&made(8080, "x"), "Deployment/").clone();
        assert!(one.data["spec"].get("replicas").is_none());
        let mut deployment: Deployment = typed(&one).expect("typed");
        let template = &mut deployment.spec.as_mut().expect("a spec").template;
        assert!(
            template
                .metadata
                .as_ref()
                .expect("metadata")
                .annotations
                .as_ref()
                .expect("some")
                .contains_key("wplab.dev/config")
        );
        let web = container(pod_of(template).expect("a pod"), "wordpress").expect("is there");
        assert_eq!(web.image.as_deref(), Some("docker.io/wplab/wordpress:000000000002"));
    }

    #[test]
    fn credentials_are_complete_and_never_the_same() {
        let (one, two) = (credentials().expect("made"), credentials().expect("made"));
        assert_eq!(one.len(), 10);
        assert_eq!(one["admin-user"], "admin");
        assert!(
            CREDENTIALS[2..]
                .iter()
                .all(|name| one[*name].len() == 64 && one[*name] != two[*name] && !one[*name].contains(['\'', '"']))
        );
        assert_ne!(one["admin-password"], two["admin-password"]);
    }
}
