//! Orders over the loopback: what arrives, who is turned away, and who has to wait.

use std::{
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_rustls::TlsConnector;

use super::{server::Limits, *};
use crate::wire::tls::{Authority, Use};

/// For what happens at once on a machine that is not busy.
const PATIENCE: Duration = Duration::from_secs(10);
const LIMITS: Limits = Limits { connections: 2, haste: Duration::from_millis(300) };
const HERE: &str = "127.0.0.1";

#[derive(Serialize, Deserialize)]
enum Order {
    /// Says it back.
    Say(String),
    Refuse(String),
    /// Waits until it is let go.
    Wait,
    /// Breaks.
    Break,
}

/// A member that takes orders.
struct Member {
    port: u16,
    authority: Authority,
    papers: Papers,
    /// Lets the orders go that wait.
    go: Arc<Notify>,
    begun: Arc<AtomicUsize>,
    done: Arc<AtomicUsize>,
}

fn papers(authority: &Authority, used: Use, names: &[&str]) -> Papers {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let issued = authority.issue(used, "test", &names).expect("a certificate");
    Papers { ca: authority.certificate.clone(), certificate: issued.certificate, key: issued.key }
}

impl Member {
    async fn start(limits: Limits) -> Member {
        let authority = Authority::new().expect("an authority");
        let papers = papers(&authority, Use::Server, &["db-0.db-members", "db-1.db-members"]);
        let listener = TcpListener::bind((HERE, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let go = Arc::new(Notify::new());
        let [begun, done] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        let of_answers = (go.clone(), begun.clone(), done.clone());
        let answer = move |order: Order| {
            let (go, begun, done) = of_answers.clone();
            async move {
                begun.fetch_add(1, Ordering::SeqCst);
                match order {
                    Order::Say(text) => Ok(text),
                    Order::Refuse(reason) => Err(Refused::because(reason)),
                    Order::Wait => {
                        go.notified().await;
                        done.fetch_add(1, Ordering::SeqCst);
                        Ok("waited".to_owned())
                    }
                    Order::Break => panic!("a mistake of ours"),
                }
            }
        };
        server::attend(listener, &papers, limits, answer).expect("papers");
        Member { port, authority, papers, go, begun, done }
    }

    fn courier(&self, papers: &Papers) -> Courier {
        Courier { port: self.port, ..Courier::new(papers).expect("papers") }
    }

    fn agent(&self) -> Courier {
        self.courier(&papers(&self.authority, Use::Client, &[AGENT]))
    }

    /// When the orders that have begun, or are done, are so many.
    async fn until(counter: &AtomicUsize, wanted: usize) {
        let seen = || counter.load(Ordering::SeqCst) == wanted;
        let wait = async {
            while !seen() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("in time");
    }

    /// As far as a connection comes that has these papers.
    async fn tls(&self, papers: &Papers) -> tokio_rustls::client::TlsStream<TcpStream> {
        let connector = TlsConnector::from(Arc::new(papers.client().expect("papers")));
        let stream = TcpStream::connect((HERE, self.port)).await.expect("a connection");
        connector.connect(host("db-0").try_into().expect("a name"), stream).await.expect("the member's certificate")
    }
}

async fn say(courier: &Courier, text: &str) -> anyhow::Result<String> {
    courier.send(HERE, "db-0", &Order::Say(text.to_owned()), PATIENCE).await
}

#[tokio::test]
async fn an_order_arrives_and_is_answered() {
    let member = Member::start(LIMITS).await;
    let agent = member.agent();
    for text in ["follow db-1", "", "line\nline \"quoted\" ü"] {
        assert_eq!(say(&agent, text).await.expect("an answer"), text);
    }
    let to_another_name: String =
        agent.send(HERE, "db-1", &Order::Say("db-1".into()), PATIENCE).await.expect("the name is in the certificate");
    assert_eq!(to_another_name, "db-1");
}

#[tokio::test]
async fn a_refused_order_says_why_and_is_told_from_one_that_did_not_arrive() {
    let member = Member::start(LIMITS).await;
    let agent = member.agent();
    let order = Order::Refuse("term 3 is over".into());
    let error = agent.send::<_, String>(HERE, "db-0", &order, PATIENCE).await.expect_err("refused");
    assert_eq!(error.downcast_ref(), Some(&Refused::because("term 3 is over")));
    let error = agent.send::<_, String>(HERE, "db-0", &Order::Break, PATIENCE).await.expect_err("it broke");
    assert!(!error.is::<Refused>() && error.to_string().ends_with("the order broke"), "{error:#}");
    let error = agent.send::<_, String>(HERE, "db-0", &"no order", PATIENCE).await.expect_err("not understood");
    assert!(!error.is::<Refused>() && error.to_string().contains("is not understood"), "{error:#}");
    let nobody = Courier { port: 1, ..agent };
    let error = say(&nobody, "anything").await.expect_err("nobody listens");
    let shown = format!("{error:#}");
    assert!(!error.is::<Refused>() && shown.starts_with("db-0 was not reached at 127.0.0.1: Connection"), "{shown}");
}

#[tokio::test]
async fn only_the_agent_gives_orders() {
    let member = Member::start(LIMITS).await;
    let other = Authority::new().expect("an authority");
    let ours = |used, name| papers(&member.authority, used, &[name]);
    let strangers = [
        (
            "another authority's",
            Papers { ca: member.authority.certificate.clone(), ..papers(&other, Use::Client, &[AGENT]) },
        ),
        ("the members' own", member.papers.clone()),
        ("a server's with the agent's name", ours(Use::Server, AGENT)),
        ("a client's with another name", ours(Use::Client, "db-0.db-members")),
    ];
    for (whose, papers) in strangers {
        let error = say(&member.courier(&papers), "mine").await.expect_err(whose);
        assert!(!error.is::<Refused>(), "{whose}: {error:#}");
    }
    // With no certificate, and with no TLS at all.
    let mut roots = rustls::RootCertStore::empty();
    let ca = rustls::pki_types::pem::PemObject::from_pem_slice(member.authority.certificate.as_bytes());
    roots.add(ca.expect("PEM")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    let bare = TlsConnector::from(Arc::new(config));
    let tcp = TcpStream::connect((HERE, member.port)).await.expect("a connection");
    let name = host("db-0").try_into().expect("a name");
    let mut stream = bare.connect(name, tcp).await.expect("the client's half of the handshake");
    let _ = stream.write_all(b"POST /order HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n{\"Say\":\"x\"}").await;
    assert!(stream.read(&mut [0; 64]).await.is_err(), "an alert");
    let mut stream = TcpStream::connect((HERE, member.port)).await.expect("a connection");
    stream.write_all(b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("written");
    let mut said = Vec::new();
    let _ = stream.read_to_end(&mut said).await;
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    assert_eq!(member.begun.load(Ordering::SeqCst), 0, "somebody else gave an order");
}

#[tokio::test]
async fn the_agent_gives_no_order_to_whoever_is_not_the_member() {
    let member = Member::start(LIMITS).await;
    let to_another: anyhow::Result<String> = member.agent().send(HERE, "db-2", &Order::Say("x".into()), PATIENCE).await;
    let shown = format!("{:#}", to_another.expect_err("its certificate does not hold for db-2"));
    assert!(shown.starts_with("db-2 was not reached at 127.0.0.1: invalid peer certificate"), "{shown}");
    let other = Authority::new().expect("an authority");
    let shown =
        format!("{:#}", say(&member.courier(&papers(&other, Use::Client, &[AGENT])), "x").await.expect_err("not ours"));
    assert!(shown.contains("invalid peer certificate"), "{shown}");
    // A client's certificate is no member's, whatever its name.
    let listener = TcpListener::bind((HERE, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let false_one = papers(&member.authority, Use::Client, &["db-0.db-members"]);
    server::attend(listener, &false_one, LIMITS, async |text: Order| Ok::<_, Refused>(text)).expect("papers");
    let courier = Courier { port, ..member.agent() };
    assert!(format!("{:#}", say(&courier, "x").await.expect_err("no server")).contains("invalid peer certificate"));
}

#[tokio::test]
async fn nothing_else_is_answered_there() {
    let member = Member::start(LIMITS).await;
    let agent = papers(&member.authority, Use::Client, &[AGENT]);
    let long = format!("POST /order HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70_000));
    for (request, wanted) in [
        ("GET /order HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP/1.1 404"),
        ("POST /status HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", "HTTP/1.1 404"),
        (long.as_str(), "HTTP/1.1 400"),
    ] {
        let mut stream = member.tls(&agent).await;
        let _ = stream.write_all(request.as_bytes()).await;
        let mut said = Vec::new();
        let _ = stream.read_to_end(&mut said).await;
        assert!(String::from_utf8_lossy(&said).starts_with(wanted), "{}", String::from_utf8_lossy(&said));
    }
    assert_eq!(member.begun.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn who_comes_too_many_waits_for_a_place() {
    let member = Member::start(LIMITS).await;
    let agent = member.agent();
    let waits = |agent: Courier| {
        tokio::spawn(async move { agent.send::<_, String>(HERE, "db-0", &Order::Wait, PATIENCE).await })
    };
    let orders = [waits(agent.clone()), waits(agent.clone())];
    Member::until(&member.begun, LIMITS.connections).await;
    let third = tokio::spawn(async move { say(&agent, "the third").await });
    // It gets no answer for as long as both places are taken.
    let early = tokio::time::timeout(LIMITS.haste, async { Member::until(&member.begun, 3).await }).await;
    assert!(early.is_err() && !third.is_finished(), "more than the most were let in");
    member.go.notify_one();
    assert_eq!(third.await.expect("no panic").expect("an answer"), "the third");
    member.go.notify_one();
    for order in orders {
        assert_eq!(order.await.expect("no panic").expect("an answer"), "waited");
    }
}

#[tokio::test]
async fn who_is_slow_is_cut_off_at_any_point_and_the_agent_is_heard() {
    let member = Member::start(LIMITS).await;
    let papers = papers(&member.authority, Use::Client, &[AGENT]);
    // Two at a time take every place: with no handshake, without the end of the headers, without the end of the order.
    for sent in
        [None, Some("POST /order HTTP/1.1\r\nHost: x\r\n"), Some("POST /order HTTP/1.1\r\nContent-Length: 9\r\n\r\n{")]
    {
        let begun = Instant::now();
        let mut slow = Vec::new();
        for _ in 0..LIMITS.connections {
            slow.push(match sent {
                None => Slow::Bare(TcpStream::connect((HERE, member.port)).await.expect("a connection")),
                Some(sent) => {
                    let mut stream = member.tls(&papers).await;
                    stream.write_all(sent.as_bytes()).await.expect("written");
                    Slow::Tls(Box::new(stream))
                }
            });
        }
        assert_eq!(say(&member.agent(), "go on").await.expect("an answer"), "go on", "{sent:?}");
        // Strangers make room at once, an agent that is slow has its time.
        assert!(sent.is_none() || begun.elapsed() >= LIMITS.haste, "{sent:?}: nobody had to wait");
        for stream in slow {
            stream.ended().await;
        }
    }
}

enum Slow {
    Bare(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl Slow {
    /// The other side has closed it.
    async fn ended(self) {
        let mut said = Vec::new();
        let read = async {
            match self {
                Slow::Bare(mut stream) => stream.read_to_end(&mut said).await,
                Slow::Tls(mut stream) => stream.read_to_end(&mut said).await,
            }
        };
        match tokio::time::timeout(PATIENCE, read).await.expect("an end") {
            Ok(_) => {}
            Err(error) => {
                assert!([ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&error.kind()), "{error}")
            }
        }
    }
}

#[tokio::test]
async fn an_order_that_has_arrived_is_carried_out_also_when_nobody_listens_any_more() {
    let member = Member::start(LIMITS).await;
    let agent = member.agent();
    let short = Duration::from_millis(500);
    let error = agent.send::<_, String>(HERE, "db-0", &Order::Wait, short).await.expect_err("it takes longer");
    assert!(!error.is::<Refused>() && error.to_string() == "db-0 gave no answer within 500ms", "{error:#}");
    assert_eq!(member.begun.load(Ordering::SeqCst), 1);
    assert_eq!(member.done.load(Ordering::SeqCst), 0);
    // Its place is taken until it is done, and no longer.
    member.go.notify_one();
    Member::until(&member.done, 1).await;
    for text in ["a", "b", "c"] {
        assert_eq!(say(&agent, text).await.expect("an answer"), text);
    }
}
