//! HTTP load on the front door of a lab, with the mix of a real site, and the autoscaler's answer to it (docs/load.md).
//!
//! `mix` says what is asked for, `crowd` has the users who ask (goose's work), `tally` what came of it; `proof` shows the autoscaler
//! at work, and `chain` makes sense of what it sees. `report` is what all of that comes to.

mod chain;
mod crowd;
mod mix;
mod proof;
pub mod report;
mod tally;

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::FutureExt;
use jiff::Timestamp;

use self::{
    crowd::{Crowd, Pace},
    mix::Mix,
    proof::Watch,
    report::{Line, TOLERATED},
    tally::Tally,
};
pub use self::{mix::Kind, report::LoadReport};
use crate::{
    actions::{
        prove,
        smoke::{
            self,
            marker::Marker,
            site::{Doors, Visit},
        },
        standing::{self, Impossible},
    },
    cluster::Cluster,
    host::docker::Docker,
    parts::frontend::Site,
    run::{
        Run, StepCx, Stepped,
        advice::{Hint, Trouble},
        event::StepId,
        wait::Look,
    },
    spec::{LabName, LabSpec},
};

/// How often it is said how things go.
const EVERY: Duration = Duration::from_secs(5);
/// How much longer than asked for users may take to be gone: each ends its last request.
const TO_GO: Duration = Duration::from_secs(45);
/// How long somebody may try to log in.
const LOGIN: Duration = Duration::from_mins(1);

/// What load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// On which lab.
    pub lab: LabName,
    /// How much.
    pub much: Much,
    /// How long users go on coming.
    pub ramp: Duration,
    /// How long there is load, that included. What shows the autoscaler takes as long as it takes.
    pub duration: Duration,
    /// Whether the autoscaler is to be shown.
    pub prove_hpa: bool,
}

/// How much load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Much {
    /// So many users at their own pace.
    Users(u32),
    /// So many requests a second.
    Rate(u32),
}

/// A load, and what is known of it so far.
pub struct Load {
    options: LoadOptions,
    marker: Marker,
    under: Mutex<Option<Under>>,
    /// Whether there may be a post and an image that were made for users.
    stocked: AtomicBool,
}

/// What there is of a load that has begun.
#[derive(Clone)]
struct Under {
    url: String,
    began: String,
    users: u32,
    tally: Tally,
    watch: Option<(Watch, LabSpec)>,
    length: Option<f64>,
}

impl Load {
    /// A load that has not begun. Made before anybody listens for Ctrl-C, whoever that is keeps it.
    pub fn new(options: LoadOptions) -> Load {
        crowd::tame();
        Load { options, marker: Marker::new(), under: Mutex::default(), stocked: AtomicBool::new(false) }
    }

    /// Lets users come, and says what came of it. What was made for them is removed.
    ///
    /// # Errors
    /// [`standing::NoSuchLab`], and what else keeps a lab from being opened; [`standing::Impossible`]; the site lets nobody in; the lab does
    /// not come to rest before its autoscaler is to be shown.
    pub async fn run(&self, run: &Run) -> Result<LoadReport> {
        let docker = Docker::connect().await?;
        standing::awake(&docker, &self.options.lab).await?;
        let (cluster, spec, site) = prove::open(&docker, &self.options.lab).await?;
        let autoscale = &spec.autoscale;
        if self.options.prove_hpa && autoscale.min == autoscale.max {
            let (lab, replicas) = (self.options.lab.clone(), autoscale.min);
            let why = format!(
                "lab {lab} always has {replicas} replicas: autoscale.min and autoscale.max of its file are the same"
            );
            // No lab has more than twenty.
            let bounds = format!("{}..{}", replicas.min(17), replicas.min(17) + 3);
            let hints = vec![Hint::Scale { lab: lab.clone(), what: "wordpress", to: bounds }];
            return Err(Trouble::from(Impossible { lab, why, hints }).into());
        }
        let visit = self.visit(&site).await?;
        let ended = self.work(run, &cluster, &spec, &site, &visit).await;
        if let Err(error) = visit.clean_up().await {
            run.warn(format!("a post and an image named {} are left: {error:#}", self.marker.as_str()));
        }
        ended?;
        self.so_far(None).context("no load began")
    }

    /// Removes what a load that was cut off has left.
    ///
    /// # Errors
    /// The lab cannot be opened, or the site does not let it be removed.
    pub async fn tidy(&self, run: &Run) -> Result<()> {
        if !self.stocked.load(Ordering::Relaxed) {
            return Ok(());
        }
        let docker = Docker::connect().await?;
        let (cluster, _, site) = prove::open(&docker, &self.options.lab).await?;
        let visit = self.visit(&site).await?;
        let cx = StepCx::new(run, StepId::Traffic);
        log_in(&cx, &cluster, &visit).await?;
        visit.clean_up().await.map(drop)
    }

