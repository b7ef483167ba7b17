//! `wplab operator`: makes the members what object `Database` says, whoever has written it there, and says in its status what became of that.
//! It does what the database's own files (`applied`, `roll`) know how to do, in a pod with an account that may do no more; `up` writes the object and waits. How
//! many members there are is left alone: that is `scale`'s, which also makes room for them.

mod due;
mod root;

use std::{
    future::ready,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use futures_util::StreamExt;
use hyper::{Method, Request, StatusCode};
use k8s_openapi::{
    api::{
        apps::v1::StatefulSet,
        core::v1::{Pod, Secret},
    },
    apimachinery::pkg::apis::meta::v1::Condition,
};
use kube::{
    Client, Config,
    runtime::{
        Controller,
        controller::{self, Action},
        reflector::ObjectRef,
        watcher,
    },
};
use tokio::{
    sync::{mpsc::UnboundedReceiver, watch},
    time::{MissedTickBehavior, interval},
};

use self::due::{is_due, seen};
use super::{
    applied,
    names::{MEMBERS, ROOT, in_words},
    object, roll,
    taken_back::{Alone, TakenBack},
};
use crate::{
    cluster::Cluster,
    inside::{
        figures::{KIND, Page, number},
        http, kinds,
        kinds::{DATABASE, Database, DatabasePhase, DatabaseStatus, DatabaseTakenBack, condition},
        log, stop_signal,
        wrong::Wrong,
    },
    labels::{COMPONENT, Component, NAMESPACE},
    run::{
        Run, StepCx, advice,
        event::{Event, StepId},
    },
    spec::LabName,
};

/// The operator's HTTP port: `/live`, `/metrics`.
const HTTP_PORT: u16 = 8086;
/// Under which name the API server remembers what it says.
const MANAGER: &str = "wplab-operator";
/// How often it says how far it is.
const TELLS: Duration = Duration::from_secs(1);
/// How soon something is tried again that came to nothing.
const AGAIN: Duration = Duration::from_secs(15);

/// Runs until SIGTERM or SIGINT. Whoever comes next goes on where this one ended.
///
/// # Errors
/// The pod is not set up as the manifests say, or the port is taken.
pub async fn main() -> Result<()> {
    let lab = std::env::var("WPLAB_LAB").context("the environment variable WPLAB_LAB is missing")?;
    let lab = LabName::new(&lab).map_err(anyhow::Error::msg)?;
    let stop = stop_signal()?;
    let mut config = Config::incluster().context("cannot tell where the API server is")?;
    config.connect_timeout = Some(Duration::from_secs(3));
    let cluster = Cluster::new(Client::try_from(config).context("cannot use the pod's own account")?, lab);
    let (run, events) = Run::new(None);
    let (doing, _) = watch::channel(String::new());
    let operator = Arc::new(Operator {
        cluster: cluster.clone(),
        cx: StepCx::new(&run, StepId::Database),
        doing: doing.clone(),
        phase: Mutex::default(),
        root: Mutex::default(),
    });
    let seen = operator.clone();
    http::serve(HTTP_PORT, move |request| ready(answer(&seen, &request))).await?;
    let members = watcher::Config::default().labels(&format!("{COMPONENT}={}", Component::Database.as_str()));
    let brought = watcher::Config::default().fields(&format!("metadata.name={ROOT}"));
    let works = Controller::new(cluster.api::<Database>(), watcher::Config::default())
        .watches(cluster.api::<Pod>(), members, |_| Some(ObjectRef::new(DATABASE).within(NAMESPACE)))
        .watches(cluster.api::<Secret>(), brought, |_| Some(ObjectRef::new(DATABASE).within(NAMESPACE)))
        .with_config(controller::Config::default().concurrency(1).debounce(Duration::from_millis(200)))
        .run(reconcile, |_, _, _| Action::requeue(AGAIN), operator)
        .for_each(|done| async {
            if let Err(error) = done {
                log(&error.to_string());
            }
        });
    tokio::select! {
        () = works => {}
        () = listen(events, doing) => {}
        () = stop => {}
    }
    Ok(())
}

fn answer<B>(operator: &Operator, request: &Request<B>) -> hyper::Response<http::Body> {
    let phase = *operator.phase.lock().unwrap_or_else(PoisonError::into_inner);
    let (code, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/live") => (StatusCode::OK, "alive\n".to_owned()),
        (&Method::GET, "/metrics") => return http::text(StatusCode::OK, KIND, figures(phase)),
        _ => (StatusCode::NOT_FOUND, "try /live or /metrics\n".to_owned()),
    };
    http::text(code, "text/plain", text)
}

/// How far the members are with what is declared, as Prometheus reads it; nothing before that is known.
fn figures(phase: Option<DatabasePhase>) -> String {
    let mut page = Page::default();
    let is = |now: DatabasePhase| {
        DatabasePhase::ALL.map(|one| (format!("{{phase=\"{one:?}\"}}"), number(one == now))).into()
    };
    let help = "How far the members are with what is declared: 1 at the phase that it is in.";
    page.add("wplab_database_phase", "gauge", help, phase.map(is).unwrap_or_default());
    page.text()
}

/// What is being done is logged, and told in the status.
async fn listen(mut events: UnboundedReceiver<Event>, doing: watch::Sender<String>) {
    while let Some(event) = events.recv().await {
        if let Event::Progress { note, .. } | Event::Warning { text: note, .. } = event
            && *doing.borrow() != note
        {
            log(&note);
            doing.send_replace(note);
        }
    }
}

async fn reconcile(_: Arc<Database>, operator: Arc<Operator>) -> Result<Action, Wrong> {
    operator.reconcile().await.map_err(Wrong)
}

/// What is said of a generation.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    generation: Option<i64>,
    phase: DatabasePhase,
    message: String,
    done: String,
    taken_back: Option<DatabaseTakenBack>,
}

