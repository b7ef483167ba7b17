//! Spells what can be done: the only place where a [`Hint`] becomes a command, for the lab that it is about.

use wplab::{
    run::advice::Hint,
    spec::{ImageSource, LabName},
};

use super::args::Wanted;

/// What was asked for, as far as it matters to what is said of it afterwards.
#[derive(Debug)]
pub(super) enum Asked {
    /// `up` of a lab; what is there is kept.
    Up {
        /// As it was asked for.
        wanted: Wanted,
        /// The lab; what it is called is known once its file is read.
        lab: LabName,
    },
    /// `down` of a lab.
    Down(LabName),
    /// A snapshot of a lab, which stands still meanwhile.
    Save(LabName),
    /// Drills in a lab, which leave nothing broken unless they are killed.
    Break(LabName),
    /// Everything else leaves a lab as it is.
    Other,
}

/// A command as one types it for a lab.
pub(super) fn command(verb: &str, lab: &LabName) -> String {
    if *lab == LabName::default() { format!("wplab {verb}") } else { format!("wplab {verb} {lab}") }
}

/// A command of `chaos` as one types it for a lab.
pub(super) fn chaos(verb: &str, lab: &LabName) -> String {
    of("chaos", verb, lab)
}

/// A command of `backup` as one types it for a lab.
pub(super) fn backup(verb: &str, lab: &LabName) -> String {
    of("backup", verb, lab)
}

fn of(command: &str, verb: &str, lab: &LabName) -> String {
    let of = if *lab == LabName::default() { String::new() } else { format!(" --lab {lab}") };
    format!("wplab {command} {verb}{of}")
}

/// What can be done, in one line.
pub(super) fn hint(hint: &Hint, asked: &Asked) -> String {
    match hint {
        Hint::Up { lab } => format!("`{}` brings it up, or repairs and completes it", up(lab, asked, &[])),
        Hint::Keep { lab, setting, has } => {
            format!("`{}` goes on with the {setting} that it has", up(lab, asked, &[(setting, has.clone())]))
        }
        Hint::Images { lab, source } => format!("`{}` {}", images(lab.as_ref(), source, asked), takes(source)),
        Hint::Mirror => "`--registry-mirror HOST` asks another registry".to_owned(),
        Hint::Down { lab } => format!("`{}` removes it", command("down", lab)),
        Hint::Resume { lab } => format!("`{}` goes on where it was", command("resume", lab)),
        Hint::Start { lab } => format!("`{}` brings it back as it was", command("start", lab)),
        Hint::Anew { lab } => {
            let (down, up) = (command("down", lab), up(lab, asked, &[]));
            format!("`{down}`, then `{up}`, make it anew; what is in it now is lost")
        }
        Hint::Recover { lab, member } => {
            let recover = command("recover", lab);
            format!(
                "`{recover} --bootstrap {member}` starts the cluster from {member}, and says before what that loses"
            )
        }
        Hint::RecoverWithout { lab, member, dead } => {
            let recover = command("recover", lab);
            let flags: String = dead.iter().map(|member| format!(" --dead {member}")).collect();
            let dead = dead.join(" and ");
            format!("`{recover} --bootstrap {member}{flags}`, once you know that nothing of {dead} runs any more")
        }
        Hint::RepairEtcd { lab } => format!(
            "`{}` rebuilds etcd from what the database's members report, when its volumes are lost",
            command("repair etcd", lab)
        ),
        Hint::Failover { lab } => format!("`{}` lets another member take writes", command("failover", lab)),
        Hint::Replace { lab, member, node } => format!(
            "`kubectl --kubeconfig \"$({})\" cordon {node}`, then `{}`, make it anew on a worker that has no member",
            command("kubeconfig", lab),
            command(&format!("replace {member}"), lab)
        ),
        Hint::Scale { lab, what, to } => {
            format!("`{}` changes that in the lab that stands", command(&format!("scale {what} {to}"), lab))
        }
        Hint::Restore { lab, from } => {
            format!("`{}` puts it in the place of what the lab has", backup(&format!("restore {from}"), lab))
        }
        Hint::Status { lab } => format!("`{}` shows how it is", command("status", lab)),
        Hint::Logs { lab, of: Some(part) } => format!("`{} --of {part}` shows what was written", command("logs", lab)),
        Hint::Logs { lab, of: None } => format!("`{}` shows what all of them have written", command("logs", lab)),
        Hint::Smoke { lab } => format!("`{}` looks again", command("smoke", lab)),
        Hint::Scenarios { lab } => format!("`{}` shows which can be run, and why others cannot", chaos("list", lab)),
        Hint::List => "`wplab list` shows the labs on this machine".to_owned(),
        Hint::Snapshots => "`wplab snapshot list` shows the snapshots on this machine".to_owned(),
        Hint::DeleteSnapshot { name } => format!("`wplab snapshot delete {name}` removes it"),
        Hint::TakeOver { lab } => {
            format!("`{} --take-over` gives them the lab file's values", up_as(lab.as_str(), asked))
        }
        Hint::OtherName => format!("`{}` brings up a lab of another name", up_as("NAME", asked)),
        Hint::Doctor => "`wplab doctor` shows what this machine has and lacks".to_owned(),
        Hint::Fix => format!("`{} --fix` installs what it can", fixing(asked)),
        Hint::Cure { of, by, fixable } => {
            let too = if *fixable { ", or let --fix do it" } else { "" };
            format!("{of}: {}{too}", self::hint(by, asked))
        }
        Hint::GetImage { role } => format!("`wplab images get {role}` gets one"),
        Hint::CheckImage { role } => format!("`wplab images check {role}` shows it line by line"),
        Hint::SaveBundle => "`wplab images save FILE.tar` writes one".to_owned(),
        Hint::Paste => "the command between the backquotes can be pasted into a shell".to_owned(),
        Hint::Words { text } => text.clone(),
    }
}

