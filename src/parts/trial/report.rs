//! A report that somebody can attach to an issue: what was checked, where, what was seen, and nothing secret.

use std::fmt::Write;

use serde::Serialize;

use super::{Step, StepEnd, Thorough};
use crate::{
    host::docker::EngineInfo,
    inside::inspect::{self, Seen},
};

/// What stands in place of a secret.
const HIDDEN: &str = "•••";

/// The machine that it was run on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Machine {
    /// The engine, its version, and its operating system.
    pub engine: String,
    /// Kernel of the engine's machine.
    pub kernel: String,
    /// Architecture, cores and memory.
    pub size: String,
    /// 1 or 2.
    pub cgroup: u8,
    /// How the engine keeps images.
    pub storage: String,
    /// This tool's version.
    pub wplab: String,
}

impl Machine {
    pub(super) fn of(info: EngineInfo) -> Machine {
        let rootless = if info.rootless { ", rootless" } else { "" };
        let memory = info.memory / (1 << 20);
        Machine {
            engine: format!("Docker {} (API {}{rootless}) on {}", info.version, info.api_version, info.os),
            kernel: info.kernel,
            size: format!("{}, {} cores, {memory} MiB", info.arch, info.cpus),
            cgroup: info.cgroup_version,
            storage: info.storage_driver,
            wplab: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

impl Thorough {
    /// Takes these secrets out of everything that was heard.
    pub(super) fn hide(&mut self, secrets: &[String]) {
        let hide = |text: &mut String| {
            for secret in
                secrets.iter().filter(|secret| !secret.is_empty() && text.contains(secret.as_str())).collect::<Vec<_>>()
            {
                *text = text.replace(secret.as_str(), HIDDEN);
            }
        };
        self.logs.iter_mut().for_each(|(_, log)| hide(log));
        for step in &mut self.steps {
            match &mut step.verdict {
                StepEnd::Holds(seen) => seen.iter_mut().for_each(hide),
                StepEnd::Breaks(why) => hide(why),
                StepEnd::NotReached => {}
            }
        }
    }

    /// The result in one sentence.
    pub fn sum(&self) -> String {
        match (self.checked.broken(), self.broken()) {
            (Some(broken), _) => broken.to_string(),
            (None, Some((step, why))) => format!("the cluster does not hold at step {step}: {why}"),
            (None, None) => {
                let seconds: f64 = self.steps.iter().map(|step| step.took).sum();
                format!("the image keeps its contract, and a cluster of two lived through every step in {seconds:.0} s")
            }
        }
    }

    /// The report, as Markdown.
    pub fn markdown(&self) -> String {
        let role = self.checked.role.name();
        let mut text = format!("# The thorough check of {role}\n\n**{}**\n\n", self.sum());
        text += &self.facts();
        text += "\n## The contract\n\n| line | what the lab relies on | | seen |\n|---|---|---|---|\n";
        for Seen { line, says, verdict } in &self.checked.report.lines {
            let (mark, seen) = match verdict {
                inspect::Judgement::Holds(seen) => ("holds", seen),
                inspect::Judgement::Differs(seen) => ("differs", seen),
                inspect::Judgement::Breaks(why) => ("**breaks**", why),
            };
            let _ = writeln!(text, "| {line} | {} | {mark} | {} |", cell(says), cell(seen));
        }
        text += "\n## A cluster of two\n\n";
        text += &self.life();
        for (name, log) in &self.logs {
            let _ = writeln!(text, "\n## The end of the log of {name}\n\n{}", fenced(log));
        }
        text
    }

    fn facts(&self) -> String {
        let Thorough { checked, digests, etcd, machine, .. } = self;
        let digests = if digests.is_empty() { "none: it was built here".to_owned() } else { digests.join(", ") };
        let facts = [
            ("image", &checked.image),
            ("id", &checked.id),
            ("digest", &digests),
            ("etcd", etcd),
            ("wplab", &machine.wplab),
            ("engine", &machine.engine),
            ("kernel", &machine.kernel),
            ("machine", &machine.size),
            ("cgroup", &machine.cgroup.to_string()),
            ("storage", &machine.storage),
        ];
        let rows = facts.map(|(name, value)| format!("| {name} | {} |\n", cell(value)));
        format!("| | |\n|---|---|\n{}", rows.concat())
    }

    fn life(&self) -> String {
        if self.steps.is_empty() {
            return "Not tried: the contract does not hold.\n".to_owned();
        }
        let mut text = "| step | what has to be so | | took |\n|---|---|---|---|\n".to_owned();
        for Step { name, says, took, verdict } in &self.steps {
            let (mark, took) = match verdict {
                StepEnd::Holds(_) => ("holds", format!("{took:.1} s")),
                StepEnd::Breaks(_) => ("**does not hold**", format!("{took:.1} s")),
                StepEnd::NotReached => ("not reached", "-".to_owned()),
            };
            let _ = writeln!(text, "| {name} | {says} | {mark} | {took} |");
        }
        for Step { name, verdict, .. } in &self.steps {
            let seen = match verdict {
                StepEnd::Holds(seen) => seen.join("\n"),
                StepEnd::Breaks(why) => why.clone(),
                StepEnd::NotReached => continue,
            };
            let _ = writeln!(text, "\n### {name}\n\n{}", fenced(&seen));
        }
        text
    }
}

/// The last lines of a log.
pub(super) fn last(log: &str, lines: usize) -> String {
    let all: Vec<&str> = log.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}

/// Text in a table's cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// Text as it is; no line in it ends the block.
fn fenced(text: &str) -> String {
    format!("````text\n{}\n````", text.replace("````", "` ` ` `").trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        inside::inspect::Report,
        parts::images::{Checked, Role},
    };

    const SECRET: &str = "kJ3kfh2LkfjPqZ0aXw81mN5vBt6yRe4s";

    fn thorough(verdict: StepEnd, contract: inspect::Judgement) -> Thorough {
        let line = Seen { line: "options".into(), says: "a | b".into(), verdict: contract };
        let report = Report { role: "percona".into(), lines: vec![line] };
        Thorough {
            checked: Checked { role: Role::Percona, image: "percona/x:8.4".into(), id: "sha256:ab".into(), report },
            digests: vec!["percona/x@sha256:cd".into()],
            etcd: "wplab/etcd:1".into(),
            machine: Machine { kernel: "6.1".into(), cgroup: 2, ..Machine::default() },
            steps: vec![
                Step { name: "join", says: "it joins", took: 7.25, verdict },
                Step { name: "row", says: "it is read", took: 0.0, verdict: StepEnd::NotReached },
            ],
            logs: vec![("db-1".into(), format!("wsrep_sst_auth=sst:{SECRET}\n````\nend"))],
        }
    }

    #[test]
    fn a_report_tells_everything_and_no_secret() {
        let why = format!("it failed with {SECRET}");
        let mut thorough = thorough(StepEnd::Breaks(why), inspect::Judgement::Holds("all of them".into()));
        assert!(thorough.markdown().contains(SECRET), "the test would see one");
        thorough.hide(&[SECRET.to_owned(), String::new()]);
        let text = thorough.markdown();
        assert!(!text.contains(SECRET) && !serde_json::to_string(&thorough).expect("JSON").contains(SECRET));
        for part in [
            "percona/x@sha256:cd",
            "| kernel | 6.1 |",
            "| options | a \\| b | holds | all of them |",
            "| join | it joins | **does not hold** | 7.2 s |",
            "| row | it is read | not reached | - |",
            "does not hold at step join: it failed with •••",
            "wsrep_sst_auth=sst:•••\n` ` ` `\nend\n````",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(!thorough.holds());
    }

    #[test]
    fn only_every_step_and_the_contract_make_it_hold() {
        let fine = || inspect::Judgement::Holds(String::new());
        let held = || StepEnd::Holds(vec!["seen".into()]);
        assert!(!thorough(held(), fine()).holds(), "one was not reached");
        let mut whole = thorough(held(), fine());
        whole.steps.truncate(1);
        assert!(whole.holds() && whole.sum().contains("every step in 7 s"));
        let mut broken = thorough(held(), inspect::Judgement::Breaks("no".into()));
        broken.steps.clear();
        assert!(!broken.holds() && broken.markdown().contains("Not tried"));
        whole.steps.clear();
        assert!(!whole.holds(), "nothing was tried");
    }

    #[test]
    fn the_end_of_a_log_is_its_last_lines() {
        assert_eq!(last("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last("a", 2), "a");
        assert_eq!(last("", 2), "");
    }
}
