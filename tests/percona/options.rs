//! The options of the stand-in: read as the server reads them, and refused where the manual does not know them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::fake::Refused;

/// What the manual knows, but for `innodb_numa_interleave`: a build without libnuma does not know it. The same list that the supervisor's command lines are held against.
const DOCUMENTED: &str = include_str!("options.txt");
/// What Galera's manual knows of `wsrep_provider_options`, as far as it is used. A wrong word stops the server.
const PROVIDER: &[&str] = &[
    "evs.inactive_check_period",
    "evs.inactive_timeout",
    "evs.install_timeout",
    "evs.join_retrans_period",
    "evs.keepalive_period",
    "evs.suspect_timeout",
    "gcache.size",
    "pc.recovery",
    "pc.wait_prim_timeout",
];

/// All options, by name in one spelling (`wsrep_recover`).
pub(crate) struct Options {
    root: PathBuf,
    line: BTreeMap<String, String>,
    files: BTreeMap<String, String>,
}

impl Options {
    /// Reads a command line and the files that it names.
    pub(crate) fn read(root: &Path, args: &[String]) -> Result<Options, Refused> {
        let mut options = Options { root: root.to_owned(), line: BTreeMap::new(), files: BTreeMap::new() };
        let first = args.first().and_then(|arg| arg.strip_prefix("--defaults-file="));
        let first = first.ok_or("[ERROR] --defaults-file must be the first option")?;
        options.include(first)?;
        for arg in args {
            let option = arg.strip_prefix("--").ok_or(format!("[ERROR] [MY-010147] Too many arguments: {arg}"))?;
            let (name, value) = known(option)?;
            options.line.insert(name, value);
        }
        let provider = options.get("wsrep_provider_options").unwrap_or_default();
        for option in provider.split(';').filter(|option| !option.is_empty()) {
            let name = option.split('=').next().unwrap_or_default();
            if !PROVIDER.contains(&name) {
                return Err(format!("[ERROR] [MY-000000] [Galera] Unrecognized parameter '{name}'"));
            }
        }
        Ok(options)
    }

    fn include(&mut self, path: &str) -> Result<(), Refused> {
        let path = self.rooted(path);
        let text = fs::read_to_string(&path)
            .map_err(|error| format!("[ERROR] Could not open required defaults file: {}: {error}", path.display()))?;
        let mut ours = false;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(file) = line.strip_prefix("!include ") {
                self.include(file.trim())?;
            } else if line.starts_with('[') {
                ours = line == "[mysqld]";
            } else if ours {
                let (name, value) = known(line)?;
                self.files.insert(name, value);
            }
        }
        Ok(())
    }

    /// Whether it is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Its value: the command line wins.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.line.get(name).or_else(|| self.files.get(name)).map(String::as_str)
    }

    /// What the files say, whatever the command line does.
    pub(crate) fn in_files(&self, name: &str) -> Option<&str> {
        self.files.get(name).map(String::as_str)
    }

    /// A path among them, which must be there.
    pub(crate) fn path(&self, name: &str) -> Result<PathBuf, Refused> {
        self.get(name).map(|path| self.rooted(path)).ok_or(format!("{name} is not set"))
    }

    /// A pod's path, on this machine: the manifests' own files know nothing of the folder that plays the pod.
    pub(crate) fn rooted(&self, path: &str) -> PathBuf {
        let path = Path::new(path);
        if path.starts_with(&self.root) {
            path.to_owned()
        } else {
            self.root.join(path.strip_prefix("/").unwrap_or(path))
        }
    }
}

/// What a server does not know stops it, unless the option's name begins with `loose_`.
fn known(option: &str) -> Result<(String, String), Refused> {
    let (name, value) = option.split_once('=').unwrap_or((option, ""));
    let spelled = name.trim().replace('-', "_");
    let spelled = match spelled.strip_prefix("loose_") {
        Some(bare) => return Ok((bare.to_owned(), value.trim().to_owned())),
        None => spelled,
    };
    if !DOCUMENTED.lines().any(|documented| documented == spelled) {
        return Err(format!("[ERROR] [MY-000067] [Server] unknown variable '{option}'."));
    }
    Ok((spelled, value.trim().to_owned()))
}
