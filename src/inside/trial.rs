//! `wplab trial …`, inside the containers of a trial cluster (`parts::images::thorough`), where there is no Kubernetes: what a
//! kubelet would do for a member, and what is asked of it from within. An answer is one line of JSON on standard output;
//! passwords are read where the pods have them, so none is ever an argument.

use std::{
    fs::{self, Permissions},
    io::Write,
    net::{IpAddr, SocketAddr},
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::member::HTTP_PORT;
use crate::{
    run::wait::{self, Look},
    wire::{
        etcd::{Etcd, Identity},
        net::resolver,
        sql::{Row, Session, Way, literal, refusal},
    },
};

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a container's own name may be unknown to the network's name server.
const NAMED: Duration = Duration::from_secs(20);
const EVERY: Duration = Duration::from_millis(100);
const MYSQL_PORT: u16 = 3306;
const WORDPRESS: &str = "wordpress";

/// What to do inside a container.
#[derive(Clone, Debug)]
pub enum Trial {
    /// Let everybody write to these folders, as a volume with the pod's group lets the pod.
    Open(Vec<PathBuf>),
    /// Become the member's supervisor, which is told its address.
    Member,
    /// Ask etcd, from its own container.
    Etcd,
    /// Ask the supervisor for its member's status.
    Status,
    /// Ask the server, through its socket.
    Facts,
    /// Write rows into the site's database at a member, over TLS.
    Write(String, Vec<u32>),
    /// Read all rows there, over TLS.
    Read(String),
    /// Try the same without TLS.
    Unencrypted(String),
}

/// What a server says, and what is seen of its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The server's version, as it prints it.
    pub version: String,
    /// The version of the Galera provider.
    pub provider: String,
    /// Whether members speak to each other under TLS (`socket.ssl` of the provider).
    pub encrypted: bool,
    /// The cipher that the provider asks for.
    pub cipher: String,
    /// Whether clients without TLS are turned away.
    pub secure_only: bool,
    /// When the server's main file was made, and which one it is: a whole copy makes another.
    pub born: String,
}

/// What a client reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read {
    /// The numbers of the rows.
    pub rows: Vec<u32>,
    /// The connection's cipher; empty when there is none.
    pub cipher: String,
    /// The connection's version of TLS.
    pub tls: String,
}

/// Does it. What is asked for and cannot be had is part of the answer.
///
/// # Errors
/// A folder cannot be opened, the supervisor cannot be started, or standard output is closed.
pub async fn main(trial: Trial) -> Result<()> {
    match trial {
        Trial::Open(folders) => open(&folders),
        Trial::Member => become_member().await,
        Trial::Etcd => answer(etcd().await),
        Trial::Status => answer(status().await),
        Trial::Facts => answer(facts().await),
        Trial::Write(host, rows) => answer(write(&host, &rows).await),
        Trial::Read(host) => answer(read(&host).await),
        Trial::Unencrypted(host) => answer(unencrypted(&host).await),
    }
}

/// Reads an answer; the error is what was said inside.
///
/// # Errors
/// It was refused inside, or this is no answer.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T> {
    let last = text.lines().next_back().unwrap_or_default();
    let answer: std::result::Result<T, String> = serde_json::from_str(last).context("this is no answer")?;
    answer.map_err(anyhow::Error::msg)
}

fn answer<T: Serialize>(answer: Result<T>) -> Result<()> {
    let text = serde_json::to_string(&answer.map_err(|error| format!("{error:#}")))?;
    writeln!(std::io::stdout().lock(), "{text}").context("cannot write the answer")
}

fn open(folders: &[PathBuf]) -> Result<()> {
    for folder in folders {
        fs::set_permissions(folder, Permissions::from_mode(0o777))
            .with_context(|| format!("cannot open {}", folder.display()))?;
    }
    Ok(())
}

