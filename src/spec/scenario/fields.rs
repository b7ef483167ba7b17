//! The fields of a scenario file, one by one: what there may be, what there must be, and a problem with place and cure for
//! everything else.

use std::time::Duration;

use crate::spec::{
    known,
    problem::{Place, Problem, meant, quoted},
    tree::{Entry, Node, Value},
    validate::{quoted_key, seconds, shown},
};

/// Collects what is wrong.
#[derive(Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn at(&mut self, path: &str, place: Option<Place>, what: impl Into<String>, cure: impl Into<String>) {
        self.0.push(Problem { path: path.to_owned(), place, what: what.into(), cure: cure.into() });
    }
}

/// A section of the file, and where it is.
pub(super) struct Section<'a> {
    path: String,
    place: Option<Place>,
    entries: &'a [Entry],
}

impl<'a> Section<'a> {
    /// A section that may have these keys.
    pub(super) fn new(problems: &mut Problems, path: &str, node: &'a Node, keys: &[&str]) -> Section<'a> {
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Empty => &[],
            other => {
                let what = format!("expected keys with values, found {}", shown(other));
                problems.at(path, Some(node.place), what, format!("allowed here: {}", keys.join(", ")));
                &[]
            }
        };
        let section = Section { path: path.to_owned(), place: Some(node.place), entries };
        for Entry { key, place, .. } in entries.iter().filter(|entry| !keys.contains(&entry.key.as_str())) {
            let meant =
                meant(key, keys.iter().copied()).map(|word| format!("did you mean {word}? ")).unwrap_or_default();
            let cure = format!("{meant}allowed here: {}", keys.join(", "));
            problems.at(&section.field(&quoted_key(key)), Some(*place), "there is no such key", cure);
        }
        section
    }

    /// The section below a key; `None`, and a problem, when it is not there.
    pub(super) fn below(&self, problems: &mut Problems, key: &str, keys: &[&str]) -> Option<Section<'a>> {
        let Some(entry) = self.entry(key) else {
            self.lacks(problems, key, &format!("write a section {key} with: {}", keys.join(", ")));
            return None;
        };
        Some(Section::new(problems, &self.field(key), &entry.node, keys))
    }

    /// The node below a key, if it is there.
    pub(super) fn node(&self, key: &str) -> Option<&'a Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub(super) fn field(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn lacks(&self, problems: &mut Problems, key: &str, cure: &str) {
        problems.at(&self.field(key), self.place, "this is missing", cure);
    }

    /// What a field says, if it is there and one value that can be read. `allowed` is the cure of whatever else it is.
    pub(super) fn maybe<T>(
        &self,
        problems: &mut Problems,
        key: &str,
        allowed: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Entry { node, .. } = self.entry(key)?;
        let path = self.field(key);
        match &node.value {
            Value::Text { text, .. } => match read(text) {
                Ok(value) => return Some(value),
                Err(what) => problems.at(&path, Some(node.place), what, allowed),
            },
            Value::Empty => problems.at(&path, Some(node.place), "there is no value", allowed),
            other => {
                problems.at(&path, Some(node.place), format!("expected one value, found {}", shown(other)), allowed)
            }
        }
        None
    }

    /// The same for a field that has to be there.
    pub(super) fn must<T>(
        &self,
        problems: &mut Problems,
        key: &str,
        allowed: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        if self.entry(key).is_none() {
            self.lacks(problems, key, allowed);
            return None;
        }
        self.maybe(problems, key, allowed, read)
    }
}

/// One of these words.
pub(super) fn word<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        let found = all.iter().copied().find(|one| name(*one) == text);
        found.ok_or_else(|| match meant(text, all.iter().map(|one| name(*one))) {
            Some(word) => format!("{} is not known; did you mean {word}?", quoted(text)),
            None => format!("{} is not known", quoted(text)),
        })
    }
}

/// The words themselves, as a cure.
pub(super) fn words<T: Copy>(all: &[T], name: fn(T) -> &'static str) -> String {
    format!("allowed: {}", all.iter().map(|one| name(*one)).collect::<Vec<_>>().join(", "))
}

/// A span of time up to an hour.
pub(super) const SPAN: &str = "allowed: a time up to an hour, such as 30s or 5m";

pub(super) fn span(text: &str) -> Result<Duration, String> {
    let read = seconds(text).map(|seconds| Duration::from_secs(u64::from(seconds)));
    read.map_err(|_| format!("{} is not a span of time", quoted(text)))
}

/// A span of time that is more than nothing.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match span(text)? {
        Duration::ZERO => Err("this is no time at all".to_owned()),
        span => Ok(span),
    }
}

/// A short time, such as packets take.
pub(super) const LATE: &str = "allowed: 0ms to 10000ms";

pub(super) fn late(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("ms").and_then(|number| number.parse().ok()).filter(|ms| *ms <= 10_000);
    number.ok_or_else(|| format!("{} is not a delay", quoted(text)))
}

/// A share.
pub(super) const SHARE: &str = "allowed: 0% to 100%";

pub(super) fn share(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse().ok()).filter(|share| *share <= 100);
    number.ok_or_else(|| format!("{} is not a share", quoted(text)))
}

/// A number of things.
pub(super) fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("{} is not a whole number", quoted(text)))
}

pub(super) const MEMBERS: &str = "allowed: 1 to 9";

/// A number of database members.
pub(super) fn members(text: &str) -> Result<u8, String> {
    let number = text.parse().ok().filter(|number| (1..=9).contains(number));
    number.ok_or_else(|| format!("{} is no number of members", quoted(text)))
}

/// A topology, or any.
pub(super) fn topology(text: &str) -> Result<Option<crate::spec::Topology>, String> {
    use crate::spec::Topology::{Galera, Replication};
    if text == "any" {
        return Ok(None);
    }
    known(text, "topology", [Replication, Galera], crate::spec::Topology::name).map(Some)
}

/// A name by which a scenario is run.
pub(super) const NAME: &str =
    "allowed: at most 40 lowercase letters, digits and '-', beginning and ending with a letter or digit";

pub(super) fn name(text: &str) -> Result<String, String> {
    crate::spec::named(text, "scenario").map_err(|_| format!("{} is not the name of a scenario", quoted(text)))
}

/// A sentence.
pub(super) const SENTENCE: &str = "allowed: 1 to 120 characters on one line";

pub(super) fn sentence(text: &str) -> Result<String, String> {
    let fits = !text.trim().is_empty() && text.chars().count() <= 120 && !text.chars().any(char::is_control);
    if fits { Ok(text.to_owned()) } else { Err(format!("{} is not a sentence", quoted(text))) }
}
