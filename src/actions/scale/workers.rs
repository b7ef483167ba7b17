//! `wplab scale workers`: nodes that join a cluster that runs, and the highest numbered ones that leave it. Whoever is killed
//! in between leaves a lab that works, and workers beyond those that it has written down: whatever is asked for next,
//! those are finished or removed first.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use super::{Change, NoScaling, change, edited};
use crate::{
    actions::standing,
    cluster::Cluster,
    host::{
        docker::Container,
        nodes::{self, NotOurs, join, join::Joining, rules},
    },
    parts::{
        images::{self, Role, golden},
        workers::{self, Held, Owner},
    },
    run::{
        Run, StepCx, Stepped,
        advice::{Hint, Trouble},
        event::StepId,
    },
    spec::{LabName, LabSpec},
};

/// A lab has no more workers than this.
const MOST: u8 = 9;

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Staffed {
    /// Which lab.
    pub name: LabName,
    /// The workers of before.
    pub had: u8,
    /// The workers now.
    pub workers: u8,
    /// Those that have joined.
    pub joined: Vec<String>,
    /// Those that have left, or were left by whoever was interrupted.
    pub left: Vec<String>,
}

/// What goes for good with the workers that leave, as sentences: what was kept of former members.
///
/// # Errors
/// It cannot be done ([`NoScaling`]), or as [`super::change()`].
pub async fn look(lab: &LabName, wanted: u8) -> Result<Vec<String>> {
    let cluster = standing::open(lab).await?;
    let had = cluster.lab_file().await?;
    let spec = edited(&had, |spec| spec.cluster.workers = wanted).map_err(|wrong| match few(&had, wanted) {
        Some(few) => few.because(Trouble::from(wrong)),
        None => wrong.into(),
    })?;
    let held = held(&cluster, &spec).await?;
    Ok(kept(&held).map(ToString::to_string).collect())
}

/// What is to be done first where a lab has more members than it would have workers.
fn few(had: &LabSpec, wanted: u8) -> Option<Trouble> {
    let (lab, members) = (had.name.clone(), had.database.members);
    let why = format!("lab {lab} cannot do with {wanted} workers");
    let hint = Hint::Scale { lab: lab.clone(), what: "db", to: wanted.to_string() };
    (members > wanted).then(|| NoScaling { lab, why, hints: vec![hint] }.into())
}

/// Gives a lab this many workers. `agreed` says that what was kept of former members on those that leave may go.
///
/// # Errors
/// [`NoScaling`], before anything is touched; as [`super::change()`]; a worker does not boot or join, or a pod does not move.
pub async fn workers(run: &Run, lab: &LabName, wanted: u8, agreed: bool) -> Result<Staffed> {
    run.step(StepId::Cluster, async |cx| {
        let change = change(&cx, lab, |spec| spec.cluster.workers = wanted).await?;
        let had = change.had.cluster.workers;
        let impossible = |why, hints| Trouble::from(NoScaling { lab: lab.clone(), why, hints });
        let there = nodes::containers(&change.docker, lab).await?;
        NotOurs::check(lab, &there)?;
        let known = workers::names(&change.cluster).await?;
        let inside = nodes::worker_names(&change.cluster.inside, MOST);
        let seen = nodes::worker_names(lab, MOST).into_iter().zip(&inside);
        let seen: Vec<Seen> = seen.map(|(name, inside)| Seen::of(&there, &known, name, inside)).collect();
        let work = decide(&seen, had, wanted).map_err(|(nth, why)| {
            let without = Hint::Scale { lab: lab.clone(), what: "workers", to: (nth - 1).to_string() };
            impossible(why, [Hint::Up { lab: lab.clone() }].into_iter().chain((nth > 2).then_some(without)).collect())
        })?;
        let held = held(&change.cluster, &change.wanted).await?;
        if let Some(cannot) = pinned(lab, &change.had, &held) {
            return Err(Trouble::from(cannot).into());
        }
        if !agreed && kept(&held).next().is_some() {
            let lost: Vec<String> = kept(&held).map(ToString::to_string).collect();
            return Err(impossible(format!("{} would be lost", lost.join(", ")), vec![]).into());
        }
        part(&cx, &change, &work.part, &held).await?;
        come(&cx, &change, &work).await?;
        change.record().await?;
        let changed = had != wanted || !work.join.is_empty() || !work.part.is_empty();
        let left = work.part.into_iter().map(|worker| worker.name).filter(|name| !work.join.contains(name));
        let (left, joined) = (left.collect::<Vec<_>>(), work.join.clone());
        let detail = told(wanted, &joined, &left);
        Ok(Stepped::changed(changed, Staffed { name: lab.clone(), had, workers: wanted, joined, left }, detail))
    })
    .await
}

