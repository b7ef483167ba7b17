//! A container registry on loopback with one tiny image, which can be told to misbehave.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
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

const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Size of the one layer: more than the engine reads at once.
const LAYER: usize = 6 << 20;

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
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The manifest's digest (`sha256:…`).
    pub(crate) digest: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

struct Shared {
    faults: Mutex<Faults>,
    /// `METHOD PATH RANGE` of every request.
    seen: Mutex<Vec<String>>,
    manifest: Bytes,
    digest: String,
    config: Bytes,
    layer: Bytes,
    port: u16,
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, std::io::Error>>>;

impl Registry {
    /// Starts one. `salt` and the address go into the image, so that no two are the same.
    pub(crate) async fn start(salt: &str, faults: Faults) -> Registry {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let layer = layer(&format!("{salt} at {address}"));
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": arch, "os": "linux", "config": {"Cmd": ["/none"], "Labels": {"app.kubernetes.io/part-of": "wplab"}},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]},
        });
        let config = Bytes::from(config.to_string());
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": config.len(), "digest": digest(&config)},
            "layers": [{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": layer.len(), "digest": digest(&layer)}],
        });
        let manifest = Bytes::from(manifest.to_string());
        let digest = digest(&manifest);
        let shared = Shared {
            faults: Mutex::new(faults),
            seen: Mutex::default(),
            digest: digest.clone(),
            manifest,
            config,
            layer,
            port: address.port(),
        };
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
        Registry { address, digest, shared, task }
    }

    /// The image's name here.
    pub(crate) fn image(&self) -> String {
        format!("{}/wplab-test/tiny:1", self.address)
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
        if let Some(wanted) = path.strip_prefix("/v2/wplab-test/tiny/manifests/") {
            if request.method() == Method::GET && faults.cut_manifests > 0 {
                faults.cut_manifests -= 1;
                return Err(std::io::ErrorKind::ConnectionReset.into());
            }
            if wanted != "1" && wanted != self.digest && faults.wrong_manifest.is_none() {
                return Ok(error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN"));
            }
            let mut response = full(StatusCode::OK, MANIFEST, self.manifest.clone());
            if faults.wrong_manifest != Some(false) {
                response.headers_mut().insert("docker-content-digest", self.digest.parse().expect("a header"));
            }
            return Ok(response);
        }
        let Some(wanted) = path.strip_prefix("/v2/wplab-test/tiny/blobs/") else {
            return Ok(error(StatusCode::NOT_FOUND, "NAME_UNKNOWN"));
        };
        if wanted == digest(&self.config) {
            return Ok(full(StatusCode::OK, "application/octet-stream", self.config.clone()));
        }
        let from: usize = range.strip_prefix("bytes=").and_then(|r| r.trim_end_matches('-').parse().ok()).unwrap_or(0);
        let cut = faults.cut_layers > 0;
        faults.cut_layers = faults.cut_layers.saturating_sub(1);
        Ok(self.layer_from(from, cut, faults.slow))
    }

    fn layer_from(&self, from: usize, cut: bool, slow: bool) -> Response<Body> {
        let rest = self.layer.slice(from..);
        let end = if cut { rest.len() / 2 } else { rest.len() };
        let pieces: Vec<_> =
            rest.slice(..end).chunks(64 * 1024).map(|c| Ok(Frame::data(Bytes::copy_from_slice(c)))).collect();
        let broken = cut.then(|| Err(std::io::ErrorKind::ConnectionReset.into()));
        let response =
            Response::builder().header(CONTENT_LENGTH, rest.len()).header(CONTENT_TYPE, "application/octet-stream");
        let response = if from == 0 {
            response
        } else {
            let range = format!("bytes {from}-{}/{}", self.layer.len() - 1, self.layer.len());
            response.status(StatusCode::PARTIAL_CONTENT).header(CONTENT_RANGE, range)
        };
        let pieces = stream::iter(pieces.into_iter().chain(broken)).then(move |piece| async move {
            tokio::time::sleep(Duration::from_millis(if slow { 10 } else { 0 })).await;
            piece
        });
        response.body(StreamBody::new(pieces.boxed())).expect("a response")
    }
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
    let hex: String = Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect();
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
