//! `wplab agent`: gives the members their roles, and opens the one that may take writes. Two of them run, one leads.
//!
//! `observe` and `follow` keep up what is known, `lease` says who leads, the pure functions in [`mod@decide`] say who has
//! which role and those in `plan` in which order labels change, `act` changes them, [`record`] writes down for people
//! what was decided. The agent's end changes nothing: labels stay as they are.

mod act;
pub mod decide;
mod follow;
mod known;
mod lasting;
mod lease;
mod log;
mod metrics;
mod observe;
mod plan;
pub mod record;

pub use self::lease::unheld;

use std::{
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result};
use hyper::{Method, Request, Response, StatusCode};
use kube::{Client, Config};
use serde_json::json;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

use self::{
    act::{Actor, Done},
    decide::{Decision, Outlook, Seen, View, decide},
    known::{Observations, PodView},
    lasting::Lasting,
    lease::{Keeper, Leadership},
    metrics::Figures,
    record::{INITIALISED, ROLES, Roles, STATE},
};
use super::{
    http::{self, Body},
    member::CONTAINER,
    stop_signal,
};
use crate::{
    cluster::Cluster,
    labels::WRITER,
    spec::{LabName, Topology},
};

/// The agent's HTTP port: `/live`, `/ready`, `/metrics`.
const HTTP_PORT: u16 = 8082;
/// The longest time between two turns, whatever happens or does not.
const EVERY: Duration = Duration::from_millis(500);
/// How long the loop may stand still before the agent counts as dead.
const STUCK: Duration = Duration::from_secs(60);
/// How long after opening a member it may take until it is seen to be open, before that is tried again.
const OPENING: Duration = Duration::from_secs(3);
/// When this much more than [`EVERY`] lies between two turns, the agent stood still (its node was frozen).
const GAP: Duration = Duration::from_secs(3);
/// How a member is opened.
const PROMOTE: [&str; 3] = ["/tools/wplab", "member", "promote"];

/// Runs until SIGTERM or SIGINT, and then lets go of the lease.
///
/// # Errors
/// The pod is not set up as the manifests say, or the port is taken.
pub async fn main() -> Result<()> {
    let var = |name: &str| std::env::var(name).with_context(|| format!("the environment variable {name} is missing"));
    let me = var("POD_NAME")?;
    let members = var("MEMBERS")?.parse().context("MEMBERS is not a number")?;
    let topology = Topology::new(&var("WPLAB_TOPOLOGY")?).map_err(anyhow::Error::msg)?;
    let lab = LabName::new(&var("WPLAB_LAB")?).map_err(anyhow::Error::msg)?;
    let asked_to_stop = stop_signal()?;
    let mut config = Config::incluster().context("cannot tell where the API server is")?;
    config.connect_timeout = Some(Duration::from_secs(3));
    let cluster = Cluster::new(Client::try_from(config).context("cannot use the pod's own account")?, lab);

    let (observed, pulse) = (Observations::new(), Pulse::default());
    let (of_pulse, of_answers) = (pulse.clone(), observed.clone());
    http::serve(HTTP_PORT, move |request| ready(answer(&of_pulse, of_answers.snapshot().is_some(), &request))).await?;
    tokio::spawn(observe::watch(cluster.api(), observed.clone()));
    let keeper = Keeper::new(cluster.api(), &me);
    let leadership = keeper.subscribe();
    let (stop, stopped) = oneshot::channel::<()>();
    let keeping = tokio::spawn(keeper.run(async {
        // Also when the other end is gone.
        let _ = stopped.await;
    }));

    let actor = Actor { pods: cluster.api(), maps: cluster.api(), observed };
    let mut agent = Agent::new(me, topology, members, cluster, actor, pulse);
    tokio::select! {
        () = agent.live(leadership) => {}
        () = asked_to_stop => {}
    }
    // Only now, when nothing more is done, may somebody else lead.
    let _ = stop.send(());
    keeping.await.context("the keeper of the lease broke")
}

/// One request to the API server; the outer error says that there was no answer within `patience`.
async fn ask<T>(patience: Duration, request: impl Future<Output = kube::Result<T>>) -> Result<kube::Result<T>> {
    let answer = tokio::time::timeout(patience, request).await;
    answer.with_context(|| format!("the API server did not answer within {} s", patience.as_secs()))
}

/// What the HTTP server and the loop share.
#[derive(Clone, Default)]
struct Pulse(Arc<Mutex<(Figures, Option<Instant>)>>);

