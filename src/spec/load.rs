//! Reads a lab file and reports every problem at once. What the fields mean and which rules hold between them is the
//! neighbour `validate`'s.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

pub use super::defaults::{DEFAULT, GALERA};
pub use super::overrides::Overrides;
pub use super::problem::{Place, Problem, SpecError};
use super::{
    LabSpec,
    tree::{self, Kind},
    validate,
};

/// No lab file is this long; a wrong file is told before it is read to its end.
const LONGEST: u64 = 1024 * 1024;

/// Where the lab file comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Source {
    /// None was named: every field has its default.
    #[default]
    Defaults,
    /// Standard input (`-f -`).
    Stdin,
    /// A file.
    File(PathBuf),
}

/// Reads the lab, with every rule checked.
///
/// # Errors
/// All problems of the file at once.
pub fn load(source: &Source, overrides: &Overrides) -> Result<LabSpec, SpecError> {
    match source {
        Source::Defaults => {
            let spec = validate::spec(None, Vec::new(), Path::new(""), overrides);
            spec.map_err(|problems| SpecError::new("the lab", problems))
        }
        Source::Stdin => {
            let text = read(tree::LAB, io::stdin().lock())
                .map_err(|problem| SpecError::new("standard input", vec![problem]))?;
            parse("standard input", Path::new(""), &text, overrides)
        }
        Source::File(path) => {
            let file = path.display().to_string();
            let text = open(tree::LAB, path).map_err(|problem| SpecError::new(&file, vec![problem]))?;
            let folder = path.parent().unwrap_or(Path::new(""));
            parse(&file, folder, &text, overrides)
        }
    }
}

/// The lab that a text describes. `file` is its name in messages; paths in it are relative to `folder`.
///
/// # Errors
/// All problems of the text at once.
pub fn parse(file: &str, folder: &Path, text: &str, overrides: &Overrides) -> Result<LabSpec, SpecError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (root, problems) = tree::parse(text).map_err(|problems| SpecError::new(file, problems))?;
    validate::spec(Some(&root), problems, folder, overrides).map_err(|problems| SpecError::new(file, problems))
}

/// The text of a file that is short and is one.
pub(super) fn open(kind: Kind, path: &Path) -> Result<String, Problem> {
    if path.is_dir() {
        return Err(whole("this is a directory", &format!("name the {} in it", kind.name)));
    }
    match File::open(path) {
        Ok(file) => read(kind, file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(whole("there is no such file", kind.missing)),
        Err(error) => Err(whole(&format!("it cannot be opened: {error}"), "check the path and its permissions")),
    }
}

fn read(kind: Kind, from: impl Read) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    from.take(LONGEST + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| whole(&format!("it cannot be read: {error}"), "check the path and its permissions"))?;
    let cure = format!("a {} is a short YAML text, see {}", kind.name, kind.example);
    if bytes.contains(&0) {
        return Err(whole("this is a binary file", &cure));
    }
    if bytes.len() as u64 > LONGEST {
        return Err(whole("this is longer than 1 MiB", &cure));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..good].iter().filter(|byte| **byte == b'\n').count() + 1;
        whole(&format!("this is not text: line {line} is not UTF-8"), &cure)
    })
}

fn whole(what: &str, cure: &str) -> Problem {
    Problem { path: String::new(), place: None, what: what.to_owned(), cure: cure.to_owned() }
}
