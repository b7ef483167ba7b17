//! A web server of a few lines for the tests of this room.

use std::{future::ready, net::SocketAddr, sync::Arc};

use futures_util::FutureExt;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{browser::Door, marker::Marker, site::Visit};

/// What a test's server was asked.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Asked {
    /// A header's value; empty when there is none.
    pub(crate) fn header(&self, name: &str) -> String {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.to_owned()).next().unwrap_or_default()
    }
}

/// A whole HTTP answer.
pub(crate) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n{body}", body.len())
        .into_bytes()
}

/// A server on a free port; ends with the test.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(reply: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Server {
        // The HTTP client wants a TLS provider even where it only speaks plain HTTP; a second installation is refused, rightly.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let addr = listener.local_addr().expect("an address");
        let reply = Arc::new(reply);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, reply.clone()));
            }
        });
        Server { addr, task }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, reply: Arc<impl Fn(&Asked) -> Vec<u8>>) {
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let Ok(count) = stream.read(&mut part).await else { return };
        bytes.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let mut words = head.split(' ').map(str::to_owned);
            let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let asked = Asked { method, path, head: head.to_owned(), body: body.to_owned() };
            if asked.body.len() >= asked.header("content-length").parse().unwrap_or(0) {
                let _ = stream.write_all(&reply(&asked)).await;
                return;
            }
        }
        if count == 0 {
            return;
        }
    }
}

/// What the public sees of [`TITLE`]'s site, at one door: whoever calls this says what he does there.
pub(crate) struct OneDoor {
    pub(crate) visit: Visit<'static>,
    _server: Server,
}

/// The title of the site that [`one_door`] leads to.
pub(crate) const TITLE: &str = "<title>A lab</title>";

/// A visit to a site that answers so.
pub(crate) async fn one_door(site: fn(&Asked) -> Vec<u8>) -> OneDoor {
    let server = Server::start(site).await;
    let door = Door::new("wordpress-0", server.addr);
    let doors = Box::new(move || ready(Ok(vec![door.clone()])).boxed());
    let visit = Visit::new("http://127.0.0.1:8080", "A lab", &Marker::new(), doors).expect("a visit");
    OneDoor { visit, _server: server }
}