/// The kubelet tells a pod its address; here the network's name server does.
async fn become_member() -> Result<()> {
    let name = std::env::var("POD_NAME").context("the environment variable POD_NAME is missing")?;
    let look = || async {
        Ok(match address(&name).await {
            Ok(address) => Look::Ready(address),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
    };
    let address = wait::until("this member's own address", NAMED, EVERY, |_| {}, look).await?;
    let own = std::env::current_exe().context("cannot find this executable")?;
    // Whether the image can copy a whole member is what is tried here.
    let failed = Command::new(own)
        .args(["member", "galera"])
        .env("POD_IP", address.to_string())
        .env("WPLAB_ALWAYS_COPY", "yes")
        .exec();
    Err(failed).context("cannot become the supervisor")
}

async fn address(host: &str) -> Result<IpAddr> {
    let found = resolver(PATIENCE)?.lookup_ip(host).await;
    found.ok().and_then(|found| found.iter().next()).with_context(|| format!("{host} has no address"))
}

fn file(path: &str) -> Result<String> {
    let text = fs::read_to_string(Path::new("/etc/wplab").join(path));
    Ok(text.with_context(|| format!("cannot read {path}"))?.trim_end_matches('\n').to_owned())
}

async fn etcd() -> Result<String> {
    let [ca, certificate, key] = ["tls/ca.crt", "tls/tls.crt", "tls/tls.key"].map(file);
    let identity = Identity { ca: ca?, certificate: certificate?, key: key? };
    let status = Etcd::new(&["https://localhost:2379".to_owned()], Some(&identity), &[])?.status().await?;
    if status.leader.is_none() {
        bail!("it has no leader");
    }
    Ok(status.version)
}

async fn status() -> Result<serde_json::Value> {
    // There may be no authorities in the image, and none is needed.
    let client = reqwest::Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build()?;
    let asked = client.get(format!("http://127.0.0.1:{HTTP_PORT}/status")).send().await;
    let asked = asked.map_err(|error| anyhow::anyhow!("the supervisor: {}", crate::wire::net::innermost(&error)))?;
    Ok(asked.json().await?)
}

async fn facts() -> Result<Facts> {
    let way = Way::Socket("/var/run/mysqld/mysqld.sock".into());
    let mut session = Session::connect(&way, "root", &file("credentials/root-password")?, None, PATIENCE).await?;
    let rows = session.rows("SHOW GLOBAL STATUS LIKE 'wsrep_provider_version'").await?;
    let options = session.value("SELECT @@global.wsrep_provider_options").await?.unwrap_or_default();
    // Behind the dashes of a comment is no version.
    let version = session.value("SELECT CONCAT(@@version, ' ', @@version_comment)").await?.unwrap_or_default();
    let option = |name: &str| option(&options, name).unwrap_or_default().to_owned();
    Ok(Facts {
        version: version.split(" -- ").next().unwrap_or_default().to_owned(),
        provider: named(rows, "wsrep_provider_version"),
        encrypted: option("socket.ssl").eq_ignore_ascii_case("yes"),
        cipher: option("socket.ssl_cipher"),
        secure_only: session.value("SELECT @@global.require_secure_transport").await?.as_deref() == Some("1"),
        born: born(Path::new("/var/lib/mysql/data/ibdata1"))?,
    })
}

/// One of `a = b; c = d; `.
fn option<'a>(options: &'a str, name: &str) -> Option<&'a str> {
    options
        .split(';')
        .filter_map(|pair| pair.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, v)| v.trim())
}

fn named(rows: Vec<Row>, name: &str) -> String {
    let mut found = rows.into_iter().filter_map(|mut row| Some((row.remove("Variable_name")??, row.remove("Value")??)));
    found.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).unwrap_or_default()
}

fn born(path: &Path) -> Result<String> {
    use std::os::unix::fs::MetadataExt;
    let data = fs::metadata(path).with_context(|| format!("cannot look at {}", path.display()))?;
    // Not every file system knows it; then the number alone has to do.
    let made = data.created().ok().and_then(|made| made.duration_since(SystemTime::UNIX_EPOCH).ok());
    Ok(format!("{}-{}", data.ino(), made.map_or(0, |made| made.as_micros())))
}

