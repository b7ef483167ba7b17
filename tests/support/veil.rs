//! A way to the machine's own Docker engine on which some images are not to be seen, until somebody makes them anew; and
//! on which nothing can be built, if that is wanted. So a test says what an engine has without taking anything away from
//! others who use it.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};

/// Where the engine is.
const ENGINE: &str = "/var/run/docker.sock";

type Body = BoxBody<Bytes, hyper::Error>;

/// The way, until it is dropped.
pub(crate) struct Veil {
    socket: PathBuf,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

struct Hiding {
    hidden: Box<dyn Fn(&str) -> bool + Send + Sync>,
    builds: bool,
    /// Names that were given since.
    lifted: Mutex<BTreeSet<String>>,
}

impl Veil {
    /// Hides the images whose names are `hidden`; `builds`: whether anything can be built.
    pub(crate) fn new(builds: bool, hidden: impl Fn(&str) -> bool + Send + Sync + 'static) -> Veil {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("docker.sock");
        let listener = UnixListener::bind(&socket).expect("a socket");
        let hiding = Arc::new(Hiding { hidden: Box::new(hidden), builds, lifted: Mutex::default() });
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let hiding = hiding.clone();
                let service = service_fn(move |request| {
                    let hiding = hiding.clone();
                    async move { hiding.pass(request).await }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::spawn(server.serve_connection(TokioIo::new(connection), service));
            }
        });
        Veil { socket, task, _folder: folder }
    }

    /// For `DOCKER_HOST`.
    pub(crate) fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }
}

impl Drop for Veil {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Hiding {
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
        let path = decoded(request.uri().path());
        // A client may say the version of the API first.
        let path = path.trim_start_matches('/');
        let path = path.strip_prefix("v1.").and_then(|rest| rest.split_once('/')).map_or(path, |(_, rest)| rest);
        let query = |name: &str| {
            let pairs = request.uri().query().unwrap_or_default().split('&');
            pairs.filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name).map(|(_, value)| decoded(value))
        };
        let lifted = || self.lifted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(name) = path.strip_prefix("images/").and_then(|rest| rest.strip_suffix("/json"))
            && (self.hidden)(name)
            && !lifted().contains(name)
        {
            return Ok(refusal(StatusCode::NOT_FOUND, &format!("No such image: {name}")));
        }
        if request.method() == Method::POST && path == "build" {
            if !self.builds {
                return Ok(refusal(StatusCode::INTERNAL_SERVER_ERROR, "nothing is built here"));
            }
            lifted().extend(query("t"));
        }
        if request.method() == Method::POST && (path.ends_with("/tag") || path == "images/create") {
            lifted().extend(query("repo").zip(query("tag")).map(|(repository, tag)| format!("{repository}:{tag}")));
        }
        let engine = UnixStream::connect(ENGINE).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(engine)).await.map_err(std::io::Error::other)?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.map_err(std::io::Error::other)?;
        Ok(response.map(BodyExt::boxed))
    }
}

fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    let text = serde_json::json!({ "message": message }).to_string();
    let body = Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed();
    Response::builder().status(status).header("content-type", "application/json").body(body).expect("a response")
}

/// A part of an address without its escapes.
fn decoded(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('%') {
        plain += before;
        let code = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        plain.push(code.map_or('%', char::from));
        rest = if code.is_some() { &after[2..] } else { after };
    }
    plain + rest
}