impl Told {
    fn of(status: &DatabaseStatus) -> Told {
        let DatabaseStatus { observed_generation, phase, message, done, taken_back, .. } = status.clone();
        Told { generation: observed_generation, phase, message, done, taken_back }
    }
}

struct Operator {
    cluster: Cluster,
    cx: StepCx,
    doing: watch::Sender<String>,
    /// What was told last.
    phase: Mutex<Option<DatabasePhase>>,
    /// What there is to say of the password of root that somebody brings.
    root: Mutex<Option<Condition>>,
}

impl Operator {
    async fn reconcile(&self) -> Result<Action> {
        // As it is now: what the controller remembers may be older than what was written last.
        let Some(database) = self.cluster.get::<Database>(DATABASE).await? else { return Ok(Action::await_change()) };
        let (set, pods) = self.members().await?;
        let before = Told::of(&database.status.clone().unwrap_or_default());
        // What cannot be done about the one is no reason to leave the other.
        let root = self.root_password(set.as_ref(), &pods).await.unwrap_or_else(|error| {
            let why = format!("{error:#}");
            log(&why);
            Some(condition(kinds::ROOT_PASSWORD, false, "Failed", &why, None))
        });
        let waits = root.as_ref().is_some_and(|root| ["Waits", "Failed"].contains(&root.reason.as_str()));
        *self.root.lock().unwrap_or_else(PoisonError::into_inner) = root;
        let told = match is_due(&database, &before, set.as_ref(), &pods) {
            true => self.work(&database, set.as_ref()).await?,
            false => before,
        };
        let phase = told.phase;
        self.tell(told).await?;
        let again = phase == DatabasePhase::Failed || waits;
        Ok(if again { Action::requeue(AGAIN) } else { Action::await_change() })
    }

    async fn members(&self) -> Result<(Option<StatefulSet>, Vec<Pod>)> {
        tokio::try_join!(self.cluster.get::<StatefulSet>(MEMBERS), super::pods(&self.cluster))
    }