impl Pulse {
    fn get(&self) -> MutexGuard<'_, (Figures, Option<Instant>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer<B>(pulse: &Pulse, listed: bool, request: &Request<B>) -> Response<Body> {
    const PLAIN: &str = "text/plain; version=0.0.4";
    let (figures, beat) = pulse.get().clone();
    match (request.method(), request.uri().path()) {
        (&Method::GET, "/live") if beat.is_some_and(|beat| beat.elapsed() > STUCK) => {
            http::text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "stands still\n".to_owned())
        }
        (&Method::GET, "/live") => http::text(StatusCode::OK, PLAIN, "alive\n".to_owned()),
        (&Method::GET, "/ready") if listed => http::text(StatusCode::OK, PLAIN, "ready\n".to_owned()),
        (&Method::GET, "/ready") => {
            http::text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "has not seen the pods yet\n".to_owned())
        }
        (&Method::GET, "/metrics") => http::text(StatusCode::OK, PLAIN, metrics::text(&figures)),
        _ => http::text(StatusCode::NOT_FOUND, PLAIN, "try /live, /ready or /metrics\n".to_owned()),
    }
}

/// An agent at work.
struct Agent {
    me: String,
    topology: Topology,
    members: usize,
    cluster: Cluster,
    actor: Actor,
    pulse: Pulse,
    /// The term whose fence stands, and what was written down before and since.
    fenced: Option<i32>,
    initialised: bool,
    roles: Roles,
    written: Roles,
    opening: Option<(String, JoinHandle<Result<String>>)>,
    /// When a member may be opened, or be tried to be opened, again; and why the last try failed.
    not_before: Instant,
    failed: Option<String>,
    decided: Option<Decision>,
    /// How long members have been contradicting each other about who is in the cluster.
    apart: Lasting,
    trouble: String,
}

impl Agent {
    fn new(me: String, topology: Topology, members: usize, cluster: Cluster, actor: Actor, pulse: Pulse) -> Agent {
        Agent {
            me,
            topology,
            members,
            cluster,
            actor,
            pulse,
            fenced: None,
            initialised: false,
            roles: Roles::default(),
            written: Roles::default(),
            opening: None,
            not_before: Instant::now(),
            failed: None,
            decided: None,
            apart: Lasting::default(),
            trouble: String::new(),
        }
    }

    /// Looks, decides and acts whenever there is something new; never ends.
    async fn live(&mut self, mut leadership: watch::Receiver<Option<Leadership>>) {
        let mut news = self.actor.observed.news();
        let mut beat = interval(EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let waits = Instant::now();
            tokio::select! {
                _ = beat.tick() => {}
                _ = news.changed() => {}
                _ = leadership.changed() => {}
            }
            let begun = Instant::now();
            if begun - waits > EVERY + GAP {
                log::warn("stood still, and asks everybody again", &[("seconds", (begun - waits).as_secs().into())]);
                self.actor.observed.forget();
                self.fenced = None;
            }
            let leads = leadership.borrow_and_update().clone();
            let trouble = match self.turn(leads.as_ref()).await {
                Ok(()) => String::new(),
                Err(error) => {
                    // Whatever was sent last may have arrived or not.
                    self.fenced = None;
                    format!("{error:#}")
                }
            };
            if trouble != self.trouble {
                if !trouble.is_empty() {
                    log::warn("cannot do what was decided", &[("why", trouble.clone().into())]);
                }
                self.trouble = trouble;
            }
            let mut pulse = self.pulse.get();
            pulse.0.term = leads.map(|leadership| leadership.term);
            pulse.0.members =
                self.actor.observed.snapshot().unwrap_or_default().into_iter().map(|(_, seen)| seen).collect();
            pulse.0.turn = begun.elapsed();
            pulse.1 = Some(Instant::now());
        }
    }

    async fn turn(&mut self, leadership: Option<&Leadership>) -> Result<()> {
        let (Some(leadership), true) = (leadership, self.actor.observed.snapshot().is_some()) else {
            (self.fenced, self.decided) = (None, None);
            return Ok(());
        };
        if self.fenced != Some(leadership.term) {
            self.begin(leadership).await?;
        }
        self.hear_of_opening().await;
        let (pods, seen): (Vec<PodView>, Vec<Seen>) =
            self.actor.observed.snapshot().unwrap_or_default().into_iter().unzip();
        let apart = self.apart.note(decide::apart(&seen), Instant::now());
        let view = View { members: &seen, wanted: self.members, initialised: self.initialised, apart };
        let decision = decide(self.topology, &view);
        self.tell(&decision);
        for step in plan::steps(&seen, &decision) {
            let Some(pod) = pods.iter().find(|pod| pod.name == step.member) else { continue };
            if self.actor.label(leadership, pod, &step).await? == Done::Overtaken {
                // The versions that were decided from are not the newest ones; the next turn begins at once.
                return Ok(());
            }
            log::info(
                if step.gives { "gives the role of the writer" } else { "changes labels" },
                &[
                    ("member", step.member.clone().into()),
                    ("role", step.role.clone().into()),
                    ("reads", step.reads.into()),
                    ("why", decision.why.clone().into()),
                    ("term", leadership.term.into()),
                ],
            );
            if step.gives {
                self.pulse.get().0.role_changes += 1;
                self.roles.give(step.member, decision.why.clone());
            }
        }
        self.write_down(leadership, &seen, &decision).await?;
        self.open(leadership, &decision);
        Ok(())
    }

