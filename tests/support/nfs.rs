//! The lab's NFS server and a node that mounts it, each in a container of its own: no cluster, and yet the server's rights,
//! configuration and command are those of its manifest. Everything carries the label `wplab.dev/test` and goes with its value.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use serde_json::Value;

/// Label of everything that is made here.
const LABEL: &str = "wplab.dev/test=storage";

/// Where the node mounts the export: where WordPress has it, on a path that every user may walk along.
pub(crate) const MOUNT: &str = "/var/www/html/wp-content";

/// What the manifest says of the server and of whoever mounts it.
pub(crate) struct Manifest {
    pub(crate) config: String,
    /// What its shell runs.
    pub(crate) command: String,
    /// Without `CAP_`.
    pub(crate) capabilities: Vec<String>,
    /// Of the volume, separated by commas.
    options: String,
}

impl Manifest {
    pub(crate) fn read() -> Manifest {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("manifests/storage/nfs.yaml");
        let text = fs::read_to_string(path).expect("a manifest");
        let objects: Vec<Value> =
            text.split("\n---\n").map(|object| serde_yaml::from_str(object).expect("an object")).collect();
        let of =
            |kind: &str| objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("no {kind}"));
        let strings = |value: &Value| -> Vec<String> {
            let all = value.as_array().expect("a list").iter();
            all.map(|each| each.as_str().expect("a string").to_owned()).collect()
        };
        let server = &of("StatefulSet")["spec"]["template"]["spec"]["containers"][0];
        let [shell, flag, command]: [String; 3] = strings(&server["command"]).try_into().expect("a shell's command");
        assert_eq!((shell.as_str(), flag.as_str()), ("sh", "-c"));
        Manifest {
            config: of("ConfigMap")["data"]["ganesha.conf"].as_str().expect("a configuration").to_owned(),
            command,
            capabilities: strings(&server["securityContext"]["capabilities"]["add"]),
            options: strings(&of("PersistentVolume")["spec"]["mountOptions"]).join(","),
        }
    }
}

/// A server, and a node with [`MOUNT`].
pub(crate) struct Stand {
    prefix: String,
}

impl Stand {
    /// `more` are capabilities that the server has besides its own.
    pub(crate) fn start(images: &[String], manifest: &Manifest, more: &[&str]) -> Stand {
        let [server, node] = images else { panic!("two images, of the server and of a node") };
        let stand = Stand { prefix: format!("wplab-test-storage-{}", std::process::id()) };
        let (network, volume) = (stand.name("net"), stand.name("export"));
        docker(&["network", "create", "--label", LABEL, &network]);
        docker(&["volume", "create", "--label", LABEL, &volume]);
        let rights: Vec<String> = manifest
            .capabilities
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .flat_map(|right| ["--cap-add".to_owned(), right.to_owned()])
            .collect();
        let mut create =
            vec!["create", "--name", "SERVER", "--label", LABEL, "--network", &network, "--cap-drop", "ALL"];
        let (name, export) = (stand.name("server"), format!("{volume}:/export"));
        create[2] = &name;
        create.extend(rights.iter().map(String::as_str));
        // Not the engine's filter of system calls, which is another one than that of the nodes.
        create.extend(["--security-opt", "no-new-privileges", "--security-opt", "seccomp=unconfined"]);
        create.extend([
            "--tmpfs",
            "/var/run/ganesha",
            "-v",
            &export,
            "--entrypoint",
            "sh",
            server,
            "-c",
            &manifest.command,
        ]);
        docker(&create);
        let folder = tempfile::tempdir().expect("a folder");
        fs::create_dir(folder.path().join("wplab")).expect("a folder");
        fs::write(folder.path().join("wplab/ganesha.conf"), &manifest.config).expect("written");
        docker(&["cp", &folder.path().join("wplab").to_string_lossy(), &format!("{name}:/etc/")]);
        docker(&["start", &name]);

        let node_name = stand.name("node");
        // /disk is a file system of the machine, and /second another one than both.
        docker(&[
            "run",
            "-d",
            "--name",
            &node_name,
            "--label",
            LABEL,
            "--network",
            &network,
            "--privileged",
            "--device",
            "/dev/fuse",
            "-v",
            "/disk",
            "--tmpfs",
            "/second",
            "-e",
            "MOUNT_NFS_USERSPACE=1",
            "--entrypoint",
            "sleep",
            node,
            "infinity",
        ]);
        if let Some(own) = std::env::var_os("MOUNT_NFS") {
            stand.copy(Path::new(&own), "/usr/sbin/mount.nfs.userspace");
        }
        let address = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let address = text(&docker(&["inspect", "-f", address, &name]).stdout);
        let source = format!("{}:/export", address.trim());
        // mount.nfs itself tries until there is a server; until it exports there is no such file.
        let mount = format!(
            "mkdir -p {MOUNT}; for i in $(seq 100); do mount -t nfs {source} {MOUNT} -o {} && exit 0; sleep 0.1; done; exit 1",
            manifest.options
        );
        let mounted = stand.on_node(&["bash", "-c", &mount], Duration::from_secs(60), "");
        assert!(mounted.status.success(), "{}\n{}", text(&mounted.stderr), stand.log_of_the_server());
        stand
    }

    /// Puts a file of this machine into the node.
    pub(crate) fn copy(&self, file: &Path, to: &str) {
        docker(&["cp", &file.to_string_lossy(), &format!("{}:{to}", self.name("node"))]);
    }

    /// A command on the node to its end, which is forced after `limit`: who waits for a dead server waits for ever.
    pub(crate) fn on_node(&self, command: &[&str], limit: Duration, input: &str) -> Output {
        let (node, limit) = (self.name("node"), limit.as_secs().to_string());
        let args = [&["exec", "-i", "-e", "NO_COLOR=1", &node, "timeout", "-s", "KILL", &limit], command].concat();
        let mut process = Command::new("docker")
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("docker starts");
        process.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it is taken");
        process.wait_with_output().expect("an end")
    }

    fn log_of_the_server(&self) -> String {
        text(&docker(&["logs", "--tail", "50", &self.name("server")]).stdout)
    }

    fn name(&self, of: &str) -> String {
        format!("{}-{of}", self.prefix)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        let quietly = |args: &[&str]| drop(Command::new("docker").args(args).output());
        quietly(&["rm", "-f", "-v", &self.name("node"), &self.name("server")]);
        quietly(&["volume", "rm", &self.name("export")]);
        quietly(&["network", "rm", &self.name("net")]);
    }
}

/// One call of `docker` that succeeds.
pub(crate) fn docker(args: &[&str]) -> Output {
    let output = Command::new("docker").args(args).output().expect("docker starts");
    let told = || format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "docker {args:?}: {}", told());
    output
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Where tests keep what takes long to make, outside the checkout.
pub(crate) fn cache() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("a home")).join(".cache");
    std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("wplab-ci")
}
