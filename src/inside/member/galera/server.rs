//! A Galera server's process: how its data directory is made, how the position of stopped data is read, how it is started.
//! No secret is on a command line: they are in files that only this user can read.

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    config::{Config, Paths},
    decide::Position,
    flavour::{Flavour, Install},
};
use crate::inside::member::{
    files::InitFile,
    process::{CommandLine, Process},
};

/// The port on which members speak to each other, of which no option tells.
pub(super) const GALERA_PORT: u16 = 4567;
/// Where a server that only reads its position is told to find a cluster: it asks for an address, and never uses it.
const NOWHERE: &str = "gcomm://recover.invalid";
/// What Galera is told, beside where the certificate is. Everybody's silence is noticed after 2 s instead of 5, and an
/// unreachable cluster given up after 10 instead of 30, so that a member that dies stops writes for about 3 s. Those who are
/// left say more often (0.3 s instead of 1) who is, and give each other up for not agreeing as late as for saying nothing
/// (instead of after 3 s): both of two doing so leaves no majority. The cache of changes must hold several times the largest
/// transaction. Components are never remembered: the election decides.
const PROVIDER: &str = "gcache.size=128M;pc.recovery=no;pc.wait_prim_timeout=PT10S;evs.keepalive_period=PT0.5S;\
                        evs.inactive_check_period=PT0.5S;evs.suspect_timeout=PT2S;evs.inactive_timeout=PT6S;\
                        evs.install_timeout=PT6S;evs.join_retrans_period=PT0.3S";

/// The domain of what the first member does for itself alone; the cluster's is 0.
const OWN_DOMAIN: u32 = 10;

/// How long a server may take to begin alone and end.
const ALONE: Duration = Duration::from_secs(60);

/// How a server is started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// As the first of a cluster.
    Bootstrap,
    /// As one more, through these members' addresses.
    Join(Vec<String>),
}

/// Makes a data directory, offline; `more` is SQL that comes after what every one begins with.
///
/// # Errors
/// A password cannot be read, or the program refuses; its log says why.
pub(super) async fn initialise(flavour: &Flavour, paths: &Paths, draft: &Path, more: &str) -> Result<()> {
    let sql = InitFile::write(&paths.run, &format!("{}{more}", flavour.init_sql(|of| paths.password(of))?))?;
    install_line(flavour, &options(paths), draft, sql.path()).run().await.context("cannot make a data directory")
}

/// Starts the server on a directory that nobody else has anything to do with: it is of no cluster.
///
/// # Errors
/// It cannot be started.
pub(super) fn start_alone(flavour: &Flavour, paths: &Paths, datadir: &Path) -> Result<Process> {
    Process::spawn(&by_itself_line(flavour, &options(paths), datadir))
}

/// Lets a server count the draft as the beginning of the cluster of this uuid, which another member starts at the same time
/// from the same data: a cluster of one, of which nobody can know, that ends as soon as it has begun. Afterwards the draft's
/// position is where that cluster was before its first change, and what has changed since can be sent as single changes.
/// The server itself has to do this: the position is inside its files too.
///
/// # Errors
/// The server refuses, or takes too long; its log says why.
pub(super) async fn begin_alone(config: &Config, draft: &Path, uuid: &str) -> Result<()> {
    let stop = InitFile::write(&config.paths.run, "SHUTDOWN;\n")?;
    let line = alone_line(config, &options(&config.paths), draft, uuid, stop.path());
    let ran = tokio::time::timeout(ALONE, line.run()).await.context("it did not end in time").flatten();
    ran.context("cannot count the data as the cluster's")
}

