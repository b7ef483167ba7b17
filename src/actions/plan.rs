//! Says what `up` would do, without doing it.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use crate::{
    actions::keep,
    cluster::Cluster,
    host::{
        machine::{doctor, needs},
        nodes::{self, labs},
        ports,
    },
    parts::{
        database::{self, Foreseen},
        images::{
            self, Estimate, How, Image, Role, RoleEstimate,
            golden::{self, Beginning},
        },
    },
    run::event::StepId,
    spec::{DatabaseSpec, LabName, LabSpec, Topology},
};

/// How long the members of a lab that stands may take to say what they would take as they run.
const PATIENCE: Duration = Duration::from_secs(15);

/// What `up` would do, and what it would use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlanReport {
    /// Which lab.
    pub name: LabName,
    /// The steps in their order.
    pub steps: Vec<PlannedStep>,
    /// The images.
    pub images: Vec<PlannedImage>,
    /// What would be different in the database of a lab that stands.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PlannedChange>,
    /// What the lab would take of the machine.
    pub uses: Uses,
}

/// Something of a lab that stands that would be different.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedChange {
    /// What, by its name in a lab file.
    pub what: String,
    /// As it is.
    pub had: String,
    /// As it would be.
    pub wanted: String,
    /// Whether members are restarted for it.
    pub restarts: bool,
    /// Who else has written it since; such a one is refused unless it is taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written_by: Option<String>,
}

/// One step of `up`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedStep {
    /// Which.
    pub step: StepId,
    /// Whether it would change anything; of a lab that is there already, what is inside it is not looked at.
    pub changes: bool,
    /// What it would do, as a sentence fragment.
    pub what: String,
}

/// One image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PlannedImage {
    /// What it is for.
    pub role: Role,
    /// `present`, `pull REFERENCE`, `build RECIPE`, `from the bundle`, or `made of this executable`.
    pub action: String,
    /// Why that, as a sentence fragment; empty for what is always so.
    pub because: String,
}

/// What a lab takes of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Uses {
    /// Memory in bytes, about.
    pub memory: u64,
    /// Disk in bytes, about.
    pub disk: u64,
    /// Ports of 127.0.0.1.
    pub ports: Vec<u16>,
}

/// Looks at the machine and says what `up` would do.
///
/// # Errors
/// [`crate::host::machine::Missing`] when no Docker engine answers; [`nodes::NotOurs`]; [`crate::actions::up::OtherData`]; or an image
/// cannot be had.
pub async fn plan(spec: &LabSpec, mirror: Option<&str>) -> Result<PlanReport> {
    let host = doctor::engine(mirror).await?;
    let there = nodes::containers(&host.docker, &spec.name).await?;
    nodes::NotOurs::check(&spec.name, &there)?;
    let lab = labs::labs(&host.docker).await?.into_iter().find(|lab| lab.name == spec.name.as_str());
    let standing = keep::foresee(spec).await?;
    let estimate = images::estimate(&host, &standing.settle(spec), mirror, &standing.kept).await?;
    let port = match lab.as_ref().and_then(|lab| lab.port) {
        Some(port) => port,
        None => ports::next_free(spec.cluster.port, &host.docker.published_ports().await?)?,
    };
    let beginning = match lab {
        Some(_) => None,
        None => Some(golden::beginning(&host.docker, &images::present(&host.docker, spec).await?).await?),
    };
    let runs = images::present(&host.docker, &standing.settle(spec)).await?;
    let server = [Role::Mysql, Role::Percona, Role::Mariadb].into_iter().find_map(|role| runs.get(role).ok());
    let foreseen = foresee(spec, server).await;
    let needs = needs::of(spec);
    let disk = needs.disk + estimate.forecast.disk;
    let mut steps = steps(spec, &estimate, lab.map(|lab| (lab.running, lab.nodes)), beginning, port, host.facts.cpus);
    for step in steps.iter_mut().filter(|step| step.step == StepId::Database) {
        if let Some(what) = rolled(&foreseen) {
            (step.changes, step.what) = (true, what);
        }
    }
    let restarts = foreseen.restarts.is_some();
    let theirs = foreseen.theirs;
    let changes = foreseen.changes.into_iter().map(|change| PlannedChange {
        written_by: theirs.iter().find(|one| one.field == change.what).map(|one| one.by.clone()),
        what: format!("database.{}", change.what),
        had: change.had,
        wanted: change.wanted,
        restarts,
    });
    Ok(PlanReport {
        name: spec.name.clone(),
        steps,
        changes: changes.collect(),
        images: estimate.roles.into_iter().map(planned).collect(),
        uses: Uses { memory: needs.memory, disk, ports: vec![port] },
    })
}

/// What would be different in the database; nothing where the lab does not answer, and in one of an earlier version.
async fn foresee(spec: &LabSpec, server: Option<&Image>) -> Foreseen {
    let asked = async {
        let cluster = Cluster::connect(&nodes::kubeconfig_path(&spec.name), &spec.name).await.ok()?;
        database::foresee(&cluster, spec, server).await.ok()?
    };
    tokio::time::timeout(PATIENCE, asked).await.ok().flatten().unwrap_or_default()
}

