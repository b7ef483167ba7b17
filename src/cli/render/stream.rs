//! Events as data (`--events`): one JSON object per line, for CI systems and whatever else wants to draw them. What the
//! lines hold is described in docs/events.md.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, Write},
    path::Path,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde::Serialize;
use wplab::run::event::{Event, StepId};

use super::super::failure::Told;

/// The version of the lines' form. It grows when a field goes or changes its meaning; new fields and events do not change it.
const SCHEMA: u32 = 1;
/// How soon an amount that has changed is told again.
const AGAIN: Duration = Duration::from_secs(1);

/// What was told last of a step's task, and when.
type Said = HashMap<(StepId, Option<String>), (String, Duration)>;

/// Where the lines go. Each is written at once, so that a reader that follows the file sees what the terminal shows.
pub(crate) struct Stream {
    out: Mutex<Option<Box<dyn Write + Send>>>,
    said: Mutex<Said>,
}

impl Stream {
    /// To a file, which is made anew, or to standard output (`-`).
    ///
    /// # Errors
    /// The file cannot be made.
    pub(crate) fn open(to: &Path) -> io::Result<Stream> {
        let out: Box<dyn Write + Send> =
            if to == Path::new("-") { Box::new(io::stdout()) } else { Box::new(File::create(to)?) };
        Ok(Stream::into(out))
    }

    fn into(out: Box<dyn Write + Send>) -> Stream {
        Stream { out: Mutex::new(Some(out)), said: Mutex::default() }
    }

    /// The first line: what is about to be done.
    pub(crate) fn began(&self, command: &[String]) -> Option<io::Error> {
        let time = jiff::Timestamp::now().to_string();
        self.line(
            Duration::ZERO,
            &Began { event: "began", schema: SCHEMA, version: env!("CARGO_PKG_VERSION"), time, command },
        )
    }

    /// Something that happened so long after the start.
    pub(crate) fn event(&self, at: Duration, event: &Event) -> Option<io::Error> {
        if self.is_news(at, event) { self.line(at, event) } else { None }
    }

    /// An amount that grows many times a second is told once a second.
    fn is_news(&self, at: Duration, event: &Event) -> bool {
        let Event::Progress { step, task, note, amount: Some(_) } = event else { return true };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let before = said.get(&(*step, task.clone()));
        let news = before.is_none_or(|(text, when)| text != note || at.saturating_sub(*when) >= AGAIN);
        if news {
            said.insert((*step, task.clone()), (note.clone(), at));
        }
        news
    }

    /// The last line: how it ended, with what is told of an error.
    pub(crate) fn ended(&self, at: Duration, exit_code: u8, told: Option<&Told>) -> Option<io::Error> {
        let (error, causes, hints) =
            told.map_or((None, &[][..], &[][..]), |t| (Some(t.error.as_str()), &t.causes, &t.hints));
        self.line(at, &Ended { event: "ended", exit_code, error, causes, hints })
    }

