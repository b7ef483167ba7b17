//! `wplab agent`: gives the members their roles, and makes another one the source when that is lost. Two of them run, one leads.
//!
//! `observe`, `follow` and `doubt` keep up what is known, `lease` says who leads, the pure functions in [`mod@decide`] say who has
//! which role and what members are to be told, those in `plan` in which order labels change, `act` changes them, `errands`
//! brings orders to members, [`record`] writes down for people what was decided, and `requests` hears what they ask for. The
//! agent's end changes nothing: labels stay as they are, and the next one goes on from what members remember.

mod act;
pub mod count;
pub mod decide;
mod doubt;
mod errands;
mod follow;
mod known;
mod lasting;
mod lease;
mod log;
mod metrics;
mod observe;
mod plan;
pub mod record;
pub mod requests;
mod state;

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
    time::{Instant, MissedTickBehavior, interval},
};

use self::{
    act::{Actor, Done},
    count::Count,
    decide::{Decision, Mark, Outlook, Seen, View, decide},
    errands::Errands,
    known::{Observations, PodView},
    lasting::Lasting,
    lease::{Keeper, Leadership},
    metrics::Figures,
    record::{COUNTS, DECIDED, INITIALISED, ROLES, Roles, STATE},
    requests::Requests,
    state::{State, Targets},
};
use super::{
    http::{self, Body},
    orders::{self, Courier, Papers},
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
/// When this much more than [`EVERY`] lies between two turns, the agent stood still (its node was frozen).
const GAP: Duration = Duration::from_secs(3);

/// Runs until SIGTERM or SIGINT, and then lets go of the lease.
///
/// # Errors
/// The pod is not set up as the manifests say, or the port is taken.
pub async fn main() -> Result<()> {
    let var = |name: &str| std::env::var(name).with_context(|| format!("the environment variable {name} is missing"));
    let me = var("POD_NAME")?;
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
    let requests = Requests::default();
    tokio::spawn(requests.clone().watch(cluster.api(), observed.clone()));
    let targets = Targets::default();
    tokio::spawn(targets.clone().watch(cluster.api(), observed.clone()));
    let errands = match topology {
        Topology::Replication => Some(Errands::new(Courier::new(&Papers::read(orders::FOLDER.as_ref())?)?)),
        // Galera's members open themselves when they are synced.
        Topology::Galera => None,
    };
    let keeper = Keeper::new(cluster.api(), &me);
    let leadership = keeper.subscribe();
    let (stop, stopped) = oneshot::channel::<()>();
    let keeping = tokio::spawn(keeper.run(async {
        // Also when the other end is gone.
        let _ = stopped.await;
    }));

    let actor = Actor { pods: cluster.api(), maps: cluster.api(), observed };
    let mut agent = Agent::new(me, topology, actor, pulse, requests, targets, errands);
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
    /// Its name and which life of it this is: what an earlier life has ordered may still be under way.
    life: String,
    topology: Topology,
    actor: Actor,
    requests: Requests,
    targets: Targets,
    errands: Option<Errands>,
    pulse: Pulse,
    /// The term whose fence stands, and what was written down before and since.
    fenced: Option<i32>,
    state: State,
    roles: Roles,
    written: Roles,
    decided: Option<Decision>,
    /// What the source had when it was first seen to go by a version of what counts.
    mark: Option<Mark>,
    /// How long members have been contradicting each other about who is in the cluster.
    apart: Lasting,
    trouble: String,
}

impl Agent {
    fn new(
        me: String,
        topology: Topology,
        actor: Actor,
        pulse: Pulse,
        requests: Requests,
        targets: Targets,
        errands: Option<Errands>,
    ) -> Agent {
        Agent {
            life: format!("{me}/{:08x}", rand::random::<u32>()),
            me,
            topology,
            requests,
            targets,
            errands,
            actor,
            pulse,
            fenced: None,
            state: State::default(),
            mark: None,
            roles: Roles::default(),
            written: Roles::default(),
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
        let ready = self.actor.observed.snapshot().and_then(|_| self.targets.get());
        let (Some(leadership), Some(target)) = (leadership, ready) else {
            (self.fenced, self.decided) = (None, None);
            return Ok(());
        };
        if self.fenced != Some(leadership.term) {
            self.begin(leadership).await?;
        }
        let count = match &self.state.counts {
            Some(count) => count.clone(),
            None => {
                // A new lab; or one in which nobody wrote it down, whose number of members has never changed.
                let first = Count::first(target);
                self.state.set(&self.actor, leadership, COUNTS, &json!(first)).await?;
                first
            }
        };
        if let Some(errands) = &mut self.errands {
            errands.hear().await;
        }
        let (pods, seen): (Vec<PodView>, Vec<Seen>) =
            self.actor.observed.snapshot().unwrap_or_default().into_iter().unzip();
        let apart = self.apart.note(decide::apart(&seen), Instant::now());
        let request = self.requests.get();
        let view = View {
            members: &seen,
            target,
            count: &count,
            mark: self.mark.as_ref(),
            initialised: self.state.initialised,
            apart,
            me: &self.life,
            request: request.as_ref(),
            decided: self.state.decided.as_ref(),
            used: self.errands.as_ref().and_then(Errands::used),
            chosen: self.errands.as_ref().and_then(Errands::chosen),
        };
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
        if let Some(term) = decision.decides.as_ref().filter(|term| self.state.decided.as_ref() < Some(term)) {
            self.state.set(&self.actor, leadership, DECIDED, &json!(term)).await?;
        }
        if let Some(count) = &decision.counts {
            log::info("who counts", &[("what", json!(count)), ("why", format!("{:?}", decision.outlook).into())]);
            self.state.set(&self.actor, leadership, COUNTS, &json!(count)).await?;
        }
        if decision.mark.is_some() {
            self.mark.clone_from(&decision.mark);
        }
        // Labels first: whoever is to lose the role has lost it before anything is done to members.
        if let Some(errands) = &mut self.errands {
            errands.send(leadership, &self.actor.observed, &pods, &decision.orders);
        }
        self.write_down(leadership, &seen, &decision).await?;
        if let Some((id, result)) = &decision.answer {
            self.actor.write(leadership, ROLES, &requests::answered(id, result)).await?;
            self.requests.done(id);
        }
        Ok(())
    }

    /// The beginning of a term: the fence, and what was written down before.
    async fn begin(&mut self, leadership: &Leadership) -> Result<()> {
        self.actor.fence(leadership).await?;
        self.state = State::read(&self.actor.read(STATE).await?)?;
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
        if decision.exists && !self.state.initialised {
            self.state.set(&self.actor, leadership, INITIALISED, &json!(true)).await?;
        }
        // A writer that nobody remembers having chosen: the record was lost, or written by hand.
        let labelled = |name: &String| seen.iter().any(|m| m.name == *name && m.role.as_deref() == Some(WRITER));
        if let Some(writer) = decision.writer.as_ref().filter(|name| **name != self.roles.writer && labelled(name)) {
            self.roles.give(writer.clone(), decision.why.clone());
        }
        self.roles.set_outlook(&decision.outlook);
        if let Some(trouble) = self.errands.as_ref().and_then(|errands| errands.trouble(&decision.orders)) {
            self.roles.waits = trouble;
        }
        if self.roles != self.written {
            self.actor.write(leadership, ROLES, &self.roles.patch()).await?;
            self.written = self.roles.clone();
        }
        Ok(())
    }
}
