//! The hidden commands that run inside the cluster: `wplab install DIR` hands the executable to a pod, `wplab member …` is
//! a database pod's PID 1, `wplab agent` gives the members their roles, `wplab operator` makes them what is declared, `wplab nfs-ready …` answers the NFS server's probes, `wplab content …`
//! keeps a replica's copy of the site's code. There is no terminal and no renderer here; SIGTERM is the member's own to handle.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};
use wplab::{
    inside::{
        self,
        member::{MemberCommand, root::RootStep},
        trial::Trial,
    },
    parts::database::operator,
};

use super::failure::Ending;

/// Copy this executable into a folder that another container of the pod mounts
#[derive(Debug, Args)]
pub(super) struct Install {
    folder: PathBuf,
}

impl Install {
    pub(super) fn run(self) -> Result<Ending> {
        inside::install(&self.folder)?;
        Ok(Ending::Done)
    }
}

/// Tell over HTTP whether an NFS server exports a folder; the readiness of the lab's own server
#[derive(Debug, Args)]
pub(super) struct NfsReady {
    address: SocketAddr,
    export: String,
}

impl NfsReady {
    pub(super) async fn run(self) -> Result<Ending> {
        inside::nfs_ready::main(self.address, self.export).await?;
        Ok(Ending::Done)
    }
}

/// Keep a folder the same as the code of a shared `wp-content`; what a replica of the site serves from
#[derive(Debug, Args)]
pub(super) struct Content {
    shared: PathBuf,
    local: PathBuf,
    counted: PathBuf,
}

impl Content {
    pub(super) async fn run(self) -> Result<Ending> {
        inside::content::main(self.shared, self.local, self.counted).await?;
        Ok(Ending::Done)
    }
}

/// Hold the image that this runs in against a role's contract
#[derive(Debug, Args)]
pub(super) struct Inspect {
    role: String,
}

impl Inspect {
    pub(super) async fn run(self) -> Result<Ending> {
        inside::inspect::main(&self.role).await?;
        Ok(Ending::Done)
    }
}

/// Do or ask something inside a container of a trial cluster
#[derive(Debug, Args)]
pub(super) struct TrialArgs {
    #[command(subcommand)]
    what: InTrial,
}

#[derive(Debug, Subcommand)]
enum InTrial {
    Open { folders: Vec<PathBuf> },
    Member,
    Etcd,
    Status,
    Facts,
    Write { host: String, rows: Vec<u32> },
    Read { host: String },
    Unencrypted { host: String },
}

impl TrialArgs {
    pub(super) async fn run(self) -> Result<Ending> {
        inside::trial::main(match self.what {
            InTrial::Open { folders } => Trial::Open(folders),
            InTrial::Member => Trial::Member,
            InTrial::Etcd => Trial::Etcd,
            InTrial::Status => Trial::Status,
            InTrial::Facts => Trial::Facts,
            InTrial::Write { host, rows } => Trial::Write(host, rows),
            InTrial::Read { host } => Trial::Read(host),
            InTrial::Unencrypted { host } => Trial::Unencrypted(host),
        })
        .await?;
        Ok(Ending::Done)
    }
}

/// Give the database members their roles, beside or after another agent
#[derive(Debug, Args)]
pub(super) struct Agent {}

impl Agent {
    pub(super) async fn run(self) -> Result<Ending> {
        inside::agent::main().await?;
        Ok(Ending::Done)
    }
}

/// Make the database's members what is declared of them
#[derive(Debug, Args)]
pub(super) struct Operator {}

impl Operator {
    pub(super) async fn run(self) -> Result<Ending> {
        operator::main().await?;
        Ok(Ending::Done)
    }
}

/// Be, or command, a database member
#[derive(Debug, Args)]
pub(super) struct Member {
    #[arg(value_enum)]
    what: What,
    /// For `bootstrap`: a member that has ended for good
    #[arg(long, value_name = "MEMBER")]
    dead: Vec<String>,
    /// For `scratch`: whose server the image has
    #[arg(long, value_name = "SERVER", required_if_eq("what", "scratch"))]
    server: Option<String>,
    /// For `set`: an option of the server and its value, or only its name for the server's own value
    #[arg(long, value_name = "NAME[=VALUE]")]
    option: Vec<String>,
    /// For `root`: what is to be done with the password on standard input
    #[arg(long, value_enum, required_if_eq("what", "root"))]
    step: Option<Step>,
    /// For `set`: only ask which of the options the server takes while it runs
    #[arg(long)]
    probe: bool,
}

/// An option as `member set` is given it.
fn option(given: &str) -> (String, Option<String>) {
    given.split_once('=').map_or_else(|| (given.to_owned(), None), |(name, to)| (name.to_owned(), Some(to.to_owned())))
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum What {
    Mysql,
    Galera,
    Bootstrap,
    Set,
    Root,
    Scratch,
    Monitor,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Step {
    Look,
    Add,
    End,
}

impl Member {
    pub(super) async fn run(self) -> Result<Ending> {
        inside::member::main(match self.what {
            What::Mysql => MemberCommand::Mysql,
            What::Galera => MemberCommand::Galera,
            What::Bootstrap => MemberCommand::Bootstrap { dead: self.dead },
            What::Set => {
                MemberCommand::Set { options: self.option.iter().map(|one| option(one)).collect(), probe: self.probe }
            }
            What::Root => MemberCommand::Root(match self.step {
                Some(Step::Add) => RootStep::Add,
                Some(Step::End) => RootStep::End,
                Some(Step::Look) | None => RootStep::Look,
            }),
            What::Scratch => MemberCommand::Scratch { server: self.server.unwrap_or_default() },
            What::Monitor => MemberCommand::Monitor,
        })
        .await?;
        Ok(Ending::Done)
    }
}

/// Make and restore backups that are asked for by objects
#[derive(Debug, Args)]
pub(super) struct Backups {}

impl Backups {
    pub(super) async fn run(self) -> Result<Ending> {
        inside::backup::main().await?;
        Ok(Ending::Done)
    }
}
