//! A pod of flavour `percona` on this machine: a folder that plays its file system, filled from the project's own manifests,
//! and the real supervisor in it, with the stand-in as its `mysqld`.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU8, Ordering},
};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tempfile::TempDir;
use wplab::{inside::member::status::MemberStatus, run::wait::Look};

use crate::{
    etcd::{Server, soon},
    fake,
};

/// Members of every test have addresses of their own, because the port between members is fixed.
static ADDRESSES: AtomicU8 = AtomicU8::new(1);
/// In every password, and nowhere else.
const SECRET: &str = "Sesame";

/// The folder of a pod: what is left when its processes are gone.
pub(crate) struct Pod {
    root: TempDir,
    name: String,
    members: usize,
    address: Ipv4Addr,
    port: u16,
    etcd: String,
    supervisor: Option<Child>,
}

impl Pod {
    /// Member `ordinal` of as many; nothing runs yet.
    pub(crate) fn new(etcd: &Server, ordinal: usize, members: usize) -> Pod {
        let root = tempfile::tempdir().expect("a folder");
        furnish(root.path());
        let identity = etcd.identity();
        let papers = root.path().join("etc/wplab/etcd");
        for (name, text) in [("ca.crt", identity.ca), ("tls.crt", identity.certificate), ("tls.key", identity.key)] {
            fs::write(papers.join(name), text).expect("written");
        }
        let [high, low] = u16::try_from(std::process::id() % 0xffff).expect("a small number").to_be_bytes();
        let address = Ipv4Addr::new(127, high.max(1), low, ADDRESSES.fetch_add(1, Ordering::Relaxed));
        let free = TcpListener::bind("0.0.0.0:0").expect("a port");
        let port = free.local_addr().expect("an address").port();
        let etcd = format!("https://localhost:{}", etcd.address().port());
        Pod { root, name: format!("db-{ordinal}"), members, address, port, etcd, supervisor: None }
    }

    /// Starts the supervisor, the pod's first process.
    pub(crate) fn start(&mut self) {
        let log = fs::OpenOptions::new().append(true).create(true).open(self.path("log")).expect("a log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_wplab"));
        command
            .args(["member", "galera"])
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("POD_NAME", &self.name)
            .env("POD_IP", self.address.to_string())
            .env("MEMBERS", self.members.to_string())
            .env("WPLAB_FLAVOUR", "percona")
            .env("ETCD_ENDPOINTS", &self.etcd)
            .env("WPLAB_STATUS_PORT", self.port.to_string())
            .env(fake::ROOT, self.root.path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        self.supervisor = Some(command.spawn().expect("the supervisor starts"));
    }

    /// Ends all processes at once, as a node does that fails.
    pub(crate) async fn kill(&mut self) {
        let server = self.server();
        self.kill_supervisor();
        soon("the end of the pod", async || match server {
            Some(pid) if test_kill_process(pid).is_ok() => Look::NotYet("the server runs".into()),
            _ => Look::Ready(()),
        })
        .await;
    }

    /// Ends the server with -9, and tells how far its data goes.
    pub(crate) fn kill_server(&self) -> String {
        kill_process(self.server().expect("it runs"), Signal::KILL).expect("killed");
        self.position()
    }

    /// Asks the supervisor to end, and waits until it has.
    pub(crate) async fn terminate(&mut self) -> ExitStatus {
        let mut supervisor = self.supervisor.take().expect("it runs");
        kill_process(Pid::from_child(&supervisor), Signal::TERM).expect("signalled");
        soon("the supervisor's end", async || match supervisor.try_wait().expect("a child") {
            Some(status) => Look::Ready(status),
            None => Look::NotYet("it runs".into()),
        })
        .await
    }

    /// What the member says of itself, once it is as the test wants it.
    pub(crate) async fn status(&self, what: &str, wanted: impl Fn(&MemberStatus) -> bool) -> MemberStatus {
        soon(what, async || match self.get("/status").await {
            Ok((_, text)) => match MemberStatus::parse(&text) {
                Ok(status) if wanted(&status) => Look::Ready(status),
                _ => Look::NotYet(format!("{text}\n{}", self.log())),
            },
            Err(error) => Look::NotYet(format!("{error:?}\n{}", self.log())),
        })
        .await
    }

    /// The member in the cluster, with everything.
    pub(crate) async fn synced(&self) -> MemberStatus {
        self.status("a member that serves", MemberStatus::serves).await
    }

