//! Streams made small (zstd) and, for those who hold a key, secret (age: <https://age-encryption.org/v1>). Both are formats of
//! programs that everybody can have: a backup can be opened without this one.

use std::{
    fmt,
    io::{self, Read, Write},
    path::Path,
    str::FromStr,
};

use age::{Decryptor, Encryptor, Identity, Recipient, stream::StreamWriter, x25519};
use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::wire::hex;

/// zstd's own default: as small as it gets without anybody waiting for the processor.
const LEVEL: i32 = 3;

/// For whom streams are encrypted: nobody in particular, or holders of these age keys.
#[derive(Clone, Default)]
pub struct Recipients(Vec<x25519::Recipient>);

impl Recipients {
    /// Reads age's public keys (`age1…`).
    ///
    /// # Errors
    /// A sentence that names the one that is none.
    pub fn new(keys: &[String]) -> Result<Recipients, String> {
        let read = |key: &String| {
            let wrong = |_| format!("'{}' is no public key of age: one begins with age1", key.escape_debug());
            x25519::Recipient::from_str(key).map_err(wrong)
        };
        keys.iter().map(read).collect::<Result<_, _>>().map(Recipients)
    }

    /// As they are written.
    pub fn keys(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

impl fmt::Debug for Recipients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

/// What opens encrypted streams; without any only those that are not.
#[derive(Default)]
pub struct Keys(Vec<x25519::Identity>);

impl Keys {
    /// Reads a file as `age-keygen` writes it.
    ///
    /// # Errors
    /// It cannot be read, or there is no key in it.
    pub fn read(path: &Path) -> Result<Keys> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Keys::parse(&text).with_context(|| format!("{} is no file of age's keys", path.display()))
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// There is no key in it, or something else. The text is not told.
    pub fn parse(text: &str) -> Result<Keys> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let read = |line: &str| x25519::Identity::from_str(line).map_err(anyhow::Error::msg);
        let keys: Result<Vec<_>> = lines.map(read).collect();
        let keys = keys.context("a line is no key")?;
        ensure!(!keys.is_empty(), "there is no key in it");
        Ok(Keys(keys))
    }

    /// This one.
    #[cfg(test)]
    pub(super) fn of(key: x25519::Identity) -> Keys {
        Keys(vec![key])
    }

    /// Whether one of them opens what is encrypted for one of these public keys.
    pub fn open_for(&self, recipients: &[String]) -> bool {
        self.0.iter().any(|key| recipients.contains(&key.to_public().to_string()))
    }

    /// Whether there is any.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.0.len())
    }
}

/// What went through a seal.
pub(super) struct Through {
    pub(super) bytes: u64,
    pub(super) sha256: String,
}

/// Sends all of `source` into `sink`, smaller and, with recipients, secret. Returns the sink, which is not flushed.
pub(super) fn seal<W: Write>(mut source: impl Read, sink: W, to: &Recipients) -> io::Result<(W, Through)> {
    let outer = match to.0.is_empty() {
        true => Outer::Open(sink),
        false => {
            let recipients = to.0.iter().map(|one| one as &dyn Recipient);
            let encryptor = Encryptor::with_recipients(recipients).map_err(io::Error::other)?;
            Outer::Secret(Box::new(encryptor.wrap_output(sink)?))
        }
    };
    let mut smaller = zstd::Encoder::new(outer, LEVEL)?;
    smaller.include_checksum(true)?;
    let through = copy(&mut source, &mut smaller)?;
    Ok((smaller.finish()?.finish()?, through))
}

/// Sends what [`seal`] made of it, from `source`, into `sink`.
pub(super) fn open<W: Write>(source: impl Read, mut sink: W, secret: bool, keys: &Keys) -> io::Result<(W, Through)> {
    let through = if secret {
        let decryptor = Decryptor::new_buffered(io::BufReader::new(source)).map_err(io::Error::other)?;
        let keys = keys.0.iter().map(|key| key as &dyn Identity);
        let inner = decryptor.decrypt(keys).map_err(io::Error::other)?;
        copy(&mut zstd::Decoder::new(inner)?, &mut sink)?
    } else {
        copy(&mut zstd::Decoder::new(source)?, &mut sink)?
    };
    Ok((sink, through))
}

/// What lies between the compressor and the sink.
enum Outer<W: Write> {
    Open(W),
    Secret(Box<StreamWriter<W>>),
}

impl<W: Write> Outer<W> {
    /// Writes what is due at the end.
    fn finish(self) -> io::Result<W> {
        match self {
            Outer::Open(sink) => Ok(sink),
            Outer::Secret(writer) => writer.finish(),
        }
    }
}

impl<W: Write> Write for Outer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Outer::Open(sink) => sink.write(bytes),
            Outer::Secret(writer) => writer.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Outer::Open(sink) => sink.flush(),
            Outer::Secret(writer) => writer.flush(),
        }
    }
}

/// Copies everything, and says how much and what it was.
fn copy(source: &mut impl Read, sink: &mut impl Write) -> io::Result<Through> {
    let (mut hash, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 128 << 10]);
    loop {
        let read = match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hash.update(&buffer[..read]);
        sink.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
    Ok(Through { bytes, sha256: hex(&hash.finalize()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(text: &[u8], to: &Recipients, keys: &Keys) -> io::Result<Vec<u8>> {
        let (sealed, went) = seal(text, Vec::new(), to).expect("sealed");
        let (opened, came) = open(&sealed[..], Vec::new(), !to.0.is_empty(), keys)?;
        assert_eq!((went.bytes, went.sha256), (came.bytes, came.sha256));
        Ok(opened)
    }

    /// A key pair as files have it.
    fn pair() -> (Recipients, Keys) {
        let key = x25519::Identity::generate();
        let to = Recipients::new(&[key.to_public().to_string()]).expect("a public key");
        (to, Keys(vec![key]))
    }

    #[test]
    fn what_is_sealed_is_opened_by_its_key_only() {
        let text = vec![b'x'; 1 << 20];
        let (to, keys) = pair();
        assert_eq!(there_and_back(&text, &Recipients::default(), &Keys::default()).expect("open to all"), text);
        assert_eq!(there_and_back(&text, &to, &keys).expect("for its key"), text);
        assert!(there_and_back(&text, &to, &pair().1).is_err(), "another key");
        assert!(there_and_back(&text, &to, &Keys::default()).is_err(), "no key");
        assert_eq!(there_and_back(b"", &to, &keys).expect("nothing"), b"");
    }

    #[test]
    fn what_is_cut_off_is_not_taken_for_the_whole() {
        let (to, keys) = pair();
        for to in [Recipients::default(), to] {
            let (sealed, _) = seal(&[7; 300_000][..], Vec::new(), &to).expect("sealed");
            for length in [0, 1, sealed.len() / 2, sealed.len() - 1] {
                let cut = open(&sealed[..length], Vec::new(), !to.0.is_empty(), &keys);
                assert!(
                    cut.is_err() || cut.is_ok_and(|(_, through)| through.bytes == 0),
                    "{length} of {}",
                    sealed.len()
                );
            }
        }
    }

    #[test]
    fn a_key_that_is_none_is_named() {
        let error = Recipients::new(&["ssh-ed25519 AAAA".to_owned()]).expect_err("no key of age");
        assert!(error.contains("ssh-ed25519 AAAA") && error.contains("age1"), "{error}");
    }
}
