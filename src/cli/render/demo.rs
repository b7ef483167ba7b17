//! A run that looks like a real one, to be looked at: in a terminal of the width in question,
//! `cargo test --bin wplab demo -- --ignored --nocapture`.

use std::time::Duration;

use wplab::{
    actions::smoke::{CheckResult, Verdict},
    run::{
        Run, StepCx, Stepped,
        advice::Hint,
        event::{Amount, Event, StepId},
    },
};

use super::{Paint, Terminal, Volume, lines::Lines, show};
use crate::cli::{Format, args::Wanted, session::Session, spell::Asked};

const MIB: u64 = 1 << 20;
const FAST: Duration = Duration::from_millis(1);

/// One image after the other way of getting it, in `ticks` steps of `pace`.
async fn image(cx: &StepCx, name: &str, total: u64, ticks: u32, pace: Duration) {
    let mut beat = tokio::time::interval(pace);
    for tick in 0..=ticks {
        beat.tick().await;
        let (tick, ticks) = (u64::from(tick), u64::from(ticks));
        let amount = match name {
            "wordpress" => Amount::Estimate { seconds: 4 },
            "nfs" => Amount::Items { done: 12 * tick / ticks, total: 12 },
            "node" => Amount::Bytes { done: total * tick / ticks, total: None },
            _ => Amount::Bytes { done: total * tick / ticks, total: Some(total) },
        };
        let note = match name {
            "wordpress" => {
                "building: Setting up libapache2-mod-php8.4 (8.4.16-1~deb13u1) and everything else that it needs …"
            }
            "nfs" => "building: \x1b[32mStep\x1b[0m",
            _ => "pulling docker.io/library/some-long-name:9.7@sha256:0123456789abcdef0123456789abcdef",
        };
        cx.task(name, note, Some(amount));
    }
    cx.task_done(name, "pulled");
}

async fn story(run: Run, pace: Duration) -> anyhow::Result<()> {
    run.step(StepId::Preflight, |cx| async move {
        cx.say("looking at the Docker engine");
        cx.warn("the kernel has no NFS client; nodes mount through FUSE\n(the images built from packages bring what is needed)");
        Ok(Stepped::already((), "Docker 29.1, kind 0.33, 2 cores, 23.0 GiB"))
    })
    .await?;
    run.step(StepId::Images, |cx| async move {
        tokio::join!(
            image(&cx, "database", 230 * MIB, 30, pace),
            image(&cx, "node", 1200 * MIB, 40, pace),
            image(&cx, "wordpress", 0, 50, pace),
            image(&cx, "nfs", 0, 20, pace),
            image(&cx, "metrics-server-with-a-long-name", 80 * MIB, 25, pace),
        );
        Ok(Stepped::done((), "5 images, 2 of them built"))
    })
    .await?;
    let (one, two) = tokio::join!(
        run.step(StepId::Cluster, |cx| async move {
            for what in ["Preparing nodes", "Writing configuration", "Starting control-plane", "Joining worker nodes"] {
                cx.say(what);
                tokio::time::sleep(pace * 7).await;
            }
            Ok(Stepped::done((), "1 control plane and 3 workers"))
        }),
        run.step(StepId::Load, |cx| async move {
            let nodes = ["wplab-control-plane", "wplab-worker", "wplab-worker2", "wplab-worker3"];
            futures_util::future::join_all(nodes.map(|node| image(&cx, node, 500 * MIB, 35, pace))).await;
            Ok(Stepped::done((), "5 images on 4 nodes"))
        }),
    );
    one.and(two)?;
    run.step(StepId::Smoke, |cx| async move {
        for number in 0..8 {
            tokio::time::sleep(pace).await;
            let verdict = match number {
                5 => Verdict::Failed { reason: "db-2 is 12 s behind".into(), hints: vec![Hint::words("look there")] },
                _ => Verdict::Passed { seen: "seen".into() },
            };
            let sentence = format!("what is written at the writer is read at reader {number}");
            cx.run().send(Event::Checked(CheckResult { subject: "database", sentence, verdict, took: pace }));
        }
        Ok(Stepped::done((), "7 of 8 checks passed"))
    })
    .await?;
    run.step(StepId::Autoscale, |cx| async move {
        cx.say("waiting for metrics: the API service has no endpoints");
        tokio::time::sleep(pace * 5).await;
        Err::<Stepped<()>, _>(anyhow::anyhow!("waited 180 s for metrics: the API service has no endpoints"))
    })
    .await
}

#[tokio::test]
#[ignore = "for looking at"]
async fn demo() {
    let mut terminal = Terminal::plain();
    terminal.live = std::io::IsTerminal::is_terminal(&std::io::stderr());
    terminal.err = Paint::of(&std::io::stderr(), false);
    let session = Session::new(terminal, None);
    let asker = session.terminal.asker();
    let ended = session
        .perform(|run| async move {
            if std::env::var_os("ASK").is_some() {
                let asked = run.step(StepId::Fix, |cx| async move {
                    image(&cx, "docker", 100 * MIB, 10, Duration::from_millis(100)).await;
                    cx.say("asking");
                    cx.task("kind", "waiting", None);
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    let question = "--fix would do this on this machine:\n  - apt-get install docker.io\nGo on?";
                    Ok(Stepped::done((), format!("the answer was {}", asker.ask(question.into()).await)))
                });
                asked.await?;
            }
            story(run, Duration::from_millis(100)).await
        })
        .await;
    let error = ended.expect_err("the story ends badly");
    let _ =
        session.terminal.fail(&error, &Asked::Up { wanted: Wanted::default(), lab: wplab::spec::LabName::default() });
}

#[tokio::test]
async fn every_event_of_a_whole_run_is_shown_before_the_end() {
    let mut terminal = Terminal::plain();
    (terminal.format, terminal.volume) = (Format::Json, Volume::Quiet);
    let (run, events) = Run::new(None);
    let (result, ()) = tokio::join!(story(run, FAST), show(&terminal, events));
    assert!(result.is_err());

    let (run, mut events) = Run::new(None);
    let _ = story(run, FAST).await;
    let mut lines = Lines::new(Paint::off(), Volume::Verbose);
    let mut shown = Vec::new();
    while let Ok(event) = events.try_recv() {
        shown.extend(lines.line(Duration::ZERO, &event));
    }
    assert!(shown.iter().all(|line| !line.contains('\x1b')), "{shown:?}");
    assert!(
        shown
            .iter()
            .any(|line| line.contains("× what is written at the writer is read at reader 5: db-2 is 12 s behind")),
        "{shown:?}"
    );
    assert!(shown.last().is_some_and(|line| line.contains("autoscale  × failed")), "{shown:?}");
}
