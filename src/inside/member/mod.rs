//! `wplab member mysql|galera`, PID 1 of a database pod: whoever initialises, copies, joins, supervises or answers for one
//! server. A room for each topology, and beside them what both share; [`status`] is what `up` reads.

pub mod count;
mod files;
pub mod galera;
mod http;
pub mod mandate;
mod metrics;
mod monitor;
pub mod options;
mod pod;
mod process;
pub mod replication;
pub mod root;
mod scratch;
pub mod set;
pub mod status;
mod turns;

use std::time::Duration;

use anyhow::Result;

pub use pod::HTTP_PORT;

/// The container of a member's pod in which its supervisor runs.
pub const CONTAINER: &str = "mysql";

/// A replica whose server has this lock taken (`GET_LOCK`) applies nothing for a moment, and says so ([`status::MemberStatus::held`]):
/// what is read meanwhile is at one known position. Whoever has the site's account may ask for it, so it lasts no longer than
/// [`HELD_FOR`], and comes only so often.
pub const HOLD: &str = "wplab-hold";
/// The longest that a replica stands still for [`HOLD`]. It begins after the lock was taken.
pub const HELD_FOR: Duration = Duration::from_secs(4);

/// What to do as, or in, a database pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberCommand {
    /// PID 1: bring this member up and keep it up until SIGTERM.
    Mysql,
    /// PID 1 of a member of topology `galera`.
    Galera,
    /// Start the cluster from this member; `wplab recover` executes it in the pod that the operator chose.
    Bootstrap {
        /// The members that have ended for good, and need not be asked.
        dead: Vec<String>,
    },
    /// Give options to the server that runs; `up` executes it in each member's pod.
    Set {
        /// The options by their names; one without a value is the server's own again.
        options: Vec<(String, Option<String>)>,
        /// Only ask which of them the server would take.
        probe: bool,
    },
    /// Look at, add or leave alone a password of root, which comes on standard input; the operator executes it in members' pods.
    Root(root::RootStep),
    /// PID 1 of a server that is no member, into which backups are loaded to prove them.
    Scratch {
        /// Whose server the image has: `mysql`, `mariadb` or `percona`.
        server: String,
    },
    /// Make sure that Prometheus's account may look at the servers; `wplab up` executes it in the writer's pod, and says the
    /// account's password on standard input. With nothing there the account goes.
    Monitor,
}

/// The account by which servers are looked at for Prometheus.
pub const MONITOR_USER: &str = "monitor";

/// Runs one of the member's commands.
///
/// # Errors
/// The pod is not set up as the manifests say; for [`MemberCommand::Bootstrap`] also: the cluster must not or cannot be
/// started from this member, with the reason; for [`MemberCommand::Monitor`]: the server does not take writes; for
/// [`MemberCommand::Set`] and [`MemberCommand::Root`]: the server does not answer; for
/// [`MemberCommand::Scratch`]: its server ended. [`MemberCommand::Mysql`] and
/// [`MemberCommand::Galera`] wait inside rather than fail for anything that may pass.
pub async fn main(command: MemberCommand) -> Result<()> {
    match command {
        MemberCommand::Mysql => replication::run().await,
        MemberCommand::Galera => galera::run().await,
        MemberCommand::Bootstrap { dead } => galera::force(&dead).await,
        MemberCommand::Set { options, probe } => set::run(&options, probe).await,
        MemberCommand::Root(step) => root::run(step).await,
        MemberCommand::Scratch { server } => scratch::run(&server).await,
        MemberCommand::Monitor => monitor::run().await,
    }
}
