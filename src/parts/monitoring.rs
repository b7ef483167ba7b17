//! Prometheus, and the exporter by which it asks the database's members: only in a lab whose lab file wants them. What fires is
//! asked by way of the API server, so that nothing of it is open on this machine (docs/monitoring.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Secret},
};
use kube::{ResourceExt, api::DeleteParams, core::DynamicObject};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::images::{ImageSet, Role};
use crate::{
    cluster::{
        Cluster, gone,
        manifests::{edit, file, name_of, part},
        pods::{pod_of, set_image},
        ready,
        secrets::password,
    },
    inside::member::{CONTAINER, MONITOR_USER},
    labels::{Component, ROLE, WRITER},
    run::{Run, StepCx, Stepped, event::StepId, gate::Gate, wait::Look},
    spec::{LabSpec, backup::Schedule},
};

/// Prometheus: its Deployment, its Service and its ConfigMap.
pub const SERVER: &str = "prometheus";
/// Its port.
const PORT: u16 = 9090;
/// What asks the database's members.
const EXPORTER: &str = "mysqld-exporter";
/// The Secret with its account.
pub const CREDENTIALS: &str = "monitor-credentials";
/// The keys of that Secret: the account's password, and the same in the file that the exporter reads.
pub const KEYS: [&str; 2] = ["password", MY_CNF];
const MY_CNF: &str = "my.cnf";
/// How long either may take to come up.
const LIMIT: Duration = Duration::from_mins(2);
/// How long the account may take: the writer may be another one in a moment.
const ACCOUNT_LIMIT: Duration = Duration::from_mins(1);
/// How far ahead schedules are looked at for their longest pause.
const TURNS: usize = 60;

/// An alert that fires.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Alert {
    /// Its name.
    pub name: String,
    /// `critical` or `warning`.
    pub severity: String,
    /// Since when what it says is so.
    pub since: String,
    /// What it says, as a sentence.
    pub summary: String,
    /// The command to begin with.
    pub runbook: String,
    /// Every label, its name and severity too.
    pub labels: BTreeMap<String, String>,
}

/// One thing that Prometheus asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The kind of thing (`members`, `site`, …).
    pub job: String,
    /// Which one.
    pub instance: String,
    /// Why the last answer was none; empty when it was one, `None` before the first.
    pub trouble: Option<String>,
}

/// Everything that this part puts into the cluster but the Secret.
///
/// # Errors
/// `images` lacks one; a manifest and this code do not fit (which the tests rule out).
pub fn objects(spec: &LabSpec, images: &ImageSet) -> Result<Vec<DynamicObject>> {
    let mut objects = parts()?;
    let config = configuration(spec)?;
    edit(&mut objects, SERVER, |map: &mut ConfigMap| {
        let data = map.data.get_or_insert_default();
        let file = data.get_mut("prometheus.yml").context("it has no prometheus.yml")?;
        // `with_name` keeps the comments of the file, which whoever looks for a metric reads.
        *file = with_name(file, spec.name.as_str())?;
        data.extend(config);
        Ok(())
    })?;
    for (name, role) in [(SERVER, Role::Prometheus), (EXPORTER, Role::MysqldExporter)] {
        edit(&mut objects, name, |deployment: &mut Deployment| {
            let template = &mut deployment.spec.as_mut().context("it has no spec")?.template;
            set_image(pod_of(template)?, name, images.reference(role)?)
        })?;
    }
    Ok(objects)
}

fn parts() -> Result<Vec<DynamicObject>> {
    let mut objects = part("monitoring/prometheus")?;
    objects.extend(part("monitoring/mysqld-exporter")?);
    Ok(objects)
}

/// Prometheus's file with the lab's name on everything that leaves it, and in what alerts say.
fn with_name(file: &str, lab: &str) -> Result<String> {
    let rest = file.strip_prefix("global:\n").context("prometheus.yml does not begin with global:")?;
    let name = serde_json::to_string(&json!({ "lab": lab })).context("cannot write the lab's name")?;
    Ok(format!("global:\n  external_labels: {name}\n{rest}"))
}

/// The files of rules.
fn configuration(spec: &LabSpec) -> Result<BTreeMap<String, String>> {
    let lab = serde_yaml::to_string(&lab_rules(spec)).context("cannot write what of the lab file alerts need")?;
    Ok(BTreeMap::from([
        ("alerts.yml".to_owned(), file("monitoring/alerts.yml")?.to_owned()),
        ("lab.yml".to_owned(), lab),
    ]))
}

