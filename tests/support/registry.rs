//! A container registry on loopback: with one tiny image and a will to misbehave, or (`serving`) with images that the
//! machine's own Docker has.

use std::{
    collections::HashMap,
    io::SeekFrom,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream, stream::BoxStream};
use http_body_util::StreamBody;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Frame, Incoming},
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, RANGE, RETRY_AFTER, WWW_AUTHENTICATE},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// The name of the tiny image.
const TINY: &str = "wplab-test/tiny:1";
/// Size of its one layer: more than the engine reads at once.
const LAYER: usize = 6 << 20;
/// Bytes that are sent at once.
const PIECE: u64 = 64 * 1024;

/// What the registry does wrong. A number is how often.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    /// Too many requests, with this many seconds to wait.
    pub(crate) too_many: (u32, Option<u32>),
    /// A layer's connection is cut half-way.
    pub(crate) cut_layers: u32,
    /// A manifest's connection is cut before the answer.
    pub(crate) cut_manifests: u32,
    /// Whatever digest is asked for, the one manifest comes; `true` with its real digest in the header.
    pub(crate) wrong_manifest: Option<bool>,
    /// A login is wanted, which nobody has.
    pub(crate) basic_login: bool,
    /// A token is wanted, which everybody gets.
    pub(crate) token: bool,
    /// A layer takes about a second.
    pub(crate) slow: bool,
}

/// A registry that runs until it is dropped.
pub(crate) struct Registry {
    /// Where it listens; `address.to_string()` is what `--registry-mirror` takes.
    pub(crate) address: SocketAddr,
    /// The digest of the first image's manifest (`sha256:…`).
    pub(crate) digest: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
    /// The images of Docker's that it serves.
    _files: Option<tempfile::TempDir>,
}

struct Shared {
    faults: Mutex<Faults>,
    /// `METHOD PATH RANGE` of every request.
    seen: Mutex<Vec<String>>,
    store: Store,
    port: u16,
}

/// What a registry has.
#[derive(Default)]
pub(crate) struct Store {
    /// By `PATH:TAG`: the manifest's digest.
    tags: HashMap<String, String>,
    /// By digest.
    manifests: HashMap<String, Bytes>,
    /// By digest: configurations and layers.
    blobs: HashMap<String, Blob>,
}

/// A configuration or a layer.
#[derive(Clone)]
pub(crate) enum Blob {
    Memory(Bytes),
    /// A part of a file: where it begins and how long it is.
    #[allow(dead_code, reason = "made by `serving` only, which not every test has")]
    Part(Arc<Path>, u64, u64),
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>>;

impl Registry {
    /// One tiny image under [`Registry::image`]. `salt` and the address go into it, so that no two are the same.
    pub(crate) async fn start(salt: &str, faults: Faults) -> Registry {
        let (listener, address) = listener().await;
        let layer = layer(&format!("{salt} at {address}"));
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": arch, "os": "linux", "config": {"Cmd": ["/none"], "Labels": {"app.kubernetes.io/part-of": "wplab"}},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let mut store = Store::default();
        let digest = store.add(TINY, Bytes::from(config.to_string()), vec![(digest(&layer), Blob::Memory(layer))]);
        Registry::on(listener, digest, store, faults, None)
    }

    /// One that has this and listens there.
    pub(crate) fn on(
        listener: tokio::net::TcpListener,
        digest: String,
        store: Store,
        faults: Faults,
        files: Option<tempfile::TempDir>,
    ) -> Registry {
        let address = listener.local_addr().expect("an address");
        let shared = Shared { faults: Mutex::new(faults), seen: Mutex::default(), store, port: address.port() };
        let shared = Arc::new(shared);
        let served = shared.clone();
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let shared = served.clone();
                let service = service_fn(move |request| {
                    let shared = shared.clone();
                    async move { shared.answer(&request) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(connection), service),
                );
            }
        });
        Registry { address, digest, shared, task, _files: files }
    }

    /// The tiny image's name here.
    pub(crate) fn image(&self) -> String {
        format!("{}/{TINY}", self.address)
    }

    /// `METHOD PATH RANGE` of every request so far.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) async fn listener() -> (tokio::net::TcpListener, SocketAddr) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

