//! The command line: declares the commands for clap, starts tokio, runs the chosen command beside the renderer and turns
//! its ending into an exit code. One file per command: flags to options, one library call, its report to the terminal.

mod args;
mod backup;
mod chaos;
mod completions;
mod credentials;
mod diagnose;
mod doctor;
mod down;
mod failover;
mod failure;
mod fix;
mod images;
mod inside;
mod kubeconfig;
mod list;
mod load;
mod logs;
mod manifests;
mod pause;
mod plan;
mod proven;
mod recover;
mod render;
mod repair;
mod replace;
mod resume;
mod scale;
mod session;
mod smoke;
mod snapshot;
mod spell;
mod start;
mod status;
mod stop;
mod up;
mod url;

use std::{ffi::OsString, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::{ArgAction, Parser, Subcommand, ValueEnum};
use wplab::run::advice::Trouble;

use self::{failure::Ending, render::Terminal, session::Session, spell::Asked};

/// Brings up a highly available WordPress lab on real Kubernetes, and proves that it works.
#[derive(Debug, Parser)]
#[command(name = "wplab", version, max_term_width = 100, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  wplab up --fix               install what is missing, bring the default lab up, prove it
  wplab up demo -f lab.yaml    bring up the lab of a file under another name
  wplab status --watch         look at it
  wplab credentials            log in
  wplab down                   remove it all

Exit codes:
  0    done, and every check passed
  1    the lab is up, but a check failed
  2    wrong usage or wrong lab file
  3    something is missing on this machine
  4    a step failed or timed out; what is there is kept
  130  interrupted";

/// The heading of what every command understands.
const COMMON: &str = "Common options";

/// What every command understands.
#[derive(Debug, clap::Args)]
struct Common {
    /// How the result is printed to standard output [default: table]
    #[arg(short, long, value_enum, global = true, default_value_t = Format::Table, value_name = "table|json",
        hide_default_value = true, hide_possible_values = true, help_heading = COMMON)]
    output: Format,
    /// Say nothing but the result, warnings and errors
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = COMMON)]
    quiet: bool,
    /// Say more: every check, and how long each step took
    #[arg(short, long, global = true, action = ArgAction::Count, help_heading = COMMON)]
    verbose: u8,
    /// No colours; NO_COLOR in the environment does the same
    #[arg(long, global = true, help_heading = COMMON)]
    no_color: bool,
    /// Also write what happens as JSON lines; `-` is standard output
    #[arg(long, global = true, value_name = "FILE|-", help_heading = COMMON)]
    events: Option<PathBuf>,
    /// Give up after this long, such as 90s, 10m or 1h
    #[arg(long, global = true, value_name = "TIME", value_parser = args::span, help_heading = COMMON)]
    timeout: Option<Duration>,
}

/// How a result is printed: for people, or for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(Box<up::Up>),
    Down(down::Down),
    List(list::List),
    Status(status::Status),
    Smoke(smoke::Smoke),
    Url(url::Url),
    Pause(pause::Pause),
    Resume(resume::Resume),
    Stop(stop::Stop),
    Start(start::Start),
    Snapshot(snapshot::Snapshot),
    Backup(backup::Backup),
    Chaos(chaos::Chaos),
    Load(load::LoadArgs),
    Credentials(credentials::Credentials),
    Kubeconfig(kubeconfig::Kubeconfig),
    Logs(logs::Logs),
    Doctor(doctor::Doctor),
    Plan(plan::Plan),
    Render(manifests::Render),
    Images(images::Images),
    Scale(scale::Scale),
    Failover(failover::Failover),
    Replace(replace::Replace),
    Recover(recover::Recover),
    Repair(repair::Repair),
    Diagnose(diagnose::Diagnose),
    Completions(completions::Completions),
    #[command(hide = true)]
    Install(inside::Install),
    #[command(hide = true)]
    Agent(inside::Agent),
    #[command(hide = true)]
    Operator(inside::Operator),
    #[command(hide = true)]
    Backups(inside::Backups),
    #[command(hide = true)]
    Member(inside::Member),
    #[command(hide = true)]
    NfsReady(inside::NfsReady),
    #[command(hide = true)]
    Content(inside::Content),
    #[command(hide = true)]
    Inspect(inside::Inspect),
    #[command(hide = true)]
    Trial(inside::TrialArgs),
}

