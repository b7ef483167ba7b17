//! Where backups are: an address without a secret in it. What it takes to get in comes from the environment or a Secret.

use std::{fmt, net::IpAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::problem::quoted;

/// A place for backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Destination {
    /// `s3://BUCKET[/FOLDER][?endpoint=URL&region=NAME]`: Amazon S3, or any server that speaks its protocol.
    S3 {
        /// The bucket, which exists.
        bucket: String,
        /// The folder in it, without slashes around it; empty is the whole bucket.
        folder: String,
        /// The server, where it is not Amazon's: `https://HOST[:PORT]`, or `http://` in front of a loopback or private address, or a name without a dot.
        endpoint: Option<String>,
        /// The region, where it is not `us-east-1`.
        region: Option<String>,
    },
    /// `gs://BUCKET[/FOLDER]`: Google Cloud Storage.
    Gs {
        /// The bucket, which exists.
        bucket: String,
        /// The folder in it.
        folder: String,
    },
    /// `https://HOST[:PORT][/FOLDER]`: WebDAV; `http://` as for S3.
    Dav {
        /// The whole address, without a slash at its end.
        url: String,
    },
    /// `file:///FOLDER` on this machine.
    File {
        /// The folder, absolute.
        folder: PathBuf,
    },
}

impl Destination {
    /// Reads an address.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn new(text: &str) -> Result<Destination, String> {
        let wrong = |why: String| format!("{} is no place for backups: {why}", quoted(&hidden(text)));
        let (scheme, rest) = text
            .split_once("://")
            .ok_or_else(|| wrong("it begins with s3://, gs://, https:// or file://".to_owned()))?;
        if authority(rest).contains('@') {
            return Err(wrong(
                "nobody's password stands in an address; it comes from the environment or a Secret".to_owned(),
            ));
        }
        match scheme {
            "s3" | "gs" => in_bucket(scheme, rest).map_err(wrong),
            "http" | "https" => server(text).map(|url| Destination::Dav { url }).map_err(wrong),
            "file" => {
                let folder = PathBuf::from(rest);
                let up = folder.components().any(|part| part == std::path::Component::ParentDir);
                match folder.is_absolute() && !up && rest != "/" {
                    true => Ok(Destination::File { folder: PathBuf::from(rest.trim_end_matches('/')) }),
                    false => Err(wrong(
                        "after file:// comes the absolute path of a folder, as in file:///srv/backups".to_owned(),
                    )),
                }
            }
            other => Err(wrong(format!("{other}:// is none of s3://, gs://, https:// and file://"))),
        }
    }
}

/// `BUCKET[/FOLDER][?KEY=VALUE&…]`.
fn in_bucket(scheme: &str, rest: &str) -> Result<Destination, String> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (bucket, folder) = path.split_once('/').unwrap_or((path, ""));
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.' | '_');
    if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(allowed) {
        let what = "a bucket's name has 3 to 63 lowercase letters, digits, '-', '.' or '_'";
        return Err(what.to_owned());
    }
    let folder = folder.trim_end_matches('/');
    if !folder.is_empty() && folder.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("a folder in a bucket has no empty part, '.' or '..' in it".to_owned());
    }
    let (mut endpoint, mut region) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some(("endpoint", url)) if scheme == "s3" => endpoint = Some(server(url)?),
            Some(("region", name)) if scheme == "s3" && !name.is_empty() => region = Some(name.to_owned()),
            _ if scheme == "s3" => {
                return Err("after '?' there is endpoint=URL or region=NAME, with '&' between them".to_owned());
            }
            _ => return Err("there is nothing after '?' in it".to_owned()),
        }
    }
    let (bucket, folder) = (bucket.to_owned(), folder.to_owned());
    Ok(match scheme {
        "s3" => Destination::S3 { bucket, folder, endpoint, region },
        _ => Destination::Gs { bucket, folder },
    })
}

