//! What the pod gives a Galera member: environment variables and files at fixed paths (`manifests/database`).

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

use super::{flavour::Flavour, registry::Registry};
use crate::{
    inside::member::{
        count::Count,
        pod::{HTTP_PORT, RUN, VOLUME},
    },
    wire::etcd::{Etcd, Identity},
};

/// The settings of one member. Passwords are read from their files when they are needed.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// The pod's name, such as `db-0`.
    pub(super) name: String,
    /// The number at the end of its name.
    pub(super) ordinal: u32,
    /// The pod's address, which changes with every pod.
    pub(super) address: IpAddr,
    /// How many members there are.
    count: Count,
    /// Whose server it is.
    pub(super) flavour: &'static Flavour,
    /// Whether members of a new cluster make its data each for themselves, and need no copy.
    pub(super) alike: bool,
    /// etcd's client addresses.
    endpoints: Vec<String>,
    /// Where probes and the agent ask for this member's status.
    pub(super) status_port: u16,
    /// Where things are.
    pub(super) paths: Paths,
}

/// The pod's folders.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// The option files; ConfigMap `db-config`, whose `my.cnf` includes the others.
    pub(super) options: PathBuf,
    /// `ca.crt`, `tls.crt` and `tls.key`; Secret `db-tls`.
    pub(super) tls: PathBuf,
    /// The same for etcd; Secret `etcd-client`.
    pub(super) etcd: PathBuf,
    /// `root-password` and the others; Secret `db-credentials`.
    pub(super) credentials: PathBuf,
    /// The member's volume: the data directory, and markers beside it.
    pub(super) volume: PathBuf,
    /// The socket, and files with secrets while they are needed: a folder of the pod's own, in memory.
    pub(super) run: PathBuf,
}

impl Paths {
    /// Those of the manifests, below this folder: `/` in a pod.
    pub(super) fn of_the_pod(root: &Path) -> Paths {
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        Paths {
            options: at("/etc/wplab/mysql"),
            tls: at("/etc/wplab/tls"),
            etcd: at("/etc/wplab/etcd"),
            credentials: at("/etc/wplab/credentials"),
            volume: at(VOLUME),
            run: at(RUN),
        }
    }

    /// A password of the Secret: `root`, `wordpress` or `sst`.
    ///
    /// # Errors
    /// The file is not there.
    pub(super) fn password(&self, of: &str) -> Result<String> {
        Ok(read(&self.credentials.join(format!("{of}-password")))?.trim_end_matches('\n').to_owned())
    }
}

impl Config {
    /// Reads the environment: `POD_NAME`, `POD_IP`, `WPLAB_FLAVOUR`, `ETCD_ENDPOINTS`; `MEMBERS` where no file says how many there
    /// are. Two more let a member run
    /// outside a pod, for tests and for whoever looks for a mistake: `WPLAB_ROOT`, an absolute folder that takes the place
    /// of `/` in every path, and `WPLAB_STATUS_PORT` instead of 8081 (others still ask this member on 8081). A third one,
    /// `WPLAB_ALWAYS_COPY`, lets a member of a new cluster copy the first one's data, where that is to be seen.
    ///
    /// # Errors
    /// A variable is missing or is not what it should be.
    pub(super) fn from_env() -> Result<Config> {
        Config::read(|name| std::env::var(name).ok())
    }

    fn read(var: impl Fn(&str) -> Option<String>) -> Result<Config> {
        let root = PathBuf::from(var("WPLAB_ROOT").filter(|root| !root.is_empty()).unwrap_or_else(|| "/".to_owned()));
        ensure!(root.is_absolute(), "WPLAB_ROOT is not an absolute path");
        let status_port = var("WPLAB_STATUS_PORT").map_or(Ok(HTTP_PORT), |port| port.parse());
        let status_port = status_port.context("WPLAB_STATUS_PORT is not a port")?;
        let always_copy = var("WPLAB_ALWAYS_COPY").filter(|value| !value.is_empty());
        let var = |name: &str| var(name).with_context(|| format!("the environment variable {name} is missing"));
        let name = var("POD_NAME")?;
        let count = Count::new(var("MEMBERS").ok().as_deref(), &root)?;
        let ordinal = ordinal(&name).with_context(|| format!("the pod's name {name:?} does not end in a number"))?;
        // A pod beyond the count has no vote in an election; it would never be allowed to do anything.
        ensure!(ordinal < count.now(), "{name} is not one of the {} members", count.now());
        let flavour = var("WPLAB_FLAVOUR")?;
        let flavour = Flavour::named(&flavour)
            .with_context(|| format!("WPLAB_FLAVOUR is {flavour:?}; it can be mariadb or percona"))?;
        let alike = flavour.begins_alike && always_copy.is_none();
        let endpoints: Vec<String> =
            var("ETCD_ENDPOINTS")?.split(',').map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
        ensure!(!endpoints.is_empty(), "ETCD_ENDPOINTS names nobody");
        let address = var("POD_IP")?.parse().context("POD_IP is not an address")?;
        let paths = Paths::of_the_pod(&root);
        Ok(Config { name, ordinal, address, count, flavour, alike, endpoints, status_port, paths })
    }

