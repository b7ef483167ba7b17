//! Drills: something of a lab is broken on purpose, under the eyes of readers, an editor and writers; then it is put right, and
//! everything is looked for that was acknowledged meanwhile (docs/decisions/0023-drills.md).
//!
//! `round` is the way through one drill. `broken` knows how things are broken and put right, `strike` whom a fault hits, `able`
//! what cannot be done here; `probes`, `ledger` and `track` look on; `sums`, `ledger::audit` and `verdict` make sense of it.

mod able;
mod alike;
mod broken;
mod clock;
mod disk;
mod ground;
mod heal;
mod intent;
mod ledger;
mod probes;
pub mod report;
mod round;
mod steady;
mod strike;
mod sums;
mod track;
mod verdict;

use std::fmt;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use self::ground::Ground;
pub(in crate::actions) use self::{heal::finish, sums::latency};
pub use self::{
    heal::{HealReport, heal, unfinished},
    report::ChaosReport,
};
use crate::{
    actions::standing,
    host::{docker::Docker, lock::LabLock},
    run::{
        Run, StepCx,
        advice::{Advise, Blame, Hint, Trouble},
        event::StepId,
    },
    spec::{
        LabName,
        scenario::{Scenario, load::built_in},
    },
};

/// What is run.
#[derive(Clone, Debug)]
pub struct ChaosOptions {
    /// In which lab.
    pub lab: LabName,
    /// Which scenarios; none means every one that is built in and can be run there.
    pub scenarios: Vec<Scenario>,
    /// How often each.
    pub rounds: u32,
    /// Somebody has agreed to what hurts others on this machine, too.
    pub yes: bool,
}

/// A scenario, and whether it can be run.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Listed {
    /// The scenario.
    #[serde(flatten)]
    pub scenario: Scenario,
    /// Whether it can be run in this lab; `None` where there is no lab to ask.
    pub can_run: Option<bool>,
    /// Why it cannot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why_not: Option<String>,
}

/// What came of a run, and what ended it before its end.
#[derive(Debug)]
pub struct Ran {
    /// What was found out by then.
    pub report: ChaosReport,
    /// A step that failed.
    pub failed: Option<anyhow::Error>,
}

/// Scenarios were asked for that cannot be run here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CannotRun {
    /// The lab.
    pub lab: LabName,
    /// Each, and why.
    pub why: Vec<(String, String)>,
}

impl fmt::Display for CannotRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing was broken in lab {}", self.lab)?;
        self.why.iter().try_for_each(|(name, why)| write!(f, "; {name} cannot be run: {why}"))
    }
}

impl Advise for CannotRun {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Scenarios { lab: self.lab.clone() }]
    }
}

/// Every built-in scenario, and whether it can be run in a lab, if there is one.
///
/// # Errors
/// The lab is there and cannot be asked.
pub async fn list(lab: &LabName) -> Result<Vec<Listed>> {
    // Without a lab, or an engine, the scenarios can be read all the same.
    let there = match Docker::connect().await {
        Ok(docker) => standing::awake(&docker, lab).await.is_ok(),
        Err(_) => false,
    };
    let ground = if there { Some(Ground::find(lab).await?) } else { None };
    let mut listed = Vec::new();
    for scenario in built_in() {
        let why_not = match &ground {
            Some(ground) => able::unable(ground, &scenario, false).await?,
            None => None,
        };
        listed.push(Listed { can_run: ground.as_ref().map(|_| why_not.is_none()), scenario, why_not });
    }
    Ok(listed)
}

/// Runs scenarios, one after the other.
///
/// # Errors
/// [`standing::NoSuchLab`]; [`CannotRun`]. What goes wrong once something is broken is in [`Ran`], with what was found by then.
pub async fn run(run: &Run, options: &ChaosOptions) -> Result<Ran> {
    let docker = Docker::connect().await?;
    // Whoever asks for a lab that is not there makes no folder for it.
    standing::find(&docker, &options.lab).await?;
    let cx = StepCx::new(run, StepId::Steady);
    let _lock = LabLock::take(&cx, &options.lab).await?;
    // What an earlier run has left would be taken for this one's, and keep the lab from being found.
    for left in heal::left_behind(&cx, &docker, &options.lab).await? {
        run.warn(format!("left by an earlier drill and put right: {left}"));
    }
    let ground = Ground::find(&options.lab).await?;
    let scenarios = chosen(run, &ground, options).await?;
    let mut report = ChaosReport {
        lab: options.lab.clone(),
        topology: ground.spec.database.topology,
        version: env!("CARGO_PKG_VERSION"),
        began: Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        rounds: Vec::new(),
        ended_early: None,
    };
    for scenario in &scenarios {
        for number in 1..=options.rounds {
            let what = format!("{}, round {number} of {}", scenario.name, options.rounds);
            cx.say(what.clone());
            match round::round(run, &ground, scenario, number).await {
                Ok(round) => report.rounds.push(round),
                Err(error) => {
                    report.ended_early = Some(format!("{what}: {error:#}"));
                    return Ok(Ran { report, failed: Some(error.context(what)) });
                }
            }
        }
    }
    Ok(Ran { report, failed: None })
}

/// The scenarios that are run: those that were asked for, all of which have to be possible, or all that are.
async fn chosen(run: &Run, ground: &Ground, options: &ChaosOptions) -> Result<Vec<Scenario>> {
    let asked = !options.scenarios.is_empty();
    let all = if asked { options.scenarios.clone() } else { built_in() };
    let (mut scenarios, mut why) = (Vec::new(), Vec::new());
    for scenario in all {
        match able::unable(ground, &scenario, options.yes).await? {
            None => scenarios.push(scenario),
            Some(reason) => why.push((scenario.name, reason)),
        }
    }
    if (asked && !why.is_empty()) || scenarios.is_empty() {
        return Err(Trouble::from(CannotRun { lab: options.lab.clone(), why }).into());
    }
    for (name, reason) in why {
        run.warn(format!("{name} is left out: {reason}"));
    }
    Ok(scenarios)
}
