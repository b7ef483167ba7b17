//! Questions to container registries: does one answer, does it have an image, and under which digest. The engine does
//! the pulling; asking first is what gives typed answers instead of the engine's prose.

use std::time::Duration;

use anyhow::{Context, Result};
use reqwest::{
    Client, Method, Response, StatusCode,
    header::{ACCEPT, HeaderMap, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::wire::net::{self, innermost};

/// How long a registry may take to say that it is there.
const HELLO: Duration = Duration::from_secs(3);
/// How long a name server somewhere in the world may take.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long a registry may take to answer a question about an image.
const ANSWER: Duration = Duration::from_secs(20);
/// Where images come from whose name does not say where.
pub const DOCKER_IO: &str = "docker.io";

/// The kinds of manifest that an engine can pull.
const MANIFESTS: &str = "application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
                         application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json";

/// An image's name, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The registry (`docker.io`, `registry.k8s.io`, `127.0.0.1:5000`).
    pub registry: String,
    /// The path in it (`library/mysql`).
    pub path: String,
    /// The tag, when one is given.
    pub tag: Option<String>,
    /// The digest (`sha256:…`), when it is pinned.
    pub digest: Option<String>,
}

/// What a registry said about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has it, under this digest if it told one.
    Has(Option<String>),
    /// It does not have it.
    NotFound,
    /// It wants a login.
    LoginNeeded,
    /// Too many questions; how long to wait, if it said.
    TooMany(Option<Duration>),
    /// No registry answered, or it was out of order; why.
    Unreachable(String),
}

impl Reference {
    /// Takes a name apart as Docker does.
    pub fn parse(name: &str) -> Reference {
        let (name, digest) =
            name.split_once('@').map_or((name, None), |(name, digest)| (name, Some(digest.to_owned())));
        let (name, tag) = name
            .rsplit_once(':')
            .filter(|(_, tag)| !tag.contains('/'))
            .map_or((name, None), |(n, t)| (n, Some(t.to_owned())));
        let host = |first: &str| first.contains(['.', ':']) || first == "localhost";
        let (registry, path) = name.split_once('/').filter(|(first, _)| host(first)).unwrap_or((DOCKER_IO, name));
        let library = registry == DOCKER_IO && !path.contains('/');
        let path = if library { format!("library/{path}") } else { path.to_owned() };
        Reference { registry: registry.to_owned(), path, tag, digest }
    }

    /// The same image at another registry.
    #[must_use]
    pub fn at(&self, mirror: Option<&str>) -> Reference {
        Reference { registry: mirror.unwrap_or(&self.registry).to_owned(), ..self.clone() }
    }

    /// The registry and path: what stands before `:TAG` or `@DIGEST`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.path)
    }

    /// The name to pull: by digest when it is pinned, else by tag.
    pub fn to_pull(&self) -> String {
        match &self.digest {
            Some(digest) => format!("{}@{digest}", self.repository()),
            None => self.tagged(),
        }
    }

    /// The name with its tag and without a digest.
    pub fn tagged(&self) -> String {
        format!("{}:{}", self.repository(), self.tag.as_deref().unwrap_or("latest"))
    }

    fn base(&self) -> String {
        let host = if self.registry == DOCKER_IO { "registry-1.docker.io" } else { &self.registry };
        let scheme = if loopback(host) { "http" } else { "https" };
        format!("{scheme}://{host}/v2/")
    }
}

/// Whether Docker would speak plain HTTP to it without being told.
fn loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost" || name == "[::1]" || name.parse::<std::net::Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether the registry (Docker Hub, or the mirror instead of it) answers within three seconds.
pub async fn answers(mirror: Option<&str>) -> bool {
    let reference = Reference::parse("library/any").at(mirror);
    let Ok(client) = client(&reference) else { return false };
    let asked = tokio::time::timeout(HELLO, client.get(reference.base()).send()).await;
    // Both are what a registry says; a proxy's error page is neither.
    asked.is_ok_and(|got| got.is_ok_and(|r| matches!(r.status(), StatusCode::OK | StatusCode::UNAUTHORIZED)))
}

/// Asks whether the registry has an image, without a login.
///
/// # Errors
/// No HTTP client can be made on this machine. What a registry says, or that none answers, is an [`Answer`].
pub async fn ask(image: &Reference) -> Result<Answer> {
    let client = client(image)?;
    let wanted = image.digest.as_deref().or(image.tag.as_deref()).unwrap_or("latest");
    let url = format!("{}{}/manifests/{wanted}", image.base(), image.path);
    match tokio::time::timeout(ANSWER, ask_with_token(&client, &url, image)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Ok(Answer::Unreachable(innermost(&error))),
        Err(_) => Ok(Answer::Unreachable(format!("no answer within {} s", ANSWER.as_secs()))),
    }
}