/// What of the lab file alerts have to know, as metrics.
fn lab_rules(spec: &LabSpec) -> Value {
    let mut values = vec![
        ("wplab_lab_members", u64::from(spec.database.members)),
        ("wplab_lab_replicas_min", u64::from(spec.autoscale.min)),
        ("wplab_lab_replicas_max", u64::from(spec.autoscale.max)),
    ];
    let backup = &spec.backup;
    for (name, schedule) in
        [("wplab_lab_backup_interval_seconds", &backup.schedule), ("wplab_lab_verify_interval_seconds", &backup.verify)]
    {
        values.extend(longest_pause(schedule, Timestamp::UNIX_EPOCH).map(|seconds| (name, seconds)));
    }
    let rules: Vec<Value> =
        values.into_iter().map(|(name, value)| json!({ "record": name, "expr": format!("vector({value})") })).collect();
    json!({ "groups": [{ "name": "lab", "rules": rules }] })
}

/// The longest time in seconds between two turns of a schedule, as far as its next ones show; `None` where there are none.
fn longest_pause(schedule: &Schedule, since: Timestamp) -> Option<u64> {
    let turns = std::iter::successors(schedule.after(since), |turn| schedule.after(*turn));
    let turns: Vec<i64> = turns.take(TURNS).map(Timestamp::as_second).collect();
    let pauses = turns.windows(2).filter_map(|pair| u64::try_from(pair[1] - pair[0]).ok());
    pauses.max()
}

/// Has Prometheus as the lab file wants it, or not at all. Its account needs the database, which is ready when `stored` opens.
///
/// # Errors
/// The API server refuses an object; the writer does not make the account; or one of the two does not come up.
pub async fn follow(run: &Run, cluster: &Cluster, spec: &LabSpec, images: &ImageSet, stored: &Gate<()>) -> Result<()> {
    let there = cluster.get::<Deployment>(SERVER).await?.is_some() || cluster.secret(CREDENTIALS).await?.is_some();
    if !spec.monitoring && !there {
        return Ok(());
    }
    run.step(StepId::Monitoring, async |cx| {
        if !spec.monitoring {
            stored.wait().await;
            remove(&cx, cluster).await?;
            return Ok(Stepped::changed(true, (), "nobody watches any more"));
        }
        let changed = ensure(&cx, cluster, spec, images, stored).await?;
        Ok(Stepped::changed(changed, (), "Prometheus asks everything every 15 s"))
    })
    .await
}

async fn ensure(cx: &StepCx, cluster: &Cluster, spec: &LabSpec, images: &ImageSet, stored: &Gate<()>) -> Result<bool> {
    let mut changed = cluster.ensure_secret(CREDENTIALS, Component::Monitoring, || Ok(account())).await?;
    changed |= cluster.apply(&objects(spec, images)?).await? > 0;
    stored.wait().await;
    let [password] = cluster.secret_values(CREDENTIALS, ["password"]).await?;
    changed |= at_writer(cx, cluster, &password).await?;
    for name in [SERVER, EXPORTER] {
        cluster.until_ready(cx, &cluster.api::<Deployment>(), name, LIMIT, ready::deployment).await?;
    }
    Ok(changed)
}

/// Has Prometheus know what the lab is to be by now; it reads that by itself within two minutes. In a lab without it nothing is done.
///
/// # Errors
/// The API server refuses.
pub async fn told(cluster: &Cluster, spec: &LabSpec, images: &ImageSet) -> Result<()> {
    if !spec.monitoring {
        return Ok(());
    }
    let mut objects = objects(spec, images)?;
    objects.retain(|object| object.types.as_ref().is_some_and(|types| types.kind == "ConfigMap"));
    cluster.apply(&objects).await.map(drop)
}

/// Replaces the account's password. It works as soon as the next `up` has told the database.
///
/// # Errors
/// The API server refuses or does not answer.
pub async fn renew_passwords(cluster: &Cluster) -> Result<()> {
    cluster.renew_secret(CREDENTIALS, Component::Monitoring, account()).await
}

/// Has the database know the account's password, which may be a new one.
///
/// # Errors
/// There is no Secret; or the writer does not make the account.
pub async fn admit(cx: &StepCx, cluster: &Cluster) -> Result<()> {
    let [password] = cluster.secret_values(CREDENTIALS, ["password"]).await?;
    at_writer(cx, cluster, &password).await.map(drop)
}

