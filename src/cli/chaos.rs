//! `wplab chaos …`: drills.

use std::{fmt, path::PathBuf};

use anyhow::{Error, Result};
use clap::{Args, Subcommand};
use wplab::{
    actions::chaos::{self, ChaosOptions, Ran},
    run::{
        advice::{Advise, Blame, Hint, Trouble},
        wait::TimedOut,
    },
    spec::{
        LabName,
        load::SpecError,
        scenario::{Scenario, load},
    },
};

use super::{
    args::{self, Kind},
    failure::{Ending, Interrupted},
    render::chaos::{html, junit, table},
    session::Session,
    spell::{Asked, chaos as command},
};

/// Break a lab on purpose, measure what visitors and editors notice, and look for every acknowledged write
#[derive(Debug, Args)]
#[command(
    after_help = "Whatever is broken is put right when a scenario ends, and when it is interrupted. If the tool itself \
    was killed, `wplab chaos heal` does it.\n\nExit code 1 when an expectation is not met.\n\nExamples:
  wplab chaos list                               what there is, and what can be run here
  wplab chaos run writer-process                 kill the writer, and see what comes of it
  wplab chaos run wordpress-pod nfs-server --rounds 3
  wplab chaos run --all --report html=drills.html,junit=drills.xml
  wplab chaos run ./mine.yaml --lab demo         a scenario of your own: see lab/scenarios
  wplab chaos heal                               put right what a killed run has left"
)]
pub(super) struct Chaos {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the scenarios that are built in, and whether they can be run in a lab
    List {
        #[command(flatten)]
        lab: Of,
    },
    /// Run scenarios, one after the other
    ///
    /// Readers and an editor use the front door and writers the database at a steady rate, before, while something is broken,
    /// and until all is well again. Then every member is asked for every row that was acknowledged.
    Run(Run),
    /// Put right what a drill has broken whose run was killed
    Heal {
        #[command(flatten)]
        lab: Of,
    },
}

#[derive(Debug, Args)]
struct Of {
    /// Name of the lab [default: wplab]
    #[arg(long = "lab", value_name = "NAME", value_parser = LabName::new)]
    lab: Option<LabName>,
}

impl Of {
    fn name(&self) -> LabName {
        self.lab.clone().unwrap_or_default()
    }
}

#[derive(Debug, Args)]
struct Run {
    /// Names of scenarios, or paths of files
    #[arg(value_name = "NAME|FILE", required_unless_present = "all", conflicts_with = "all")]
    scenarios: Vec<String>,
    /// Every scenario that is built in and can be run in the lab
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    lab: Of,
    /// How often each is run
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Also write what was found out to files: html, junit and json
    #[arg(long, value_name = "KIND=FILE,…", value_delimiter = ',', value_parser = args::report)]
    report: Vec<(Kind, PathBuf)>,
    /// Agree to what hurts others on this machine, such as a restart of its container engine
    #[arg(short, long)]
    yes: bool,
}

impl Chaos {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        match self.what {
            What::List { lab } => list(session, &lab.name()).await,
            What::Run(it) => it.run(session).await,
            What::Heal { lab } => heal(session, &lab.name()).await,
        }
    }

    /// What is asked for, for what is said when it does not end well.
    pub(super) fn asked(&self) -> Asked {
        match &self.what {
            What::Run(it) => Asked::Break(it.lab.name()),
            _ => Asked::Other,
        }
    }
}

async fn list(session: &Session, lab: &LabName) -> Result<Ending> {
    let listed = session.perform(|_run| chaos::list(lab)).await?;
    session.terminal.result(&listed, |paint| table::listed(&listed, paint));
    if listed.iter().all(|one| one.can_run.is_none()) {
        session.terminal.say(&format!("lab {lab} does not run, so nobody knows what it lacks"));
    }
    session.terminal.next(&[(format!("{} NAME", command("run", lab)), "break something")]);
    Ok(Ending::Done)
}

async fn heal(session: &Session, lab: &LabName) -> Result<Ending> {
    let healed = session.perform(|run| async move { chaos::heal(&run, lab).await }).await?;
    session.terminal.result(&healed, |_| match healed.undone.as_slice() {
        [] => format!("nothing in lab {lab} was broken by a drill\n"),
        all => all.iter().map(|one| format!("put right: {one}\n")).collect(),
    });
    session.terminal.next(&[(super::spell::command("smoke", lab), "prove it")]);
    Ok(Ending::Done)
}

impl Run {
    async fn run(self, session: &Session) -> Result<Ending> {
        let Run { scenarios, lab, rounds, report, yes, .. } = self;
        let scenarios = all_of(&scenarios)?;
        let options = ChaosOptions { lab: lab.name(), scenarios, rounds, yes };
        let asked = &options;
        let ran = session.perform(|run| async move { chaos::run(&run, asked).await }).await;
        let Ran { report: found, failed } = match ran {
            Ok(ran) => ran,
            Err(error) => return Err(healed(session, &options.lab, error).await),
        };
        let terminal = &session.terminal;
        if !found.rounds.is_empty() || failed.is_none() {
            terminal.result(&found, |paint| table::ran(&found, paint));
        }
        args::write(&report, terminal, &found, html::page, junit::suite)?;
        if let Some(error) = failed {
            // What ran out of time had none left to put things right.
            let left = chaos::unfinished(&options.lab);
            return Err(if left { put_right(session, &options.lab, error).await } else { error });
        }
        if !found.passed() {
            let status = super::spell::command("status", &options.lab);
            terminal.next(&[
                (status, "the lab as it is"),
                (super::spell::command("logs", &options.lab), "what was written"),
            ]);
        }
        Ok(Ending::checked(found.passed()))
    }
}

/// Work that was cut off has left something broken: that is put right before anything else is said.
async fn healed(session: &Session, lab: &LabName, error: Error) -> Error {
    let cut_off = error.downcast_ref::<Interrupted>().is_some() || error.downcast_ref::<TimedOut>().is_some();
    if cut_off { put_right(session, lab, error).await } else { error }
}

async fn put_right(session: &Session, lab: &LabName, error: Error) -> Error {
    session.terminal.say("putting right what is broken; another Ctrl-C leaves it");
    match session.anew(|run| async move { chaos::heal(&run, lab).await }).await {
        Ok(_) => error,
        Err(left) => error.context(format!("not everything is put right: {left:#}")),
    }
}

/// Every scenario that was asked for.
///
/// # Errors
/// Every problem of every one of them.
fn all_of(given: &[String]) -> Result<Vec<Scenario>, Trouble> {
    let (mut good, mut wrong) = (Vec::new(), Vec::new());
    for one in given {
        match load::find(one) {
            Ok(scenario) => good.push(scenario),
            Err(error) => wrong.push(error),
        }
    }
    if wrong.is_empty() { Ok(good) } else { Err(Trouble::from(WrongScenarios(wrong))) }
}

/// Scenarios that cannot be used.
#[derive(Debug)]
pub(super) struct WrongScenarios(pub(super) Vec<SpecError>);

impl fmt::Display for WrongScenarios {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join("\n"))
    }
}

impl Advise for WrongScenarios {
    fn blame(&self) -> Blame {
        Blame::User
    }

    fn hints(&self) -> Vec<Hint> {
        Vec::new()
    }
}
