//! `wplab inspect ROLE`, PID 1 of a throw-away container: holds the image that it runs in against the contract of a role.
//! What is relied on is data (`contract`); how each kind of line is looked at is in `look`, and in `server`, `apache` and
//! `ganesha` where a program has to be asked. The report goes to standard output as one line of JSON, for
//! `parts::images::check`, which made the container.

mod apache;
pub mod contract;
mod ganesha;
mod look;
mod server;

use std::io::Write;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

pub use contract::{CONTRACTS, Contract};

/// Where the pods mount their configuration; in the container it is empty and in memory.
const CONFIG: &str = "/etc/wplab";

/// What was seen of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The role whose contract it was held against.
    pub role: String,
    /// Every line of the contract.
    pub lines: Vec<Seen>,
}

/// What was seen of one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The line's name.
    pub line: String,
    /// What has to be so.
    pub says: String,
    /// Whether it is.
    #[serde(flatten)]
    pub verdict: Judgement,
}

/// Whether a line holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "verdict", content = "seen")]
pub enum Judgement {
    /// It does; what was seen, in a few words.
    Holds(String),
    /// It does as far as can be told, and is not what the lab was seen running on.
    Differs(String),
    /// It does not; why.
    Breaks(String),
}

impl Report {
    /// The lines that do not hold, each with the reason.
    pub fn broken(&self) -> impl Iterator<Item = (&Seen, &str)> {
        self.lines.iter().filter_map(|seen| match &seen.verdict {
            Judgement::Breaks(why) => Some((seen, why.as_str())),
            Judgement::Holds(_) | Judgement::Differs(_) => None,
        })
    }

    /// The lines on which the image is not what the lab was seen running on.
    pub fn different(&self) -> impl Iterator<Item = (&Seen, &str)> {
        self.lines.iter().filter_map(|seen| match &seen.verdict {
            Judgement::Differs(what) => Some((seen, what.as_str())),
            Judgement::Holds(_) | Judgement::Breaks(_) => None,
        })
    }
}

/// Holds this image against the contract of a role, and writes the report to standard output. A line that breaks is no
/// error.
///
/// # Errors
/// There is no contract for the role; or standard output is closed.
pub async fn main(role: &str) -> Result<()> {
    let contract = contract::of(role).with_context(|| format!("there is no contract for {role}"))?;
    let mut lines = Vec::new();
    for line in contract.lines {
        let verdict = look::at(&line.need).await.unwrap_or_else(|error| Judgement::Breaks(format!("{error:#}")));
        lines.push(Seen { line: line.id.to_owned(), says: line.need.to_string(), verdict });
    }
    let report = Report { role: role.to_owned(), lines };
    let report = serde_json::to_string(&report).context("cannot write the report")?;
    writeln!(std::io::stdout().lock(), "{report}").context("cannot write the report")
}

/// All that decides what is seen of an image, beside the manifests: another text is another judgement.
pub fn fingerprint() -> String {
    let sources = [
        include_str!("apache.rs"),
        include_str!("contract.rs"),
        include_str!("ganesha.rs"),
        include_str!("look.rs"),
        include_str!("server.rs"),
        include_str!("../member/options.rs"),
        crate::spec::load::DEFAULT,
        crate::spec::load::GALERA,
    ];
    sources.concat()
}

/// The contracts as they stand in `lab/images/README.md`.
pub fn as_markdown() -> String {
    let mut text = String::from("| role | line | what the lab relies on |\n|---|---|---|\n");
    for Contract { role, lines } in CONTRACTS {
        for (number, line) in lines.iter().enumerate() {
            let role = if number == 0 { role } else { "" };
            text += &format!("| {role} | {} | {} |\n", line.id, line.need);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_reads_back_and_tells_what_is_wrong() {
        let seen = |line: &str, verdict| Seen { line: line.into(), says: "x".into(), verdict };
        let report = Report {
            role: "nfs".into(),
            lines: vec![
                seen("a", Judgement::Holds("6.5".into())),
                seen("b", Judgement::Breaks("no such file".into())),
                seen("c", Judgement::Differs("7.1".into())),
            ],
        };
        let text = serde_json::to_string(&report).expect("written");
        assert!(text.contains(r#"{"line":"b","says":"x","verdict":"breaks","seen":"no such file"}"#), "{text}");
        assert_eq!(serde_json::from_str::<Report>(&text).expect("read"), report);
        assert_eq!(
            report.broken().map(|(line, why)| (line.line.as_str(), why)).collect::<Vec<_>>(),
            [("b", "no such file")]
        );
        assert_eq!(report.different().count(), 1);
    }
}
