//! Whether a container registry answers: one question to the one that images come from, or to its mirror.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hickory_resolver::TokioResolver;
use reqwest::{
    StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
};

/// Where most images come from.
const HUB: &str = "https://registry-1.docker.io";
/// A registry that takes longer would make pulling useless anyway.
const LIMIT: Duration = Duration::from_secs(3);

/// Asks the registry (or mirror) whether it is one.
///
/// # Errors
/// A phrase that says why not.
pub(crate) async fn answers(mirror: Option<&str>) -> Result<(), String> {
    // The binary has done so already; a second time is no error that matters.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let base = base(mirror);
    let client = reqwest::Client::builder().timeout(LIMIT).dns_resolver(Arc::new(Names)).build();
    let client = client.map_err(|e| format!("cannot ask {base}: {}", innermost(&e)))?;
    let answer = client.head(format!("{base}/v2/")).send().await;
    let answer = answer.map_err(|e| format!("{base}: {}", if e.is_timeout() { "no answer within 3 s".into() } else { innermost(&e) }))?;
    // A registry wants a token first; anything else that asks for a password, or a portal's page, is none.
    let marked = answer.headers().contains_key("docker-distribution-api-version") || answer.headers().contains_key("www-authenticate");
    match answer.status() {
        StatusCode::OK => Ok(()),
        StatusCode::UNAUTHORIZED if marked => Ok(()),
        other => Err(format!("{base}: it says {other}")),
    }
}

fn base(mirror: Option<&str>) -> String {
    let Some(mirror) = mirror.map(|m| m.trim_end_matches('/')) else { return HUB.to_owned() };
    if mirror.contains("://") {
        return mirror.to_owned();
    }
    // As Docker does: a registry on this machine speaks plain HTTP.
    let local = ["localhost", "127.", "[::1]"].iter().any(|name| mirror.starts_with(name));
    format!("{}://{mirror}", if local { "http" } else { "https" })
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Looks names up without the C library, which cannot in a static executable.
#[derive(Debug)]
struct Names;

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let resolver = TokioResolver::builder_tokio()?.build()?;
            let found = resolver.lookup_ip(name.as_str()).await?;
            let addresses: Vec<SocketAddr> = found.iter().map(|ip| SocketAddr::new(ip, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn a_mirror_is_asked_as_docker_would() {
        let cases = [
            (None, HUB),
            (Some("mirror.example"), "https://mirror.example"),
            (Some("127.0.0.1:5000"), "http://127.0.0.1:5000"),
            (Some("http://mirror.example/"), "http://mirror.example"),
        ];
        for (mirror, want) in cases {
            assert_eq!(base(mirror), want);
        }
    }

    async fn served(answer: &'static str) -> Result<(), String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        });
        answers(Some(&address)).await
    }

    #[tokio::test]
    async fn a_registry_says_yes_or_wants_a_token() {
        assert_eq!(served("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await, Ok(()));
        assert_eq!(served("HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Bearer realm=\"x\"\r\ncontent-length: 0\r\n\r\n").await, Ok(()));
        let none = served("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await.expect_err("no registry");
        assert!(none.contains("404 Not Found"), "{none}");
        let gone = answers(Some("127.0.0.1:1")).await.expect_err("nobody there");
        assert!(gone.starts_with("http://127.0.0.1:1: "), "{gone}");
    }
}
