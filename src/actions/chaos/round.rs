//! One scenario, once: steady, broken under the eyes of probes, undone, steady again, and everything looked for that was
//! acknowledged meanwhile.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use tokio::{sync::watch, task::JoinSet};

use super::{
    alike,
    broken::Hands,
    clock::Clock,
    ground::Ground,
    heal::put_right,
    intent::Intent,
    ledger::{
        self, Ledger, PACE,
        audit::audit,
        book::{Book, Entries},
    },
    probes::{self, EDITOR, Editor, READERS},
    report::{Phase, PhaseName, Round, Rows},
    steady,
    strike::Strike,
    sums::{Sample, seconds, served},
    track::Track,
    verdict::{self, Seen},
};
use crate::{
    actions::smoke,
    host::lock,
    parts::database::names,
    run::{Run, StepCx, Stepped, event::StepId, wait::Look},
    spec::scenario::{Scenario, Target},
};

/// How long a lab may take to be steady before it is broken.
const STEADY: Duration = Duration::from_mins(5);
/// How long the probes look at a lab that is well, before and after.
const WELL: Duration = Duration::from_secs(6);
/// How long an editor may try to log in.
const LOGIN: Duration = Duration::from_mins(2);
const EVERY: Duration = Duration::from_secs(1);

/// Runs one round.
///
/// # Errors
/// The lab is not steady to begin with; somebody does not let it be broken or healed. What is broken by then is undone, as far
/// as that is possible; what could not be is still written down.
pub(super) async fn round(run: &Run, ground: &Ground, scenario: &Scenario, number: u32) -> Result<Round> {
    let intent = Intent::of(ground.lab());
    let ended = rounded(run, ground, &intent, scenario, number).await;
    if ended.is_err() {
        let cx = StepCx::new(run, StepId::Heal);
        let hands = Hands { cx: &cx, docker: &ground.docker, cluster: &ground.cluster, lab: ground.lab() };
        if let Err(error) = put_right(&hands).await {
            run.warn(format!("not everything is put right: {error:#}"));
        }
    }
    ended
}

async fn rounded(run: &Run, ground: &Ground, intent: &Intent, scenario: &Scenario, number: u32) -> Result<Round> {
    let (strike, eyes) = run
        .step(StepId::Steady, async |cx| {
            let ready = make_ready(&cx, ground, intent, scenario).await?;
            let eyes = Eyes::open(&cx, ground).await.context("cannot look on")?;
            Ok(ready.map(|strike| (strike, eyes)))
        })
        .await?;
    pass(WELL).await;
    let struck = eyes.clock.now();
    run.step(StepId::Fault, async |cx| {
        // Before anything is broken.
        intent.write(&strike.stage.iter().chain(&strike.leaves).cloned().collect::<Vec<_>>())?;
        eyes.track.mark(format!("{}: {}", scenario.summary, strike.whom));
        let hands = Hands { cx: &cx, docker: &ground.docker, cluster: &ground.cluster, lab: ground.lab() };
        strike.hit(ground, &hands).await?;
        cx.say(format!("for {} s: {}", scenario.lasts.as_secs(), strike.whom));
        pass(scenario.lasts).await;
        Ok(Stepped::done((), format!("{} ({})", scenario.summary, strike.whom)))
    })
    .await?;
    let undone = eyes.clock.now();
    let healed = run.step(StepId::Heal, |cx| undo(cx, ground, scenario, &strike, &eyes.track)).await?;
    let well = eyes.clock.now();
    pass(WELL).await;
    let seen = eyes.close().await?;
    let rows = run.step(StepId::Verify, |cx| verify(cx, ground, &seen.entries)).await?;
    let cx = StepCx::new(run, StepId::Heal);
    let hands = Hands { cx: &cx, docker: &ground.docker, cluster: &ground.cluster, lab: ground.lab() };
    for stage in &strike.stage {
        cx.say(format!("no more: {stage}"));
        hands.undo(stage).await?;
    }
    intent.forget()?;
    let phase = |phase, from, to| Phase { phase, from, to };
    let phases = vec![
        phase(PhaseName::Before, 0.0, struck),
        phase(PhaseName::Fault, struck, undone),
        phase(PhaseName::Heal, undone, well),
        phase(PhaseName::After, well, seen.length),
    ];
    Ok(judged(ground, scenario, number, strike.whom, phases, healed, seen, rows))
}

