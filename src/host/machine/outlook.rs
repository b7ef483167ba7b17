//! What follows once `--fix` has done its part: how long all of it takes on this machine, and how much disk. Who is
//! asked is shown it beside the actions.

use std::fmt;

use crate::{
    host::machine::{
        action::{Action, KindSource},
        needs,
        observe::Observed,
    },
    spec::LabSpec,
};

/// From the last image to the last check, on two cores.
const LAB_SECONDS: u64 = 120;

/// The images that the lab still needs; from the room that knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImagesAhead {
    /// Bases and recipes to be built, in an order in which they can be.
    pub builds: Vec<String>,
    /// How many images are to be pulled.
    pub pulls: usize,
    /// Seconds that the builds take here.
    pub seconds: u64,
    /// Bytes on Docker's disk, with what building takes beside the images.
    pub disk: u64,
}

/// All of it, on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outlook {
    /// The images.
    pub images: ImagesAhead,
    /// Seconds of everything: the installation, the images, and the lab.
    pub seconds: u64,
    /// Cores of this machine.
    pub cores: u64,
    /// Bytes that the lab and its images take where Docker keeps its data.
    pub disk: u64,
    /// Bytes that are free there, if that is known.
    pub free: Option<u64>,
}

impl Outlook {
    pub(crate) fn new(spec: &LabSpec, seen: &Observed, actions: &[Action], images: ImagesAhead) -> Outlook {
        Outlook {
            seconds: actions.iter().map(seconds).sum::<u64>() + images.seconds + LAB_SECONDS,
            cores: seen.facts().cpus,
            disk: needs::of(spec).disk + images.disk,
            free: seen.disk,
            images,
        }
    }
}

impl fmt::Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ImagesAhead { builds, pulls, seconds, .. } = &self.images;
        let built = format!("build {} from packages, about {} min", builds.len(), minutes(*seconds));
        let pulled = format!("pull {pulls}");
        let images = match (builds.len(), pulls) {
            (0, 0) => "all here".to_owned(),
            (_, 0) => built,
            (0, _) => pulled,
            _ => format!("{pulled}, {built}"),
        };
        let free = self.free.map(|free| format!(", {} are free", needs::shown(free))).unwrap_or_default();
        let network = if *pulls > 0 { ", and what the pulls take" } else { "" };
        let (cores, plural) = (self.cores, if self.cores == 1 { "" } else { "s" });
        write!(
            f,
            "the images of the lab: {images}\ndisk: about {} where Docker keeps its data{free}\ntime until the lab runs: about {} min on {cores} core{plural}{network}",
            needs::shown(self.disk),
            minutes(self.seconds)
        )
    }
}

fn minutes(seconds: u64) -> u64 {
    seconds.div_ceil(60)
}

/// About how long an action takes.
fn seconds(action: &Action) -> u64 {
    match action {
        Action::ConfigureRuntime | Action::RaiseInotify { .. } => 0,
        Action::Packages { .. } => 60,
        Action::StartEngine { .. } | Action::DockerClient => 10,
        Action::Kind { sources } => match sources.first() {
            Some(KindSource::Go) => 60,
            // What is built is counted among the images.
            Some(KindSource::Package | KindSource::Recipe) | None => 10,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::machine::{judge::tests::healthy, needs::tests::spec};

    const GIB: u64 = 1 << 30;

    fn shown(images: ImagesAhead, actions: &[Action], change: impl FnOnce(&mut Observed)) -> String {
        let mut seen = healthy();
        change(&mut seen);
        Outlook::new(&spec(), &seen, actions, images).to_string()
    }

    #[test]
    fn it_says_what_follows_how_long_it_takes_and_how_much_disk() {
        let images = ImagesAhead { builds: vec!["a".into(), "b".into()], pulls: 0, seconds: 600, disk: 12 * GIB };
        let packages = Action::Packages { names: vec!["docker.io"], optional: vec![] };
        let text = shown(images.clone(), &[packages, Action::StartEngine { systemd: true }], |_| ());
        let wanted = "the images of the lab: build 2 from packages, about 10 min\n\
                      disk: about 26.5 GiB where Docker keeps its data, 200.0 GiB are free\n\
                      time until the lab runs: about 14 min on 4 cores";
        assert_eq!(text, wanted);
        let text = shown(ImagesAhead { pulls: 3, ..images }, &[], |seen| seen.disk = None);
        assert!(text.starts_with("the images of the lab: pull 3, build 2 from packages, about 10 min\n"), "{text}");
        assert!(text.contains("keeps its data\n") && text.ends_with("on 4 cores, and what the pulls take"), "{text}");
    }

    #[test]
    fn a_machine_that_has_them_is_told_so() {
        let none = ImagesAhead { disk: 4 * GIB, ..ImagesAhead::default() };
        assert!(shown(none, &[], |_| ()).starts_with("the images of the lab: all here\ndisk: about 18.5 GiB"));
    }
}