    /// The beginning of a term: the fence, and what was written down before.
    async fn begin(&mut self, leadership: &Leadership) -> Result<()> {
        self.actor.fence(leadership).await?;
        let state = self.actor.read(STATE).await?.data.unwrap_or_default();
        self.initialised = state.get(INITIALISED).is_some_and(|value| value == "true");
        self.written = Roles::read(self.actor.read(ROLES).await?.data.as_ref());
        self.roles = Roles {
            leader: self.me.clone(),
            leader_since: record::moment(leadership.since),
            term: leadership.term.to_string(),
            ..self.written.clone()
        };
        self.fenced = Some(leadership.term);
        log::info("the members are fenced", &[("term", leadership.term.into())]);
        Ok(())
    }

    fn tell(&mut self, decision: &Decision) {
        if self
            .decided
            .as_ref()
            .is_some_and(|before| before.outlook == decision.outlook && before.writer == decision.writer)
        {
            return;
        }
        let (message, reason) = match &decision.outlook {
            Outlook::Settled => ("all is well", String::new()),
            Outlook::Waits(reason) => ("waits", reason.clone()),
            Outlook::Refused(reason) => ("needs a person's decision", reason.clone()),
        };
        let writer = decision.writer.clone();
        log::info(message, &[("writer", writer.into()), ("why", decision.why.clone().into()), ("for", reason.into())]);
        self.decided = Some(decision.clone());
    }

    async fn write_down(&mut self, leadership: &Leadership, seen: &[Seen], decision: &Decision) -> Result<()> {
        if decision.exists && !self.initialised {
            let patch = json!({ "data": { INITIALISED: "true" } });
            self.actor.write(leadership, STATE, &patch).await?;
            self.initialised = true;
        }
        // A writer that nobody remembers having chosen: the record was lost, or written by hand.
        let labelled = |name: &String| seen.iter().any(|m| m.name == *name && m.role.as_deref() == Some(WRITER));
        if let Some(writer) = decision.writer.as_ref().filter(|name| **name != self.roles.writer && labelled(name)) {
            self.roles.give(writer.clone(), decision.why.clone());
        }
        self.roles.set_outlook(&decision.outlook);
        if let Some(failed) = self.failed.as_ref().filter(|_| decision.open.is_some()) {
            self.roles.waits = failed.clone();
        }
        if self.roles != self.written {
            self.actor.write(leadership, ROLES, &self.roles.patch()).await?;
            self.written = self.roles.clone();
        }
        Ok(())
    }

    /// Opens the member that is to be opened, beside the loop: a pod may take long to answer. The command itself looks
    /// whether somebody else is open, and does nothing twice.
    fn open(&mut self, leadership: &Leadership, decision: &Decision) {
        let Some(name) = decision.open.clone() else {
            self.failed = None;
            return;
        };
        if self.opening.is_some() || Instant::now() < self.not_before || !leadership.surely_valid() {
            return;
        }
        log::info(
            "opens a member for writes",
            &[("member", name.clone().into()), ("why", decision.why.clone().into())],
        );
        let (cluster, pod) = (self.cluster.clone(), name.clone());
        self.opening = Some((name, tokio::spawn(async move { cluster.exec(&pod, CONTAINER, &PROMOTE).await })));
    }

    async fn hear_of_opening(&mut self) {
        let Some((name, task)) = self.opening.take_if(|(_, task)| task.is_finished()) else { return };
        self.not_before = Instant::now() + OPENING;
        self.failed = match task.await.context("the task broke").flatten() {
            Ok(_) => {
                log::info("a member was opened for writes", &[("member", name.into())]);
                None
            }
            Err(error) => {
                let why = format!("{name} could not be opened for writes: {error:#}");
                log::warn("a member could not be opened", &[("why", why.clone().into())]);
                Some(why)
            }
        };
    }
}