#[expect(clippy::too_many_arguments, reason = "everything that is known of a round")]
fn judged(
    ground: &Ground,
    scenario: &Scenario,
    number: u32,
    struck: String,
    phases: Vec<Phase>,
    healed: Option<f64>,
    seen: Looked,
    rows: Rows,
) -> Round {
    let Looked { readers, editor, writers, mut timeline, length, .. } = seen;
    let whole = (0.0, length);
    let silent = timeline.api_silent.clone();
    timeline.seconds = seconds(&readers, &editor, &writers, length);
    let readers = served(&readers, READERS.every.as_secs_f64(), whole, &[]);
    let editor = served(&editor, EDITOR.every.as_secs_f64(), whole, &[]);
    let writers = served(&writers, PACE, whole, &silent);
    let judged = Seen { readers: &readers, editor: &editor, writers: &writers, rows: &rows, healed };
    let verdict = verdict::judge(scenario.expects(ground.spec.database.topology), scenario.heals_within, &judged);
    Round {
        scenario: scenario.name.clone(),
        summary: scenario.summary.clone(),
        round: number,
        struck,
        length,
        phases,
        healed,
        way_cut: silent.iter().map(|(from, to)| to - from).sum(),
        readers,
        editor,
        writers,
        rows,
        timeline,
        verdict,
    }
}

/// Waits for the steady state and decides whom to hit.
async fn make_ready(cx: &StepCx, ground: &Ground, intent: &Intent, scenario: &Scenario) -> Result<Stepped<Strike>> {
    let steady = async || steady::reach(cx, ground, scenario.steady, STEADY).await?.map_err(|lacks| anyhow!(lacks));
    let mut took = steady().await?;
    let mut strike = Strike::plan(ground, &scenario.fault).await?;
    if !strike.stage.is_empty() {
        intent.write(&strike.stage)?;
        let hands = Hands { cx, docker: &ground.docker, cluster: &ground.cluster, lab: ground.lab() };
        for stage in &strike.stage {
            cx.say(format!("making ready: {stage}"));
            hands.make(stage).await?;
            took += steady().await?;
        }
        // Whoever was the writer may be it no more.
        let stage = strike.stage;
        strike = Strike::plan(ground, &scenario.fault).await?;
        strike.stage = stage;
    }
    Ok(Stepped::done(strike, format!("all is well after {:.1} s", took.as_secs_f64())))
}

/// Undoes a fault and waits until all is well; `None` when it is not, or not in time. How long that takes counts from here.
async fn undo(
    cx: StepCx,
    ground: &Ground,
    scenario: &Scenario,
    strike: &Strike,
    track: &Track,
) -> Result<Stepped<Option<f64>>> {
    let begin = std::time::Instant::now();
    track.mark("undone");
    let hands = Hands { cx: &cx, docker: &ground.docker, cluster: &ground.cluster, lab: ground.lab() };
    for broken in &strike.leaves {
        hands.undo(broken).await.with_context(|| format!("cannot put right that {broken}"))?;
    }
    Ok(match steady::reach(&cx, ground, scenario.steady, scenario.heals_within).await? {
        Ok(_) => {
            let took = begin.elapsed().as_secs_f64();
            track.mark("all is well");
            Stepped::done(Some(took), format!("all is well after {took:.1} s"))
        }
        Err(lacks) => Stepped::done(None, lacks),
    })
}