impl Command {
    async fn run(self, session: &Session) -> Result<Ending> {
        match self {
            Command::Up(it) => it.run(session).await,
            Command::Down(it) => it.run(session).await,
            Command::List(it) => it.run(session).await,
            Command::Status(it) => it.run(session).await,
            Command::Smoke(it) => it.run(session).await,
            Command::Url(it) => it.run(session).await,
            Command::Pause(it) => it.run(session).await,
            Command::Resume(it) => it.run(session).await,
            Command::Stop(it) => it.run(session).await,
            Command::Start(it) => it.run(session).await,
            Command::Snapshot(it) => it.run(session).await,
            Command::Backup(it) => it.run(session).await,
            Command::Credentials(it) => it.run(session).await,
            Command::Kubeconfig(it) => it.run(session).await,
            Command::Logs(it) => it.run(session).await,
            Command::Doctor(it) => it.run(session).await,
            Command::Plan(it) => it.run(session).await,
            Command::Render(it) => it.run(session).await,
            Command::Images(it) => it.run(session).await,
            Command::Scale(it) => it.run(session).await,
            Command::Failover(it) => it.run(session).await,
            Command::Replace(it) => it.run(session).await,
            Command::Chaos(it) => it.run(session).await,
            Command::Load(it) => it.run(session).await,
            Command::Recover(it) => it.run(session).await,
            Command::Repair(it) => it.run(session).await,
            Command::Diagnose(it) => it.run(session).await,
            Command::Completions(it) => it.run(session),
            Command::Install(it) => it.run(),
            Command::Agent(it) => it.run().await,
            Command::Operator(it) => it.run().await,
            Command::Backups(it) => it.run().await,
            Command::Member(it) => it.run().await,
            Command::NfsReady(it) => it.run().await,
            Command::Content(it) => it.run().await,
            Command::Inspect(it) => it.run().await,
            Command::Trial(it) => it.run().await,
        }
    }

    /// What is asked for, for what is said when this command does not end well.
    fn asked(&self) -> Asked {
        match self {
            Command::Up(it) => it.asked(),
            Command::Down(it) => Asked::Down(it.lab.name()),
            Command::Snapshot(it) => it.asked(),
            Command::Chaos(it) => it.asked(),
            _ => Asked::Other,
        }
    }
}

/// Runs the command line of this process.
pub(crate) fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "runc-shim") {
        // Its arguments are another program's; clap must not look at them.
        let error = wplab::host::machine::runc_shim::become_runc(&args[2..]);
        return Terminal::plain().fail(&error, &Asked::Other);
    }
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) => {
            // A closed pipe behind `--help` is nobody's problem.
            let _ = error.print();
            return if error.use_stderr() { Ending::Usage.code() } else { Ending::Done.code() };
        }
    };
    let mut terminal = Terminal::new(&cli.common);
    if let Some(to) = &cli.common.events {
        let command: Vec<String> = args[1..].iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        if let Err(misused) = terminal.stream_to(to, &command) {
            return terminal.fail(&Trouble::from(misused).into(), &Asked::Other);
        }
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return terminal.fail(&error.into(), &Asked::Other),
    };
    let session = Session::new(terminal, cli.common.timeout);
    let asked = cli.command.asked();
    let code = match runtime.block_on(cli.command.run(&session)) {
        Ok(ending) => {
            session.terminal.ended(ending.number(), None);
            ending.code()
        }
        Err(error) => session.terminal.fail(&error, &session.asked(asked)),
    };
    // Whatever a blocking thread still does, nobody waits for it any more.
    runtime.shutdown_background();
    code
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_declaration_holds_together() {
        super::Cli::command().debug_assert();
    }
}
