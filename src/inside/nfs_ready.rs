//! Whether an NFS server really exports a path: the readiness of the storage pod. An open port is not enough,
//! because ganesha listens although an export could not be opened. One NFSv4.0 compound (RFC 7530) asks: PUTROOTFH, then a
//! LOOKUP per name of the path, then GETFH; it needs no client id and no session.
//!
//! The kubelet asks over HTTP, and each time the NFS server is asked then: a probe that is a command costs a process of the
//! container engine's, one of runc's and one of ours, all day.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use hyper::{Method, Request, Response, StatusCode};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    http::{self, Body},
    stop_signal,
};

/// Where the kubelet asks: `/ready` (the server exports the path) and `/live` (this process runs).
const HTTP_PORT: u16 = 8083;

/// The longest that the question may take in all; the kubelet's own limit for the probe is longer.
const LIMIT: Duration = Duration::from_secs(3);

/// The longest answer that is read; a real one has less than 300 bytes.
const ANSWER_LIMIT: u32 = 4096;

/// The top bit of a record mark: this fragment is the record's last.
const LAST_FRAGMENT: u32 = 1 << 31;

const XID: u32 = 0x7770_6c61; // "wpla"
const NFS_PROGRAM: u32 = 100_003;
const NFS_VERSION: u32 = 4;
const PROCEDURE_COMPOUND: u32 = 1;
const OP_GETFH: u32 = 10;
const OP_LOOKUP: u32 = 15;
const OP_PUTROOTFH: u32 = 24;

/// Answers for the server at `server` until SIGTERM or SIGINT.
///
/// # Errors
/// The port is taken.
pub async fn main(server: SocketAddr, export: String) -> Result<()> {
    let stop = stop_signal()?;
    let export: Arc<str> = export.into();
    http::serve(HTTP_PORT, move |request| answer(server, export.clone(), request)).await?;
    stop.await;
    Ok(())
}

async fn answer<B>(server: SocketAddr, export: Arc<str>, request: Request<B>) -> Response<Body> {
    let (code, text) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/live") => (StatusCode::OK, "alive\n".to_owned()),
        (&Method::GET, "/ready") => match check(server, &export).await {
            Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
            Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error:#}\n")),
        },
        _ => (StatusCode::NOT_FOUND, "try /live or /ready\n".to_owned()),
    };
    http::text(code, "text/plain", text)
}

/// Asks the server at `server` (port 2049 as a rule) whether it exports `export`, an absolute path.
///
/// # Errors
/// The server does not answer within three seconds, or does not export the path.
pub async fn check(server: SocketAddr, export: &str) -> Result<()> {
    let question = question(export);
    let answer = tokio::time::timeout(LIMIT, ask(server, &question)).await;
    let answer = answer.with_context(|| format!("no answer from {server} within {} s", LIMIT.as_secs()))?;
    let answer = answer.with_context(|| format!("cannot ask {server}"))?;
    judge(&answer).with_context(|| format!("{server} does not export {export}"))
}

async fn ask(server: SocketAddr, question: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await.context("it does not listen")?;
    stream.write_all(question).await?;
    let mut answer = Vec::new();
    loop {
        let mark = stream.read_u32().await.context("it ended the connection")?;
        let length = mark & !LAST_FRAGMENT;
        ensure!(answer.len() + length as usize <= ANSWER_LIMIT as usize, "the answer is longer than any honest one");
        let begin = answer.len();
        answer.resize(begin + length as usize, 0);
        stream.read_exact(&mut answer[begin..]).await.context("it ended the connection")?;
        if mark & LAST_FRAGMENT != 0 {
            return Ok(answer);
        }
    }
}

/// The call as one record: RPC header with an AUTH_SYS credential of root, then the compound.
fn question(export: &str) -> Vec<u8> {
    let names: Vec<&str> = export.split('/').filter(|name| !name.is_empty()).collect();
    let mut call = Writer::default();
    for word in [XID, 0, 2, NFS_PROGRAM, NFS_VERSION, PROCEDURE_COMPOUND] {
        call.word(word);
    }
    // AUTH_SYS: stamp, machine name, uid, gid, no further groups; 20 bytes in all. The verifier is AUTH_NONE.
    for word in [1, 20, 0, 0, 0, 0, 0, 0, 0] {
        call.word(word);
    }
    // An empty tag, minor version 0, and so many operations.
    for word in [0, 0, u32::try_from(names.len() + 2).unwrap_or(u32::MAX), OP_PUTROOTFH] {
        call.word(word);
    }
    for name in names {
        call.word(OP_LOOKUP);
        call.text(name);
    }
    call.word(OP_GETFH);
    let length = u32::try_from(call.0.len()).unwrap_or(u32::MAX);
    [&(length | LAST_FRAGMENT).to_be_bytes()[..], &call.0].concat()
}

