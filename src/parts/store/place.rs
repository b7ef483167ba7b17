//! The stores that this machine itself may have, as data: what they are called, how their server is started, how it is reached.

use std::{
    collections::BTreeMap,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use crate::{
    host::docker::{Server, Source},
    labels,
    spec::destination::Destination,
    wire::{backup::credentials::Credentials, hex},
};

/// The container of the store that all labs share, its volume, and its name on labs' networks.
pub const NAME: &str = "wplab-backups";
/// The bucket in every store of ours; each lab has its folder in it.
pub const BUCKET: &str = "backups";
/// Where stores listen inside labs' networks.
pub const PORT: u16 = 7070;
/// The path at which a store says without credentials that it serves.
pub(super) const HEALTH: &str = "/health";
/// Where the server has its buckets.
const ROOT: &str = "/data";
/// The folder that the server keeps in a bucket for what is on its way; no object has this name.
pub(super) const SCRATCH: &str = ".sgwtmp";
/// The credentials in the server's environment, and what clients call them.
const CREDENTIALS: [(&str, &str); 2] =
    [("ROOT_ACCESS_KEY", "AWS_ACCESS_KEY_ID"), ("ROOT_SECRET_KEY", "AWS_SECRET_ACCESS_KEY")];

/// What a store of this machine keeps backups in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// Docker's volume [`NAME`].
    Embedded,
    /// This folder, absolute: what lies in it is what `file://` reads there.
    Folder(PathBuf),
}

impl Place {
    /// The place that has to be served for pods to reach a destination; `None` for servers of others, which they reach by themselves.
    pub fn of(destination: &Destination) -> Option<Place> {
        match destination {
            Destination::File { folder } => Some(Place::Folder(folder.clone())),
            _ => None,
        }
    }

    /// The container's name, which labs' networks know.
    pub fn container(&self) -> String {
        match self {
            Place::Embedded => NAME.to_owned(),
            Place::Folder(folder) => format!("{NAME}-{}", hash_of(folder)),
        }
    }

    /// The labels of its container, which say which place it is.
    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        let mut marks = labels::of_stores();
        if let Place::Folder(folder) = self {
            marks.insert(labels::FOLDER.to_owned(), folder.display().to_string());
        }
        marks
    }

    /// The place that a container with these labels serves.
    pub(super) fn labelled(marks: &BTreeMap<String, String>) -> Place {
        marks.get(labels::FOLDER).map_or(Place::Embedded, |folder| Place::Folder(folder.into()))
    }

    /// The destination as pods reach it.
    pub fn inside(&self) -> Destination {
        served_at(&format!("{}:{PORT}", self.container()))
    }

    /// The destination as this machine reaches it: a folder without its server, the other one at its `port`.
    pub(super) fn outside(&self, port: Option<u16>) -> Option<Destination> {
        match self {
            Place::Embedded => port.map(at),
            Place::Folder(folder) => Some(Destination::File { folder: folder.clone() }),
        }
    }

    /// Its server. A folder is made if need be, and served as its owner; an engine that runs without root is its user already.
    pub(super) fn server(&self, image: &str, credentials: &Credentials, rootless: bool) -> Result<Server> {
        let (source, user) = match self {
            Place::Embedded => (Source::Volume(NAME.to_owned()), String::new()),
            Place::Folder(folder) => {
                let cannot = || format!("cannot make {}", folder.display());
                std::fs::create_dir_all(folder).with_context(cannot)?;
                let owner =
                    std::fs::metadata(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
                let user = if rootless { String::new() } else { format!("{}:{}", owner.uid(), owner.gid()) };
                (Source::Folder(folder.display().to_string()), user)
            }
        };
        let listen = format!(":{PORT}");
        // Without notes of its own beside objects: only so is a folder's content the same for who reads it directly. Locks are for
        // several servers of one folder, and would lie in the container's own root, where nobody writes.
        let command = [
            "/usr/local/bin/versitygw",
            "--port",
            &listen,
            "--health",
            HEALTH,
            "--quiet",
            "posix",
            "--nometa",
            "--disable-object-lock-file",
            ROOT,
        ];
        let values = credentials.values();
        let given =
            CREDENTIALS.iter().filter_map(|(theirs, ours)| Some(((*theirs).to_owned(), values.get(*ours)?.clone())));
        Ok(Server {
            name: self.container(),
            image: image.to_owned(),
            command: command.map(str::to_owned).into(),
            env: given.collect(),
            labels: self.labels(),
            user,
            data: (source, format!("{ROOT}/{BUCKET}")),
            port: PORT,
        })
    }

    /// Its address in a network of this subnet: from the end, where nodes never come, which have theirs from the beginning on and
    /// must find them free when they start again. `None` where the subnet has no end to speak of.
    pub(super) fn address(&self, subnet: &str) -> Option<String> {
        let (base, bits) = subnet.split_once('/')?;
        let (base, bits) = (u32::from(base.parse::<std::net::Ipv4Addr>().ok()?), bits.parse::<u32>().ok()?);
        let below = match self {
            Place::Embedded => 0,
            Place::Folder(folder) => 1 + u32::from(Sha256::digest(folder.as_os_str().as_encoded_bytes())[0] % 64),
        };
        let broadcast = base | u32::MAX.checked_shr(bits)?;
        (bits <= 24).then(|| std::net::Ipv4Addr::from(broadcast - 1 - below).to_string())
    }
}

