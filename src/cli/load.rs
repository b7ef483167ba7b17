//! `wplab load`: users on the front door, and the autoscaler's answer to them.

use std::{path::PathBuf, time::Duration};

use anyhow::{Error, Result};
use clap::Args;
use wplab::{
    actions::load::{Load, LoadOptions, LoadReport, Much},
    run::{advice::Trouble, wait::TimedOut},
};

use super::{
    args::{self, Lab},
    failure::{Ending, Interrupted, Misused},
    render::load::{html, junit, table},
    session::Session,
    spell::command,
};

/// As many as a small machine can serve, and enough to see something.
const USERS: u32 = 10;
const RAMP: Duration = Duration::from_secs(10);
const DURATION: Duration = Duration::from_mins(1);

/// Let users come to a lab's front door, and measure what they meet
///
/// They ask for the front page, posts, pages, searches and images, and one in ten requests is one of somebody who has logged in.
/// Nothing but the lab's own address is asked.
#[derive(Debug, Args)]
#[command(
    name = "load",
    after_help = "Exit code 1 when more than 1 % of the requests fail, or when --prove-hpa does not see replicas come and go.\n\n\
    Examples:
  wplab load                                     ten users, for a minute
  wplab load --rate 30 --ramp 20s --duration 5m  thirty requests a second
  wplab load demo --prove-hpa                    load until the autoscaler adds replicas, and what each link took
  wplab load --prove-hpa --report html=hpa.html,json=hpa.json"
)]
pub(super) struct LoadArgs {
    #[command(flatten)]
    lab: Lab,
    /// How many users, 1 to 500; each asks about once a second, as long as answers are quick [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=500), conflicts_with = "rate")]
    users: Option<u32>,
    /// The most requests a second, 1 to 250; there are as many users as that takes
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u32).range(1..=250))]
    rate: Option<u32>,
    /// How long users go on coming [default: 10s, or a third of --duration]
    #[arg(long, value_name = "TIME", value_parser = while_looking)]
    ramp: Option<Duration>,
    /// How long there is load, the ramp included [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = while_looking)]
    duration: Option<Duration>,
    /// Show that the autoscaler adds replicas under load and takes them away after it; more users come until it does
    #[arg(long, conflicts_with_all = ["rate", "duration"])]
    prove_hpa: bool,
    /// Also write what was found out to files: html, junit and json
    #[arg(long, value_name = "KIND=FILE,…", value_delimiter = ',', value_parser = args::report)]
    report: Vec<(args::Kind, PathBuf)>,
}

/// A span of time that somebody sits out.
fn while_looking(text: &str) -> Result<Duration, String> {
    let span = args::span(text).ok().filter(|span| *span <= Duration::from_hours(1) && span.subsec_nanos() == 0);
    span.ok_or_else(|| "write a time of whole seconds up to an hour, with units, such as 90s, 10m or 1h".to_owned())
}

impl LoadArgs {
    pub(super) async fn run(self, session: &Session) -> Result<Ending> {
        let lab = self.lab.name();
        let load = Load::new(self.options()?);
        let under = &load;
        let done = session.perform(|run| async move { under.run(&run).await }).await;
        let (found, failed) = match done {
            Ok(found) => (Some(found), None),
            Err(error) => cut_off(session, &load, error).await,
        };
        let terminal = &session.terminal;
        if let Some(found) = &found {
            terminal.result(found, |paint| table::ran(found, paint));
            args::write(&self.report, terminal, found, html::page, junit::suite)?;
        }
        if let Some(error) = failed {
            return Err(error);
        }
        let passed = found.is_some_and(|found| found.passed());
        terminal.next(&if passed {
            [
                (command("status --watch", &lab), "the lab as it lives"),
                (command("load --prove-hpa", &lab), "the autoscaler at work"),
            ]
        } else {
            [(command("status", &lab), "the lab as it is"), (command("logs --of frontend", &lab), "what was written")]
        });
        Ok(Ending::checked(passed))
    }

    fn options(&self) -> Result<LoadOptions, Trouble> {
        let duration = self.duration.unwrap_or(DURATION);
        let ramp = self.ramp.unwrap_or(RAMP.min(Duration::from_secs(duration.as_secs() / 3)));
        if !self.prove_hpa && ramp >= duration {
            let (ramp, duration) = (ramp.as_secs(), duration.as_secs());
            let why = format!("--ramp takes {ramp} s, and there is load for {duration} s: give a longer --duration");
            return Err(Trouble::from(Misused(why)));
        }
        let much = self.rate.map_or(Much::Users(self.users.unwrap_or(USERS)), Much::Rate);
        Ok(LoadOptions { lab: self.lab.name(), much, ramp, duration, prove_hpa: self.prove_hpa })
    }
}

/// Work that was cut off has left a post and an image, and has found out something.
async fn cut_off(session: &Session, load: &Load, error: Error) -> (Option<LoadReport>, Option<Error>) {
    let why = error.to_string();
    if error.downcast_ref::<Interrupted>().is_none() && error.downcast_ref::<TimedOut>().is_none() {
        return (None, Some(error));
    }
    let found = load.so_far(Some(&why));
    session.terminal.say("removing what was made for users; another Ctrl-C leaves it for a later `wplab smoke`");
    match session.anew(|run| async move { load.tidy(&run).await }).await {
        Ok(()) => (found, Some(error)),
        Err(left) => (found, Some(error.context(format!("a post and an image are left: {left:#}")))),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn options(words: &str) -> Result<LoadOptions, String> {
        let line = Line::try_parse_from(std::iter::once("load").chain(words.split_whitespace()));
        line.map_err(|error| error.to_string())?.load.options().map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_not_said_is_ten_users_for_a_minute() {
        let options = options("").expect("options");
        assert_eq!((options.much, options.ramp, options.duration), (Much::Users(10), RAMP, DURATION));
        assert!(!options.prove_hpa);
    }

    #[test]
    fn a_short_load_has_a_short_ramp() {
        assert_eq!(options("--duration 15s").expect("options").ramp, Duration::from_secs(5));
        assert_eq!(options("--rate 20 --duration 5m").expect("options").much, Much::Rate(20));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let wrong = [
            "--users 0",
            "--users 501",
            "--rate 0",
            "--users 3 --rate 3",
            "--duration 2h",
            "--ramp 1500ms",
            "--duration 30",
            "--ramp 1m",
            "--prove-hpa --rate 3",
            "--prove-hpa --duration 1m",
        ];
        for words in wrong {
            assert!(options(words).is_err(), "{words}");
        }
        assert!(options("--prove-hpa --ramp 1m").is_ok(), "what shows the autoscaler has no end of its own");
    }
}