/// Reads the answer: accepted, and the whole compound NFS4_OK.
fn judge(answer: &[u8]) -> Result<()> {
    let mut words = Reader(answer);
    ensure!(words.word()? == XID && words.word()? == 1, "this is no answer to the question");
    ensure!(words.word()? == 0, "the call was denied");
    let (_flavour, verifier) = (words.word()?, words.word()?);
    words.skip(verifier)?;
    match words.word()? {
        0 => {}
        2 => bail!("it does not speak NFS version 4"),
        code => bail!("the call was not accepted (code {code})"),
    }
    match words.word()? {
        0 => Ok(()),
        2 => bail!("no such path (NFS4ERR_NOENT)"),
        13 => bail!("access denied (NFS4ERR_ACCESS)"),
        10_021 => bail!("NFS version 4.0 is switched off (NFS4ERR_MINOR_VERS_MISMATCH)"),
        code => bail!("NFS status {code}"),
    }
}

/// XDR out: big-endian words, texts with a length and padded to words.
#[derive(Default)]
struct Writer(Vec<u8>);

impl Writer {
    fn word(&mut self, word: u32) {
        self.0.extend(word.to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.word(u32::try_from(text.len()).unwrap_or(u32::MAX));
        self.0.extend(text.as_bytes());
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// XDR in.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn word(&mut self) -> Result<u32> {
        let (word, rest) = self.0.split_first_chunk().context("the answer is too short")?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*word))
    }

    fn skip(&mut self, bytes: u32) -> Result<()> {
        self.0 = self.0.get(bytes.next_multiple_of(4) as usize..).context("the answer is too short")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    fn said(accepted: u32, status: u32) -> Vec<u8> {
        [XID, 1, 0, 0, 0, accepted, status].iter().flat_map(|word| word.to_be_bytes()).collect()
    }

    #[test]
    fn the_question_is_one_whole_record_that_names_every_part_of_the_path() {
        let record = question("/export/deep");
        let mark = u32::from_be_bytes([record[0], record[1], record[2], record[3]]);
        assert_eq!(mark, LAST_FRAGMENT | u32::try_from(record.len() - 4).expect("short"));
        assert_eq!(record.len() % 4, 0);
        // LOOKUP, length 6, "export", two bytes of padding.
        let lookup = [0, 0, 0, 15, 0, 0, 0, 6, b'e', b'x', b'p', b'o', b'r', b't', 0, 0];
        assert!(record.windows(lookup.len()).any(|window| window == lookup));
        assert!(record.ends_with(&[0, 0, 0, 10]));
    }

    #[test]
    fn only_a_compound_that_went_through_counts() {
        assert!(judge(&said(0, 0)).is_ok());
        assert_eq!(judge(&said(0, 2)).expect_err("absent").to_string(), "no such path (NFS4ERR_NOENT)");
        assert_eq!(judge(&said(2, 0)).expect_err("version").to_string(), "it does not speak NFS version 4");
        assert_eq!(judge(&said(0, 0)[..20]).expect_err("cut").to_string(), "the answer is too short");
        assert!(judge(b"HTTP/1.1 400 Bad Request").is_err());
    }

    #[tokio::test]
    async fn ready_is_what_the_server_says_now_and_alive_is_not_its_business() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let server = listener.local_addr().expect("an address");
        drop(listener);
        let get = async |path: &str| {
            let request = Request::builder().uri(path).body(()).expect("a request");
            answer(server, "/export".into(), request).await.status()
        };
        assert_eq!(get("/ready").await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get("/live").await, StatusCode::OK);
        assert_eq!(get("/").await, StatusCode::NOT_FOUND);
        let listener = TcpListener::bind(server).await.expect("listens again");
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let whole = said(0, 0);
            let mark = u32::try_from(whole.len()).expect("short") | LAST_FRAGMENT;
            stream.write_u32(mark).await.expect("writes");
            stream.write_all(&whole).await.expect("writes");
            stream
        });
        assert_eq!(get("/ready").await, StatusCode::OK);
        drop(serving.await);
    }

    #[tokio::test]
    async fn an_answer_in_fragments_is_put_together_and_a_port_without_server_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("listens");
        let server = listener.local_addr().expect("an address");
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("accepts");
            let whole = said(0, 0);
            for (part, last) in [(&whole[..8], 0), (&whole[8..], LAST_FRAGMENT)] {
                stream.write_u32(u32::try_from(part.len()).expect("short") | last).await.expect("writes");
                stream.write_all(part).await.expect("writes");
            }
            drop(listener);
            stream
        });
        check(server, "/export").await.expect("exported");
        drop(serving.await);
        assert!(check(server, "/export").await.is_err());
    }

    /// Against a real server: `WPLAB_NFS=ADDR:2049 cargo test --lib nfs_ready -- --ignored`.
    #[tokio::test]
    #[ignore = "needs an NFS server that exports /export, in WPLAB_NFS"]
    async fn a_real_server_is_understood() {
        let server = std::env::var("WPLAB_NFS").expect("WPLAB_NFS").parse().expect("an address");
        check(server, "/export").await.expect("exported");
        let missing = check(server, "/no-such-export").await.expect_err("not exported");
        assert!(format!("{missing:#}").contains("no such path"), "{missing:#}");
    }
}
