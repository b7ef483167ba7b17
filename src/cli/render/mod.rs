//! The only code that writes to the terminal. Standard output gets a command's result, as a table or as JSON; standard
//! error gets the talk: events as [`lines`] or as [`bars`], errors, and what to type next.

pub(super) mod backups;
mod bars;
pub(super) mod chaos;
pub(super) mod contracts;
#[cfg(test)]
mod demo;
mod lines;
pub(super) mod load;
mod paint;
pub(super) mod report;
mod stream;
pub(super) mod tables;

use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::Path,
    process::ExitCode,
    time::Instant,
};

use anyhow::Error;
use serde::Serialize;
use tokio::sync::{
    Mutex,
    mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    oneshot,
};
use wplab::run::event::Event;

use self::{
    bars::Bars,
    lines::{Lines, Volume},
    paint::tame,
    stream::Stream,
};
use super::{
    Common, Format,
    failure::{Misused, Told, tell},
    spell::Asked,
};

pub(super) use self::paint::Paint;

/// A question to the user; running lines leave the screen while it is asked.
struct Question {
    text: String,
    /// Where the answer goes; `None` when the text is only to be read.
    answer: Option<oneshot::Sender<bool>>,
}

/// Standard output and standard error of this run.
pub(super) struct Terminal {
    format: Format,
    volume: Volume,
    /// Lines may be drawn over: standard error is a terminal.
    live: bool,
    out: Paint,
    err: Paint,
    /// Where everything that happens is also written as data (`--events`).
    stream: Option<Stream>,
    /// Standard output is the stream's.
    taken: bool,
    start: Instant,
    ask: UnboundedSender<Question>,
    asked: Mutex<UnboundedReceiver<Question>>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Terminal").field("format", &self.format).field("live", &self.live).finish_non_exhaustive()
    }
}

impl Terminal {
    pub(super) fn new(common: &Common) -> Terminal {
        let volume = match (common.quiet, common.verbose) {
            (true, _) => Volume::Quiet,
            (false, 0) => Volume::Normal,
            (false, _) => Volume::Verbose,
        };
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Terminal {
            format: common.output,
            volume,
            live: io::stderr().is_terminal() && !dumb && volume != Volume::Quiet,
            out: Paint::of(&io::stdout(), common.no_color),
            err: Paint::of(&io::stderr(), common.no_color),
            ..Terminal::plain()
        }
    }

    /// A terminal before any flag is known.
    pub(super) fn plain() -> Terminal {
        let (ask, asked) = unbounded_channel();
        let (out, err) = (Paint::off(), Paint::off());
        Terminal {
            format: Format::Table,
            volume: Volume::Normal,
            live: false,
            out,
            err,
            stream: None,
            taken: false,
            start: Instant::now(),
            ask,
            asked: Mutex::new(asked),
        }
    }

    /// From now on everything that happens is also written as data, to a file or to standard output (`-`).
    ///
    /// # Errors
    /// [`Misused`]: the file cannot be made, or standard output is promised to a result.
    pub(super) fn stream_to(&mut self, to: &Path, command: &[String]) -> Result<(), Misused> {
        self.taken = to == Path::new("-");
        if self.taken && self.format == Format::Json {
            return Err(Misused(
                "--output json and --events - both want standard output; give --events a file".to_owned(),
            ));
        }
        let stream = Stream::open(to)
            .map_err(|error| Misused(format!("cannot write the events to {}: {error}", to.display())))?;
        self.lost(stream.began(command));
        self.stream = Some(stream);
        Ok(())
    }

    /// The last line of the stream.
    pub(super) fn ended(&self, exit_code: u8, told: Option<&Told>) {
        self.lost(self.stream.as_ref().and_then(|stream| stream.ended(self.start.elapsed(), exit_code, told)));
    }

    fn happened(&self, event: &Event) {
        self.lost(self.stream.as_ref().and_then(|stream| stream.event(self.start.elapsed(), event)));
    }

    fn lost(&self, why: Option<io::Error>) {
        if let Some(why) = why.filter(|why| why.kind() != io::ErrorKind::BrokenPipe) {
            talk(&lines::warning(self.err, &format!("the events cannot be written any more: {why}"), &[]));
        }
    }

    pub(super) fn verbose(&self) -> bool {
        self.volume == Volume::Verbose
    }

    /// A result: as JSON, or as text for people.
    pub(super) fn result<T: Serialize + ?Sized>(&self, value: &T, text: impl FnOnce(Paint) -> String) {
        match self.format {
            Format::Table => self.data(&text(self.out)),
            Format::Json => match serde_json::to_string_pretty(value) {
                Ok(json) => self.line(&json),
                Err(error) => self.say(&format!("the result cannot be written as JSON: {error}")),
            },
        }
    }