/// Reads the position that stopped data has reached. The server does this: it undoes what was not committed first.
///
/// # Errors
/// The server refuses or says no position; its log says why.
pub(super) async fn recover(config: &Config, datadir: &Path) -> Result<Position> {
    let log = config.paths.run.join("recover.log");
    match fs::remove_file(&log) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error).context("cannot remove a log"),
        _ => {}
    }
    let ran = recover_line(config.flavour, &options(&config.paths), datadir, &log).run().await;
    let text = String::from_utf8_lossy(&fs::read(&log).unwrap_or_default()).into_owned();
    if let Err(error) = ran {
        let last: Vec<&str> = text.lines().filter(|line| line.contains("ERROR")).collect();
        return Err(error.context(format!("cannot read the data's position: {}", last.join("; "))));
    }
    let position = position(&text).context("the server did not say which position its data has reached")?;
    let _ = fs::remove_file(&log);
    Ok(position)
}

/// Starts the server.
///
/// # Errors
/// It cannot be started, or the file with the account for copies cannot be written.
pub(super) fn start(
    config: &Config,
    datadir: &Path,
    position: &Position,
    how: &How,
    accounts: Option<&InitFile>,
) -> Result<Process> {
    let options = match config.flavour.sst_privileges {
        None => options(&config.paths),
        Some(_) => private_options(&config.paths)?,
    };
    let mut line = start_line(config, &options, datadir, position, how);
    line.args.extend(accounts.map(|init| with("--init-file=", init.path())));
    Process::spawn(&line)
}

/// A file that gives the accounts of data that is there the Secret's passwords.
///
/// # Errors
/// A password cannot be read, or the file cannot be written.
pub(super) fn accounts(config: &Config) -> Result<InitFile> {
    InitFile::write(&config.paths.run, &config.flavour.accounts_sql(|of| config.paths.password(of))?)
}

fn options(paths: &Paths) -> PathBuf {
    paths.options.join("my.cnf")
}