/// Looks for everything that was acknowledged, at every member, and removes it.
async fn verify(cx: StepCx, ground: &Ground, entries: &Entries) -> Result<Stepped<Rows>> {
    let topology = ground.spec.database.topology;
    let mut unlike = Rows::default();
    alike::compare(&cx, &ground.cluster, topology, &mut unlike).await;
    let (mut found, mut unasked) = (BTreeMap::new(), Vec::new());
    for member in names(ground.spec.database.members) {
        cx.say(format!("looking for every row at {member}"));
        match ledger::rows(&ground.cluster, &member).await {
            Ok(rows) => drop(found.insert(member, rows)),
            Err(error) => unasked.push(format!("{member}: {error:#}")),
        }
    }
    let rows = Rows { unasked, differences: unlike.differences, tables: unlike.tables, ..audit(entries, &found) };
    if let Ok((writer, _)) = ground.resident(Target::Writer).await
        && let Err(error) = ledger::remove(&ground.cluster, &writer.pod).await
    {
        cx.say(format!("the ledger's table is left: {error:#}"));
    }
    let detail = format!("{} of {} acknowledged rows lost", rows.lost_rows, rows.acknowledged);
    Ok(Stepped::done(rows, detail))
}

/// Lets time pass, because that is what is looked at.
async fn pass(time: Duration) {
    let _ = tokio::time::timeout(time, std::future::pending::<()>()).await;
}

/// Everybody who looks on.
struct Eyes {
    clock: Clock,
    track: Track,
    stop: watch::Sender<bool>,
    readers: JoinSet<Result<Vec<Sample>>>,
    editor: JoinSet<(Editor, Vec<Sample>)>,
    watcher: JoinSet<()>,
    ledger: Ledger,
}

/// What they saw.
struct Looked {
    readers: Vec<Sample>,
    editor: Vec<Sample>,
    writers: Vec<Sample>,
    timeline: super::report::Timeline,
    length: f64,
    entries: Entries,
}

impl Eyes {
    async fn open(cx: &StepCx, ground: &Ground) -> Result<Eyes> {
        let cluster = ground.cluster.clone();
        let (url, title) = (ground.site.url.clone(), ground.site.title.clone());
        let (writer, _) = ground.resident(Target::Writer).await?;
        ledger::prepare(&cluster, &writer.pod).await?;
        let book = Arc::new(Book::open(&lock::folder(ground.lab()).join("chaos-ledger"))?);
        let door = smoke::front_door(&url).await?;
        let login = smoke::login(&cluster).await?;
        // Replicas that were just made may still be warming up.
        let editor = cx.until("the editor's login", LOGIN, EVERY, || async {
            Ok(match Editor::enter(&url, &title, door.clone(), &login).await {
                Ok(editor) => Look::Ready(editor),
                Err(error) => Look::NotYet(format!("{error:#}")),
            })
        });
        let editor = editor.await?;
        let (stop, stopped) = watch::channel(false);
        let clock = Clock::start();
        let track = Track::new(clock, Some(writer.pod));
        let (mut readers, mut edits, mut watcher) = (JoinSet::new(), JoinSet::new(), JoinSet::new());
        readers.spawn(probes::readers(clock, url, title, door, stopped.clone()));
        let until = stopped.clone();
        edits.spawn(async move {
            let edits = editor.edit(clock, until).await;
            (editor, edits)
        });
        let (looking, through) = (track.clone(), cluster.clone());
        watcher.spawn(async move { match looking.look_on(&through).await {} });
        let ledger = Ledger::open(&cluster, clock, book, &track.writer(), &stopped);
        Ok(Eyes { clock, track, stop, readers, editor: edits, watcher, ledger })
    }

    async fn close(self) -> Result<Looked> {
        let Eyes { clock, track, stop, readers, editor, mut watcher, ledger } = self;
        let length = clock.now();
        stop.send_replace(true);
        let book = ledger.book.clone();
        let (readers, editor, writers) = tokio::join!(readers.join_all(), editor.join_all(), ledger.close());
        watcher.shutdown().await;
        let readers = readers.into_iter().collect::<Result<Vec<_>>>()?.into_iter().flatten().collect();
        let mut edits = Vec::new();
        for (editor, samples) in editor {
            edits.extend(samples);
            // A draft that is left disturbs nobody, and the site may not answer.
            let _ = editor.leave().await;
        }
        Ok(Looked { readers, editor: edits, writers, timeline: track.seen(), length, entries: book.entries() })
    }
}