/// Enough of a path's hash that no two folders of a machine are alike by chance.
fn hash_of(folder: &Path) -> String {
    hex(&Sha256::digest(folder.as_os_str().as_encoded_bytes())[..4])
}

/// New credentials.
pub(super) fn new_credentials() -> Credentials {
    // Neither is a word that somebody could guess.
    let values = [format!("wplab-{:08x}", rand::random::<u32>()), format!("{:032x}", rand::random::<u128>())];
    Credentials::among(CREDENTIALS.iter().map(|(_, name)| (*name).to_owned()).zip(values))
}

/// Those in a server's environment.
pub(super) fn credentials_in(env: &BTreeMap<String, String>) -> Credentials {
    let of = |(theirs, ours): &(&str, &str)| Some(((*ours).to_owned(), env.get(*theirs)?.clone()));
    Credentials::among(CREDENTIALS.iter().filter_map(of))
}

/// A store of ours at its port on this machine.
pub(super) fn at(port: u16) -> Destination {
    served_at(&format!("127.0.0.1:{port}"))
}

fn served_at(host: &str) -> Destination {
    let endpoint = Some(format!("http://{host}"));
    Destination::S3 { bucket: BUCKET.to_owned(), folder: String::new(), endpoint, region: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_has_a_name_of_its_own_and_addresses_that_are_read_again() {
        let folder = Place::Folder("/srv/backups".into());
        assert_eq!(Place::Embedded.container(), "wplab-backups");
        let name = folder.container();
        assert!(name.starts_with("wplab-backups-") && name.len() == 22, "{name}");
        assert_ne!(name, Place::Folder("/srv/other".into()).container());
        for place in [Place::Embedded, folder.clone()] {
            assert_eq!(Place::labelled(&place.labels()), place);
            let inside = place.inside();
            assert_eq!(Destination::new(&inside.to_string()), Ok(inside));
        }
        let outside = Place::Embedded.outside(Some(4000)).expect("an address").to_string();
        assert_eq!(outside, "s3://backups?endpoint=http://127.0.0.1:4000");
        assert_eq!(Place::Embedded.outside(None), None);
        let file = Destination::new("file:///srv/backups").expect("an address");
        assert_eq!((Place::of(&file), folder.outside(None)), (Some(folder), Some(file)));
        assert_eq!(Place::of(&Destination::new("s3://shop").expect("an address")), None);
    }

    #[test]
    fn addresses_are_from_the_end_of_a_network() {
        assert_eq!(Place::Embedded.address("172.18.0.0/16").as_deref(), Some("172.18.255.254"));
        assert_eq!(Place::Embedded.address("10.1.2.0/24").as_deref(), Some("10.1.2.254"));
        let other = Place::Folder("/srv/backups".into()).address("10.1.2.0/24").expect("an address");
        let end: u8 = other.rsplit('.').next().and_then(|end| end.parse().ok()).expect("a number");
        assert!((190..=253).contains(&end), "{other}");
        for none in ["10.1.2.0/28", "fd00::/64", "10.1.2.0"] {
            assert_eq!(Place::Embedded.address(none), None, "{none}");
        }
    }

    #[test]
    fn credentials_are_new_each_time_stand_in_the_environment_and_nowhere_else() {
        let (one, other) = (new_credentials(), new_credentials());
        assert_ne!(one, other);
        let folder = tempfile::tempdir().expect("a folder");
        let place = Place::Folder(folder.path().join("new"));
        let server = place.server("image", &one, false).expect("a server");
        assert!(folder.path().join("new").is_dir());
        assert_eq!(credentials_in(&server.env), one);
        assert_eq!(one.missing(&place.inside()), [""; 0]);
        let secret = &one.values()["AWS_SECRET_ACCESS_KEY"];
        assert!(
            secret.len() == 32
                && !server.command.iter().chain(server.labels.values()).any(|word| word.contains(secret))
        );
        let owner = std::fs::metadata(folder.path()).expect("an owner");
        assert_eq!(server.user, format!("{}:{}", owner.uid(), owner.gid()));
        assert_eq!(place.server("image", &one, true).expect("a server").user, "");
    }
}
