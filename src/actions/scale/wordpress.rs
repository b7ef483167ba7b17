//! `wplab scale wordpress`: the bounds between which the autoscaler decides on the site's replicas.

use std::{fmt, time::Duration};

use anyhow::Result;
use k8s_openapi::api::apps::v1::Deployment;
use serde::Serialize;

use super::change;
use crate::{
    parts::autoscale,
    run::{Run, Stepped, event::StepId, wait::Look},
    spec::{AutoscaleSpec, LabName, LabSpec},
};

/// How long the replicas may take to be as many as the bounds say; each that is new reads the site's code and its database.
const LIMIT: Duration = Duration::from_mins(5);

/// Fewest and most replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bounds {
    /// Fewest.
    pub min: u8,
    /// Most.
    pub max: u8,
}

impl Bounds {
    /// Reads `MIN..MAX`, or one number for both.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<Bounds, String> {
        let number = |text: &str| text.parse::<u8>().ok().filter(|n| (1..=20).contains(n));
        let (min, max) = text.split_once("..").unwrap_or((text, text));
        let (Some(min), Some(max)) = (number(min), number(max)) else {
            return Err(
                "write the fewest and the most replicas, such as 2..5, or one number for both, from 1 to 20".to_owned()
            );
        };
        if min > max {
            return Err(format!("{min} is more than {max}: write the fewest first, as in {max}..{min}"));
        }
        Ok(Bounds { min, max })
    }

    fn of(spec: &AutoscaleSpec) -> Bounds {
        Bounds { min: spec.min, max: spec.max }
    }

    /// The lab with these bounds; what a new one would begin with is between them.
    fn set(self, spec: &mut LabSpec) {
        (spec.autoscale.min, spec.autoscale.max) = (self.min, self.max);
        spec.wordpress.replicas = spec.wordpress.replicas.clamp(self.min, self.max);
    }

    /// Whether as many replicas are there and ready as the bounds allow.
    fn hold(self, site: Option<&Deployment>) -> Look<()> {
        let Bounds { min, max } = self;
        let status = site.and_then(|site| site.status.as_ref());
        let count =
            |of: fn(&k8s_openapi::api::apps::v1::DeploymentStatus) -> Option<i32>| status.and_then(of).unwrap_or(0);
        let (there, ready) = (count(|status| status.replicas), count(|status| status.ready_replicas));
        match () {
            () if site.is_none() => Look::NotYet("it does not exist".to_owned()),
            () if there > i32::from(max) => Look::NotYet(format!("{there} replicas are there, {max} may be")),
            () if ready < i32::from(min) => Look::NotYet(format!("{ready} of at least {min} replicas are ready")),
            () => Look::Ready(()),
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.min, self.max)
    }
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rebounded {
    /// Which lab.
    pub name: LabName,
    /// The bounds of before.
    pub had: Bounds,
    /// The bounds now.
    pub bounds: Bounds,
    /// Replicas that are ready.
    pub ready: i32,
}

/// Gives the autoscaler other bounds, and waits until as many replicas serve as they allow.
///
/// # Errors
/// The bounds are none that a lab file may have; the lab does not answer; or the replicas are not as many in time: with the last reason.
pub async fn wordpress(run: &Run, lab: &LabName, bounds: Bounds) -> Result<Rebounded> {
    run.step(StepId::Autoscale, async |cx| {
        let change = change(&cx, lab, |spec| bounds.set(spec)).await?;
        let had = Bounds::of(&change.had.autoscale);
        let changed = autoscale::bound(&change.cluster, &change.wanted, &change.images).await?;
        change.record().await?;
        let sites = change.cluster.api::<Deployment>();
        change.cluster.until_ready(&cx, &sites, "wordpress", LIMIT, |site| bounds.hold(site)).await?;
        let site: Option<Deployment> = change.cluster.get("wordpress").await?;
        let ready = site.and_then(|site| site.status?.ready_replicas).unwrap_or(0);
        let detail = format!("{ready} replicas serve, {bounds} may");
        Ok(Stepped::changed(changed || had != bounds, Rebounded { name: lab.clone(), had, bounds, ready }, detail))
    })
    .await
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn bounds_are_two_numbers_or_one_for_both() {
        assert_eq!(Bounds::new("2..5"), Ok(Bounds { min: 2, max: 5 }));
        assert_eq!(Bounds::new("4").map(|bounds| bounds.to_string()).as_deref(), Ok("4..4"));
        for wrong in ["", "..", "2..", "..5", "0..3", "2..21", "2...5", "2-5", "two", "-1", "256"] {
            assert!(Bounds::new(wrong).is_err_and(|told| told.contains("from 1 to 20")), "{wrong}");
        }
        assert_eq!(Bounds::new("5..2"), Err("5 is more than 2: write the fewest first, as in 2..5".to_owned()));
    }

    #[test]
    fn what_a_lab_begins_with_stays_between_the_bounds() {
        let replicas = |min, max| {
            let mut spec = LabSpec::default();
            Bounds { min, max }.set(&mut spec);
            spec.wordpress.replicas
        };
        assert_eq!([replicas(1, 2), replicas(1, 9), replicas(5, 9)], [2, 3, 5]);
    }

    #[test]
    fn as_many_replicas_are_waited_for_as_the_bounds_say() {
        let bounds = Bounds { min: 2, max: 4 };
        let look = |there: i32, ready: i32| {
            let site = json!({"status": {"replicas": there, "readyReplicas": ready}});
            bounds.hold(Some(&serde_json::from_value(site).expect("a Deployment")))
        };
        assert_eq!((look(2, 2), look(4, 3)), (Look::Ready(()), Look::Ready(())));
        assert_eq!(look(5, 5), Look::NotYet("5 replicas are there, 4 may be".to_owned()));
        assert_eq!(look(2, 1), Look::NotYet("1 of at least 2 replicas are ready".to_owned()));
        assert!(matches!(bounds.hold(None), Look::NotYet(_)));
    }
}
