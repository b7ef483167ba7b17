//! What this machine has and lacks for a lab, as data: one look at everything (`observe.rs`), one judgement
//! (`judge.rs`), and the door to [`Host`] that only opens when nothing is blocking.

use std::fmt;

use anyhow::Result;

use crate::{
    host::{
        Host,
        docker::Docker,
        machine::{
            action::{self, Action, KindSource},
            finding::{Diagnosis, Finding, Level, Missing},
            fix::{self, Fixer},
            judge::judge,
            observe::{EngineSeen, Observed, observe},
            outlook::Outlook,
        },
    },
    run::{
        StepCx, Stepped,
        advice::{Advise, Blame, Hint, Trouble},
    },
    spec::LabSpec,
};

/// What was there a moment ago.
#[derive(Clone, Debug)]
pub struct Gone(pub &'static str);

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} went away", self.0)
    }
}

impl Advise for Gone {
    fn blame(&self) -> Blame {
        Blame::Machine
    }

    fn hints(&self) -> Vec<Hint> {
        vec![Hint::Doctor]
    }
}

/// Looks at everything; never fails, what cannot be seen is a finding. `mirror` is asked instead of the public registry.
pub async fn examine(spec: &LabSpec, mirror: Option<&str>) -> Diagnosis {
    let (observed, _) = observe(spec, mirror).await;
    diagnose(spec, &observed)
}

/// Looks at everything and lets `fixer` install what is missing; what is missing still is in the diagnosis.
///
/// # Errors
/// An installation failed.
pub async fn cure(cx: &StepCx, spec: &LabSpec, mirror: Option<&str>, fixer: &Fixer<'_>) -> Result<Stepped<Diagnosis>> {
    let Cured { observed, changed, .. } = cured(cx, spec, mirror, Some(fixer)).await?;
    let detail = if changed { "what was agreed to is installed" } else { "nothing was installed" };
    Ok(Stepped::changed(changed, diagnose(spec, &observed), detail))
}

/// The machine after `--fix`, or as it is.
struct Cured {
    observed: Observed,
    docker: Option<Docker>,
    changed: bool,
}

async fn cured(cx: &StepCx, spec: &LabSpec, mirror: Option<&str>, fixer: Option<&Fixer<'_>>) -> Result<Cured> {
    cx.say("looking at this machine");
    let (observed, docker) = observe(spec, mirror).await;
    let as_it_is = Cured { observed, docker, changed: false };
    let Some(fixer) = fixer else { return Ok(as_it_is) };
    let actions = action::plan(spec, &as_it_is.observed);
    if actions.is_empty() {
        return Ok(as_it_is);
    }
    let outlook = outlook(spec, &as_it_is, fixer, &actions).await;
    if !fixer.consent.agree(&actions, outlook.as_ref()).await {
        return Ok(as_it_is);
    }
    fix::carry_out(cx, fixer, &actions).await?;
    cx.say("looking at this machine again");
    let (observed, docker) = observe(spec, mirror).await;
    Ok(Cured { observed, docker, changed: true })
}

/// What follows the actions; `None` where that cannot be told, for a reason that the step of the images will give.
async fn outlook(spec: &LabSpec, now: &Cured, fixer: &Fixer<'_>, actions: &[Action]) -> Option<Outlook> {
    let from_recipe =
        |action: &Action| matches!(action, Action::Kind { sources } if sources.first() == Some(&KindSource::Recipe));
    let kind = actions.iter().any(from_recipe);
    let images = (fixer.images_ahead)(now.docker.clone(), now.observed.facts(), kind).await.ok()?;
    Some(Outlook::new(spec, &now.observed, actions, images))
}

/// Looks at everything, lets `fixer` (from `--fix`) install what is missing, and opens the door to the machine.
///
/// # Errors
/// [`Missing`] with every blocking finding; or an installation failed.
pub async fn preflight(
    cx: StepCx,
    spec: &LabSpec,
    mirror: Option<&str>,
    fixer: Option<&Fixer<'_>>,
) -> Result<Stepped<Host>> {
    let Cured { observed, docker, changed } = cured(&cx, spec, mirror, fixer).await?;
    let diagnosis = diagnose(spec, &observed);
    let blocking: Vec<Finding> = diagnosis.of(Level::Blocking).cloned().collect();
    if !blocking.is_empty() {
        return Err(Trouble::from(Missing { findings: blocking }).into());
    }
    for Finding { title, detail, cure, .. } in diagnosis.of(Level::Warning) {
        let detail = if detail.is_empty() { String::new() } else { format!(": {detail}") };
        cx.run().advise(format!("{title}{detail}"), cure.iter().map(|cure| cure.by.clone()));
    }
    // Their absence is blocking, so these two are there.
    let docker = docker.ok_or_else(|| Trouble::from(Gone("the Docker engine")))?;
    let kind = observed.usable_kind().ok_or_else(|| Trouble::from(Gone("kind")))?;
    let engine = if let EngineSeen::Answers(info) = &observed.engine { info.version.as_str() } else { "?" };
    let detail = format!("Docker {engine}, kind {}, {} cores", kind.version, diagnosis.facts.cpus);
    Ok(Stepped::changed(changed, Host { docker, kind: Some(kind), facts: diagnosis.facts }, detail))
}

/// The machine for work that needs the engine only, such as images.
///
/// # Errors
/// [`Missing`] when there is no engine that answers.
pub async fn engine(mirror: Option<&str>) -> Result<Host> {
    let spec = LabSpec::default();
    let (observed, docker) = observe(&spec, mirror).await;
    let Diagnosis { mut findings, facts } = diagnose(&spec, &observed);
    findings.retain(|f| f.level == Level::Blocking && f.id.starts_with("docker"));
    let docker = docker.ok_or_else(|| Trouble::from(Missing { findings }))?;
    Ok(Host { docker, kind: observed.usable_kind(), facts })
}

fn diagnose(spec: &LabSpec, observed: &Observed) -> Diagnosis {
    Diagnosis { findings: judge(spec, observed), facts: observed.facts() }
}