impl Store {
    /// Adds an image of this configuration and these layers; returns its manifest's digest.
    pub(crate) fn add(&mut self, name: &str, config: Bytes, layers: Vec<(String, Blob)>) -> String {
        let described: Vec<_> = layers
            .iter()
            .map(|(digest, blob)| {
                json!({"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": blob.len(), "digest": digest})
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": config.len(), "digest": digest(&config)},
            "layers": described,
        });
        let manifest = Bytes::from(manifest.to_string());
        let digest_of_it = digest(&manifest);
        self.tags.insert(name.to_owned(), digest_of_it.clone());
        self.manifests.insert(digest_of_it.clone(), manifest);
        self.blobs.insert(digest(&config), Blob::Memory(config));
        self.blobs.extend(layers);
        digest_of_it
    }

    /// The digest under which an image of this path has a tag or digest.
    fn find(&self, path: &str, wanted: &str) -> Option<&String> {
        let same_path = |name: &str| name.rsplit_once(':').is_some_and(|(p, _)| p == path);
        let by_digest = || self.tags.iter().find(|(name, digest)| same_path(name) && *digest == wanted);
        self.tags.get(&format!("{path}:{wanted}")).or_else(|| by_digest().map(|(_, digest)| digest))
    }
}

impl Blob {
    fn len(&self) -> u64 {
        match self {
            Blob::Memory(bytes) => bytes.len() as u64,
            Blob::Part(_, _, size) => *size,
        }
    }

    /// Its bytes from one place to another.
    fn pieces(&self, from: u64, to: u64) -> BoxStream<'static, std::io::Result<Bytes>> {
        let blob = self.clone();
        let next = move |at: u64| {
            let blob = blob.clone();
            async move {
                if at >= to {
                    return Ok(None);
                }
                let size = PIECE.min(to - at);
                let piece = blob.read(at, size).await?;
                Ok(Some((piece, at + size)))
            }
        };
        stream::try_unfold(from, next).boxed()
    }

    async fn read(&self, at: u64, size: u64) -> std::io::Result<Bytes> {
        let index = |n: u64| usize::try_from(n).expect("a layer fits into memory's addresses");
        match self {
            Blob::Memory(bytes) => Ok(bytes.slice(index(at)..index(at + size))),
            Blob::Part(path, begin, _) => {
                let mut file = tokio::fs::File::open(path).await?;
                file.seek(SeekFrom::Start(begin + at)).await?;
                let mut piece = vec![0; index(size)];
                file.read_exact(&mut piece).await?;
                Ok(piece.into())
            }
        }
    }
}

