//! HTTP between what runs inside the cluster: a small server for probes, statuses and metrics, and the one request that is
//! sent to it. No TLS: it holds no secrets.

use std::{convert::Infallible, future::ready, net::SocketAddr, time::Duration};

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
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};

use super::listen;

/// More than any status has.
pub(crate) const MOST_BYTES: usize = 1 << 20;

/// The body of an answer: a text, or a stream.
pub(crate) type Body = BoxBody<Bytes, Infallible>;

/// How much a server lets in.
#[derive(Clone, Copy)]
struct Limits {
    /// Connections at once.
    connections: usize,
    /// How long the headers of a request, the next one on a connection too, may take to come.
    headers: Duration,
}

/// Probes, peers, agents and a few who look on.
const LIMITS: Limits = Limits { connections: 64, headers: Duration::from_secs(3) };

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
    attend(listen::at(port).await?, LIMITS, answer);
    Ok(())
}

/// [`serve`] where somebody listens already.
fn attend<F>(
    listener: TcpListener,
    limits: Limits,
    answer: impl Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
) where
    F: Future<Output = Response<Body>> + Send,
{
    listen::attend(listener, limits.connections, move |stream, place| {
        let answer = answer.clone();
        async move {
            let service = service_fn(|request| {
                place.keep();
                let answer = answer(request);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(limits.headers);
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
        }
    });
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
    /// A server that says hello; its address.
    async fn hello(limits: Limits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        attend(listener, limits, |_| ready(text(StatusCode::OK, "text/plain", "hello".to_owned())));
        address
    }

    #[tokio::test]
    async fn a_probe_is_answered_at_once_however_many_only_connect() {
        let limits = Limits { connections: 3, headers: Duration::from_mins(1) };
        let address = hello(limits).await;
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(TcpStream::connect(address).await.expect("in"));
            let answer = tokio::time::timeout(limits.headers / 4, get(address, "db-1", "/")).await;
            assert_eq!(answer.expect("at once").expect("answered"), "hello");
        }
        let mut said = String::new();
        idle[0].read_to_string(&mut said).await.expect("it is closed");
        assert_eq!(said, "");
    }

    #[tokio::test]
    async fn who_comes_too_many_waits_while_all_others_are_answered() {
        let limits = Limits { connections: 2, headers: Duration::from_mins(1) };
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let go = Arc::new(tokio::sync::Semaphore::new(0));
        let (of_answers, (told, mut begun)) = (go.clone(), tokio::sync::mpsc::unbounded_channel());
        attend(listener, limits, move |_| {
            let (go, told) = (of_answers.clone(), told.clone());
            async move {
                let _ = told.send(());
                let _ = go.acquire().await.map(|permit| permit.forget());
                text(StatusCode::OK, "text/plain", "slow".to_owned())
            }
        });
        let ask = || tokio::spawn(async move { get(address, "db-1", "/").await });
        let mut all = vec![ask(), ask()];
        for _ in 0..2 {
            begun.recv().await.expect("asked");
        }
        all.push(ask());
        let early = tokio::time::timeout(Duration::from_millis(300), begun.recv()).await;
        assert!(early.is_err(), "more than the most were let in");
        go.add_permits(3);
        for asked in all {
            assert_eq!(asked.await.expect("no panic").expect("answered"), "slow");
        }
    }

    #[tokio::test]
    async fn whoever_does_not_ask_makes_room_and_so_does_whoever_asks_no_more() {
        let headers = Duration::from_millis(200);
        let address = hello(Limits { connections: 1, headers }).await;
        for sent in ["", "GET / HTTP/1.1\r\nHost: x\r\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
            let mut slow = TcpStream::connect(address).await.expect("in");
            slow.write_all(sent.as_bytes()).await.expect("written");
            let mut said = String::new();
            slow.read_to_string(&mut said).await.expect("it is closed");
            assert_eq!(said.ends_with("hello"), sent.ends_with("\r\n\r\n"), "{sent:?}: {said:?}");
            assert_eq!(get(address, "db-1", "/").await.expect("answered"), "hello", "{sent:?}");
        }
    }
}