fn account() -> BTreeMap<String, String> {
    let password = password();
    let file = format!("[client]\nuser = {MONITOR_USER}\npassword = {password}\nssl-ca = /etc/wplab/db-tls/ca.crt\n");
    BTreeMap::from([("password".to_owned(), password), (MY_CNF.to_owned(), file)])
}

/// Has the writer make the account with this password, or remove it without one; says whether it had to.
async fn at_writer(cx: &StepCx, cluster: &Cluster, password: &str) -> Result<bool> {
    let command = ["/tools/wplab", "member", "monitor"];
    cx.until("the account of monitoring", ACCOUNT_LIMIT, Duration::from_secs(2), || async {
        let writers = match cluster.pods(&format!("{ROLE}={WRITER}")).await {
            Ok(writers) => writers,
            Err(error) => return Ok(Look::NotYet(format!("{error:#}"))),
        };
        let Some(writer) = writers.first() else { return Ok(Look::NotYet("there is no writer".to_owned())) };
        Ok(match cluster.exec_told(&writer.name_any(), CONTAINER, &command, password).await {
            Ok(said) => Look::Ready(said.trim() == "made"),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await
}

/// Takes everything away, the account first: the Secret is the record that it may be there.
async fn remove(cx: &StepCx, cluster: &Cluster) -> Result<()> {
    at_writer(cx, cluster, "").await?;
    for object in parts()? {
        let (api, name) = (cluster.api_of(&object)?, object.name_any());
        cluster.ours(&api, &name).await?;
        gone(api.delete(&name, &DeleteParams::background()).await)
            .with_context(|| format!("cannot remove {}", name_of(&object)))?;
    }
    gone(cluster.api::<Secret>().delete(CREDENTIALS, &DeleteParams::default()).await)
        .with_context(|| format!("cannot remove Secret {CREDENTIALS}"))
}

/// The alerts that fire, critical ones first.
///
/// # Errors
/// Prometheus does not answer, or not as it should.
pub async fn firing(cluster: &Cluster) -> Result<Vec<Alert>> {
    let answer = cluster.service_get(SERVER, PORT, "/api/v1/alerts").await?;
    alerts(&answer)
}

/// Everything that Prometheus asks.
///
/// # Errors
/// As [`firing`].
pub async fn targets(cluster: &Cluster) -> Result<Vec<Target>> {
    let answer = cluster.service_get(SERVER, PORT, "/api/v1/targets?state=active").await?;
    targets_of(&answer)
}

/// The members whose servers let the exporter in.
///
/// # Errors
/// As [`firing`].
pub async fn reached_members(cluster: &Cluster) -> Result<BTreeSet<String>> {
    // mysql_up == 1
    let answer = cluster.service_get(SERVER, PORT, "/api/v1/query?query=mysql_up%20%3D%3D%201").await?;
    let data: Vector = read(&answer)?;
    Ok(data.result.into_iter().filter_map(|mut series| series.metric.remove("member")).collect())
}

/// What every answer of Prometheus has around it.
#[derive(Deserialize)]
struct Answer<T> {
    status: String,
    data: Option<T>,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Alerts {
    alerts: Vec<RawAlert>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawAlert {
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    state: String,
    #[serde(default)]
    active_at: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Targets {
    active_targets: Vec<RawTarget>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawTarget {
    labels: BTreeMap<String, String>,
    health: String,
    #[serde(default)]
    last_error: String,
}

fn read<T: for<'de> Deserialize<'de>>(answer: &str) -> Result<T> {
    let answer: Answer<T> = serde_json::from_str(answer).context("Prometheus's answer cannot be read")?;
    match answer.data {
        Some(data) if answer.status == "success" => Ok(data),
        _ => bail!("Prometheus answers {}", answer.status),
    }
}

fn alerts(answer: &str) -> Result<Vec<Alert>> {
    let Alerts { alerts } = read(answer)?;
    let firing = alerts.into_iter().filter(|alert| alert.state == "firing");
    let mut firing: Vec<Alert> = firing
        .map(|RawAlert { labels, mut annotations, active_at, .. }| Alert {
            name: labels.get("alertname").cloned().unwrap_or_default(),
            severity: labels.get("severity").cloned().unwrap_or_default(),
            since: active_at.parse::<Timestamp>().map_or(active_at, |at| format!("{at:.0}")),
            summary: annotations.remove("summary").unwrap_or_default(),
            runbook: annotations.remove("runbook").unwrap_or_default(),
            labels,
        })
        .collect();
    // `critical` comes before `warning` in the alphabet, too.
    firing.sort_by(|a, b| (&a.severity, &a.name, &a.labels).cmp(&(&b.severity, &b.name, &b.labels)));
    Ok(firing)
}

fn targets_of(answer: &str) -> Result<Vec<Target>> {
    let Targets { active_targets } = read(answer)?;
    let targets = active_targets.into_iter().map(|RawTarget { mut labels, health, last_error }| Target {
        job: labels.remove("job").unwrap_or_default(),
        instance: labels.remove("instance").unwrap_or_default(),
        trouble: match health.as_str() {
            "up" => Some(String::new()),
            "down" => Some(last_error),
            _ => None,
        },
    });
    Ok(targets.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cluster::manifests::typed, parts::testing};

    fn config(spec: &LabSpec) -> BTreeMap<String, String> {
        let objects = objects(spec, &testing::images()).expect("objects");
        let map = objects.iter().find(|o| name_of(o) == "ConfigMap/prometheus").expect("is there");
        typed::<ConfigMap>(map).expect("typed").data.expect("files")
    }

    #[test]
    fn prometheus_knows_the_labs_name_and_what_it_is_to_be() {
        let mut spec = testing::spec();
        spec.monitoring = true;
        let files = config(&spec);
        assert!(files["prometheus.yml"].starts_with("global:\n  external_labels: {\"lab\":\"wplab\"}\n"));
        let has = |files: &BTreeMap<String, String>, record: &str| files["lab.yml"].contains(record);
        assert!(has(&files, "wplab_lab_members") && has(&files, "vector(3)"), "{}", files["lab.yml"]);
        assert!(!has(&files, "backup"), "nobody asked for backups: {}", files["lab.yml"]);
        spec.backup.schedule = Schedule::new("30 3 * * *").expect("a schedule");
        let files = config(&spec);
        assert!(
            has(&files, "wplab_lab_backup_interval_seconds") && has(&files, "vector(86400)"),
            "{}",
            files["lab.yml"]
        );
    }

    #[test]
    fn a_schedule_is_as_slow_as_its_longest_pause() {
        let pause = |text: &str| longest_pause(&Schedule::new(text).expect("a schedule"), Timestamp::UNIX_EPOCH);
        assert_eq!(pause("never"), None);
        assert_eq!(pause("*/10 * * * *"), Some(600));
        assert_eq!(pause("0 9,17 * * *"), Some(16 * 3600));
        assert_eq!(pause("0 3 * * 1"), Some(7 * 24 * 3600));
    }

    #[test]
    fn no_password_is_anywhere_but_in_the_secret() {
        let account = account();
        assert_eq!(account.keys().map(String::as_str).collect::<Vec<_>>(), [MY_CNF, "password"]);
        assert!(account[MY_CNF].contains(&account["password"]) && account["password"].len() == 32);
        let objects = serde_json::to_string(&objects(&testing::spec(), &testing::images()).expect("objects"));
        assert!(!objects.expect("JSON").contains("password"));
    }

    #[test]
    fn what_fires_is_told_in_order_and_what_waits_is_not() {
        let alert = |name: &str, severity: &str, state: &str| {
            json!({"labels": {"alertname": name, "severity": severity, "member": "db-1"},
                "annotations": {"summary": "S.", "runbook": "wplab status"}, "state": state,
                "activeAt": "2026-01-01T00:00:00.123456789Z", "value": "1e+00"})
        };
        let all = [alert("B", "warning", "firing"), alert("A", "warning", "pending"), alert("Z", "critical", "firing")];
        let answer = json!({"status": "success", "data": {"alerts": all}}).to_string();
        let firing = alerts(&answer).expect("read");
        assert_eq!(firing.iter().map(|alert| alert.name.as_str()).collect::<Vec<_>>(), ["Z", "B"]);
        assert_eq!((firing[0].since.as_str(), firing[0].summary.as_str()), ("2026-01-01T00:00:00Z", "S."));
        assert!(alerts(r#"{"status":"error","error":"x"}"#).is_err());
        assert!(alerts("<html>").is_err());
    }

    #[test]
    fn a_target_is_up_down_or_not_asked_yet() {
        let target = |health: &str| json!({"labels": {"job": "members", "instance": "db-0"}, "health": health, "lastError": "refused"});
        let answer =
            json!({"status": "success", "data": {"activeTargets": [target("up"), target("down"), target("unknown")]}});
        let targets = targets_of(&answer.to_string()).expect("read");
        let trouble: Vec<_> = targets.into_iter().map(|target| target.trouble).collect();
        assert_eq!(trouble, [Some(String::new()), Some("refused".to_owned()), None]);
    }
}