impl Shared {
    /// `Err` cuts the connection.
    fn answer(&self, request: &Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
        let header = |name| request.headers().get(name).and_then(|v| v.to_str().ok()).unwrap_or_default().to_owned();
        let (path, range) = (request.uri().path().to_owned(), header(RANGE));
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(format!("{} {path} {range}", request.method()).trim_end().to_owned());
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if path == "/token" {
            return Ok(full(
                StatusCode::OK,
                "application/json",
                Bytes::from(json!({"token": "for-everybody"}).to_string()),
            ));
        }
        if faults.basic_login || (faults.token && header(AUTHORIZATION) != "Bearer for-everybody") {
            let token = format!(
                "Bearer realm=\"http://127.0.0.1:{}/token\",service=\"tiny\",scope=\"repository:wplab-test/tiny:pull\"",
                self.port
            );
            let challenge = if faults.basic_login { "Basic realm=\"tiny\"".to_owned() } else { token };
            let mut response = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge.parse().expect("a header"));
            return Ok(response);
        }
        if path == "/v2/" {
            return Ok(full(StatusCode::OK, "application/json", Bytes::from_static(b"{}")));
        }
        if faults.too_many.0 > 0 {
            faults.too_many.0 -= 1;
            let mut response = error(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS");
            if let Some(seconds) = faults.too_many.1 {
                response.headers_mut().insert(RETRY_AFTER, seconds.into());
            }
            return Ok(response);
        }
        let below = path.strip_prefix("/v2/").unwrap_or_default();
        if let Some((repository, wanted)) = below.split_once("/manifests/") {
            if request.method() == Method::GET && faults.cut_manifests > 0 {
                faults.cut_manifests -= 1;
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            let any = || faults.wrong_manifest.and_then(|_| self.store.manifests.keys().next());
            let found = self.store.find(repository, wanted).or_else(any);
            let Some((digest, manifest)) = found.and_then(|digest| self.store.manifests.get_key_value(digest)) else {
                return Ok(error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"));
            };
            let mut response = full(StatusCode::OK, MANIFEST, manifest.clone());
            if faults.wrong_manifest != Some(false) {
                response.headers_mut().insert("docker-content-digest", digest.parse().expect("a header"));
            }
            return Ok(response);
        }
        let wanted = below.split_once("/blobs/").and_then(|(_, digest)| self.store.blobs.get(digest));
        let Some(blob) = wanted else { return Ok(error(StatusCode::NOT_FOUND, "NAME_UNKNOWN")) };
        let from = range.strip_prefix("bytes=").and_then(|r| r.trim_end_matches('-').parse().ok()).unwrap_or(0);
        // Only a layer of some size can be cut half-way.
        let cut = faults.cut_layers > 0 && blob.len() > PIECE;
        faults.cut_layers -= u32::from(cut);
        Ok(blob_from(blob, from, cut, faults.slow))
    }
}

fn blob_from(blob: &Blob, from: u64, cut: bool, slow: bool) -> Response<Body> {
    let rest = blob.len() - from;
    let pieces = blob.pieces(from, if cut { from + rest / 2 } else { blob.len() });
    let broken = stream::iter(cut.then(|| Err(std::io::ErrorKind::ConnectionReset.into())));
    let response = Response::builder().header(CONTENT_LENGTH, rest).header(CONTENT_TYPE, "application/octet-stream");
    let response = if from == 0 {
        response
    } else {
        let range = format!("bytes {from}-{}/{}", blob.len() - 1, blob.len());
        response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range)
    };
    let pieces = pieces.map_ok(Frame::data).chain(broken).then(move |piece| async move {
        if slow {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        piece
    });
    response.body(StreamBody::new(pieces.boxed())).expect("a response")
}

fn full(status: StatusCode, kind: &str, content: Bytes) -> Response<Body> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, kind).header(CONTENT_LENGTH, content.len());
    let body: BoxStream<'static, Result<Frame<Bytes>, std::io::Error>> =
        stream::iter([Ok(Frame::data(content))]).boxed();
    response.body(StreamBody::new(body)).expect("a response")
}

fn error(status: StatusCode, code: &str) -> Response<Body> {
    let body = json!({"errors": [{"code": code, "message": code.to_lowercase()}]});
    full(status, "application/json", Bytes::from(body.to_string()))
}

fn digest(bytes: &[u8]) -> String {
    named(&Sha256::digest(bytes))
}

pub(crate) fn named(hash: &[u8]) -> String {
    let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

/// A tar archive of one file that does not compress.
fn layer(salt: &str) -> Bytes {
    let mut content = Vec::with_capacity(LAYER);
    let mut block = Sha256::digest(salt);
    while content.len() < LAYER {
        content.extend_from_slice(&block);
        block = Sha256::digest(block);
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    let mut archive = tar::Builder::new(Vec::new());
    archive.append_data(&mut header, "content", content.as_slice()).expect("in memory");
    archive.into_inner().expect("in memory").into()
}