/// How the members would have what is different; `None` where nothing is.
fn rolled(foreseen: &Foreseen) -> Option<String> {
    let number = match foreseen.changes.len() {
        0 if foreseen.waiting.is_empty() => return None,
        0 => return Some(format!("go on by restarting {} one by one", foreseen.waiting.join(", "))),
        1 => "1 change".to_owned(),
        more => format!("{more} changes"),
    };
    Some(match &foreseen.restarts {
        None => format!("{number} without a restart"),
        Some(why) => format!("{number} by restarting members one by one, readers first ({why})"),
    })
}

fn planned(RoleEstimate { role, how, because }: RoleEstimate) -> PlannedImage {
    let action = match how {
        How::Present(origin) => format!("present ({origin})"),
        How::Pull(reference) => format!("pull {reference}"),
        How::Build(recipe) => format!("build {recipe}"),
        How::Bundle => "from the bundle".to_owned(),
        How::Tool => "made of this executable".to_owned(),
    };
    PlannedImage { role, action, because }
}

/// `lab`: how many nodes run, of how many, when there is a lab of that name.
fn steps(
    spec: &LabSpec,
    estimate: &Estimate,
    lab: Option<(usize, usize)>,
    beginning: Option<Beginning>,
    port: u16,
    cores: u64,
) -> Vec<PlannedStep> {
    let absent = lab.is_none();
    let wanted = usize::from(spec.cluster.workers) + 1;
    let pulls = estimate.roles.iter().filter(|r| matches!(r.how, How::Pull(_))).count();
    let plural = if cores == 1 { "" } else { "s" };
    let time = format!("about {} min on {cores} core{plural}", estimate.forecast.seconds.div_ceil(60));
    let images = match (pulls, estimate.builds.len()) {
        (0, 0) => "every image is here".to_owned(),
        (pulls, 0) => format!("pull {pulls}"),
        (0, builds) => format!("build {builds}, {time}"),
        (pulls, builds) => format!("pull {pulls}, build {builds}, {time}"),
    };
    let cluster = match lab {
        None => format!("create 1 control plane and {} workers, site on 127.0.0.1:{port}", spec.cluster.workers),
        Some((running, nodes)) if running == nodes && nodes == wanted => format!("{nodes} nodes run"),
        Some((running, nodes)) => format!("{running} of {nodes} nodes run, {wanted} are wanted"),
    };
    let whole = lab.is_some_and(|(running, nodes)| running == nodes && nodes == wanted);
    let (database, wordpress, autoscale) = (&spec.database, &spec.wordpress, &spec.autoscale);
    let inside = |what: String| if absent { what } else { format!("look, and repair if need be: {what}") };
    let watched = spec.monitoring.then_some(StepId::Monitoring);
    let mut all: Vec<StepId> = StepId::UP.into_iter().chain(watched).collect();
    all.sort_unstable();
    all.into_iter()
        .map(|step| {
            let (changes, what) = match step {
                StepId::Images => (pulls + estimate.builds.len() > 0, images.clone()),
                StepId::Cluster => (!whole, cluster.clone()),
                StepId::Load => {
                    let from = if pulls + estimate.builds.len() > 0 {
                        ", one stream into each"
                    } else {
                        beginning.map_or("", from)
                    };
                    (absent, inside(format!("{} images onto {wanted} nodes{from}", estimate.roles.len() - 1)))
                }
                StepId::Storage => {
                    (absent, inside(format!("NFS server with {}, claim wp-content", spec.storage.size.as_str())))
                }
                StepId::Database => {
                    let what = format!("{} with {} each", members(database, estimate), database.volume.as_str());
                    (absent, inside(what))
                }
                StepId::Frontend => (absent, inside(format!("{} replicas of WordPress", wordpress.replicas))),
                StepId::Autoscale => {
                    let what = format!("{} to {} replicas at {} % CPU", autoscale.min, autoscale.max, autoscale.cpu);
                    (absent, inside(what))
                }
                StepId::Monitoring => (absent, inside("Prometheus, and what it asks the database by".to_owned())),
                StepId::Smoke => (false, "every check".to_owned()),
                _ => (false, "look at this machine".to_owned()),
            };
            PlannedStep { step, changes, what }
        })
        .collect()
}

fn from(beginning: Beginning) -> &'static str {
    match beginning {
        Beginning::Golden => ", cloned from a golden root that is here",
        Beginning::Near => ", cloned from a golden root that is made of another",
        Beginning::Nothing => ", cloned from a golden root that is made first",
    }
}

