//! `wplab member monitor`, executed in the writer's pod by `wplab up`: the account by which servers are looked at for Prometheus.
//! Says on standard output whether something had to be done.
//! It is made at the writer like anything that is written, and comes to the other members the way that all data does.

use std::{
    io::{Read, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};

use super::{MONITOR_USER, pod::RUN};
use crate::wire::sql::{Session, Way, is_mariadb, literal};

/// How long the server may take; a commit may wait for a replica.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer ones are none.
const LONGEST: u64 = 1024;
/// What an account that may look can do, and no other.
const LOOK: &str = "SHOW REPLICA STATUS";

/// Makes sure of the account, or of its absence.
///
/// # Errors
/// The server does not take writes or does not answer.
pub(super) async fn run() -> Result<()> {
    let mut password = String::new();
    std::io::stdin().take(LONGEST).read_to_string(&mut password).context("cannot read the password")?;
    let password = password.trim();
    if !password.is_empty() && has_it(password).await {
        return Ok(());
    }
    let file = "/etc/wplab/credentials/root-password";
    let root = std::fs::read_to_string(file).with_context(|| format!("cannot read {file}"))?;
    let mut session = connect("root", root.trim()).await?;
    let mariadb = is_mariadb(&session.version().await?);
    for statement in statements(Some(password).filter(|password| !password.is_empty()), mariadb) {
        session.run(&statement).await.context("cannot make sure of the account")?;
    }
    writeln!(std::io::stdout(), "made").context("cannot say so")
}

/// Whether the account is there with everything: nothing is written then.
async fn has_it(password: &str) -> bool {
    match connect(MONITOR_USER, password).await {
        Ok(mut session) => session.rows(LOOK).await.is_ok(),
        Err(_) => false,
    }
}

async fn connect(user: &str, password: &str) -> Result<Session> {
    Session::connect(&Way::Socket(Path::new(RUN).join("mysqld.sock")), user, password, None, PATIENCE).await
}

/// What makes the account with this password, or removes it. It may see how a server does and what it follows; no data, and not
/// what others do. Encryption is asked of everybody by the server itself.
fn statements(password: Option<&str>, mariadb: bool) -> Vec<String> {
    let account = format!("{MONITOR_USER}@'%'");
    let Some(password) = password else { return vec![format!("DROP USER IF EXISTS {account}")] };
    let password = literal(password);
    let rights = if mariadb { "BINLOG MONITOR, REPLICA MONITOR" } else { "REPLICATION CLIENT" };
    vec![
        format!("CREATE USER IF NOT EXISTS {account} IDENTIFIED BY {password}"),
        // One with another password stays otherwise. Some at once, because a scrape that was given up may still be on its way.
        format!("ALTER USER {account} IDENTIFIED BY {password} WITH MAX_USER_CONNECTIONS 4"),
        format!("GRANT {rights} ON *.* TO {account}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_account_may_look_and_nothing_else() {
        for mariadb in [true, false] {
            let made = statements(Some("o'x"), mariadb);
            let grants: Vec<&String> = made.iter().filter(|one| one.starts_with("GRANT")).collect();
            assert_eq!(grants.len(), 1);
            for word in ["ALL", "SELECT", "SUPER", "PROCESS", "ADMIN", "INSERT"] {
                assert!(!grants[0].contains(word), "{}", grants[0]);
            }
            assert!(made[0].ends_with("IDENTIFIED BY 'o''x'"), "{}", made[0]);
        }
        assert_eq!(statements(None, false), ["DROP USER IF EXISTS monitor@'%'"]);
    }
}
