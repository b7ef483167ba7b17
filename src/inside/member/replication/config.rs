//! What the pod gives its member: a few environment variables and files at fixed paths (`manifests/database`).

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

pub(super) use crate::inside::member::pod::password;
use crate::inside::member::{count::Count, pod::RUN};

/// The settings of one member. Passwords are read from their files when they are needed.
#[derive(Clone, Debug)]
pub(super) struct Config {
    /// The pod's name, such as `db-0`.
    pub(super) name: String,
    /// The number at the end of the pod's name.
    pub(super) ordinal: u32,
    /// How many members there are.
    count: Count,
    /// A member's host name, with `{}` for its ordinal.
    pattern: String,
}

/// The my.cnf that mysqld is started with; the ConfigMap `db-config`.
pub(super) const MY_CNF: &str = "/etc/wplab/mysql/my.cnf";
/// The authority's certificate; the Secret `db-tls`.
pub(super) const CA: &str = "/etc/wplab/tls/ca.crt";
/// MySQL's port.
pub(super) const MYSQL_PORT: u16 = 3306;
/// The account that replicas use, at the source.
pub(super) const REPLICATION_USER: &str = "replication";

impl Config {
    /// Reads the environment: `POD_NAME`, and for another name scheme `WPLAB_MEMBERS_PATTERN`; `MEMBERS` where no file says how
    /// many there are.
    ///
    /// # Errors
    /// A variable is missing or is not what it should be.
    pub(super) fn from_env() -> Result<Config> {
        let var =
            |name: &str| std::env::var(name).with_context(|| format!("the environment variable {name} is missing"));
        let count = Count::new(std::env::var("MEMBERS").ok().as_deref(), Path::new("/"))?;
        let pattern = var("WPLAB_MEMBERS_PATTERN").unwrap_or_else(|_| "db-{}.db-members".to_owned());
        Config::new(var("POD_NAME")?, count, pattern)
    }

    fn new(name: String, count: Count, pattern: String) -> Result<Config> {
        let ordinal = name.rsplit('-').next().and_then(|digits| digits.parse().ok());
        let ordinal = ordinal.with_context(|| format!("the pod's name {name:?} does not end in a number"))?;
        Ok(Config { name, ordinal, count, pattern })
    }

    /// The host name of member `ordinal`.
    pub(super) fn host(&self, ordinal: u32) -> String {
        self.pattern.replace("{}", &ordinal.to_string())
    }

    /// How many members there are now.
    pub(super) fn members(&self) -> u32 {
        self.count.now()
    }

    /// How many members have to know of each other: also those that are about to leave, as long as they count.
    pub(super) fn peers(&self) -> u32 {
        self.count.peers()
    }

    /// The names and host names of the other members, of so many, by ordinal.
    pub(super) fn others(&self, members: u32) -> impl Iterator<Item = (String, String)> + '_ {
        let set = self.name.rsplit_once('-').map_or("", |(set, _)| set);
        let others = (0..members).filter(|ordinal| *ordinal != self.ordinal);
        others.map(move |ordinal| (format!("{set}-{ordinal}"), self.host(ordinal)))
    }

    /// The member that initialises the lab's data when there is none anywhere.
    pub(super) fn bootstraps(&self) -> bool {
        self.ordinal == 0
    }

    /// mysqld's unix socket.
    pub(super) fn socket() -> PathBuf {
        Path::new(RUN).join("mysqld.sock")
    }

    /// Whether `up` has recorded that the lab's data exists (ConfigMap `db-state`); no record counts as no.
    pub(super) fn lab_initialised() -> bool {
        std::fs::read_to_string("/etc/wplab/state/initialized").is_ok_and(|text| text.trim() == "true")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_knows_its_number_and_the_others_names() {
        let config = Config::new("db-1".into(), Count::Fixed(3), "db-{}.db-members".into()).expect("valid");
        assert_eq!((config.ordinal, config.bootstraps()), (1, false));
        let others = ["db-0", "db-2"].map(|name| (name.to_owned(), format!("{name}.db-members")));
        assert_eq!(config.others(config.members()).collect::<Vec<_>>(), others);
    }

    #[test]
    fn a_name_without_a_number_is_refused() {
        let error = Config::new("database".into(), Count::Fixed(3), String::new()).expect_err("no number");
        assert_eq!(error.to_string(), "the pod's name \"database\" does not end in a number");
    }
}
