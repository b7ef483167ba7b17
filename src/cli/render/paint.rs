//! Colours, few of them: nothing is said by colour alone.

use std::{io::IsTerminal, time::Duration};

/// Paints text, or leaves it as it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Colours for a stream, if it is a terminal that can show them and nobody forbade them.
    pub(crate) fn of(stream: &impl IsTerminal, forbidden: bool) -> Paint {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Paint(stream.is_terminal() && !forbidden && !no_color && !dumb)
    }

    pub(crate) const fn off() -> Paint {
        Paint(false)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31", text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.with("33", text)
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }
}

/// Text of others (a build's output, a container's log) as it may stand on one line of a terminal: its first line,
/// without control characters and their escape sequences.
pub(crate) fn tame(text: &str) -> String {
    let mut tame = String::with_capacity(text.len());
    let mut chars = text.trim_end().chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' => break,
            '\x1b' => skip_sequence(&mut chars),
            c if c.is_control() => tame.push(' '),
            c => tame.push(c),
        }
    }
    tame.truncate(tame.trim_end().len());
    tame
}

/// Skips the rest of an escape sequence: `[` parameters, up to its final letter; or one character.
fn skip_sequence(chars: &mut std::str::Chars<'_>) {
    if chars.next() == Some('[') {
        for c in chars.by_ref() {
            if ('@'..='~').contains(&c) {
                break;
            }
        }
    }
}

/// A span of time in few characters: `0.4s`, `12.3s`, `2m05s`, `1h02m`.
pub(crate) fn span(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{seconds:.1}s");
    }
    let whole = Duration::from_secs_f64(seconds.round()).as_secs();
    if whole < 3600 {
        format!("{}m{:02}s", whole / 60, whole % 60)
    } else {
        format!("{}h{:02}m", whole / 3600, whole % 3600 / 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_cannot_move_the_cursor() {
        assert_eq!(tame("\x1b[2J\x1b[1;31mred\x1b[0m\talert\r\nmore"), "red alert");
        assert_eq!(tame("\x1bcreset\x07"), "reset");
        assert_eq!(tame("ends in \x1b["), "ends in");
    }

    #[test]
    fn spans_are_short() {
        assert_eq!([0.04, 59.9, 59.99, 125.0, 3725.0].map(span), ["0.0s", "59.9s", "1m00s", "2m05s", "1h02m"]);
    }
}
