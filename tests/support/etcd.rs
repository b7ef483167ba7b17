//! A real etcd for tests: the one of the image that labs use, as a process of this machine.

#[path = "ready.rs"]
mod ready;

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;
use tokio::sync::{Mutex, OnceCell};
use wplab::{
    host::docker::Docker,
    run::wait::{self, Look},
    wire::{
        etcd::{Etcd, Identity},
        tls::{Authority, Use},
    },
};

/// The member's name in the cluster; its certificate holds for it, and for `localhost`.
pub(crate) const HOST: &str = "etcd-0.etcd";

/// The image is made, and the program taken out of it, once; however many tests begin together.
static PROGRAM: OnceCell<Vec<u8>> = OnceCell::const_new();

async fn program() -> Vec<u8> {
    let images = tokio::task::spawn_blocking(|| ready::images(&["etcd"])).await.expect("an end");
    let docker = Docker::connect().await.expect("an engine");
    docker.file_of_image(&images[0], "/usr/local/bin/etcd").await.expect("etcd is in its image")
}

/// The etcd of the image that labs use, as a process of this machine, with client certificates as in a lab.
pub(crate) struct Server {
    folder: TempDir,
    /// Clients, peers.
    ports: [u16; 2],
    authority: Authority,
    process: Option<Child>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let program = PROGRAM.get_or_init(program).await;
        let folder = tempfile::tempdir().expect("a folder");
        let authority = Authority::new().expect("an authority");
        let issued = authority.issue(Use::Peer, "test", &[HOST.into(), "localhost".into()]).expect("a certificate");
        let write = |name: &str, content: &[u8], mode: u32| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("written");
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("its mode");
        };
        write("etcd", program, 0o755);
        write("ca.pem", authority.certificate.as_bytes(), 0o644);
        write("tls.pem", issued.certificate.as_bytes(), 0o644);
        write("tls.key", issued.key.as_bytes(), 0o600);
        let free = || TcpListener::bind("127.0.0.1:0").expect("a port");
        let (clients, peers) = (free(), free());
        let ports = [&clients, &peers].map(|l| l.local_addr().expect("an address").port());
        drop((clients, peers));
        let mut server = Server { folder, ports, authority, process: None };
        server.run().await;
        server
    }

    /// Starts the process on whatever data is there, and waits for its first answer.
    pub(crate) async fn run(&mut self) {
        let path = |name: &str| self.folder.path().join(name);
        let [clients, peers] = self.ports.map(|port| format!("//127.0.0.1:{port}"));
        let log = std::fs::File::create(path("log")).expect("a log");
        let mut command = Command::new(path("etcd"));
        command
            .args(["--name", "etcd-0", "--client-cert-auth", "--data-dir"])
            .arg(self.data())
            .arg("--trusted-ca-file")
            .arg(path("ca.pem"))
            .arg("--cert-file")
            .arg(path("tls.pem"))
            .arg("--key-file")
            .arg(path("tls.key"))
            .args(["--listen-client-urls", &format!("https:{clients}")])
            .args(["--advertise-client-urls", &format!("https:{clients}")])
            .args(["--listen-peer-urls", &format!("http:{peers}")])
            .args(["--initial-advertise-peer-urls", &format!("http:{peers}")])
            .args(["--initial-cluster", &format!("etcd-0=http:{peers}")])
            .stdout(Stdio::null())
            .stderr(log);
        // Processes that other tests start in this moment may still hold the file that was just written.
        let process = soon("etcd's start", async || match command.spawn() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => Look::NotYet(error.to_string()),
            started => Look::Ready(started.expect("etcd starts")),
        });
        self.process = Some(process.await);
        let etcd = self.etcd();
        soon("etcd's first answer", async || match etcd.get("/a").await {
            Ok(_) => Look::Ready(()),
            Err(error) => Look::NotYet(format!("{error:#}")),
        })
        .await;
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// Where the process keeps everything it knows.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn identity(&self) -> Identity {
        let client = self.authority.issue(Use::Client, "test", &["client".into()]).expect("a certificate");
        Identity { ca: self.authority.certificate.clone(), certificate: client.certificate, key: client.key }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[0]))
    }

    /// As through a forward: by the member's name in the cluster, at an address of this machine.
    pub(crate) fn etcd(&self) -> Etcd {
        self.client(&self.identity())
    }

    pub(crate) fn client(&self, identity: &Identity) -> Etcd {
        let at = [(HOST.to_owned(), self.address())];
        Etcd::new(&[format!("https://{HOST}:2379")], Some(identity), &at).expect("a client")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a look finds within half a minute.
pub(crate) async fn soon<T>(what: &str, look: impl AsyncFnMut() -> Look<T>) -> T {
    let look = Mutex::new(look);
    let (limit, every) = (Duration::from_secs(30), Duration::from_millis(200));
    let found = wait::until(what, limit, every, |_| {}, || async { Ok((look.lock().await)().await) });
    found.await.expect(what)
}
