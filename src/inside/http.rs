//! HTTP between what runs inside the cluster: a small server for probes, statuses and metrics, and the one request that is
//! sent to it. No TLS: it holds no secrets.

use std::{convert::Infallible, future::ready, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use http_body_util::{BodyExt, Empty, Full, Limited, combinators::BoxBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::{self, conn::http1::SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

/// More than any status has.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// The body of an answer: a text, or a stream.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// Listens; the server itself runs beside the caller until the process ends.
///
/// # Errors
/// The port is taken.
pub(crate) async fn serve<F>(
    port: u16,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) -> Result<()>
where
    F: Future<Output = Response<Body>> + Send,
{
    let listener = TcpListener::bind(("0.0.0.0", port)).await;
    let listener = listener.with_context(|| format!("cannot listen on port {port}"))?;
    tokio::spawn(async move {
        loop {
            // A connection that breaks while it is accepted concerns only its client.
            let Ok((stream, _)) = listener.accept().await else { continue };
            let answer = answer.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| {
                    let answer = answer(request);
                    async move { Ok::<_, Infallible>(answer.await) }
                });
                let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(())
}

/// An answer with a body of this type.
pub(crate) fn response(code: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// An answer that is a whole text.
pub(crate) fn text(code: StatusCode, kind: &'static str, text: String) -> Response<Body> {
    response(code, kind, Full::new(Bytes::from(text)).boxed())
}

/// One small GET, inside the cluster: no TLS, no proxy.
pub(crate) async fn get(address: SocketAddr, host: &str, path: &str) -> Result<String> {
    Line::to(host).get(path, ready(Ok(address))).await
}

/// A server that is asked again and again, over the connection of before while that holds.
pub(crate) struct Line {
    host: String,
    sender: Option<SendRequest<Empty<Bytes>>>,
}

impl Line {
    /// To nobody yet; `host` is what requests and errors call it.
    pub(crate) fn to(host: &str) -> Line {
        Line { host: host.to_owned(), sender: None }
    }

    /// One small GET. Without a connection, or when the one of before has ended, a new one goes where `find` says.
    ///
    /// # Errors
    /// It is not found, does not answer, or answers that something is wrong.
    pub(crate) async fn get(&mut self, path: &str, find: impl Future<Output = Result<SocketAddr>>) -> Result<String> {
        // Taken, and put back with a whole answer: cut off in the middle, it is of no use to the next question.
        if let Some(sender) = self.sender.take()
            && let Ok(answer) = self.ask(sender, path).await
        {
            return Ok(answer);
        }
        let stream =
            TcpStream::connect(find.await?).await.with_context(|| format!("cannot connect to {}", self.host))?;
        let (sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // It ends with its sender.
        tokio::spawn(connection);
        self.ask(sender, path).await
    }

    async fn ask(&mut self, mut sender: SendRequest<Empty<Bytes>>, path: &str) -> Result<String> {
        let host = &self.host;
        let request = Request::get(path).header(HOST, host).body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await.with_context(|| format!("{host} gave no answer"))?;
        ensure!(response.status() == StatusCode::OK, "{host} answered {}", response.status());
        let body = Limited::new(response.into_body(), MOST_BYTES).collect().await;
        let body = body.map_err(|error| anyhow::anyhow!("the answer of {host} broke off: {error}"))?;
        self.sender = Some(sender);
        Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A server that closes each connection after `most` answers; tells how many connections there were.
    async fn answers(most: usize) -> (SocketAddr, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                for _ in 0..most {
                    let mut asked = [0; 1024];
                    let _ = stream.read(&mut asked).await;
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi").await;
                }
            }
        });
        (address, connections)
    }

    #[tokio::test]
    async fn a_line_is_kept_while_it_holds_and_made_anew_when_it_has_ended() {
        for (most, wanted) in [(4, 1), (1, 4), (2, 2)] {
            let (address, connections) = answers(most).await;
            let mut line = Line::to("db-1");
            for _ in 0..4 {
                assert_eq!(line.get("/status", ready(Ok(address))).await.expect("answered"), "hi");
            }
            assert_eq!(connections.load(Ordering::SeqCst), wanted, "{most} answers to a connection");
        }
    }

    #[tokio::test]
    async fn whoever_is_not_found_is_named() {
        let find = ready(Err(anyhow::anyhow!("cannot look up db-1")));
        assert_eq!(format!("{:#}", Line::to("db-1").get("/", find).await.expect_err("absent")), "cannot look up db-1");
    }
}