    /// What keeps a line from being written; none is tried after it.
    fn line(&self, at: Duration, what: &impl Serialize) -> Option<io::Error> {
        let mut open = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let out = open.as_mut()?;
        let written = line(at, what).and_then(|line| out.write_all(line.as_bytes())).and_then(|()| out.flush());
        let error = written.err()?;
        *open = None;
        Some(error)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Began<'a> {
    event: &'static str,
    schema: u32,
    version: &'static str,
    time: String,
    command: &'a [String],
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Ended<'a> {
    event: &'static str,
    exit_code: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    causes: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    hints: &'a [String],
}

/// One line: the seconds since the start, and the fields of what happened.
fn line(at: Duration, what: &impl Serialize) -> io::Result<String> {
    let fields = serde_json::to_string(what)?;
    let fields = fields.strip_prefix('{').ok_or_else(|| io::Error::other(format!("{fields} is no event")))?;
    Ok(format!("{{\"at\":{:.3},{fields}\n", at.as_secs_f64()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wplab::{
        actions::smoke::{CheckResult, Verdict},
        run::{
            advice::Hint,
            event::{Amount, Outcome},
        },
        spec::{ImageSource, LabName},
    };

    use super::*;
    use crate::cli::failure::Ending;

    const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/events.jsonl");
    const PAGE: &str = include_str!("../../../docs/events.md");

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("not poisoned").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_amount_that_grows_is_told_once_a_second_and_a_new_note_at_once() {
        let (stream, page) = stream();
        let at = |millis, note: &str| {
            let amount = Some(Amount::Bytes { done: millis, total: None });
            let event = Event::Progress { step: StepId::Load, task: Some("a".into()), note: note.into(), amount };
            assert!(stream.event(Duration::from_millis(millis), &event).is_none());
        };
        for millis in [0, 400, 999, 1000, 1500] {
            at(millis, "loading");
        }
        at(1600, "unpacking");
        let written = String::from_utf8(page.0.lock().expect("not poisoned").clone()).expect("text");
        let times: Vec<&str> = written.lines().filter_map(|line| line.get(6..11)).collect();
        assert_eq!(times, ["0.000", "1.000", "1.600"]);
    }

    /// One of each kind.
    fn events() -> Vec<Event> {
        let lab = || LabName::new("demo").expect("a name");
        let checked = |verdict| {
            Event::Checked(CheckResult {
                subject: "frontend",
                sentence: "a post is read back from every replica".into(),
                verdict,
                took: Duration::from_millis(412),
            })
        };
        let progress = |note: &str, amount| Event::Progress {
            step: StepId::Images,
            task: Some("nfs".into()),
            note: note.into(),
            amount: Some(amount),
        };
        let took = Duration::from_millis(35_250);
        vec![
            Event::Started { step: StepId::Images },
            progress("pulling", Amount::Bytes { done: 1024, total: Some(4096) }),
            progress("reading", Amount::Bytes { done: 2048, total: None }),
            progress("building", Amount::Estimate { seconds: 8 }),
            progress("waiting", Amount::Items { done: 1, total: 4 }),
            Event::TaskDone { step: StepId::Images, task: "nfs".into(), note: "built".into() },
            Event::Progress {
                step: StepId::Cluster,
                task: None,
                note: "waiting for the API server: it does not answer yet".into(),
                amount: None,
            },
            Event::Warning { text: "port 8080 is taken; lab demo gets 127.0.0.1:8081".into(), hints: Vec::new() },
            Event::Finished { step: StepId::Cluster, took, outcome: Outcome::Done, detail: "4 nodes".into() },
            Event::Finished { step: StepId::Load, took, outcome: Outcome::AlreadyThere, detail: "7 images".into() },
            Event::Failed { step: StepId::Database, took },
            checked(Verdict::Passed { seen: "3 of 3".into() }),
            checked(Verdict::Failed {
                reason: "wordpress-1 answered 500".into(),
                hints: vec![Hint::Logs { lab: lab(), of: Some("frontend") }],
            }),
            checked(Verdict::Skipped { reason: "nobody could log in".into() }),
            Event::Warning {
                text: "No container registry answers".into(),
                hints: vec![Hint::Images { lab: Some(lab()), source: ImageSource::Packages }],
            },
        ]
    }

    fn stream() -> (Stream, Page) {
        let page = Page::default();
        (Stream::into(Box::new(page.clone())), page)
    }

    #[test]
    fn every_kind_of_line_is_as_the_golden_file_and_the_page_about_it_say() {
        let (stream, page) = stream();
        assert!(stream.began(&["up".into(), "demo".into()]).is_none());
        for (nth, event) in events().iter().enumerate() {
            assert!(stream.event(Duration::from_millis(nth as u64 * 500), event).is_none());
        }
        let told = Told {
            ending: Ending::StepFailed,
            error: "step database failed".into(),
            causes: vec!["waited 600 s for the database: db-1 is not ready".into()],
            hints: vec!["what is there is kept: `wplab up demo` continues, `wplab down demo` removes it".into()],
        };
        assert!(stream.ended(Duration::from_secs(61), 4, Some(&told)).is_none());
        assert!(stream.ended(Duration::from_secs(61), 0, None).is_none());
        let written = String::from_utf8(page.0.lock().expect("not poisoned").clone()).expect("text");
        let began: serde_json::Value = serde_json::from_str(written.lines().next().unwrap_or_default()).expect("JSON");
        let time = began["time"].as_str().expect("a time");
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
        let written = written.replace(time, "2026-01-31T12:00:00Z").replace(env!("CARGO_PKG_VERSION"), "X.Y.Z");
        if std::env::var_os("GOLDEN").is_some_and(|v| v == "update") {
            std::fs::write(GOLDEN, &written).expect("written");
        }
        assert_eq!(written, std::fs::read_to_string(GOLDEN).unwrap_or_default(), "GOLDEN=update writes it anew");
        for line in written.lines() {
            let parsed: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
            assert!(parsed["at"].is_number() && parsed["event"].is_string(), "{line}");
            assert!(PAGE.contains(line), "docs/events.md does not show {line}");
        }
    }

    #[test]
    fn what_cannot_be_written_is_told_once() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let stream = Stream::into(Box::new(Full));
        assert!(stream.event(Duration::ZERO, &Event::Started { step: StepId::Fix }).is_some());
        assert!(stream.ended(Duration::ZERO, 0, None).is_none());
    }
}
