//! What is wrong with a lab file, said once and completely: where, what was found, what is allowed.

use std::fmt;

use serde::Serialize;

/// A place in a file, both counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The field, as in `database.members`; empty when the file as a whole is meant.
    pub path: String,
    /// Where it is written; `None` when it is written nowhere (a whole file, a flag, a default).
    pub place: Option<Place>,
    /// What is wrong, with the offending value.
    pub what: String,
    /// What is allowed, or what to write instead.
    pub cure: String,
}

/// A lab file cannot be used: every problem that it has, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SpecError {
    /// The file as the user named it.
    pub file: String,
    /// All of them; never empty.
    pub problems: Vec<Problem>,
}

impl SpecError {
    /// The same of a text that nobody has as a file: the places in it say nothing.
    #[must_use]
    pub fn without_places(mut self) -> SpecError {
        self.problems.iter_mut().for_each(|problem| problem.place = None);
        self
    }

    /// Sorts the problems into the order in which a reader meets them in the file.
    pub(super) fn new(file: &str, mut problems: Vec<Problem>) -> SpecError {
        problems.sort_by_key(|problem| problem.place);
        SpecError { file: file.to_owned(), problems }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problems.len() {
            1 => write!(f, "{} has a problem", self.file)?,
            count => write!(f, "{} has {count} problems", self.file)?,
        }
        for Problem { path, place, what, cure } in &self.problems {
            write!(f, "\n  {}", self.file)?;
            if let Some(Place { line, column }) = place {
                write!(f, ":{line}:{column}")?;
            }
            let path = if path.is_empty() { String::new() } else { format!(" {path}:") };
            write!(f, ":{path} {what}\n      {cure}")?;
        }
        Ok(())
    }
}

/// A value as it is quoted in a message: on one line and not longer than a line can bear.
pub(super) fn quoted(text: &str) -> String {
    const LONGEST: usize = 60;
    let cut: String = text.chars().take(LONGEST).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    format!("{cut:?}{dots}")
}

/// The known word that was probably meant: the same letters in another spelling (`scaleDownWindow`), or nearly so.
pub(super) fn meant<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |word: &str| word.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
    let given = plain(given);
    let near = |word: &str| strsim::normalized_damerau_levenshtein(&given, &plain(word));
    let best = known.into_iter().map(|word| (near(word), word)).max_by(|a, b| a.0.total_cmp(&b.0));
    best.filter(|(likeness, _)| *likeness >= 0.6).map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_meant_is_found_through_typing_errors_and_other_spellings() {
        let known = ["members", "scale-down-window", "settings"];
        assert_eq!(meant("memebrs", known), Some("members"));
        assert_eq!(meant("scaleDownWindow", known), Some("scale-down-window"));
        assert_eq!(meant("colour", known), None);
    }

    #[test]
    fn a_quoted_value_stays_on_one_line() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert_eq!(quoted(&"x".repeat(200)).chars().count(), 63);
    }
}