/// The option files, and the password of the account for copies, which only the server and its script may read.
fn private_options(paths: &Paths) -> Result<PathBuf> {
    let password = paths.password("sst")?;
    if password.contains(['"', '\\', '\n']) {
        bail!("the password for copies has a character that an option file cannot hold");
    }
    let path = paths.run.join("my.cnf");
    let part = paths.run.join("my.cnf.part");
    let text = format!("!include {}\n[mysqld]\nwsrep_sst_auth=\"sst:{password}\"\n", options(paths).display());
    let write = || {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(text.as_bytes())?;
        fs::rename(&part, &path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

fn install_line(flavour: &Flavour, options: &Path, draft: &Path, init_sql: &Path) -> CommandLine {
    let mut args = vec![with("--defaults-file=", options), with("--datadir=", draft)];
    let program = match flavour.install {
        Install::Script(script) => {
            args.extend(["--skip-test-db", "--skip-name-resolve"].map(str::to_owned));
            args.push(with("--extra-file=", init_sql));
            script
        }
        Install::Server => {
            args.extend(["--initialize-insecure", "--skip-log-bin"].map(str::to_owned));
            args.push(with("--init-file=", init_sql));
            flavour.server
        }
    };
    CommandLine::new(program, args)
}

fn recover_line(flavour: &Flavour, options: &Path, datadir: &Path, log: &Path) -> CommandLine {
    let mut args = vec![with("--defaults-file=", options), with("--datadir=", datadir)];
    if flavour.wsrep_on {
        args.push("--wsrep-on=ON".to_owned());
    }
    args.push(format!("--wsrep-cluster-address={NOWHERE}"));
    args.push("--wsrep-recover".to_owned());
    args.push(with("--log-error=", log));
    args.extend(flavour.recover_args.iter().map(|arg| (*arg).to_owned()));
    CommandLine::new(flavour.server, args)
}

/// A provider of that name is none; the one that the option files name is not loaded.
fn by_itself_line(flavour: &Flavour, options: &Path, datadir: &Path) -> CommandLine {
    let mut args = vec![with("--defaults-file=", options), with("--datadir=", datadir)];
    args.extend(["--wsrep-provider=none", "--skip-log-bin"].map(str::to_owned));
    CommandLine::new(flavour.server, args)
}

fn alone_line(config: &Config, options: &Path, draft: &Path, uuid: &str, stop: &Path) -> CommandLine {
    let flavour = config.flavour;
    let mut args = vec![with("--defaults-file=", options), with("--datadir=", draft)];
    if flavour.wsrep_on {
        args.push("--wsrep-on=ON".to_owned());
    }
    // On the pod's own loopback: nobody else can join, and it sends nothing to anybody.
    args.extend([
        format!("--wsrep-sst-method={}", flavour.sst_method),
        format!("--wsrep-node-name={}", config.name),
        "--wsrep-node-address=127.0.0.1".to_owned(),
        format!(
            "--wsrep-provider-options=gmcast.listen_addr=tcp://127.0.0.1:{GALERA_PORT};gcache.size=1M;pc.recovery=no"
        ),
        format!("--wsrep-start-position={uuid}:0"),
        "--wsrep-cluster-address=gcomm://".to_owned(),
        "--wsrep-new-cluster".to_owned(),
        "--skip-networking".to_owned(),
        with("--init-file=", stop),
    ]);
    CommandLine::new(flavour.server, args)
}

fn start_line(config: &Config, options: &Path, datadir: &Path, position: &Position, how: &How) -> CommandLine {
    let flavour = config.flavour;
    let mut args = vec![with("--defaults-file=", options), with("--datadir=", datadir)];
    if flavour.wsrep_on {
        args.push("--wsrep-on=ON".to_owned());
    }
    args.push(format!("--wsrep-sst-method={}", flavour.sst_method));
    args.push(format!("--wsrep-node-name={}", config.name));
    args.push(format!("--wsrep-node-address={}", config.address));
    if flavour.log_privileges.is_some() {
        // What it does for itself alone is no transaction of the cluster's.
        args.push(format!("--gtid-domain-id={}", OWN_DOMAIN + config.ordinal));
    }
    let mut provider = PROVIDER.to_owned();
    if flavour.provider_tls {
        for (option, file) in [("ca", "ca.crt"), ("cert", "tls.crt"), ("key", "tls.key")] {
            provider += &format!(";socket.ssl_{option}={}", config.paths.tls.join(file).display());
        }
    }
    args.push(format!("--wsrep-provider-options={provider}"));
    // After a kill Galera's own file does not know the position, and without it the whole member would be copied.
    if let Position::At { uuid, seqno } = position {
        args.push(format!("--wsrep-start-position={uuid}:{seqno}"));
    }
    match how {
        How::Bootstrap => args.extend(["--wsrep-cluster-address=gcomm://", "--wsrep-new-cluster"].map(str::to_owned)),
        How::Join(addresses) => args.push(format!("--wsrep-cluster-address=gcomm://{}", addresses.join(","))),
    }
    CommandLine::new(flavour.server, args)
}

fn with(option: &str, path: &Path) -> String {
    format!("{option}{}", path.display())
}

/// The last position in a log; one of no history is that of data which was never part of a cluster.
fn position(log: &str) -> Option<Position> {
    let (_, said) = log.rsplit_once("Recovered position:")?;
    let (uuid, seqno) = said.split_whitespace().next()?.split_once(':')?;
    // MariaDB may add its own GTIDs behind a comma.
    let seqno: i64 = seqno.split(',').next()?.parse().ok()?;
    let shape: Vec<usize> = uuid.split('-').map(str::len).collect();
    let hexadecimal = uuid.chars().all(|c| c == '-' || c.is_ascii_hexdigit());
    if shape != [8, 4, 4, 4, 12] || !hexadecimal {
        return None;
    }
    let never = seqno < 0 || uuid.chars().all(|c| matches!(c, '0' | '-'));
    Some(if never { Position::Empty } else { Position::At { uuid: uuid.to_owned(), seqno } })
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
