//! A YAML document (a lab file, a scenario) as a small tree that remembers where everything is written. Text stays as it was typed, so that
//! `ON` in a `my.cnf` setting is not turned into `true` on the way.

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, Span};

use super::problem::{Place, Problem, quoted};

/// How deep a file may nest; real ones need four levels.
const DEEPEST: usize = 16;

/// A value and where it begins.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

impl Node {
    /// The value of a key, when this is a map that has it.
    pub(super) fn below(&self, key: &str) -> Option<&Node> {
        let Value::Map(entries) = &self.value else { return None };
        entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }
}

/// What a value is.
#[derive(Clone, Debug)]
pub(super) enum Value {
    /// Nothing, `~` or `null`.
    Empty,
    /// A scalar; `plain` when it is not quoted and may therefore be a number.
    Text { text: String, plain: bool },
    /// A list; what is in it never matters, because no field is one.
    List,
    /// Keys and values in the order of the file. Keys are unique: a repeated one has become a problem.
    Map(Vec<Entry>),
}

/// One key of a map with its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

/// A collection that is still open.
struct Open {
    node: Node,
    key: Option<(String, Place)>,
}

/// What kind of file is read, as far as messages tell of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    /// As in "tags have no meaning in lab files".
    pub(super) name: &'static str,
    /// What to write into an empty one.
    pub(super) least: &'static str,
    /// What to do with a second document.
    pub(super) second: &'static str,
    /// What to do when there is no such file.
    pub(super) missing: &'static str,
    /// One that can be looked at.
    pub(super) example: &'static str,
}

/// A lab file.
pub(super) const LAB: Kind = Kind {
    name: "lab file",
    least: "write at least `name: wplab`, or leave the file out to get the default lab",
    second: "a lab file holds one lab: put the other one into its own file, with its own name",
    missing: "check the path, or name no file: the default lab needs none",
    example: "lab/default.yaml",
};

/// Parses the one document of a lab file, and tells the problems that do not keep the rest from being checked.
///
/// # Errors
/// As [`parse_as`].
pub(super) fn parse(text: &str) -> Result<(Node, Vec<Problem>), Vec<Problem>> {
    parse_as(LAB, text)
}

/// Parses the one document of a file of this kind, and tells the problems that do not keep the rest from being checked.
///
/// # Errors
/// Everything up to what makes it no single YAML document.
pub(super) fn parse_as(kind: Kind, text: &str) -> Result<(Node, Vec<Problem>), Vec<Problem>> {
    let mut builder = Builder { kind, open: Vec::new(), root: None, documents: 0, problems: Vec::new() };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((event, span)) => builder.event(event, span)?,
            Err(error) => {
                let place = Place { line: error.marker().line().max(1), column: error.marker().col() + 1 };
                let what = format!("this is not YAML: {}", error.info());
                let cure = "check the indentation, colons and quotes around this place";
                builder.problems.push(problem("", place, what, cure));
                return Err(builder.problems);
            }
        }
    }
    let empty = |node: &Node| matches!(node.value, Value::Empty);
    match builder.root {
        Some(root) if !empty(&root) => Ok((root, builder.problems)),
        _ => Err(vec![Problem {
            path: String::new(),
            place: None,
            what: "the file is empty".into(),
            cure: kind.least.into(),
        }]),
    }
}

fn problem(path: &str, place: Place, what: impl Into<String>, cure: impl Into<String>) -> Problem {
    Problem { path: path.to_owned(), place: Some(place), what: what.into(), cure: cure.into() }
}

struct Builder {
    kind: Kind,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    problems: Vec<Problem>,
}

impl Builder {
    /// Takes one event; an `Err` ends the reading, because what follows would only confuse.
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Vec<Problem>> {
        let place = Place { line: span.start.line().max(1), column: span.start.col() + 1 };
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.stop(place, "a second document begins here", self.kind.second);
                }
            }
            Event::Scalar(text, style, _, tag) => {
                self.no_tag(place, tag.is_some());
                let plain = style == ScalarStyle::Plain;
                let empty = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let value = if empty { Value::Empty } else { Value::Text { text: text.into_owned(), plain } };
                self.put(Node { place, value });
            }
            Event::SequenceStart(_, _, tag) => {
                self.no_tag(place, tag.is_some());
                return self.begin(place, Value::List);
            }
            Event::MappingStart(_, _, tag) => {
                self.no_tag(place, tag.is_some());
                return self.begin(place, Value::Map(Vec::new()));
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(done) = self.open.pop() {
                    self.put(done.node);
                }
            }
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                let what = format!("anchors and aliases are not used in {}s", self.kind.name);
                return self.stop(place, &what, "write the value out");
            }
            _ => {}
        }
        Ok(())
    }

    fn stop(&mut self, place: Place, what: &str, cure: &str) -> Result<(), Vec<Problem>> {
        let path = self.path();
        self.problems.push(problem(&path, place, what, cure));
        Err(std::mem::take(&mut self.problems))
    }

    fn no_tag(&mut self, place: Place, tagged: bool) {
        if tagged {
            let path = self.path();
            let what = format!("YAML tags have no meaning in {}s", self.kind.name);
            self.problems.push(problem(&path, place, what, "leave the `!…` out"));
        }
    }

    fn begin(&mut self, place: Place, value: Value) -> Result<(), Vec<Problem>> {
        if self.open.len() == DEEPEST {
            let cure = format!("a {} needs four levels at most", self.kind.name);
            return self.stop(place, "this is nested too deeply", &cure);
        }
        self.open.push(Open { node: Node { place, value }, key: None });
        Ok(())
    }

    /// Puts a finished node where it belongs: as a key, as a value, into a list, or as the whole document.
    fn put(&mut self, node: Node) {
        let path = self.path();
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        let Value::Map(entries) = &mut parent.node.value else { return };
        let Some((key, place)) = parent.key.take() else {
            let key = match node.value {
                Value::Text { text, .. } if !text.is_empty() => text,
                _ => {
                    let cure = "a key is a word followed by a colon";
                    self.problems.push(problem(&path, node.place, "this cannot be a key", cure));
                    String::new()
                }
            };
            parent.key = Some((key, node.place));
            return;
        };
        if key.is_empty() {
            return;
        }
        match entries.iter().find(|entry| entry.key == key) {
            Some(first) => {
                let what = format!("{} is given twice", quoted(&key));
                let cure = format!("the first is in line {}: remove one of them", first.place.line);
                self.problems.push(problem(&path, place, what, cure));
            }
            None => entries.push(Entry { key, place, node }),
        }
    }

    /// The keys that lead to what is being read.
    fn path(&self) -> String {
        let keys = self.open.iter().filter_map(|open| open.key.as_ref()).map(|(key, _)| key.as_str());
        keys.collect::<Vec<_>>().join(".")
    }
}
