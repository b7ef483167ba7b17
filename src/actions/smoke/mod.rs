//! The checks that prove a lab through its front door, as data. Each file beside this one holds the checks of one subject.

mod autoscale;
pub mod browser;
pub mod check;
mod database;
mod discovery;
mod frontend;
pub mod images;
pub mod marker;
mod monitoring;
mod nodes;
mod picture;
mod schema;
mod secrets;
pub mod site;
mod splitting;
pub mod stock;
mod storage;
#[cfg(test)]
pub(in crate::actions) mod testing;
mod without_writer;

use std::time::Duration;

use anyhow::{Result, ensure};
use futures_util::FutureExt;
use serde::Serialize;

pub(in crate::actions) use self::frontend::{first_page, front_door, login};
pub use crate::run::verdict::{CheckResult, Verdict};
use crate::{
    actions::{
        backup::runs,
        smoke::{check::Check, database::Rows, marker::Marker, site::Visit, storage::Volume},
    },
    cluster::Cluster,
    parts::{frontend::Site, images::Role},
    run::{StepCx, Stepped, advice::Hint},
    spec::LabSpec,
};

/// Checks that run side by side; what they wait for is mostly the same two cores.
const AT_ONCE: usize = 3;

/// Every check of a run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SmokeReport {
    /// In the order in which they are shown.
    pub checks: Vec<CheckResult>,
}

impl SmokeReport {
    /// Whether every check passed.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(CheckResult::passed)
    }
}

/// Runs every check against a lab, and removes what the checks have made. A failed check is no error: it is in the report.
/// `images` looks what each node lacks: that can only be seen from the machine that the nodes run on.
///
/// # Errors
/// The site's URL is none. Whatever goes wrong later fails a check.
pub async fn run(
    cx: StepCx,
    cluster: &Cluster,
    spec: &LabSpec,
    site: &Site,
    images: impl Future<Output = Result<Vec<(String, Vec<Role>)>>> + Send,
) -> Result<Stepped<SmokeReport>> {
    let marker = Marker::new();
    let (rows, volume) = (Rows::new(cluster, &marker), Volume::new(cluster, &marker));
    let visit = frontend::visit(cluster, site, &marker)?;
    let mut checks = nodes::checks(cluster, spec);
    checks.extend(images::checks(&cluster.lab, images.boxed()));
    checks.extend(discovery::checks(cluster, &marker, spec));
    checks.extend(rows.checks(spec));
    checks.extend(schema::checks(cluster, spec));
    checks.extend(volume.checks(spec));
    checks.extend(frontend::checks(cluster, &visit, spec));
    checks.extend(secrets::checks(cluster));
    checks.extend(runs::checks(cluster, spec));
    checks.extend(monitoring::checks(cluster, spec));
    // The slowest comes last: results are shown in this order, and no other waits for it to be shown.
    checks.extend(autoscale::checks(cluster));
    let mut report = SmokeReport { checks: check::run(&cx, &checks, AT_ONCE).await };
    let last = [clean_up(&rows, &volume, &visit, cluster)];
    report.checks.extend(check::run(&cx, &last, 1).await);
    let (passed, all) = (report.checks.iter().filter(|c| c.passed()).count(), report.checks.len());
    Ok(Stepped::done(report, format!("{passed} of {all} checks passed")))
}

/// Runs after all others, whatever came of them.
fn clean_up<'a>(rows: &'a Rows<'_>, volume: &'a Volume<'_>, visit: &'a Visit<'_>, cluster: &Cluster) -> Check<'a> {
    let left = format!("what is left is called {}-…; the next proof removes it", Marker::common());
    let hint = [Hint::words(left), Hint::Smoke { lab: cluster.lab.clone() }];
    let look = move || async move {
        // Each has its turn even when another one fails.
        let done = [
            ("row", rows.clean_up().await),
            ("file", volume.clean_up().await),
            ("post or image", visit.clean_up().await),
        ];
        let failed = done.iter().filter_map(|(what, result)| Some(format!("a {what}: {:#}", result.as_ref().err()?)));
        let failed: Vec<String> = failed.collect();
        ensure!(failed.is_empty(), "cannot remove {}", failed.join("; "));
        Ok(format!("{} things removed", done.iter().filter_map(|(_, result)| result.as_ref().ok()).sum::<usize>()))
    };
    Check::new("clean-up", "clean-up", "nothing that the checks made is left", Duration::from_secs(60), hint, look)
        .insists()
}
