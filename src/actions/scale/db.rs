//! `wplab scale db`: members of the database come and go. Who counts is the agent's to change, one safe step at a time
//! ([`crate::inside::agent::count`]); here pods come before they count and go once they count no more. Whoever is killed in between
//! leaves a database that works, and the same command goes on, or one with another number.

use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::api::{
    apps::v1::StatefulSet,
    core::v1::{ConfigMap, Pod},
};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use serde::Serialize;
use serde_json::json;

use super::{
    change,
    leave::{alone, forsaken, heir, held_up, is_lost, shrinks, successor},
};
use crate::{
    actions::{failover, keep, standing::Impossible},
    cluster::Cluster,
    host::{docker::Docker, nodes},
    inside::agent::{
        count::{Count, Target},
        record::{COUNTS, STATE},
    },
    parts::{
        database::{self, Member},
        images::ImageSet,
        monitoring, volumes,
        workers::{self, Held, Owner},
    },
    run::{
        Run, StepCx, Stepped,
        advice::Trouble,
        event::StepId,
        wait::{Look, TimedOut},
    },
    spec::{FreedVolumes, LabName, LabSpec, Topology},
};

/// How long members may take to know how many they are; the kubelet brings the number to them.
const HEARING: Duration = Duration::from_mins(2);
/// How long new members may take to be copied, or leaving ones to be done without.
const LIMIT: Duration = Duration::from_mins(10);
const EVERY: Duration = Duration::from_millis(500);
/// On a member's pod: a change of it makes the kubelet look after the pod at once, not within a minute.
const NUDGE: &str = "wplab.dev/members";

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resized {
    /// Which lab.
    pub name: LabName,
    /// The members of before.
    pub had: u8,
    /// The members now.
    pub members: u8,
    /// Who takes writes.
    pub writer: String,
    /// Whether a write is at another member before it is acknowledged.
    pub protected: bool,
    /// Volumes that were kept for members that may come back.
    pub kept: Vec<String>,
    /// Volumes that were removed with their members.
    pub removed: Vec<String>,
}

/// Gives the database another number of members. `unprotected` lets no write wait for a replica, so that a lost source is lost
/// data, until this is called without it.
///
/// # Errors
/// What is wanted is against the rules of a lab file, or the lab cannot be opened; a member that takes writes and is to go cannot be relieved; or what is waited for does not come in
/// time: with the last reason.
pub async fn db(run: &Run, lab: &LabName, members: u8, unprotected: bool) -> Result<Resized> {
    run.step(StepId::Database, async |cx| {
        let change = change(&cx, lab, |spec| spec.database.members = members).await?;
        let galera = change.wanted.database.topology == Topology::Galera;
        if unprotected && galera {
            let why = "a write of topology galera is always at every member before it is acknowledged".to_owned();
            return Err(Trouble::from(Impossible { lab: lab.clone(), why, hints: Vec::new() }).into());
        }
        let had = change.had.database.members;
        let resizing = Resizing {
            cx: &cx,
            docker: &change.docker,
            cluster: &change.cluster,
            wanted: &change.wanted,
            images: &change.images,
            protected: !unprotected,
        };
        let writer = resizing.resize().await?;
        let (kept, removed) = resizing.freed().await?;
        let detail = format!("{}, {writer} takes writes", database::in_words(members));
        let (name, protected) = (lab.clone(), galera || (members > 1 && !unprotected));
        Ok(Stepped::changed(had != members, Resized { name, had, members, writer, protected, kept, removed }, detail))
    })
    .await
}

/// A database that is given another number of members; whoever does it has the lab's lock.
pub(crate) struct Resizing<'a> {
    pub(crate) cx: &'a StepCx,
    pub(crate) docker: &'a Docker,
    pub(crate) cluster: &'a Cluster,
    /// The lab as it is to be.
    pub(crate) wanted: &'a LabSpec,
    pub(crate) images: &'a ImageSet,
    /// Whether a write is to be at another member before it is acknowledged.
    pub(crate) protected: bool,
}