fn told(workers: u8, joined: &[String], left: &[String]) -> String {
    let some = |names: &[String], did: &str| (!names.is_empty()).then(|| format!("{} {did}", names.join(", ")));
    let all = [Some(format!("{workers} workers")), some(joined, "joined"), some(left, "left")];
    all.into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// A worker, as far as there is anything of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    name: String,
    inside: String,
    /// Whether its container runs; `None` where there is none.
    runs: Option<bool>,
    /// Kubernetes knows it.
    joined: bool,
}

impl Seen {
    fn of(there: &[Container], known: &[String], name: String, inside: &str) -> Seen {
        let runs = there.iter().find(|container| container.name == name).map(|container| container.running);
        Seen { runs, joined: known.iter().any(|node| node == inside), inside: inside.to_owned(), name }
    }

    /// It does what a worker does.
    fn works(&self) -> bool {
        self.runs == Some(true) && self.joined
    }

    fn is_there(&self) -> bool {
        self.runs.is_some() || self.joined
    }
}

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
struct Work {
    /// Those that leave, and what is left of some that never joined.
    part: Vec<Seen>,
    /// Those that join.
    join: Vec<String>,
    /// All that there are then, as Kubernetes knows them.
    stay: Vec<String>,
}

/// What is to be done so that a lab that has written down `had` workers has `wanted`. What there is beyond those was begun or is
/// about to go, whoever was interrupted; what is lacking of them is nobody's to make anew here.
///
/// # Errors
/// One of those that stay does not work: which, and how that shows.
fn decide(seen: &[Seen], had: u8, wanted: u8) -> Result<Work, (u8, String)> {
    let mut work = Work::default();
    for (nth, worker) in (1..).zip(seen) {
        let Seen { name, .. } = worker;
        if nth <= had.min(wanted) && !worker.works() {
            let why = match worker.runs {
                Some(true) => format!("{name} runs, and Kubernetes does not know it"),
                _ => format!("{name} does not run"),
            };
            return Err((nth, why));
        }
        if nth > wanted || !worker.works() {
            work.part.extend(worker.is_there().then(|| worker.clone()));
        }
        if nth <= wanted {
            work.join.extend((!worker.works()).then(|| name.clone()));
            work.stay.push(worker.inside.clone());
        }
    }
    Ok(work)
}

/// What the workers beyond those that are wanted have that cannot move.
async fn held(cluster: &Cluster, spec: &LabSpec) -> Result<Vec<Held>> {
    let leave = nodes::worker_names(&cluster.inside, MOST).split_off(usize::from(spec.cluster.workers));
    workers::held(cluster, spec, &leave).await
}

fn kept(held: &[Held]) -> impl Iterator<Item = &Held> {
    held.iter().filter(|held| matches!(held.of, Owner::Former(_)))
}

/// Why workers cannot leave, if they cannot: the lab needs what they have.
fn pinned(lab: &LabName, had: &LabSpec, held: &[Held]) -> Option<NoScaling> {
    let needed: Vec<&Held> = held.iter().filter(|held| !matches!(held.of, Owner::Former(_) | Owner::Nobody)).collect();
    let mut hints = Vec::new();
    // Members leave the database from its end.
    let mut last = had.database.members;
    let on: BTreeSet<&str> = needed.iter().filter_map(|held| member(held)).collect();
    while on.contains(format!("db-{}", last.saturating_sub(1)).as_str()) {
        last -= 1;
    }
    if last < had.database.members {
        hints.push(Hint::Scale { lab: lab.clone(), what: "db", to: last.to_string() });
    }
    for held in &needed {
        match &held.of {
            Owner::Member(name) => {
                hints.push(Hint::Replace { lab: lab.clone(), member: name.clone(), node: held.node.clone() })
            }
            Owner::Other(claim) => hints.push(Hint::words(format!("move what claim {claim} has, and delete it"))),
            Owner::Etcd | Owner::Export => hints.push(Hint::Anew { lab: lab.clone() }),
            Owner::Former(_) | Owner::Nobody => {}
        }
    }
    let has: Vec<String> = needed.iter().map(ToString::to_string).collect();
    let why = format!("what the lab needs is on a worker that would leave: {}", has.join(", "));
    (!needed.is_empty()).then(|| NoScaling { lab: lab.clone(), why, hints })
}