    /// Does what is declared; what there is to say of it.
    async fn work(&self, database: &Database, set: Option<&StatefulSet>) -> Result<Told> {
        let generation = database.metadata.generation;
        let told = |phase, message: String| Told { generation, phase, message, ..Told::default() };
        let (mut spec, images) = match object::lab(&self.cluster.lab, &database.spec) {
            Ok(Ok(read)) => read,
            Ok(Err(wrong)) => {
                let all = wrong.problems.iter().map(|one| format!("{}: {} ({})", one.path, one.what, one.cure));
                return Ok(told(DatabasePhase::Refused, all.collect::<Vec<_>>().join("; ")));
            }
            Err(wrong) => return Ok(told(DatabasePhase::Refused, format!("{wrong:#}"))),
        };
        if let Some(members) = set.and_then(|set| set.spec.as_ref()?.replicas) {
            spec.database.members = u8::try_from(members)?;
        }
        log(&format!("takes up generation {}", generation.unwrap_or_default()));
        self.doing.send_replace("begins".to_owned());
        self.tell(told(DatabasePhase::Changing, "begins".to_owned())).await?;
        let (acted, applied) = (AtomicBool::new(false), AtomicBool::new(false));
        let work = async {
            let (_, live) = applied::apply(&self.cx, &self.cluster, &spec, &images).await?;
            applied.store(true, Ordering::Relaxed);
            let restarted = match roll::is_over(&self.cluster, &spec).await? {
                true => 0,
                false => roll::roll(&self.cx, &self.cluster, &spec, &images, &acted).await?.1,
            };
            anyhow::Ok((live, restarted))
        };
        let ended = {
            let mut work = std::pin::pin!(work);
            let mut beat = interval(TELLS);
            beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    ended = &mut work => break ended,
                    _ = beat.tick() => {}
                }
                let message = self.doing.borrow().clone();
                let changing = told(DatabasePhase::Changing, message);
                // Only for people; what counts is written at the end.
                let declared = self.tell(changing.clone()).await.unwrap_or(generation);
                // Whoever declares something else does not wait for what nobody wants any more. Members go on from wherever they are.
                if applied.load(Ordering::Relaxed) && declared > generation {
                    return Ok(changing);
                }
            }
        };
        Ok(match ended {
            Ok((live, restarted)) => {
                let live = live.map(|options| format!("changed without a restart: {options}"));
                let restarted = u8::try_from(restarted).unwrap_or(u8::MAX);
                let restarted = (restarted > 0).then(|| format!("{} restarted one by one", in_words(restarted)));
                let done: Vec<String> = live.into_iter().chain(restarted).collect();
                Told { done: done.join("; "), ..told(DatabasePhase::Settled, String::new()) }
            }
            Err(error) => {
                let message = format!("{error:#}");
                log(&message);
                let taken_back = advice::find::<TakenBack>(&error).map(|what| DatabaseTakenBack {
                    member: what.member.clone(),
                    said: what.said.clone(),
                    changes: what.changes.clone(),
                    well: what.well,
                });
                let phase = match &taken_back {
                    Some(_) => DatabasePhase::TakenBack,
                    None if advice::find::<Alone>(&error).is_some() => DatabasePhase::Refused,
                    None => DatabasePhase::Failed,
                };
                Told { taken_back, ..told(phase, message) }
            }
        })
    }

    /// Writes down what there is to say, with how the members are, unless that stands there already. Which generation is declared by now.
    async fn tell(&self, told: Told) -> Result<Option<i64>> {
        let (set, pods) = self.members().await?;
        let Some(database) = self.cluster.get::<Database>(DATABASE).await? else { return Ok(None) };
        let generation = database.metadata.generation;
        let before = database.status.unwrap_or_default();
        let root = self.root.lock().unwrap_or_else(PoisonError::into_inner).clone();
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = Some(told.phase);
        let status = seen(told, root, set.as_ref(), &pods, &before);
        let same = DatabaseStatus { last_backup: before.last_backup.clone(), ..status.clone() };
        let ours = |status: &DatabaseStatus| {
            let mut status = status.clone();
            status
                .conditions
                .retain(|one| [kinds::READY, kinds::PROGRESSING, kinds::ROOT_PASSWORD].contains(&one.type_.as_str()));
            status
        };
        if ours(&same) == ours(&before) {
            return Ok(generation);
        }
        self.cluster.tell::<Database>(DATABASE, MANAGER, &status).await?;
        Ok(generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prometheus_sees_the_phase_that_it_is_in() {
        assert_eq!(figures(None), "");
        let text = figures(Some(DatabasePhase::TakenBack));
        let ones: Vec<&str> = text.lines().filter(|line| line.ends_with(" 1")).collect();
        assert_eq!(ones, ["wplab_database_phase{phase=\"TakenBack\"} 1"]);
        assert_eq!(text.lines().filter(|line| line.ends_with(" 0")).count(), 5);
    }
}