impl Resizing<'_> {
    /// Does it, and waits until all is well; who takes writes then.
    ///
    /// # Errors
    /// As [`db`].
    pub(crate) async fn resize(&self) -> Result<String> {
        let Resizing { cx, docker, cluster, wanted, .. } = *self;
        let (members, galera) = (wanted.database.members, wanted.database.topology == Topology::Galera);
        let set: Option<StatefulSet> = cluster.get(database::MEMBERS).await?;
        let pods = set.and_then(|set| set.spec?.replicas).unwrap_or_default().try_into()?;
        // Whoever was interrupted may have left some that still go.
        self.gone(pods).await?;
        let there = database::members(cluster).await?;
        if !shrinks(members, pods, self.count().await?.as_ref()) {
            self.record().await?;
            // Somebody who was interrupted may have left workers closed that stay.
            workers::stay(cluster).await?;
            self.make_way(&there).await?;
            volumes::ensure(cx, docker, cluster, wanted).await?;
            self.tell().await?;
            database::resize(cluster, members).await?;
            self.counted().await?;
            return database::settle(cx, cluster, wanted).await;
        }
        if let Some(cannot) = self.held_up(&there).await? {
            return Err(Trouble::from(cannot).into());
        }
        if galera {
            self.inherited().await?;
            if let Some(to) = successor(&database::members(cluster).await?, &database::names(members)) {
                failover::moved(cx, cluster, &wanted.name, Some(&to), false).await?;
            }
            // Each leaves by itself, and the others count it no more. Until all have left, nobody starts the cluster without them.
            for number in (members..pods).rev() {
                self.inherited().await?;
                database::resize(cluster, number).await?;
                self.gone(number).await?;
            }
            self.record().await?;
        } else {
            // The agent relieves a source that is to go by itself: only it knows when nobody has to be beside the next one.
            self.ask().await?;
            if let Err(error) = self.counted().await {
                // A node that was lost a moment ago is known to be only now.
                let there = if error.is::<TimedOut>() { database::members(cluster).await? } else { Vec::new() };
                return Err(match self.held_up(&there).await? {
                    Some(cannot) => Trouble::from(cannot).because(error).into(),
                    None => error,
                });
            }
            self.record().await?;
            database::resize(cluster, members).await?;
            self.gone(members).await?;
        }
        self.tell().await?;
        database::settle(cx, cluster, wanted).await
    }

    /// Each member has a worker of its own, and a volume cannot move: whoever comes and has one where another member is now begins
    /// anew on a worker that is free.
    async fn make_way(&self, there: &[Member]) -> Result<()> {
        let Resizing { cx, cluster, wanted, .. } = *self;
        let workers = nodes::worker_names(&cluster.inside, wanted.cluster.workers);
        let held = workers::held(cluster, wanted, &workers).await?;
        let placed = |name: &String| there.iter().any(|member| member.name == *name && member.node.is_some());
        let mut come = database::names(wanted.database.members);
        come.retain(|name| !placed(name));
        for (member, held) in workers::in_the_way(&held, &come) {
            if held.member().is_some() {
                cx.say(format!("{member} begins anew: its volume is on {}, where another member is now", held.node));
            }
            self.remove(member, held).await?;
        }
        Ok(())
    }

    /// Removes a volume of a member that does not run. The claim goes first, so that what is half removed is nobody's; the next one
    /// of that name is made, and placed, as if there had been none. Whether it is gone: on a node that does not run it stays.
    async fn remove(&self, member: &str, held: &Held) -> Result<bool> {
        let Resizing { cx, docker, cluster, wanted, .. } = *self;
        if held.of != Owner::Nobody {
            let claim = workers::release(cluster, member).await?;
            let pods = cluster.api::<Pod>();
            crate::cluster::gone(pods.delete(member, &DeleteParams::default()).await)
                .with_context(|| format!("cannot give up the waiting pod of {member}"))?;
            workers::released(cx, cluster, member, claim.as_deref()).await?;
        }
        if !held.made_here() {
            return Ok(true);
        }
        // A worker's container may have another name than its Node.
        let container = nodes::inside_name(&held.node, &cluster.inside, &wanted.name);
        if docker.running(&container).await? != Some(true) {
            cx.say(format!("volume {} stays on {}, which does not run", held.volume, held.node));
            return Ok(false);
        }
        volumes::remove_folder(docker, &container, &held.volume).await?;
        workers::remove(cx, cluster, &held.volume).await?;
        Ok(true)
    }

    fn target(&self) -> Target {
        Target::new(usize::from(self.wanted.database.members), self.protected)
    }

    async fn record(&self) -> Result<()> {
        keep::record(self.cluster, self.wanted, self.images).await?;
        database::declare_members(self.cluster, self.wanted.database.members).await?;
        monitoring::told(self.cluster, self.wanted, self.images).await
    }

    /// Writes down how many members there shall be.
    async fn ask(&self) -> Result<()> {
        let state = database::agent::state(self.target().members, self.protected)?;
        self.cluster.apply(&[state]).await.map(drop)
    }

    /// The same, and sees to it that every member knows.
    async fn tell(&self) -> Result<()> {
        self.ask().await?;
        let (cluster, members) = (self.cluster, self.target().members);
        // Never the same as before: who counts may have changed although the number is the same.
        let now = Timestamp::now().to_string();
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { NUDGE: now } } }));
        for pod in database::pods(cluster).await? {
            let patched = cluster.api::<Pod>().patch(&pod.name_any(), &PatchParams::default(), &patch).await;
            crate::cluster::gone(patched).with_context(|| format!("cannot mark pod {}", pod.name_any()))?;
        }
        self.cx
            .until("members to know how many they are", HEARING, EVERY, || async {
                // Whoever does not answer now learns it when it starts.
                let seen = database::members(cluster).await?;
                let mut statuses = seen.iter().filter_map(|member| member.status.as_ref());
                Ok(match statuses.find(|status| status.members as usize != members) {
                    None => Look::Ready(()),
                    Some(status) => Look::NotYet(format!("{} knows of {}", status.name, status.members)),
                })
            })
            .await
    }

    /// Who counts, as the agent has written it down; in topology `galera` the group itself counts.
    async fn count(&self) -> Result<Option<Count>> {
        if self.wanted.database.topology == Topology::Galera {
            return Ok(None);
        }
        let state: Option<ConfigMap> = self.cluster.get(STATE).await?;
        let counts = state.as_ref().and_then(|state| state.data.as_ref()?.get(COUNTS));
        Ok(counts.and_then(|text| serde_json::from_str(text).ok()))
    }

    /// As [`forsaken`] and [`held_up`].
    async fn held_up(&self, seen: &[Member]) -> Result<Option<Impossible>> {
        let answer = workers::that_answer(self.cluster).await?;
        if let Some(why) = forsaken(seen, &database::names(self.wanted.database.members), &answer) {
            return Ok(Some(Impossible { lab: self.wanted.name.clone(), why, hints: Vec::new() }));
        }
        let Some(count) = self.count().await? else { return Ok(None) };
        Ok(held_up(&self.wanted.name, seen, &answer, &count, self.target()))
    }

    /// Waits until the agent has made it so that as many count as shall.
    async fn counted(&self) -> Result<()> {
        if self.wanted.database.topology == Topology::Galera {
            return Ok(());
        }
        let (cluster, target) = (self.cluster, self.target());
        self.cx
            .until("the agent to change who counts", LIMIT, EVERY, || async {
                if self.count().await?.is_some_and(|count| (count.members, count.acks) == (target.members, target.acks))
                {
                    return Ok(Look::Ready(()));
                }
                let record = database::agent::look(cluster).await?;
                let waits = record.last().map(|roles| format!("{}{}", roles.refused, roles.waits)).unwrap_or_default();
                Ok(Look::NotYet(if waits.is_empty() { "it has not begun".to_owned() } else { waits }))
            })
            .await
    }

    /// Waits until somebody who stays has everything, so that another one may leave.
    async fn inherited(&self) -> Result<()> {
        let (cluster, staying) = (self.cluster, database::names(self.wanted.database.members));
        let staying = &staying;
        self.cx
            .until("a member that stays to have everything", LIMIT, EVERY, || async move {
                let seen = database::members(cluster).await?;
                match (heir(&seen, staying), self.held_up(&seen).await?) {
                    (Look::Ready(_), _) => Ok(Look::Ready(())),
                    (_, Some(cannot)) => Err(Trouble::from(cannot).into()),
                    (Look::NotYet(why), None) => Ok(Look::NotYet(why)),
                }
            })
            .await
    }

    /// Waits until no member from this ordinal on is there. One on a node that is lost is given up, because nobody will say that it has
    /// ended: it counts no more, in topology `galera` as soon as the others have noticed.
    async fn gone(&self, from: u8) -> Result<()> {
        let (cluster, staying) = (self.cluster, database::names(from));
        let staying = &staying;
        self.cx
            .until("members to leave", LIMIT, EVERY, || async move {
                let seen = database::members(cluster).await?;
                let left: Vec<&Member> = seen.iter().filter(|member| !staying.contains(&member.name)).collect();
                if left.is_empty() {
                    return Ok(Look::Ready(()));
                }
                let answer = workers::that_answer(cluster).await?;
                for member in left.iter().filter(|member| is_lost(member, &answer) && alone(&seen, &member.name)) {
                    let pods = cluster.api::<Pod>();
                    crate::cluster::gone(pods.delete(&member.name, &DeleteParams::default().grace_period(0)).await)
                        .with_context(|| format!("cannot give up {}", member.name))?;
                }
                let left: Vec<&str> = left.into_iter().map(|member| member.name.as_str()).collect();
                Ok(Look::NotYet(format!("still there: {}", left.join(", "))))
            })
            .await
    }

    /// What becomes of the volumes of members that are gone, as the lab file says: those that were kept, and those that were removed.
    async fn freed(&self) -> Result<(Vec<String>, Vec<String>)> {
        let Resizing { cluster, wanted, .. } = *self;
        let workers = nodes::worker_names(&cluster.inside, wanted.cluster.workers);
        let held = workers::held(cluster, wanted, &workers).await?;
        let told = |held: &Held| format!("volume {} on {}", held.volume, held.node);
        if wanted.database.freed_volumes == FreedVolumes::Keep {
            let kept = held.iter().filter(|held| matches!(held.of, Owner::Former(_)));
            return Ok((kept.map(told).collect(), Vec::new()));
        }
        let mut removed = Vec::new();
        for (member, held) in workers::former(&held, wanted.database.members) {
            removed.extend(self.remove(&member, held).await?.then(|| told(held)));
        }
        Ok((Vec::new(), removed))
    }
}