async fn session(host: &str) -> Result<Session> {
    let addr = SocketAddr::new(address(host).await?, MYSQL_PORT);
    let way = Way::Forward { addr, ca: file("tls/ca.crt")? };
    Session::connect(&way, WORDPRESS, &file("credentials/wordpress-password")?, Some(WORDPRESS), PATIENCE).await
}

async fn write(host: &str, rows: &[u32]) -> Result<usize> {
    let mut session = session(host).await?;
    let table = "CREATE TABLE IF NOT EXISTS wplab_trial (id INT NOT NULL PRIMARY KEY, said VARCHAR(64) NOT NULL)";
    session.run(table).await.context("cannot make a table")?;
    for row in rows {
        let said = literal(&format!("written on {host}"));
        session.run(&format!("INSERT INTO wplab_trial VALUES ({row}, {said})")).await.context("cannot write a row")?;
    }
    Ok(rows.len())
}

async fn read(host: &str) -> Result<Read> {
    let mut session = session(host).await?;
    let rows = session.rows("SELECT id FROM wplab_trial ORDER BY id").await.context("cannot read rows")?;
    let rows = rows.into_iter().filter_map(|mut row| row.remove("id")??.parse().ok()).collect();
    let own = session.rows("SHOW SESSION STATUS LIKE 'Ssl\\_%'").await?;
    Ok(Read { rows, cipher: named(own.clone(), "Ssl_cipher"), tls: named(own, "Ssl_version") })
}

/// What a client without TLS is told, right after one with it was served.
async fn unencrypted(host: &str) -> Result<String> {
    session(host).await.context("a client with TLS was not served either")?;
    let way = Way::Open(SocketAddr::new(address(host).await?, MYSQL_PORT));
    let password = file("credentials/wordpress-password")?;
    match Session::connect(&way, WORDPRESS, &password, Some(WORDPRESS), PATIENCE).await {
        Ok(_) => bail!("{host} served a client without TLS"),
        Err(error) => Ok(refusal(&error).unwrap_or_else(|| format!("{error:#}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_reads_back_and_a_refusal_is_an_error_in_its_words() {
        let read = Read { rows: vec![1, 2], cipher: "TLS_AES_256_GCM_SHA384".into(), tls: "TLSv1.3".into() };
        let ok = serde_json::to_string(&Ok::<_, String>(&read)).expect("written");
        assert_eq!(parse::<Read>(&format!("noise\n{ok}\n")).expect("read"), read);
        let refused = serde_json::to_string(&Err::<Read, _>("db-1 has no address")).expect("written");
        assert_eq!(parse::<Read>(&refused).expect_err("refused").to_string(), "db-1 has no address");
        assert!(parse::<Read>("").is_err() && parse::<Read>("<html>").is_err());
    }

    #[test]
    fn an_option_of_the_provider_is_found_by_its_whole_name() {
        let options = "base_dir = /var/lib/mysql/data/; socket.checksum = 2; socket.recv_buf_size = auto; \
                       socket.ssl = YES; socket.ssl_cipher = AES; socket.ssl_compression = NO; ";
        assert_eq!((option(options, "socket.ssl"), option(options, "socket.ssl_cipher")), (Some("YES"), Some("AES")));
        assert_eq!(option("socket.ssl_cipher = AES;", "socket.ssl"), None);
    }

    #[test]
    fn a_file_that_was_replaced_is_another_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("ibdata1");
        fs::write(&path, "a").expect("written");
        let before = born(&path).expect("there");
        fs::write(&path, "b").expect("written");
        assert_eq!(born(&path).expect("there"), before, "the same file with another content");
        fs::write(folder.path().join("other"), "c").expect("written");
        fs::rename(folder.path().join("other"), &path).expect("renamed");
        assert_ne!(born(&path).expect("there"), before);
    }
}
