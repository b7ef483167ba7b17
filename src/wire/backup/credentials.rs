//! What lets somebody into a destination: read from the environment, or from a Secret with keys of the same names. Never told.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context, Result};

use crate::spec::destination::Destination;

/// All names, as the programs of the destinations' makers know them; WebDAV has none, and these two are ours.
pub const NAMES: [&str; 6] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
    "WEBDAV_USER",
    "WEBDAV_PASSWORD",
];

/// Values by their [`NAMES`].
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Credentials(BTreeMap<String, String>);

impl Credentials {
    /// Those of the environment. `GOOGLE_APPLICATION_CREDENTIALS` names a file with the key in it.
    ///
    /// # Errors
    /// That file cannot be read.
    pub fn from_environment() -> Result<Credentials> {
        let found = NAMES.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?)));
        let mut found: BTreeMap<_, _> = found.collect();
        if let (false, Some(path)) =
            (found.contains_key("GOOGLE_SERVICE_ACCOUNT_KEY"), std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS"))
        {
            let key = std::fs::read_to_string(&path);
            let key =
                key.with_context(|| format!("cannot read {} (GOOGLE_APPLICATION_CREDENTIALS)", path.display()))?;
            found.insert("GOOGLE_SERVICE_ACCOUNT_KEY".to_owned(), key);
        }
        Ok(Credentials(found))
    }

    /// Those among these values; others are left out.
    pub fn among(values: impl IntoIterator<Item = (String, String)>) -> Credentials {
        Credentials(values.into_iter().filter(|(name, _)| NAMES.contains(&name.as_str())).collect())
    }

    /// All of them, for a Secret.
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.0
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The names without which nobody gets into a destination, and which have no value here.
    pub fn missing(&self, destination: &Destination) -> Vec<&'static str> {
        let needed: &[&'static str] = match destination {
            Destination::S3 { .. } => &["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
            Destination::Gs { .. } => &["GOOGLE_SERVICE_ACCOUNT_KEY"],
            // A server may let everybody in; whoever has a name has a password, too.
            Destination::Dav { .. } if self.get("WEBDAV_USER").is_some() => &["WEBDAV_PASSWORD"],
            Destination::Dav { .. } | Destination::File { .. } => &[],
        };
        needed.iter().copied().filter(|name| self.get(name).is_none()).collect()
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_depends_on_the_destination_and_no_value_is_told() {
        let of = |text: &str| Destination::new(text).expect("a destination");
        let some = Credentials::among([
            ("AWS_ACCESS_KEY_ID".to_owned(), "geheim".to_owned()),
            ("WEBDAV_USER".to_owned(), "geheim".to_owned()),
            ("HOME".to_owned(), "/root".to_owned()),
        ]);
        assert_eq!(some.missing(&of("s3://shop")), ["AWS_SECRET_ACCESS_KEY"]);
        assert_eq!(some.missing(&of("gs://shop")), ["GOOGLE_SERVICE_ACCOUNT_KEY"]);
        assert_eq!(some.missing(&of("https://host/x")), ["WEBDAV_PASSWORD"]);
        assert!(some.missing(&of("file:///x")).is_empty());
        assert_eq!(some.values().len(), 2);
        assert_eq!(format!("{some:?}"), r#"["AWS_ACCESS_KEY_ID", "WEBDAV_USER"]"#);
    }
}
