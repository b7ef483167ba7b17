//! `wplab scale workers`: nodes that join a cluster that runs, and the highest numbered ones that leave it. Whoever is killed
//! in between leaves a lab that works, and workers beyond those that it has written down: whatever is asked for next,
//! those are finished or removed first.

use std::collections::BTreeSet;

use anyhow::Result;
use serde::Serialize;

use super::{
    Change, change, edited,
    work::{Broken, Seen, Work, decide},
};
use crate::{
    actions::standing::{self, Impossible},
    cluster::Cluster,
    host::{
        docker::Docker,
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
/// It cannot be done ([`Impossible`]), or the lab does not answer.
pub async fn look(lab: &LabName, wanted: u8) -> Result<Vec<String>> {
    let docker = Docker::connect().await?;
    standing::awake(&docker, lab).await?;
    let cluster = standing::connect(lab).await?;
    let had = cluster.lab_file().await?;
    let spec = edited(&had, |spec| spec.cluster.workers = wanted).map_err(|wrong| match few(&had, wanted) {
        Some(few) => few.because(Trouble::from(wrong)),
        None => wrong.into(),
    })?;
    let work = work(&docker, &cluster, &had, wanted).await?;
    let held = workers::held(&cluster, &spec, &work.leave).await?;
    Ok(kept(&held).map(ToString::to_string).collect())
}

/// What is to be done, from what there is.
///
/// # Errors
/// [`Impossible`]; somebody else's containers have these names; the lab does not answer.
async fn work(docker: &Docker, cluster: &Cluster, had: &LabSpec, wanted: u8) -> Result<Work> {
    let lab = &cluster.lab;
    let there = nodes::containers(docker, lab).await?;
    NotOurs::check(lab, &there)?;
    let known = workers::names(cluster).await?;
    let inside = nodes::worker_names(&cluster.inside, MOST);
    let seen = nodes::worker_names(lab, MOST).into_iter().zip(&inside);
    let seen: Vec<Seen> = seen.map(|(name, inside)| Seen::of(&there, &known, name, inside)).collect();
    Ok(decide(&seen, had.cluster.workers, wanted).map_err(|broken| Trouble::from(impossible(lab, had, broken)))?)
}

/// A lab is not scaled beside a worker that does not work: it is started, or the lab goes on without it and those after it.
fn impossible(lab: &LabName, had: &LabSpec, broken: Broken) -> Impossible {
    let Broken { nth, why, stopped } = broken;
    let start = stopped.then(|| Hint::Start { lab: lab.clone() });
    let fewer = edited(had, |spec| spec.cluster.workers = nth - 1).is_ok();
    let without = fewer.then(|| Hint::Scale { lab: lab.clone(), what: "workers", to: (nth - 1).to_string() });
    let hints: Vec<Hint> = start.into_iter().chain(without).collect();
    // Nothing makes one anew in the middle.
    let anew = hints.is_empty().then(|| Hint::Anew { lab: lab.clone() });
    Impossible { lab: lab.clone(), why, hints: hints.into_iter().chain(anew).collect() }
}

/// What is to be done first where a lab has more members than it would have workers.
fn few(had: &LabSpec, wanted: u8) -> Option<Trouble> {
    let (lab, members) = (had.name.clone(), had.database.members);
    let why = format!("lab {lab} cannot do with {wanted} workers");
    let hint = Hint::Scale { lab: lab.clone(), what: "db", to: wanted.to_string() };
    (members > wanted).then(|| Impossible { lab, why, hints: vec![hint] }.into())
}

/// Gives a lab this many workers. `agreed` says that what was kept of former members on those that leave may go.
///
/// # Errors
/// [`Impossible`], before anything is touched; the lab does not answer; a worker does not boot or join, or a pod does not move.
pub async fn workers(run: &Run, lab: &LabName, wanted: u8, agreed: bool) -> Result<Staffed> {
    run.step(StepId::Cluster, async |cx| {
        let change = change(&cx, lab, |spec| spec.cluster.workers = wanted).await?;
        let had = change.had.cluster.workers;
        let work = work(&change.docker, &change.cluster, &change.had, wanted).await?;
        let held = workers::held(&change.cluster, &change.wanted, &work.leave).await?;
        if let Some(cannot) = pinned(lab, &change.had, &held) {
            return Err(Trouble::from(cannot).into());
        }
        if !agreed && kept(&held).next().is_some() {
            let lost: Vec<String> = kept(&held).map(ToString::to_string).collect();
            let why = format!("{} would be lost", lost.join(", "));
            return Err(Trouble::from(Impossible { lab: lab.clone(), why, hints: Vec::new() }).into());
        }
        part(&cx, &change, &work, held).await?;
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

/// The workers beyond so many, by the name of their lab.
fn beyond(lab: &LabName, workers: u8) -> Vec<String> {
    nodes::worker_names(lab, MOST).split_off(usize::from(workers))
}

fn kept(held: &[Held]) -> impl Iterator<Item = &Held> {
    held.iter().filter(|held| matches!(held.of, Owner::Former(_)))
}

/// Why workers cannot leave, if they cannot: the lab needs what they have.
fn pinned(lab: &LabName, had: &LabSpec, held: &[Held]) -> Option<Impossible> {
    let needed: Vec<&Held> = held.iter().filter(|held| !matches!(held.of, Owner::Former(_) | Owner::Nobody)).collect();
    let mut hints = Vec::new();
    // Members leave the database from its end.
    let mut last = had.database.members;
    let on: BTreeSet<&str> = needed.iter().filter_map(|held| held.member()).collect();
    while last > 0 && on.contains(format!("db-{}", last - 1).as_str()) {
        last -= 1;
    }
    if last < had.database.members && edited(had, |spec| spec.database.members = last).is_ok() {
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
    (!needed.is_empty()).then(|| Impossible { lab: lab.clone(), why, hints })
}

/// What workers that leave have, if the lab needs nothing of it; otherwise they take pods again. Until they were closed, a member
/// whose volume was not made yet may have been placed there.
///
/// # Errors
/// [`Impossible`]; the API server does not answer.
async fn still_unneeded(cluster: &Cluster, had: &LabSpec, wanted: &LabSpec, leave: &[String]) -> Result<Vec<Held>> {
    let held = workers::held(cluster, wanted, leave).await?;
    let Some(cannot) = pinned(&wanted.name, had, &held) else { return Ok(held) };
    workers::stay(cluster).await?;
    Err(Trouble::from(cannot).into())
}

/// Lets workers leave: first their pods, then what the lab has written down, then they themselves, and at last what nobody has
/// any more, also of those that left before.
async fn part(cx: &StepCx, change: &Change, work: &Work, mut held: Vec<Held>) -> Result<()> {
    let Work { part, leave, .. } = work;
    let (docker, cluster, lab) = (&change.docker, &change.cluster, &change.wanted.name);
    let (joined, left): (Vec<_>, Vec<_>) = part.iter().partition(|worker| worker.joined);
    let joined: Vec<String> = joined.into_iter().map(|worker| worker.inside.clone()).collect();
    let wanted = change.wanted.cluster.workers;
    for worker in &left {
        cx.say(format!("removing {}, left by whoever was interrupted", worker.name));
    }
    if !joined.is_empty() {
        cx.say(format!("{} leaves", joined.join(", ")));
        workers::close(cluster, &joined).await?;
        still_unneeded(cluster, &change.had, &change.wanted, leave).await?;
        workers::empty(cx, cluster, &joined).await?;
        // A volume may have been under way when they were closed.
        held = still_unneeded(cluster, &change.had, &change.wanted, leave).await?;
    }
    if wanted < change.had.cluster.workers {
        change.record().await?;
    }
    for node in &joined {
        workers::forget(cluster, node).await?;
    }
    let containers: Vec<String> = part.iter().map(|worker| worker.name.clone()).collect();
    join::part(docker, &containers).await?;
    for worker in part {
        // A kubelet may have joined, or joined again, until it was gone.
        workers::forget(cluster, &worker.inside).await?;
    }
    join::forget(docker, lab, &[containers, beyond(lab, wanted)].concat()).await?;
    workers::give_up(cluster, &held).await
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
            join::part(docker, names).await?;
            join::forget(docker, lab, names).await?;
            return Err(error);
        }
    }
    workers::welcome(cx, cluster, &work.stay).await
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::{Arc, Mutex, PoisonError},
    };

    use kube::{Client, client::Body};
    use serde_json::{Value, json};

    use super::*;

    fn lab() -> LabName {
        LabName::new("zoo").expect("a name")
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
    fn a_worker_that_does_not_work_is_started_or_gone_without_where_that_may_be() {
        let mut had = LabSpec::default();
        (had.cluster.workers, had.database.members) = (5, 3);
        let hints =
            |nth, stopped| impossible(&lab(), &had, Broken { nth, why: "it does not".to_owned(), stopped }).hints;
        let start = Hint::Start { lab: lab() };
        let without = |to: &str| Hint::Scale { lab: lab(), what: "workers", to: to.to_owned() };
        assert_eq!(hints(5, true), [start.clone(), without("4")]);
        assert_eq!(hints(4, false), [without("3")]);
        assert_eq!(hints(3, true), [start], "three members need three workers");
        assert_eq!(hints(2, false), [Hint::Anew { lab: lab() }]);
    }

    /// A cluster whose worker 4 is about to leave and has this volume, and what was asked of it.
    fn with_volume(claim: &'static str) -> (Cluster, Arc<Mutex<Vec<String>>>) {
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = asked.clone();
        let service = tower::service_fn(move |request: hyper::Request<Body>| {
            let (parts, heard) = (request.into_parts().0, heard.clone());
            async move {
                heard.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{} {}", parts.method, parts.uri));
                let list = |kind: &str, items: Value| json!({"apiVersion": "v1", "kind": kind, "items": items});
                let here = json!({"key": "kubernetes.io/hostname", "operator": "In", "values": ["zoo-worker4"]});
                let affinity = json!({"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}});
                let to = json!({"namespace": "wplab", "name": claim, "uid": "1"});
                let volume = json!({"metadata": {"name": "pvc-7"}, "spec": {"claimRef": to, "nodeAffinity": affinity}});
                let bound = json!({
                    "metadata": {"namespace": "wplab", "name": claim}, "spec": {"volumeName": "pvc-7"},
                });
                let leaves = json!({"wplab.dev/leaving": "true"});
                let node = json!({"metadata": {"name": "zoo-worker4", "annotations": leaves}});
                let answer = match parts.uri.path().rsplit('/').next() {
                    Some("persistentvolumes") => list("PersistentVolumeList", json!([volume])),
                    Some("persistentvolumeclaims") => list("PersistentVolumeClaimList", json!([bound])),
                    Some("nodes") => list("NodeList", json!([node])),
                    _ => node,
                };
                Ok::<_, Infallible>(hyper::Response::new(Body::from(answer.to_string().into_bytes())))
            }
        });
        (Cluster::new(Client::new(service, "default"), lab()), asked)
    }

    #[tokio::test]
    async fn a_member_that_was_placed_before_its_worker_was_closed_keeps_it_in_the_lab() {
        let had = LabSpec { name: lab(), ..LabSpec::default() };
        let leave = ["zoo-worker4".to_owned()];
        let (cluster, asked) = with_volume("data-db-2");
        let error = still_unneeded(&cluster, &had, &had, &leave).await.expect_err("needed");
        assert!(error.to_string().contains("the data of db-2 (volume pvc-7) on zoo-worker4"), "{error:#}");
        let opened = |asked: &Mutex<Vec<String>>| {
            let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
            asked.iter().filter(|line| line.starts_with("PATCH /api/v1/nodes/zoo-worker4")).count()
        };
        assert_eq!(opened(&asked), 1, "it takes pods again");
        let (cluster, asked) = with_volume("data-db-3");
        let held = still_unneeded(&cluster, &had, &had, &leave).await.expect("nobody needs it");
        assert_eq!((held.len(), opened(&asked)), (1, 0));
    }

    #[test]
    fn what_was_done_is_told_in_a_sentence() {
        let one = ["zoo-worker4".to_owned()];
        assert_eq!(told(4, &one, &[]), "4 workers; zoo-worker4 joined");
        assert_eq!(told(3, &[], &one), "3 workers; zoo-worker4 left");
        assert_eq!(told(3, &[], &[]), "3 workers");
    }
}
