//! Flags that several commands share, and how their values are read. What is wrong with a value is clap's to tell.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use jiff::SignedDuration;
use wplab::{
    run::advice::Trouble,
    spec::{
        Flavour, ImageSource, LabName, LabSpec, Topology,
        load::{Overrides, Source, load},
    },
};

/// The lab that a command is about.
#[derive(Debug, Args)]
pub(super) struct Lab {
    /// Name of the lab [default: wplab]
    #[arg(value_parser = LabName::new)]
    name: Option<LabName>,
}

impl Lab {
    pub(super) fn name(&self) -> LabName {
        self.name.clone().unwrap_or_default()
    }
}

/// The lab as it is asked for: a file, and what the command line says over it.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Wanted {
    /// Name of the lab [default: the file's, or wplab]
    #[arg(value_parser = LabName::new)]
    name: Option<LabName>,
    /// The lab file; `-` is standard input [default: the default lab]
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where images come from: auto, registry, packages, or a bundle FILE.tar
    #[arg(long, value_name = "SOURCE", value_parser = images)]
    images: Option<ImageSource>,
    /// Worker nodes, 2 to 9
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(2..=9))]
    workers: Option<u8>,
    /// Port of the site on 127.0.0.1
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1024..))]
    port: Option<u16>,
    /// How the database keeps its copies: replication or galera
    #[arg(long, value_parser = Topology::new)]
    topology: Option<Topology>,
    /// Which server topology galera is made of: auto, percona or mariadb
    #[arg(long, value_parser = Flavour::new)]
    flavour: Option<Flavour>,
}

impl Wanted {
    /// The name, as far as it is known before the file is read.
    pub(super) fn name(&self) -> LabName {
        self.name.clone().unwrap_or_default()
    }

    /// `wplab up` of the same lab once more.
    pub(super) fn again(&self) -> String {
        self.again_with(&[])
    }

    /// The same with other values of these flags; the flag without a name is the lab's own name.
    pub(super) fn again_with(&self, instead: &[(&str, String)]) -> String {
        let flags = [
            ("", self.name.as_ref().map(ToString::to_string)),
            (" -f", self.file.as_ref().map(|file| file.display().to_string())),
            (" --images", self.images.as_ref().map(ToString::to_string)),
            (" --workers", self.workers.map(|workers| workers.to_string())),
            (" --port", self.port.map(|port| port.to_string())),
            (" --topology", self.topology.map(|topology| topology.name().to_owned())),
            (" --flavour", self.flavour.map(|flavour| flavour.name().to_owned())),
        ];
        let other = |flag: &str| instead.iter().find(|(name, _)| flag.trim_start_matches([' ', '-']) == *name);
        let given = flags.into_iter().filter_map(|(flag, value)| {
            let value = other(flag).map(|(_, value)| value.clone()).or(value);
            Some(format!("{flag} {}", value?))
        });
        format!("wplab up{}", given.collect::<String>())
    }

    pub(super) fn spec(&self) -> Result<LabSpec, Trouble> {
        let source = match &self.file {
            None => Source::Defaults,
            Some(path) if path.as_os_str() == "-" => Source::Stdin,
            Some(path) => Source::File(path.clone()),
        };
        let Wanted { name, images, workers, port, topology, flavour, .. } = self;
        let (name, images) = (name.clone(), images.clone());
        let (workers, port, topology, flavour) = (*workers, *port, *topology, *flavour);
        Ok(load(&source, &Overrides { name, workers, port, images, topology, flavour })?)
    }
}

fn images(text: &str) -> Result<ImageSource, String> {
    ImageSource::new(text, Path::new(""))
}

/// The longest span of time that is not taken for a slip of the hand.
const A_WEEK: Duration = Duration::from_hours(7 * 24);

/// A span of time, as people write it.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let span = text.parse::<SignedDuration>().ok().and_then(|span| Duration::try_from(span).ok());
    span.filter(|span| (Duration::from_secs(1)..=A_WEEK).contains(span))
        .ok_or_else(|| "write a time from a second to a week, with units, such as 90s, 10m or 1h30m".to_owned())
}

/// What a report is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Html,
    Junit,
    Json,
}

/// A report, and the file that it goes to.
pub(super) fn report(text: &str) -> Result<(Kind, PathBuf), String> {
    let wrong = || "write html=FILE, junit=FILE or json=FILE, or several of them with commas between".to_owned();
    let (kind, path) = text.split_once('=').ok_or_else(wrong)?;
    let kind = match kind {
        "html" => Kind::Html,
        "junit" => Kind::Junit,
        "json" => Kind::Json,
        _ => return Err(wrong()),
    };
    if path.is_empty() { Err(wrong()) } else { Ok((kind, PathBuf::from(path))) }
}

/// Writes what was found out to every file that was asked for, and says so.
///
/// # Errors
/// A file cannot be written.
pub(super) fn write<T: serde::Serialize>(
    reports: &[(Kind, PathBuf)],
    terminal: &super::Terminal,
    found: &T,
    html: impl Fn(&T) -> String,
    junit: impl Fn(&T) -> String,
) -> anyhow::Result<()> {
    for (kind, path) in reports {
        let text = match kind {
            Kind::Html => html(found),
            Kind::Junit => junit(found),
            Kind::Json => serde_json::to_string_pretty(found).context("cannot write the report as JSON")? + "\n",
        };
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
        terminal.say(&format!("wrote {}", path.display()));
    }
    Ok(())
}

/// A registry's host, as it stands before the first slash of a reference.
pub(super) fn mirror(text: &str) -> Result<String, String> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if !text.is_empty() && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    Err("write a host and, if need be, a port, such as registry.example:5000, without https:// and without a path"
        .to_owned())
}

#[cfg(test)]
impl Wanted {
    /// What these words on the command line ask for.
    pub(super) fn of(words: &str) -> Wanted {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            wanted: Wanted,
        }
        let line: Line = clap::Parser::parse_from(std::iter::once("up").chain(words.split(' ')));
        line.wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(span("10m"), Ok(Duration::from_mins(10)));
        assert_eq!(span("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(span("168h"), Ok(A_WEEK));
        for wrong in ["10", "0s", "", "m", "1x", "-1s", "1s ago", "99999999999999999999h", "169h"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
