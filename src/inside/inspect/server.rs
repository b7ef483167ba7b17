//! A database server and the options that the lab gives it: those of the pods' own files, and those that the members'
//! supervisors put on the command line.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::{CONFIG, contract::Server};
use crate::{
    host::process::{Cmd, CommandFailed},
    inside::member,
    run::advice,
    spec::{LabSpec, Topology},
    wire::tls::{Authority, Use},
};

/// How long a server may take to read its options.
const ANSWER: Duration = Duration::from_secs(30);

/// Has the server read every option of the lab.
///
/// # Errors
/// It refuses one; in its own words.
pub(super) async fn options(server: Server) -> Result<String> {
    let file = furnish(server)?;
    let mut command = Cmd::new(server.program()).arg(format!("--defaults-file={}", file.display()));
    command = match server {
        Server::Mysql => command.args([
            "--server-id=1",
            "--report-host=x",
            "--super-read-only=ON",
            "--skip-replica-start=ON",
            "--validate-config",
        ]),
        Server::Mariadb => command.args(["--wsrep-on=ON", "--wsrep-sst-method=mariabackup"]),
        Server::Percona => command.arg("--wsrep-provider=none"),
    };
    if server != Server::Mysql {
        command =
            command.args(["--wsrep-node-name=x", "--wsrep-node-address=127.0.0.1", "--wsrep-cluster-address=gcomm://"]);
        command = command.args(["--verbose", "--help"]);
    }
    command.run_within(ANSWER).await.map_err(|error| in_its_words(&error))?;
    Ok("all of them".to_owned())
}

/// Looks for plugins where the server itself would; the options have been read by then.
///
/// # Errors
/// One is not there.
pub(super) async fn plugins(files: &[&str]) -> Result<String> {
    let server = Server::Mysql;
    let file = furnish(server)?;
    let help = Cmd::new(server.program()).arg(format!("--defaults-file={}", file.display()));
    let help = help.args(["--verbose", "--help"]).run_within(ANSWER).await.map_err(|error| in_its_words(&error))?;
    let folder = variable(&help.stdout, "plugin-dir").context("the server does not say where its plugins are")?;
    let missing: Vec<&str> = files.iter().copied().filter(|file| !Path::new(&folder).join(file).is_file()).collect();
    ensure!(missing.is_empty(), "{} not in {folder}", missing.join(", "));
    Ok(folder)
}

/// A variable's value in what `--verbose --help` prints last.
fn variable(help: &str, name: &str) -> Option<String> {
    help.lines().rev().find_map(|line| {
        let (key, value) = line.split_once(char::is_whitespace)?;
        (key == name).then(|| value.trim().to_owned())
    })
}

/// What a server that ended with an error said about it.
fn in_its_words(error: &anyhow::Error) -> anyhow::Error {
    let Some(failed) = advice::find::<CommandFailed>(error) else { return anyhow::anyhow!("{error:#}") };
    let errors: Vec<&str> = failed.said.lines().filter(|line| line.to_ascii_uppercase().contains("ERROR")).collect();
    let said = if errors.is_empty() { failed.said.clone() } else { errors.join("; ") };
    anyhow::anyhow!("{}", if said.is_empty() { failed.to_string() } else { said })
}

/// The files that the pod would mount: options and certificate; and an empty data directory. Returns the first file.
fn furnish(server: Server) -> Result<PathBuf> {
    let options = Path::new(CONFIG).join("mysql");
    let put = |path: PathBuf, text: &str| {
        fs::create_dir_all(path.parent().unwrap_or(&path))
            .with_context(|| format!("cannot make {}", path.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let (name, topology) = match server {
        Server::Mysql => ("mysql", Topology::Replication),
        Server::Mariadb => ("mariadb", Topology::Galera),
        Server::Percona => ("percona", Topology::Galera),
    };
    for (file, text) in member::options::files(name, &LabSpec::of(topology).database.settings)? {
        put(options.join(file), &text)?;
    }
    let tls = Path::new(CONFIG).join("tls");
    if !tls.exists() {
        let authority = Authority::new()?;
        let issued = authority.issue(Use::Peer, "inspection", &["localhost".to_owned()])?;
        put(tls.join("ca.crt"), &authority.certificate)?;
        put(tls.join("tls.crt"), &issued.certificate)?;
        put(tls.join("tls.key"), &issued.key)?;
        fs::set_permissions(tls.join("tls.key"), fs::Permissions::from_mode(0o400)).context("cannot close the key")?;
    }
    fs::create_dir_all("/var/lib/mysql/data").context("cannot make a data directory")?;
    Ok(options.join("my.cnf"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_table_of_the_help_has_the_variables() {
        let help = "  --plugin-dir=name   Directory for plugins\n\nVariables (--variable-name=value)\nplugin-dir                  /usr/lib/mysql/plugin/\nport   3306\n";
        assert_eq!(variable(help, "plugin-dir").as_deref(), Some("/usr/lib/mysql/plugin/"));
        assert_eq!(variable(help, "plugin"), None);
    }

    #[test]
    fn a_refusal_is_told_in_the_servers_words() {
        let failed = CommandFailed {
            command: "mysqld".into(),
            code: Some(1),
            said: "2026 0 [Note] x\n2026 0 [ERROR] [MY-000067] [Server] unknown variable 'a=b'.\n2026 0 [Note] y"
                .into(),
        };
        assert_eq!(
            in_its_words(&advice::Trouble::from(failed).into()).to_string(),
            "2026 0 [ERROR] [MY-000067] [Server] unknown variable 'a=b'."
        );
    }
}
