//! Checks of the images. What is on a node is known only to the machine's side, so the look comes from the caller.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Result, ensure};
use futures_util::future::BoxFuture;

use crate::{
    actions::smoke::check::{Check, Hopeless},
    parts::images::Role,
    run::advice::Hint,
    spec::LabName,
};

/// One look at every worker: its name, and the images that it lacks.
pub type ImagesOnNodes<'a> = BoxFuture<'a, Result<Vec<(String, Vec<Role>)>>>;

/// Every image of the lab is on every worker. There is one look only: what is not there does not come by itself.
pub(super) fn checks<'a>(lab: &LabName, look: ImagesOnNodes<'a>) -> Vec<Check<'a>> {
    let hint = [Hint::Up { lab: lab.clone() }];
    let look = Mutex::new(Some(look));
    let look = move || {
        let once = look.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            let Some(look) = once else {
                return Err(Hopeless("the nodes did not tell their images".to_owned()).into());
            };
            judge(&look.await?).map_err(|error| Hopeless(error.to_string()).into())
        }
    };
    vec![Check::new("images", "images", "every image is on every worker", Duration::from_secs(60), hint, look)]
}

fn judge(nodes: &[(String, Vec<Role>)]) -> Result<String> {
    let lacking = nodes.iter().filter(|(_, missing)| !missing.is_empty());
    let lacking: Vec<String> = lacking.map(|(node, missing)| format!("{node} lacks {}", names(missing))).collect();
    ensure!(lacking.is_empty(), "{}", lacking.join("; "));
    ensure!(!nodes.is_empty(), "there are no nodes");
    Ok(format!("on {} workers", nodes.len()))
}

fn names(roles: &[Role]) -> String {
    let name = |role: &Role| {
        serde_json::to_value(role).ok().and_then(|v| v.as_str().map(ToOwned::to_owned)).unwrap_or_default()
    };
    roles.iter().map(name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_that_lacks_an_image_is_named_with_it() {
        let full = ("lab-worker".to_owned(), Vec::new());
        let lacking = ("lab-worker2".to_owned(), vec![Role::Mysql, Role::MetricsServer]);
        assert_eq!(judge(&[full.clone(), full.clone()]).expect("all there"), "on 2 workers");
        assert_eq!(judge(&[full, lacking]).expect_err("lacks").to_string(), "lab-worker2 lacks mysql, metrics-server");
        assert!(judge(&[]).is_err());
    }
}
