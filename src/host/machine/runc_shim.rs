//! `wplab runc-shim …`: an OCI runtime for machines whose processes can never have CAP_SYS_RESOURCE. It drops that
//! capability from what the engine asks for and becomes runc; otherwise `--privileged` and `exec` into such a container
//! fail with "unable to apply caps". `--fix` makes it the default runtime there (see [`super::engine`]).

use std::{
    ffi::{OsStr, OsString},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Error, Result};
use serde_json::Value;

use crate::host::programs;

/// What the machine cannot give.
const DROPPED: &str = "CAP_SYS_RESOURCE";

/// Global options of runc that take a value in the next argument.
const WITH_VALUE: [&str; 5] = ["--root", "--log", "--log-format", "--criu", "--rootless"];

/// Becomes runc with these arguments (those after `runc-shim`); returns only when that fails.
pub fn become_runc(args: &[OsString]) -> Error {
    if let Some((file, place)) = document(args)
        && let Err(error) = rewrite(&file, place)
    {
        return error;
    }
    let runc = programs::find("runc").unwrap_or_else(|| PathBuf::from("/usr/sbin/runc"));
    let error = Command::new(&runc).args(args).exec();
    Error::new(error).context(format!("cannot start {}", runc.display()))
}

/// Where in a document the process's capabilities are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// A bundle's `config.json`: under `process`.
    Bundle,
    /// The file of `exec --process`: at the top.
    Process,
}

/// The document that a call of runc reads capabilities from, if it is such a call.
fn document(args: &[OsString]) -> Option<(PathBuf, Place)> {
    let mut rest = args.iter();
    let command = loop {
        let arg = rest.next()?.to_str()?;
        if WITH_VALUE.contains(&arg) {
            rest.next();
        } else if !arg.starts_with('-') {
            break arg;
        }
    };
    let rest = rest.as_slice();
    match command {
        "create" | "run" => {
            let bundle = option(rest, "--bundle", "-b").unwrap_or_else(|| PathBuf::from("."));
            Some((bundle.join("config.json"), Place::Bundle))
        }
        "exec" => option(rest, "--process", "-p").map(|file| (file, Place::Process)),
        _ => None,
    }
}

fn option(args: &[OsString], long: &str, short: &str) -> Option<PathBuf> {
    let prefix = format!("{long}=");
    args.iter().enumerate().find_map(|(i, arg)| {
        if arg == OsStr::new(long) || arg == OsStr::new(short) {
            return args.get(i + 1).map(PathBuf::from);
        }
        arg.to_str()?.strip_prefix(&prefix).map(PathBuf::from)
    })
}

fn rewrite(file: &Path, place: Place) -> Result<()> {
    let shown = file.display();
    let text = std::fs::read(file).with_context(|| format!("cannot read {shown}"))?;
    let mut document: Value = serde_json::from_slice(&text).with_context(|| format!("cannot understand {shown}"))?;
    let process = match place {
        Place::Bundle => document.get_mut("process"),
        Place::Process => Some(&mut document),
    };
    if process.is_some_and(drop_capability) {
        std::fs::write(file, document.to_string()).with_context(|| format!("cannot write {shown}"))?;
    }
    Ok(())
}

/// Drops the capability from every set; says whether it was in one.
fn drop_capability(process: &mut Value) -> bool {
    let sets = process.get_mut("capabilities").and_then(Value::as_object_mut);
    let mut dropped = false;
    for set in sets.into_iter().flat_map(|sets| sets.values_mut()).filter_map(Value::as_array_mut) {
        let before = set.len();
        set.retain(|capability| capability != DROPPED);
        dropped |= set.len() != before;
    }
    dropped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn words(line: &str) -> Vec<OsString> {
        line.split_whitespace().map(OsString::from).collect()
    }

    #[test]
    fn the_document_of_each_call() {
        let cases = [
            (
                "--root /run/create --log /l --log-format json create --bundle /b --pid-file /p abc",
                Some(("/b/config.json", Place::Bundle)),
            ),
            ("--systemd-cgroup --log=/l run -b /b abc", Some(("/b/config.json", Place::Bundle))),
            ("create abc", Some(("./config.json", Place::Bundle))),
            ("--root /r exec --process /tmp/p.json --detach abc", Some(("/tmp/p.json", Place::Process))),
            ("exec --process=/tmp/p.json abc", Some(("/tmp/p.json", Place::Process))),
            ("exec abc sh", None),
            ("--root /r delete --force create", None),
            ("--version", None),
            ("", None),
        ];
        for (line, want) in cases {
            let want = want.map(|(file, place)| (PathBuf::from(file), place));
            assert_eq!(document(&words(line)), want, "{line}");
        }
    }

    #[test]
    fn the_capability_goes_from_every_set_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("config.json");
        let caps = |list: &[&str]| json!({"ociVersion": "1.0.2", "process": {"args": ["sh"], "capabilities": {"bounding": list, "effective": list}}});
        std::fs::write(&file, caps(&["CAP_CHOWN", DROPPED]).to_string()).expect("written");
        rewrite(&file, Place::Bundle).expect("rewritten");
        let after: Value = serde_json::from_slice(&std::fs::read(&file).expect("read")).expect("JSON");
        assert_eq!(after, caps(&["CAP_CHOWN"]));
    }

    #[test]
    fn a_process_without_capabilities_is_left_alone() {
        assert!(!drop_capability(&mut json!({"args": ["sh"]})));
        assert!(!drop_capability(&mut json!({"capabilities": null})));
        assert!(drop_capability(&mut json!({"capabilities": {"ambient": [DROPPED]}})));
    }
}