    async fn visit(&self, site: &Site) -> Result<Visit<'static>> {
        let door = smoke::front_door(&site.url).await?;
        let doors: Doors<'static> = Box::new(move || {
            let doors = vec![door.clone()];
            async move { Ok(doors) }.boxed()
        });
        Visit::new(&site.url, &site.title, &self.marker, doors)
    }

    async fn work(&self, run: &Run, cluster: &Cluster, spec: &LabSpec, site: &Site, visit: &Visit<'_>) -> Result<()> {
        let prove = self.options.prove_hpa;
        let (mix, resting) = run
            .step(StepId::Steady, async |cx| {
                log_in(&cx, cluster, visit).await?;
                self.stocked.store(true, Ordering::Relaxed);
                let mix = Mix::of(visit.stock().await.context("cannot see what there is to ask for")?);
                let resting = if prove { proof::at_rest(&cx, cluster, spec).await? } else { Vec::new() };
                Ok(Stepped::done((mix, resting), "somebody has logged in, and there is a post and an image"))
            })
            .await?;
        let tally = Tally::new();
        let watch = prove.then(|| Watch::new(cluster.clone(), tally.clone(), &spec.autoscale, resting));
        let pace = self.pace();
        let crowd = Crowd::new(&site.url, mix, visit.session()?, tally.clone())?;
        let under = Under {
            url: site.url.clone(),
            began: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            users: pace.users(),
            tally: tally.clone(),
            watch: watch.clone().map(|watch| (watch, spec.clone())),
            length: None,
        };
        *self.lock() = Some(under);
        match watch {
            None => {
                run.step(StepId::Traffic, |cx| traffic(cx, &crowd, pace, &tally)).await?;
                self.change(|under| under.length = Some(tally.now()));
            }
            Some(watch) => {
                let users = watch.show(run, &crowd, pace, spec).await?;
                self.change(|under| under.users = users);
            }
        }
        Ok(())
    }

    fn pace(&self) -> Pace {
        let LoadOptions { much, ramp, duration, prove_hpa, .. } = self.options;
        let (users, rate) = match much {
            Much::Users(users) => (users, None),
            Much::Rate(rate) => (0, Some(rate)),
        };
        Pace { users, rate, ramp, length: (!prove_hpa).then_some(duration) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Under>> {
        self.under.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Under)) {
        if let Some(under) = self.lock().as_mut() {
            change(under);
        }
    }

    /// What is known by now, and what ended it early; `None` when no load began.
    pub fn so_far(&self, ended_early: Option<&str>) -> Option<LoadReport> {
        let Under { url, began, users, tally, watch, length } = self.lock().clone()?;
        let samples = tally.samples();
        let shown = watch.map(|(watch, spec)| watch.proof(&spec.autoscale));
        let (hpa, scaled) = shown.map_or((None, Vec::new()), |(proof, lines)| (Some(proof), lines));
        // After the last request nothing is asked, only looked at.
        let last = samples.iter().map(|sample| sample.at + sample.took).fold(0.0, f64::max);
        let length = length.filter(|_| hpa.is_none()).unwrap_or(last);
        let (kinds, total) = tally::sums(&samples, length);
        let verdict = tolerable(&total).into_iter().chain(scaled).collect();
        Some(LoadReport {
            lab: self.options.lab.clone(),
            url,
            version: env!("CARGO_PKG_VERSION"),
            began,
            users,
            rate: match self.options.much {
                Much::Users(_) => None,
                Much::Rate(rate) => Some(rate),
            },
            ramp: self.options.ramp.as_secs_f64(),
            length,
            kinds,
            seconds: tally::seconds(&samples, length),
            total,
            hpa,
            verdict,
            ended_early: ended_early.map(ToOwned::to_owned),
        })
    }
}

/// Replicas that were just made may still be warming up.
async fn log_in(cx: &StepCx, cluster: &Cluster, visit: &Visit<'_>) -> Result<()> {
    let login = smoke::login(cluster).await?;
    cx.until("a login", LOGIN, Duration::from_secs(1), || async {
        Ok(match visit.log_in(&login).await {
            Ok(_) => Look::Ready(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    })
    .await
}

async fn traffic(cx: StepCx, crowd: &Crowd, pace: Pace, tally: &Tally) -> Result<Stepped<()>> {
    let going = crowd.send(&pace)?;
    let limit = pace.length.unwrap_or_default() + TO_GO;
    let over = going.over.clone();
    cx.until_woken("the last request", limit, EVERY, &over, || async {
        Ok(if going.is_over() { Look::Ready(()) } else { Look::NotYet(tally.told()) })
    })
    .await?;
    going.stop().await?;
    Ok(Stepped::done((), tally.came_to()))
}

/// Whether so few requests failed that a site may be like that.
fn tolerable(total: &report::Sum) -> Vec<Line> {
    let share = total.failed_share();
    let failed = format!("{} of {} ({share:.1} %)", total.failed, total.count);
    vec![Line {
        what: "requests failed",
        expected: format!("at most {TOLERATED} % of some"),
        seen: failed,
        met: total.count > 0 && share <= TOLERATED,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_in_a_hundred_may_fail_and_nothing_asked_is_nothing_shown() {
        let of = |count, failed| tolerable(&report::Sum { count, failed, ..report::Sum::default() })[0].met;
        assert!(of(100, 0) && of(100, 1) && of(1000, 10));
        assert!(!of(100, 2) && !of(3, 1) && !of(0, 0));
    }

    #[test]
    fn a_load_that_did_not_begin_has_no_report() {
        let options = LoadOptions {
            lab: LabName::default(),
            much: Much::Rate(20),
            ramp: Duration::from_secs(5),
            duration: Duration::from_secs(30),
            prove_hpa: false,
        };
        let load = Load::new(options);
        assert!(load.so_far(Some("interrupted")).is_none());
        let pace = load.pace();
        assert_eq!((pace.users(), pace.rate, pace.length), (40, Some(20), Some(Duration::from_secs(30))));
    }
}