/// The address of a server, without a slash at its end. Unencrypted it goes no further than this machine and its own networks.
fn server(url: &str) -> Result<String, String> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let host = authority(rest);
    if !matches!(scheme, "http" | "https") || host.is_empty() || host.contains('@') || rest.contains(['?', '#', ' ']) {
        return Err("a server's address is https://HOST[:PORT][/FOLDER]".to_owned());
    }
    if scheme == "http" && !near(host) {
        return Err(
            "passwords and data go over https://, except to a loopback or private address or a name without a dot"
                .to_owned(),
        );
    }
    Ok(url.trim_end_matches('/').to_owned())
}

/// `HOST[:PORT]` at the beginning of a text.
fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

/// Whether a host is this machine, an address that no router of the internet passes on, or a name without a dot, as Docker and
/// Kubernetes give them inside their own networks: no host of the internet has one.
fn near(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    match host.parse() {
        Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private(),
        Ok(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local(),
        Err(_) => !host.is_empty() && !host.contains([':', '.']),
    }
}

/// The address as it may be told: without what somebody may have put before an `@`.
fn hidden(text: &str) -> String {
    match text.split_once("://") {
        Some((scheme, rest)) => match authority(rest).rsplit_once('@') {
            Some((secret, _)) => format!("{scheme}://…{}", &rest[secret.len()..]),
            None => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

as_text!(Destination);

/// As [`Destination::new`] reads it.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let within = |bucket: &str, folder: &str| match folder {
            "" => bucket.to_owned(),
            folder => format!("{bucket}/{folder}"),
        };
        match self {
            Destination::S3 { bucket, folder, endpoint, region } => {
                write!(f, "s3://{}", within(bucket, folder))?;
                let endpoint = endpoint.as_ref().map(|url| format!("endpoint={url}"));
                let region = region.as_ref().map(|name| format!("region={name}"));
                let query: Vec<String> = endpoint.into_iter().chain(region).collect();
                if query.is_empty() { Ok(()) } else { write!(f, "?{}", query.join("&")) }
            }
            Destination::Gs { bucket, folder } => write!(f, "gs://{}", within(bucket, folder)),
            Destination::Dav { url } => f.write_str(url),
            Destination::File { folder } => write!(f, "file://{}", folder.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in [
            "s3://shop",
            "s3://shop/lab/one",
            "s3://shop/lab?endpoint=http://127.0.0.1:7070&region=eu-1",
            "gs://shop/lab",
            "https://dav.example.org/backups",
            "http://localhost:8080",
            "s3://backups?endpoint=http://wplab-backups:7070",
            "http://[::1]:8080/x",
            "file:///srv/backups",
        ] {
            assert_eq!(Destination::new(text).map(|found| found.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(Destination::new("s3://shop/lab/").expect("one").to_string(), "s3://shop/lab");
    }

    #[test]
    fn what_is_wrong_is_told_with_what_is_allowed() {
        for (text, said) in [
            ("/srv/backups", "begins with s3://"),
            ("ftp://host/x", "ftp:// is none of"),
            ("s3://Shop", "a bucket's name has"),
            ("s3://shop/../x", "no empty part"),
            ("s3://shop?endpoint=http://example.org", "go over https://"),
            ("s3://shop?secret=x", "endpoint=URL or region=NAME"),
            ("gs://shop?region=x", "nothing after '?'"),
            ("http://example.org/x", "go over https://"),
            ("http://172.32.0.1/x", "go over https://"),
            ("http://shop.example:80/x", "go over https://"),
            ("http://:80/x", "go over https://"),
            ("https:///x", "HOST[:PORT]"),
            ("file://srv/x", "absolute path"),
            ("file:///", "absolute path"),
            ("file:///srv/../etc", "absolute path"),
        ] {
            let error = Destination::new(text).expect_err(text);
            assert!(error.contains(said), "{text}: {error}");
        }
    }

    #[test]
    fn a_password_in_an_address_is_refused_and_not_told() {
        for text in ["https://me:geheim@host/x", "s3://AKIA:geheim@shop/x"] {
            let error = Destination::new(text).expect_err("a password");
            assert!(error.contains("nobody's password") && !error.contains("geheim"), "{error}");
        }
    }
}