/// The database's members as their number and what they run, and what they find each other through.
fn members(database: &DatabaseSpec, estimate: &Estimate) -> String {
    let members = database.members;
    let server = |role| estimate.roles.iter().any(|r| r.role == role);
    match database.topology {
        Topology::Replication => format!("{members} members"),
        Topology::Galera if server(Role::Percona) => format!("3 members of etcd, {members} of Percona XtraDB Cluster"),
        Topology::Galera => format!("3 members of etcd, {members} of MariaDB with Galera"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parts::images::{Forecast, Origin};

    fn role(role: Role, how: How) -> RoleEstimate {
        RoleEstimate { role, how, because: "so".into() }
    }

    fn estimate(how: How, builds: &[(&str, u64)]) -> Estimate {
        Estimate {
            roles: vec![role(Role::Node, how), role(Role::Tool, How::Tool)],
            builds: builds.iter().map(|(name, seconds)| ((*name).to_owned(), *seconds)).collect(),
            forecast: Forecast { seconds: builds.iter().map(|(_, seconds)| seconds).sum(), disk: 0 },
        }
    }

    #[test]
    fn a_bare_machine_builds_and_creates() {
        let steps =
            steps(&LabSpec::default(), &estimate(How::Build("node".into()), &[("node", 100)]), None, None, 8081, 2);
        assert_eq!(steps.len(), StepId::UP.len());
        let find = |step| steps.iter().find(|s| s.step == step).expect("planned");
        assert_eq!(find(StepId::Images).what, "build 1, about 2 min on 2 cores");
        assert_eq!(find(StepId::Load).what, "1 images onto 4 nodes, one stream into each");
        assert_eq!(find(StepId::Cluster).what, "create 1 control plane and 3 workers, site on 127.0.0.1:8081");
        assert!(find(StepId::Database).changes && !find(StepId::Smoke).changes);
    }

    #[test]
    fn a_lab_that_is_there_is_only_looked_at() {
        let present = How::Present(Origin::Packages("node".into()));
        let steps = steps(&LabSpec::default(), &estimate(present, &[]), Some((4, 4)), None, 8080, 2);
        assert!(steps.iter().all(|s| !s.changes), "{steps:?}");
        assert_eq!(steps[2].what, "4 nodes run");
    }

    #[test]
    fn a_change_of_the_database_is_planned_with_or_without_restarts() {
        let change = |what: &str| database::Change { what: what.into(), had: "60".into(), wanted: "61".into() };
        let mut foreseen = Foreseen::default();
        assert_eq!(rolled(&foreseen), None);
        foreseen.waiting = vec!["db-0".into()];
        assert_eq!(rolled(&foreseen).as_deref(), Some("go on by restarting db-0 one by one"));
        foreseen.changes = vec![change("settings.max_connections")];
        assert_eq!(rolled(&foreseen).as_deref(), Some("1 change without a restart"));
        foreseen.changes.push(change("resources.memory"));
        foreseen.restarts = Some("resources.memory is of the pods".into());
        let told = rolled(&foreseen).expect("planned");
        assert_eq!(told, "2 changes by restarting members one by one, readers first (resources.memory is of the pods)");
    }

    #[test]
    fn where_the_nodes_get_their_images_from_is_planned() {
        let present = || How::Present(Origin::Packages("node".into()));
        let load = |lab, beginning| {
            let steps = steps(&LabSpec::default(), &estimate(present(), &[]), lab, beginning, 8080, 2);
            steps.into_iter().find(|s| s.step == StepId::Load).expect("planned").what
        };
        assert_eq!(
            load(None, Some(Beginning::Golden)),
            "1 images onto 4 nodes, cloned from a golden root that is here"
        );
        assert_eq!(load(Some((4, 4)), None), "look, and repair if need be: 1 images onto 4 nodes");
    }

    #[test]
    fn every_image_is_planned_with_its_reason() {
        let of = |how| planned(role(Role::Nfs, how));
        let wanted = |action: &str| PlannedImage { role: Role::Nfs, action: action.into(), because: "so".into() };
        assert_eq!(of(How::Build("nfs".into())), wanted("build nfs"));
        assert_eq!(of(How::Pull("x/y:1@sha256:0".into())), wanted("pull x/y:1@sha256:0"));
        assert_eq!(of(How::Present(Origin::Packages("nfs".into()))), wanted("present (recipe nfs)"));
    }

    #[test]
    fn a_galera_lab_names_its_flavour() {
        let mut spec = LabSpec::default();
        spec.database.topology = Topology::Galera;
        let mut estimate = estimate(How::Bundle, &[]);
        let database = |estimate: &Estimate| {
            let steps = steps(&spec, estimate, None, Some(Beginning::Near), 8080, 2);
            steps.into_iter().find(|s| s.step == StepId::Database).expect("planned").what
        };
        assert_eq!(database(&estimate), "3 members of etcd, 3 of MariaDB with Galera with 1Gi each");
        estimate.roles.push(role(Role::Percona, How::Bundle));
        assert_eq!(database(&estimate), "3 members of etcd, 3 of Percona XtraDB Cluster with 1Gi each");
    }
}
