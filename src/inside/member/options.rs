//! A server's option files as its pod mounts them, in the order in which they win: its defaults, the lab file's settings, and
//! what the lab relies on. Who applies them, and who looks whether a server understands them, takes them from here.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;

use crate::cluster::manifests::{self, name_of, typed};

/// The files of this server (`mysql`, `percona` or `mariadb`) by name; `my.cnf` includes the others.
///
/// # Errors
/// There is no such server, or a setting cannot be written into an option file.
pub fn files(server: &str, settings: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>> {
    let objects = manifests::part("database")?;
    let config = objects.iter().find(|object| name_of(object) == "ConfigMap/db-config");
    let config: ConfigMap = typed(config.context("there is no ConfigMap db-config")?)?;
    let mut files = config.data.unwrap_or_default();
    for which in ["defaults.cnf", "fixed.cnf"] {
        files.insert(which.to_owned(), manifests::file(&format!("database/{server}-{which}"))?.to_owned());
    }
    files.insert("lab.cnf".to_owned(), lab_cnf(settings)?);
    Ok(files)
}

/// The lab file's settings as an option file. They stand between our defaults and what the lab relies on, which wins.
fn lab_cnf(settings: &BTreeMap<String, String>) -> Result<String> {
    let mut text = String::from("[mysqld]\n");
    for (name, value) in settings {
        let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        ensure!(!name.is_empty() && name.chars().all(plain), "{name:?} is not the name of a MySQL option");
        ensure!(!value.contains(['\n', '\r', '\0']), "the value of {name} has more than one line");
        // Quoted, because an option file takes # for a comment and drops blanks at the ends.
        let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
        text.push_str(&format!("{name}=\"{quoted}\"\n"));
    }
    Ok(text)
}

/// The options that people may give, as these files have them: our defaults, and over them what the lab file says.
pub fn effective(files: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let texts = ["defaults.cnf", "lab.cnf"].into_iter().filter_map(|file| files.get(file));
    let lines = texts.flat_map(|text| text.lines()).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('=')).map(|(name, value)| (name.to_owned(), plain(value))).collect()
}

/// A value as [`lab_cnf`] was given it.
fn plain(written: &str) -> String {
    let Some(inner) = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return written.to_owned();
    };
    let (mut text, mut escaped) = (String::new(), false);
    for c in inner.chars() {
        escaped = c == '\\' && !escaped;
        if !escaped {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{LabSpec, Topology};

    #[test]
    fn what_the_lab_file_sets_is_set_nowhere_else() {
        for (server, topology) in
            [("mysql", Topology::Replication), ("percona", Topology::Galera), ("mariadb", Topology::Galera)]
        {
            let settings = LabSpec::of(topology).database.settings;
            let files = files(server, &settings).expect("files");
            for name in settings.keys() {
                let line = format!("\n{name}=");
                let among: Vec<&String> =
                    files.iter().filter(|(_, text)| text.contains(&line)).map(|(f, _)| f).collect();
                assert_eq!(among, ["lab.cnf"], "{server}: {name}");
            }
            assert!(
                ["my.cnf", "defaults.cnf", "fixed.cnf"].iter().all(|file| files[*file].lines().count() > 2),
                "{server}"
            );
        }
        assert!(files("postgres", &BTreeMap::new()).is_err());
    }

    #[test]
    fn what_is_written_into_the_files_is_read_back_from_them() {
        let given: BTreeMap<String, String> =
            [("init_connect", r#"SET @a="x#y" \"#), ("a", r"\\"), ("sync_binlog", "7")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into();
        let read = effective(&files("mysql", &given).expect("files"));
        assert!(given.iter().all(|pair| read.get(pair.0) == Some(pair.1)), "{read:?}");
        let ours = effective(&files("mysql", &BTreeMap::new()).expect("files"));
        assert_eq!((ours["sync_binlog"].as_str(), ours.get("gtid_mode")), ("1", None));
    }

    #[test]
    fn settings_are_quoted_and_cannot_add_lines() {
        let settings = |name: &str, value: &str| lab_cnf(&BTreeMap::from([(name.to_owned(), value.to_owned())]));
        let text = settings("init_connect", r#"SET @a="x#y" \"#).expect("valid");
        assert_eq!(text, "[mysqld]\ninit_connect=\"SET @a=\\\"x#y\\\" \\\\\"\n");
        assert!(settings("a", "1\ngtid_mode=OFF").is_err());
        assert!(settings("a b", "1").is_err());
    }
}
