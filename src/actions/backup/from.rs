//! How a backup is named by whoever wants it back: `ID`, `latest`, `LAB/ID`, or with the address of a destination in front.

use std::fmt;

use crate::{
    spec::{LabName, destination::Destination},
    wire::backup::manifest::BackupId,
};

/// A backup that somebody wants back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct From {
    /// Where it is; where the lab sends its own, if nothing is said.
    pub destination: Option<Destination>,
    /// Whose it is; the lab's own, if nothing is said.
    pub lab: Option<LabName>,
    /// Which.
    pub which: Which,
}

/// Which of a lab's backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// The newest one.
    Latest,
    /// The one of this name.
    Id(BackupId),
}

impl From {
    /// Reads `[[ADDRESS/]LAB/]ID`, where the last part may be `latest`; what an address has behind a `?` stays at its end.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<From, String> {
        let (path, query) = text.split_once('?').map_or((text, None), |(path, query)| (path, Some(query)));
        let (before, which) = path.rsplit_once('/').map_or((None, path), |(before, which)| (Some(before), which));
        let which = match which {
            "latest" => Which::Latest,
            id => Which::Id(BackupId::new(id).map_err(|wrong| format!("{wrong}, or latest for the newest one"))?),
        };
        let (address, lab) = match before.map(|before| before.rsplit_once('/').ok_or(before)) {
            None => (None, None),
            Some(Ok((address, lab))) => (Some(address), Some(lab)),
            Some(Err(lab)) => (None, Some(lab)),
        };
        let lab = lab.map(LabName::new).transpose()?;
        let destination = match (address, query) {
            (None, None) => None,
            (None, Some(_)) => return Err("what is behind '?' belongs to an address, and there is none".to_owned()),
            (Some(address), query) => {
                let query = query.map(|query| format!("?{query}")).unwrap_or_default();
                Some(Destination::new(&format!("{address}{query}"))?)
            }
        };
        Ok(From { destination, lab, which })
    }
}

/// As [`From::new`] reads it.
impl fmt::Display for From {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.destination.as_ref().map(ToString::to_string).unwrap_or_default();
        let (path, query) = address.split_once('?').unwrap_or((&address, ""));
        let parts = [path, self.lab.as_ref().map_or("", LabName::as_str)];
        for part in parts.into_iter().filter(|part| !part.is_empty()) {
            write!(f, "{part}/")?;
        }
        match &self.which {
            Which::Latest => f.write_str("latest")?,
            Which::Id(id) => id.fmt(f)?,
        }
        if query.is_empty() { Ok(()) } else { write!(f, "?{query}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_written_as_it_is_read() {
        for text in [
            "latest",
            "20261130T113000Z-4f2a",
            "shop/latest",
            "s3://bucket/shop/20261130T113000Z-4f2a",
            "s3://bucket/deep/folder/shop/latest?endpoint=http://127.0.0.1:7070&region=eu-1",
            "gs://bucket/shop/latest",
            "https://dav.example.org/backups/shop/latest",
            "file:///srv/backups/shop/latest",
        ] {
            assert_eq!(From::new(text).map(|from| from.to_string()), Ok(text.to_owned()));
        }
        let from = From::new("s3://bucket/shop/latest?endpoint=http://127.0.0.1:7070").expect("one");
        assert_eq!(from.destination.expect("an address").to_string(), "s3://bucket?endpoint=http://127.0.0.1:7070");
        assert_eq!(from.lab.as_ref().map(LabName::as_str), Some("shop"));
    }

    #[test]
    fn what_is_none_is_told_with_what_is_allowed() {
        for (text, said) in [
            ("newest", "latest for the newest"),
            ("Shop/latest", "not a lab name"),
            ("s3://bucket/latest", "no place for backups"),
            ("latest?endpoint=http://x", "belongs to an address"),
            ("ftp://host/shop/latest", "ftp:// is none of"),
        ] {
            let error = From::new(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
