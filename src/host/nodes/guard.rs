//! Keeps an eye on a lab's nodes while the lab comes up: a container that stops is started again, once.

use std::{
    collections::BTreeSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;

use crate::{
    host::{docker::Docker, nodes::there::ours},
    run::{
        StepCx,
        wait::{self, Look},
    },
    spec::LabName,
};

/// How long a lab may take to come up once it has nodes; the steps' own limits end far earlier.
const WATCH: Duration = Duration::from_hours(24);
/// How often the nodes are looked at meanwhile.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// Starts every node of a lab again that stops, and ends with the name of the first that stops a second time.
///
/// # Errors
/// The engine does not answer any more, or cannot start a node.
pub async fn first_to_stop_twice(cx: &StepCx, docker: &Docker, lab: &LabName) -> Result<String> {
    let started = Mutex::new(BTreeSet::new());
    let look = || async {
        for node in ours(docker, lab).await?.into_iter().filter(|node| !node.running && !node.paused) {
            if !started.lock().unwrap_or_else(PoisonError::into_inner).insert(node.name.clone()) {
                return Ok(Look::Ready(node.name));
            }
            docker.start(&node.name).await?;
            cx.warn(format!("node {} had stopped and was started again", node.name));
        }
        Ok(Look::NotYet("every node runs".to_owned()))
    };
    wait::until("the nodes", WATCH, WATCH_EVERY, |_| {}, look).await
}