fn member(held: &Held) -> Option<&str> {
    match &held.of {
        Owner::Member(name) => Some(name),
        _ => None,
    }
}

/// Lets workers leave: first their pods, then what the lab has written down, then they themselves.
async fn part(cx: &StepCx, change: &Change, part: &[Seen], held: &[Held]) -> Result<()> {
    if part.is_empty() {
        return Ok(());
    }
    let names = |of: fn(&Seen) -> &String| part.iter().map(|worker| of(worker).clone()).collect::<Vec<_>>();
    let (containers, inside) = (names(|worker| &worker.name), names(|worker| &worker.inside));
    for worker in part {
        match worker.joined {
            true => cx.say(format!("{} leaves", worker.name)),
            false => cx.say(format!("removing {}, left by whoever was interrupted", worker.name)),
        }
    }
    let joined: Vec<String> = part.iter().filter(|worker| worker.joined).map(|worker| worker.inside.clone()).collect();
    workers::empty(cx, &change.cluster, &joined).await?;
    if change.wanted.cluster.workers < change.had.cluster.workers {
        change.record().await?;
    }
    for node in &joined {
        workers::forget(&change.cluster, node).await?;
    }
    join::part(&change.docker, &change.wanted.name, &containers).await?;
    for node in &inside {
        // A kubelet may have joined, or joined again, until it was gone.
        workers::forget(&change.cluster, node).await?;
    }
    let gone: Vec<Held> = held.iter().filter(|held| inside.contains(&held.node)).cloned().collect();
    workers::give_up(&change.cluster, &gone).await
}