async fn ask_with_token(client: &Client, url: &str, image: &Reference) -> reqwest::Result<Answer> {
    let head = |token: Option<String>| {
        let request = client.request(Method::HEAD, url).header(ACCEPT, MANIFESTS);
        if let Some(token) = token { request.bearer_auth(token) } else { request }
    };
    let first = head(None).send().await?;
    if first.status() != StatusCode::UNAUTHORIZED {
        return Ok(understand(&first));
    }
    // Even what is public wants a token, which anybody gets.
    let Some(token_url) = token_url(first.headers(), image) else { return Ok(Answer::LoginNeeded) };
    let given = client.get(token_url).send().await?;
    if given.status() == StatusCode::TOO_MANY_REQUESTS {
        return Ok(Answer::TooMany(retry_after(given.headers())));
    }
    let body: serde_json::Value = given.json().await.unwrap_or_default();
    let token = body.get("token").or_else(|| body.get("access_token")).and_then(|t| t.as_str());
    match token {
        Some(token) => Ok(understand(&head(Some(token.to_owned())).send().await?)),
        None => Ok(Answer::LoginNeeded),
    }
}

fn understand(response: &Response) -> Answer {
    match response.status() {
        status if status.is_success() => {
            let digest = response.headers().get("docker-content-digest").and_then(|d| d.to_str().ok());
            Answer::Has(digest.map(str::to_owned))
        }
        StatusCode::NOT_FOUND => Answer::NotFound,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Answer::LoginNeeded,
        StatusCode::TOO_MANY_REQUESTS => Answer::TooMany(retry_after(response.headers())),
        other => Answer::Unreachable(format!("it answered {other}")),
    }
}

/// Seconds; the other form, a date, no registry in use sends.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// Where the registry's challenge says that tokens are to be had.
fn token_url(headers: &HeaderMap, image: &Reference) -> Option<String> {
    let challenge = headers.get(WWW_AUTHENTICATE)?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned();
    let field = |name: &str| {
        let (_, rest) = challenge.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    let scope = field("scope").unwrap_or_else(|| format!("repository:{}:pull", image.path));
    let service = field("service").map(|s| format!("service={}&", s.replace(' ', "%20"))).unwrap_or_default();
    Some(format!("{}?{service}scope={scope}", field("realm")?))
}

fn client(image: &Reference) -> Result<Client> {
    let builder = net::client(LOOKUP).connect_timeout(HELLO);
    // A proxy is for what is outside.
    let builder = if loopback(&image.registry) { builder.no_proxy() } else { builder };
    builder.build().context("cannot make an HTTP client")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_docker_does() {
        let mysql = Reference::parse("mysql:9.7");
        assert_eq!(mysql.to_pull(), "docker.io/library/mysql:9.7");
        assert_eq!(mysql.base(), "https://registry-1.docker.io/v2/");
        let node = Reference::parse("kindest/node:v1@sha256:abc");
        assert_eq!(
            (node.to_pull().as_str(), node.tagged().as_str()),
            ("docker.io/kindest/node@sha256:abc", "docker.io/kindest/node:v1")
        );
        assert_eq!(node.at(Some("localhost:5000")).to_pull(), "localhost:5000/kindest/node@sha256:abc");
        assert_eq!(node.at(Some("localhost:5000")).base(), "http://localhost:5000/v2/");
        let metrics = Reference::parse("registry.k8s.io/metrics-server/metrics-server:v0.9.0");
        assert_eq!(
            (metrics.registry.as_str(), metrics.path.as_str()),
            ("registry.k8s.io", "metrics-server/metrics-server")
        );
        assert_eq!(Reference::parse("127.0.0.1:5000/a/b").tagged(), "127.0.0.1:5000/a/b:latest");
    }

    #[test]
    fn the_challenge_of_a_registry_tells_where_tokens_are() {
        let mut headers = HeaderMap::new();
        let challenge = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:library/mysql:pull""#;
        headers.insert(WWW_AUTHENTICATE, challenge.parse().expect("a header"));
        let url = token_url(&headers, &Reference::parse("mysql"));
        let wanted = "https://auth.docker.io/token?service=registry.docker.io&scope=repository:library/mysql:pull";
        assert_eq!(url.as_deref(), Some(wanted));
        headers.insert(WWW_AUTHENTICATE, "Basic realm=\"x\"".parse().expect("a header"));
        assert_eq!(token_url(&headers, &Reference::parse("mysql")), None);
    }
}
