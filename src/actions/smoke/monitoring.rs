//! Checks of what watches a lab, where something does.

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Result, ensure};

use crate::{
    actions::smoke::check::Check,
    cluster::Cluster,
    parts::{
        database,
        monitoring::{self, Target},
    },
    run::advice::Hint,
    spec::LabSpec,
};

/// Prometheus finds a pod within seconds and asks everything within 15 s; what it gets no answer from, it asks again.
const LIMIT: Duration = Duration::from_secs(90);

/// What is in every lab.
const JOBS: [&str; 10] = [
    "agent",
    "cadvisor",
    "kubelet",
    "members",
    "mysql",
    "mysqld-exporter",
    "operator",
    "prometheus",
    "site",
    "wordpress",
];

/// Prometheus gets an answer from everything that it asks, and from every member of the database.
pub(super) fn checks<'a>(cluster: &'a Cluster, spec: &'a LabSpec) -> Option<Check<'a>> {
    let hint = [Hint::Logs { lab: cluster.lab.clone(), of: Some("monitoring") }, Hint::Up { lab: cluster.lab.clone() }];
    let sentence = "Prometheus reaches everything that it watches";
    let look = || look(cluster, spec.database.members);
    spec.monitoring.then(|| Check::new("monitoring", "monitoring", sentence, LIMIT, hint, look))
}

async fn look(cluster: &Cluster, members: u8) -> Result<String> {
    let (targets, reached) = tokio::try_join!(monitoring::targets(cluster), monitoring::reached_members(cluster))?;
    judge(&targets)?;
    let missing: Vec<String> = database::names(members).into_iter().filter(|name| !reached.contains(name)).collect();
    ensure!(missing.is_empty(), "the exporter is not let in at {}", missing.join(", "));
    Ok(format!("{} targets", targets.len()))
}

fn judge(targets: &[Target]) -> Result<()> {
    let jobs: BTreeSet<&str> = targets.iter().map(|target| target.job.as_str()).collect();
    let missing: Vec<&str> = JOBS.into_iter().filter(|job| !jobs.contains(job)).collect();
    ensure!(missing.is_empty(), "nothing of {} was found yet", missing.join(", "));
    let told = |target: &Target| {
        let why = target.trouble.as_deref().filter(|why| !why.is_empty())?;
        Some(format!("{} {}: {why}", target.job, target.instance))
    };
    let wrong: Vec<String> = targets.iter().filter_map(told).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("; "));
    let waiting = targets.iter().filter(|target| target.trouble.is_none()).count();
    ensure!(waiting == 0, "{waiting} of {} targets were not asked yet", targets.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_has_to_be_there_and_every_target_has_to_answer() {
        let target = |job: &str, trouble: Option<&str>| Target {
            job: job.to_owned(),
            instance: "one".to_owned(),
            trouble: trouble.map(str::to_owned),
        };
        let mut targets: Vec<Target> = JOBS.into_iter().map(|job| target(job, Some(""))).collect();
        assert!(judge(&targets).is_ok());
        targets[0].trouble = Some("refused".to_owned());
        assert_eq!(judge(&targets).expect_err("down").to_string(), "agent one: refused");
        targets[0].trouble = None;
        assert_eq!(judge(&targets).expect_err("unknown").to_string(), "1 of 10 targets were not asked yet");
        targets.remove(0);
        assert_eq!(judge(&targets).expect_err("missing").to_string(), "nothing of agent was found yet");
    }
}