    /// One for tests, of three members and with no etcd.
    #[cfg(test)]
    pub(super) fn of_a_test(name: &str, flavour: &'static Flavour, paths: Paths) -> Config {
        let count = Count::Fixed(3);
        let address = std::net::Ipv4Addr::LOCALHOST.into();
        let ordinal = ordinal(name).unwrap_or_default();
        let name = name.to_owned();
        let alike = flavour.begins_alike;
        Config { name, ordinal, address, count, flavour, alike, endpoints: Vec::new(), status_port: HTTP_PORT, paths }
    }

    /// How many members there are now.
    pub(super) fn size(&self) -> u32 {
        self.count.now()
    }

    /// The names of all members, this one's too.
    pub(super) fn members(&self) -> Vec<String> {
        let stem = self.name.rsplit_once('-').map_or("", |(stem, _)| stem);
        (0..self.count.now()).map(|ordinal| format!("{stem}-{ordinal}")).collect()
    }

    /// The register of members in etcd, under this member's name.
    ///
    /// # Errors
    /// The certificate cannot be read, or an endpoint is no address.
    pub(super) fn registry(&self) -> Result<Registry> {
        let own = |file: &str| read(&self.paths.etcd.join(file));
        let identity = Identity { ca: own("ca.crt")?, certificate: own("tls.crt")?, key: own("tls.key")? };
        let etcd = Etcd::new(&self.endpoints, Some(&identity), &[]).context("cannot set up talking to etcd")?;
        Ok(Registry::new(etcd, &self.name))
    }
}

fn read(path: &std::path::Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The number that a pod's name ends in.
fn ordinal(name: &str) -> Option<u32> {
    name.rsplit_once('-').and_then(|(_, digits)| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(change: (&str, Option<&str>)) -> Result<Config> {
        Config::read(|name| {
            if name == change.0 {
                return change.1.map(str::to_owned);
            }
            let value = match name {
                "POD_NAME" => "db-1",
                "POD_IP" => "10.1.2.3",
                "MEMBERS" => "3",
                "WPLAB_FLAVOUR" => "mariadb",
                "ETCD_ENDPOINTS" => "https://etcd-0.etcd:2379, https://etcd-1.etcd:2379,",
                _ => return None,
            };
            Some(value.to_owned())
        })
    }

    #[test]
    fn a_member_knows_everybody_and_itself() {
        let config = config(("", None)).expect("valid");
        assert_eq!(config.members(), ["db-0", "db-1", "db-2"]);
        assert_eq!(config.endpoints, ["https://etcd-0.etcd:2379", "https://etcd-1.etcd:2379"]);
        assert_eq!((config.flavour.name, config.alike), ("mariadb", true));
        assert_eq!((config.status_port, config.paths.run.as_path()), (8081, Path::new("/var/run/mysqld")));
    }

    #[test]
    fn outside_a_pod_every_path_is_below_one_folder() {
        let paths = config(("WPLAB_ROOT", Some("/tmp/a"))).expect("valid").paths;
        for path in [&paths.options, &paths.tls, &paths.etcd, &paths.credentials, &paths.volume, &paths.run] {
            assert!(path.starts_with("/tmp/a"), "{path:?}");
        }
        assert_eq!(paths.options, Path::new("/tmp/a/etc/wplab/mysql"));
        assert_eq!(config(("WPLAB_ROOT", Some(""))).expect("valid").paths.volume, Path::new("/var/lib/mysql"));
        assert!(!config(("WPLAB_ALWAYS_COPY", Some("yes"))).expect("valid").alike);
        assert_eq!(config(("WPLAB_STATUS_PORT", Some("9000"))).expect("valid").status_port, 9000);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (change, said) in [
            (("POD_IP", None), "the environment variable POD_IP is missing"),
            (("POD_NAME", Some("db-3")), "db-3 is not one of the 3 members"),
            (("POD_NAME", Some("database")), "the pod's name \"database\" does not end in a number"),
            (("WPLAB_FLAVOUR", Some("oracle")), "WPLAB_FLAVOUR is \"oracle\"; it can be mariadb or percona"),
            (("ETCD_ENDPOINTS", Some(" ,")), "ETCD_ENDPOINTS names nobody"),
            (("WPLAB_ROOT", Some("here")), "WPLAB_ROOT is not an absolute path"),
            (("WPLAB_STATUS_PORT", Some("x")), "WPLAB_STATUS_PORT is not a port"),
        ] {
            assert_eq!(config(change).expect_err("refused").to_string(), said);
        }
    }
}