/// What can be done about something that is told while the command runs: what is asked for is on the screen above it.
pub(super) fn in_passing(hint: &Hint) -> String {
    match hint {
        Hint::Images { source, .. } => self::hint(&Hint::Images { lab: None, source: source.clone() }, &Asked::Other),
        other => self::hint(other, &Asked::Other),
    }
}

/// `up` of a lab with other flags: as it was asked for, where that is what failed.
fn up(lab: &LabName, asked: &Asked, instead: &[(&str, String)]) -> String {
    match asked {
        Asked::Up { wanted, lab: own } if own == lab => wanted.again_with(instead),
        _ => instead.iter().fold(command("up", lab), |typed, (flag, value)| format!("{typed} --{flag} {value}")),
    }
}

fn up_as(name: &str, asked: &Asked) -> String {
    match asked {
        Asked::Up { wanted, .. } => wanted.again_with(&[("", name.to_owned())]),
        Asked::Down(_) | Asked::Save(_) | Asked::Break(_) | Asked::Other => format!("wplab up {name}"),
    }
}

fn images(lab: Option<&LabName>, source: &ImageSource, asked: &Asked) -> String {
    let flag = [("images", source.to_string())];
    match (lab, asked) {
        (Some(lab), _) => up(lab, asked, &flag),
        (None, Asked::Up { lab, .. }) => up(lab, asked, &flag),
        (None, _) => format!("--images {source}"),
    }
}

fn takes(source: &ImageSource) -> &'static str {
    match source {
        ImageSource::Auto => "takes each image from where it can be had",
        ImageSource::Registry => "takes the images of a registry",
        ImageSource::Packages => "takes images that are built from packages",
        ImageSource::Bundle(_) => "takes the images of that bundle",
    }
}

fn fixing(asked: &Asked) -> String {
    match asked {
        Asked::Up { wanted, .. } => wanted.again(),
        Asked::Down(_) | Asked::Save(_) | Asked::Break(_) | Asked::Other => "wplab doctor".to_owned(),
    }
}
