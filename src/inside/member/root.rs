//! `wplab member root`, executed by the operator in members' pods: another password of root comes in beside the one that is there, and
//! only when every supervisor has read it the former one goes. So nobody is ever locked out of his own server. Passwords come on
//! standard input; what changes is written at the writer, and comes to the others the way that all data does.

use std::{
    io::{Read, Write},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::pod::{self, RUN};
use crate::wire::sql::{Session, Way, error_code, is_mariadb, literal};

/// How long the server may take; a commit may wait for a replica.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer ones are none.
const LONGEST: u64 = 1024;
/// What a server says to whom it does not let in.
const DENIED: u16 = 1045;

/// What is to be done with the password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RootStep {
    /// Say who has it ([`Has`]).
    Look,
    /// Let it in beside the one that is there.
    Add,
    /// Let nothing else in.
    End,
}

/// Who has the password.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Has {
    /// The member's server lets it in.
    pub server: bool,
    /// The member's pod was given it.
    pub pod: bool,
}

/// Does it; writes a [`Has`] to standard output.
///
/// # Errors
/// The server does not answer, or does not take writes where something is to be changed.
pub(super) async fn run(step: RootStep) -> Result<()> {
    let mut password = String::new();
    std::io::stdin().take(LONGEST).read_to_string(&mut password).context("cannot read the password")?;
    let has = do_it(step, &password).await?;
    let text = serde_json::to_string(&has).context("cannot write who has it")?;
    writeln!(std::io::stdout().lock(), "{text}").context("cannot tell who has it")
}

async fn do_it(step: RootStep, password: &str) -> Result<Has> {
    let given = pod::password("root")?;
    let pod = given == password;
    let found = let_in(password).await?;
    let server = found.is_some();
    match (step, found) {
        (RootStep::Look, _) | (RootStep::Add, Some(_)) => {}
        (RootStep::Add, None) => {
            let mut session = connect(&given).await.context("the server does not take the password that is there")?;
            let sql = adding(&given, password, is_mariadb(&session.version().await?));
            session.run(&sql).await.context("cannot let the password in")?;
        }
        (RootStep::End, found) => {
            let mut session = found.context("the server does not take the password that is to be the only one")?;
            let sql = ending(password, is_mariadb(&session.version().await?));
            session.run(&sql).await.context("cannot let the former password go")?;
        }
    }
    Ok(Has { server: server || step == RootStep::Add, pod })
}

async fn let_in(password: &str) -> Result<Option<Session>> {
    match connect(password).await {
        Ok(session) => Ok(Some(session)),
        Err(error) if error_code(&error) == Some(DENIED) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn connect(password: &str) -> Result<Session> {
    Session::connect(&Way::Socket(PathBuf::from(RUN).join("mysqld.sock")), "root", password, None, PATIENCE).await
}

/// What lets another password in beside the one that is there.
fn adding(has: &str, new: &str, mariadb: bool) -> String {
    let (has, new) = (literal(has), literal(new));
    match mariadb {
        true => format!(
            "ALTER USER root@localhost IDENTIFIED VIA mysql_native_password USING PASSWORD({has}) \
             OR mysql_native_password USING PASSWORD({new})"
        ),
        false => format!("ALTER USER root@localhost IDENTIFIED BY {new} RETAIN CURRENT PASSWORD"),
    }
}

/// What lets nothing else in.
fn ending(only: &str, mariadb: bool) -> String {
    match mariadb {
        true => format!("ALTER USER root@localhost IDENTIFIED BY {}", literal(only)),
        false => "ALTER USER root@localhost DISCARD OLD PASSWORD".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_comes_in_beside_the_other_one_and_is_alone_at_the_end() {
        assert_eq!(adding("a", "b'c", false), "ALTER USER root@localhost IDENTIFIED BY 'b''c' RETAIN CURRENT PASSWORD");
        let both = adding("a", "b", true);
        assert!(both.contains("PASSWORD('a') OR ") && both.ends_with("PASSWORD('b')"), "{both}");
        assert_eq!(ending("b", true), "ALTER USER root@localhost IDENTIFIED BY 'b'");
        assert!(!ending("b", false).contains("'b'"), "MySQL has it already");
    }
}