/// Lets workers join, if any are to, with every image before they take the first pod.
async fn come(cx: &StepCx, change: &Change, work: &Work) -> Result<()> {
    let Change { docker, cluster, wanted, images, .. } = change;
    if !work.join.is_empty() {
        let (lab, names) = (&wanted.name, work.join.as_slice());
        let joining = Joining { docker, lab, inside: &cluster.inside, names };
        if let Err(error) = rules::ensure().await {
            cx.say(format!("cluster addresses may leave this machine: {error:#}"));
        }
        let joined = async {
            let clones = golden::later(cx, docker, lab, names, images).await;
            cx.say(format!("making {}", names.join(", ")));
            joining.make(cx, images.reference(Role::Node)?, &clones).await?;
            images::onto(cx, docker, lab, names, images).await?;
            joining.join(cx).await
        };
        if let Err(error) = joined.await {
            // Half a worker is of no use to anybody.
            for name in names {
                workers::forget(cluster, &nodes::inside_name(name, lab, &cluster.inside)).await?;
            }
            join::part(docker, lab, names).await?;
            return Err(error);
        }
    }
    workers::welcome(cx, cluster, &work.stay).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lab() -> LabName {
        LabName::new("zoo").expect("a name")
    }

    /// Nine workers, of each whether its container runs and whether it has joined.
    fn seen(some: &[(Option<bool>, bool)]) -> Vec<Seen> {
        let nothing = std::iter::repeat(&(None, false));
        let names = nodes::worker_names(&lab(), MOST).into_iter().zip(some.iter().chain(nothing));
        names.map(|(name, &(runs, joined))| Seen { inside: name.clone(), name, runs, joined }).collect()
    }

    const WORKS: (Option<bool>, bool) = (Some(true), true);

    /// Who leaves, who joins.
    fn names(some: &[(Option<bool>, bool)], had: u8, wanted: u8) -> Result<(Vec<String>, Vec<String>), (u8, String)> {
        let work = decide(&seen(some), had, wanted)?;
        assert_eq!(work.stay.len(), usize::from(wanted));
        Ok((work.part.into_iter().map(|worker| worker.name).collect(), work.join))
    }

    #[test]
    fn workers_come_and_go_at_the_end() {
        let strings = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let (none, three, four) = (strings(&[]), [WORKS; 3], [WORKS; 4]);
        assert_eq!(names(&three, 3, 3), Ok((none.clone(), none.clone())));
        assert_eq!(names(&three, 3, 5), Ok((none.clone(), strings(&["zoo-worker4", "zoo-worker5"]))));
        assert_eq!(names(&four, 4, 2), Ok((strings(&["zoo-worker3", "zoo-worker4"]), none)));
    }

    #[test]
    fn whoever_was_interrupted_the_next_one_finishes_or_removes_it() {
        let worker4 = vec!["zoo-worker4".to_owned()];
        let with = |fourth| [WORKS, WORKS, WORKS, fourth];
        // It never joined, or it was about to go: it is made anew, or removed.
        for half in [(Some(true), false), (Some(false), false), (Some(false), true), (None, true)] {
            assert_eq!(names(&with(half), 3, 4), Ok((worker4.clone(), worker4.clone())), "{half:?}");
            assert_eq!(names(&with(half), 3, 3), Ok((worker4.clone(), Vec::new())), "{half:?}");
        }
        // It joined, and was not written down.
        assert_eq!(names(&with(WORKS), 3, 4), Ok((Vec::new(), Vec::new())));
        assert_eq!(names(&with(WORKS), 3, 3), Ok((worker4, Vec::new())));
    }

    #[test]
    fn a_lab_that_lacks_what_it_has_written_down_is_not_scaled() {
        for half in [(Some(true), false), (Some(false), true), (None, true), (None, false)] {
            assert!(
                names(&[WORKS, half, WORKS], 3, 4).is_err_and(|(nth, why)| nth == 2 && why.starts_with("zoo-worker2 ")),
                "{half:?}"
            );
        }
        // One that is to leave anyway may be broken.
        assert!(names(&[WORKS, WORKS, (Some(false), true)], 3, 2).is_ok());
    }

    #[test]
    fn what_the_lab_needs_keeps_its_worker_and_says_how_it_could_go() {
        let held = |of| Held { node: "zoo-worker3".to_owned(), volume: "v".to_owned(), of };
        let member = |name: &str| held(Owner::Member(name.to_owned()));
        let had = LabSpec::default();
        assert_eq!(pinned(&lab(), &had, &[held(Owner::Nobody), held(Owner::Former("db-3".to_owned()))]), None);
        let cannot = pinned(&lab(), &had, &[member("db-2")]).expect("needed");
        assert!(cannot.why.ends_with("the data of db-2 (volume v) on zoo-worker3"), "{}", cannot.why);
        let scale = Hint::Scale { lab: lab(), what: "db", to: "2".to_owned() };
        assert_eq!(cannot.hints.first(), Some(&scale));
        let cannot = pinned(&lab(), &had, &[member("db-1")]).expect("needed");
        assert!(matches!(&cannot.hints[..], [Hint::Replace { member, .. }] if member == "db-1"), "{:?}", cannot.hints);
        let cannot = pinned(&lab(), &had, &[held(Owner::Export)]).expect("needed");
        assert_eq!(cannot.hints, [Hint::Anew { lab: lab() }]);
        let stranger =
            pinned(&lab(), &had, &[held(Owner::Other("default/mine".to_owned()))]).expect("somebody needs it");
        assert!(stranger.why.contains("the volume of claim default/mine"), "{}", stranger.why);
    }

    #[test]
    fn what_was_done_is_told_in_a_sentence() {
        let one = ["zoo-worker4".to_owned()];
        assert_eq!(told(4, &one, &[]), "4 workers; zoo-worker4 joined");
        assert_eq!(told(3, &[], &one), "3 workers; zoo-worker4 left");
        assert_eq!(told(3, &[], &[]), "3 workers");
    }
}