    /// Exit code and text of a probe.
    pub(crate) async fn get(&self, path: &str) -> reqwest::Result<(u16, String)> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        let answer = client.get(format!("http://127.0.0.1:{}{path}", self.port)).send().await?;
        Ok((answer.status().as_u16(), answer.text().await?))
    }

    /// The server, while one runs.
    pub(crate) fn server(&self) -> Option<Pid> {
        let pid = fs::read_to_string(self.path("var/run/mysqld/mysqld.pid")).ok()?;
        // A number that another process has by now must never be killed.
        let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        line.contains("fake_mysqld").then(|| Pid::from_raw(pid.parse().ok()?)).flatten()
    }

    /// Every call of `mysqld` so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path(fake::CALLS)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How far the data goes, as the server prints it.
    pub(crate) fn position(&self) -> String {
        let (uuid, seqno) = fake::kept(&self.path("var/lib/mysql/data"));
        format!("{uuid}:{seqno}")
    }

    /// A file of the data directory.
    pub(crate) fn data(&self, name: &str) -> String {
        fs::read_to_string(self.path("var/lib/mysql/data").join(name)).unwrap_or_default()
    }

    /// All that the supervisor and its server have printed.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Nothing that others can read of this pod's processes, and nothing left beside its socket, is a secret.
    pub(crate) fn assert_no_secret_is_told(&self) {
        let server = self.server().expect("it runs").as_raw_pid();
        let supervisor = self.supervisor.as_ref().expect("it runs").id();
        let mut told = vec![self.log(), self.calls().join("\n")];
        told.push(fs::read_to_string(self.path("environment")).expect("written by the server"));
        for of in [server.to_string(), supervisor.to_string()] {
            let line = fs::read(format!("/proc/{of}/cmdline")).expect("it runs");
            told.push(String::from_utf8_lossy(&line).into_owned());
        }
        for entry in fs::read_dir(self.path("var/run/mysqld")).expect("a folder").flatten() {
            told.push(fs::read_to_string(entry.path()).unwrap_or_default());
        }
        for text in told {
            assert!(!text.contains(SECRET), "{text}");
        }
    }

    /// A path of the pod.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn kill_supervisor(&mut self) {
        if let Some(mut supervisor) = self.supervisor.take() {
            let _ = supervisor.kill();
            let _ = supervisor.wait();
        }
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill_supervisor();
        // It ends by itself in a moment; but the folder is going to be removed now.
        if let Some(server) = self.server() {
            let _ = kill_process(server, Signal::KILL);
        }
    }
}

/// What ConfigMap, Secrets, volume and image bring, but for certificates.
pub(crate) fn furnish(root: &Path) {
    for folder in
        ["bin", "etc/wplab/mysql", "etc/wplab/etcd", "etc/wplab/credentials", "var/lib/mysql", "var/run/mysqld"]
    {
        fs::create_dir_all(root.join(folder)).expect("made");
    }
    let options = root.join("etc/wplab/mysql");
    let config: serde_json::Value =
        serde_yaml::from_str(include_str!("../../manifests/database/10-config.yaml")).expect("a ConfigMap");
    for (name, text) in config["data"].as_object().expect("files") {
        fs::write(options.join(name), text.as_str().expect("a text")).expect("written");
    }
    let flavour = [
        ("defaults.cnf", include_str!("../../manifests/database/percona-defaults.cnf")),
        ("fixed.cnf", include_str!("../../manifests/database/percona-fixed.cnf")),
    ];
    for (name, text) in flavour {
        fs::write(options.join(name), text).expect("written");
    }
    for of in ["root", "wordpress", "sst"] {
        fs::write(root.join(format!("etc/wplab/credentials/{of}-password")), format!("{SECRET}-{of}\n"))
            .expect("written");
    }
    // The test executable is the server: it is told to run one test, which is no test (tests/percona.rs).
    let own = std::env::current_exe().expect("this executable");
    let script = format!(
        "#!/bin/sh\n{}=$(printf '%s\\n' \"$@\")\nexport {0}\nexec '{}' --exact fake_mysqld --ignored --nocapture\n",
        fake::ARGS,
        own.display()
    );
    let mysqld = root.join("bin/mysqld");
    fs::write(&mysqld, script).expect("written");
    fs::set_permissions(mysqld, fs::Permissions::from_mode(0o755)).expect("made executable");
}