    /// A result that replaces the one before it (`--watch`): on a terminal in the same place, as JSON on a line each.
    pub(super) fn again<T: Serialize>(&self, value: &T, text: impl FnOnce(Paint) -> String) {
        match self.format {
            Format::Json => self.line(&serde_json::to_string(value).unwrap_or_default()),
            Format::Table if io::stdout().is_terminal() => self.data(&format!("\x1b[H\x1b[2J{}", text(self.out))),
            Format::Table => self.data(&format!("{}\n", text(self.out))),
        }
    }

    /// Text for standard output, as it is.
    pub(super) fn data(&self, text: &str) {
        if self.taken {
            return talk(text.trim_end_matches('\n'));
        }
        // Whoever closed the pipe (`| head`) has seen enough.
        let mut out = io::stdout().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    /// A line for standard output.
    pub(super) fn line(&self, text: &str) {
        self.data(&format!("{text}\n"));
    }

    /// Talk: left out with `--quiet`.
    pub(super) fn say(&self, text: &str) {
        if self.volume != Volume::Quiet {
            talk(text);
        }
    }

    /// What to type next, with a few words on why.
    pub(super) fn next(&self, commands: &[(String, &str)]) {
        let width = commands.iter().map(|(command, _)| command.chars().count()).max().unwrap_or_default();
        let lines = commands.iter().map(|(command, why)| {
            let gap = " ".repeat(width - command.chars().count());
            format!("  {}{gap}   {}", self.err.bold(command), self.err.dim(why))
        });
        self.say(&format!("next:\n{}", lines.collect::<Vec<_>>().join("\n")));
    }

    /// Tells an error, once, and returns its exit code.
    pub(super) fn fail(&self, error: &Error, asked: &Asked) -> ExitCode {
        let told = tell(error, asked);
        let indented = |text: &str, by: usize| text.replace('\n', &format!("\n{}", " ".repeat(by)));
        talk(&format!("{} {}", self.err.bad("error:"), told.error));
        for cause in &told.causes {
            talk(&format!("  {} {}", self.err.dim("caused by:"), indented(cause, 13)));
        }
        for hint in &told.hints {
            talk(&format!("{} {hint}", self.err.bold("hint:")));
        }
        self.ended(told.ending.number(), Some(&told));
        told.ending.code()
    }

    /// Somebody who may ask while events are shown.
    pub(super) fn asker(&self) -> Asker {
        Asker(self.ask.clone())
    }
}

fn talk(text: &str) {
    let mut err = io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.write_all(b"\n"));
}

/// Asks the user while events are shown.
pub(super) struct Asker(UnboundedSender<Question>);

impl Asker {
    /// Asks; yes only if that was the answer.
    pub(super) async fn ask(&self, text: String) -> bool {
        let (answer, said) = oneshot::channel();
        self.0.send(Question { text, answer: Some(answer) }).is_ok() && said.await.unwrap_or(false)
    }

    /// Tells without asking.
    pub(super) fn tell(&self, text: String) -> bool {
        self.0.send(Question { text, answer: None }).is_ok()
    }
}

/// Shows events until there are no more; to be awaited beside the work, or the last lines are lost.
pub(super) async fn show(terminal: &Terminal, mut events: UnboundedReceiver<Event>) {
    let mut lines = Lines::new(terminal.err, terminal.volume);
    let mut bars = terminal.live.then(|| Bars::new(terminal.err, terminal.volume));
    let mut tick = tokio::time::interval(bars::EVERY);
    let mut asked = terminal.asked.lock().await;
    loop {
        tokio::select! {
            event = events.recv() => match (event.inspect(|event| terminal.happened(event)), &mut bars) {
                (None, _) => break,
                (Some(event), Some(bars)) => bars.show(&event),
                (Some(event), None) => {
                    if let Some(line) = lines.line(terminal.start.elapsed(), &event) {
                        talk(&line);
                    }
                }
            },
            Some(question) = asked.recv() => {
                bars.iter().for_each(Bars::clear);
                put(question).await;
            }
            _ = tick.tick(), if bars.is_some() => bars.iter().for_each(Bars::tick),
        }
    }
}

/// Puts a question and waits for its answer, which a thread reads, so that Ctrl-C is still heard.
async fn put(Question { text, answer }: Question) {
    let text: Vec<String> = text.lines().map(tame).collect();
    let Some(mut answer) = answer else { return talk(&text.join("\n")) };
    let _ = io::stderr().lock().write_all(format!("{} [y/N] ", text.join("\n")).as_bytes());
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line).map(|_| line)
    });
    let line = tokio::select! {
        read = read => read.ok().and_then(Result::ok).unwrap_or_default(),
        // Who asked is gone: interrupted.
        () = answer.closed() => return talk(""),
    };
    let _ = answer.send(matches!(line.trim(), "y" | "Y" | "yes" | "Yes"));
}
