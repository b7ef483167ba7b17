//! Version numbers as programs print them: the first three numbers decide.

use std::fmt;

/// A version: major, minor, patch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32, pub(crate) u32);

impl Version {
    /// Reads the first version in a text (`kind v0.33.0 go1.26.8`, `20.10.24+dfsg1`, `28.2`).
    pub(crate) fn find(text: &str) -> Option<Version> {
        text.split_whitespace().find_map(Self::parse)
    }

    fn parse(word: &str) -> Option<Version> {
        let number = |text: &str| text.parse::<u32>().ok();
        let word = word.trim_start_matches(|c: char| !c.is_ascii_digit());
        let digits = word.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(word.len());
        let mut parts = word[..digits].split('.');
        let (major, minor) = (number(parts.next()?)?, number(parts.next()?)?);
        Some(Version(major, minor, parts.next().and_then(number).unwrap_or(0)))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_as_programs_print_them() {
        let cases = [
            ("kind v0.33.0 go1.26.8 linux/amd64", Some(Version(0, 33, 0))),
            ("20.10.24+dfsg1", Some(Version(20, 10, 24))),
            ("0.31-1~deb13u1", Some(Version(0, 31, 0))),
            ("29.0.0-rc.3", Some(Version(29, 0, 0))),
            ("master", None),
            ("", None),
        ];
        for (text, want) in cases {
            assert_eq!(Version::find(text), want, "{text}");
        }
        assert!(Version(0, 31, 0) < Version(0, 31, 1) && Version(0, 9, 9) < Version(0, 31, 0));
    }
}
