//! What the members of the database are made of, as a lab file names it: the server's image, and the class of their volumes.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::problem::quoted;

/// Which image the database's server is of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ServerImage(Option<String>);

impl ServerImage {
    /// Reads `auto`, or the reference of an image.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<ServerImage, String> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':' | '@');
        let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        match text {
            "auto" => Ok(ServerImage(None)),
            name if begins && name.len() <= 255 && name.chars().all(known) && !name.ends_with(['/', ':', '@']) => {
                Ok(ServerImage(Some(name.to_owned())))
            }
            _ => Err(format!(
                "{} is no image: write auto, or a reference such as mysql:9.7 or registry.example/mysql:9.7",
                quoted(text)
            )),
        }
    }

    /// The reference; `None` is the catalogue's.
    pub fn reference(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// As [`ServerImage::new`] reads it.
impl fmt::Display for ServerImage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.reference().unwrap_or("auto"))
    }
}

/// Which StorageClass volumes are of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeClass(Option<String>);

impl VolumeClass {
    /// The class of claims that name none: kind's own, which provisions what has no volume here.
    pub const OF_KIND: &str = "standard";

    /// Reads `default`, or the name of a StorageClass.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<VolumeClass, String> {
        let part = |part: &str| {
            let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(ends) && part.ends_with(ends) && part.chars().all(|c| ends(c) || c == '-')
        };
        match text {
            "default" => Ok(VolumeClass(None)),
            name if name.len() <= 253 && name.split('.').all(part) => Ok(VolumeClass(Some(name.to_owned()))),
            _ => Err(format!("{} is no StorageClass: write default, or the name of one", quoted(text))),
        }
    }

    /// Its name; `None` is the cluster's own.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// As [`VolumeClass::new`] reads it.
impl fmt::Display for VolumeClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name().unwrap_or("default"))
    }
}

as_text!(ServerImage, VolumeClass);
