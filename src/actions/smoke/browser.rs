//! A small browser: keeps cookies, follows redirects by hand, and can be pointed at any replica of a site while it believes
//! to be at the site's own address. What a visitor would see at that replica is what it sees.

use std::{any::Any, fmt, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use reqwest::{
    Client, Method, RequestBuilder, Url,
    cookie::{CookieStore, Jar},
    header::{COOKIE, HOST, HeaderMap, HeaderValue, LOCATION, SET_COOKIE},
    redirect::Policy,
};

/// One request, from the first byte out to the last byte in.
const PATIENCE: Duration = Duration::from_secs(20);
/// As many as browsers follow, roughly; WordPress needs two.
const REDIRECTS: usize = 10;

/// One way into a site: the front door, or one replica.
#[derive(Clone)]
pub struct Door {
    /// How it is called in a report.
    pub name: String,
    /// Where it is.
    pub addr: SocketAddr,
    /// What must live as long as the door is used: a port-forward ends when it is dropped.
    keep: Option<Arc<dyn Any + Send + Sync>>,
}

impl Door {
    /// A door that is simply there.
    pub fn new(name: impl Into<String>, addr: SocketAddr) -> Door {
        Door { name: name.into(), addr, keep: None }
    }

    /// A door that is there as long as `keep` lives.
    #[must_use]
    pub fn held_by(mut self, keep: Arc<dyn Any + Send + Sync>) -> Door {
        self.keep = Some(keep);
        self
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("name", &self.name).field("addr", &self.addr).finish_non_exhaustive()
    }
}

/// What a request came to.
#[derive(Clone, Debug)]
pub struct Page {
    /// The HTTP status.
    pub status: u16,
    /// Where the page is on the site, after redirects.
    pub at: Url,
    /// The headers.
    pub headers: HeaderMap,
    /// The body as it came.
    pub body: Bytes,
}

impl Page {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The address without scheme, host and query: a query may hold what is nobody's business.
    pub fn path(&self) -> &str {
        self.at.path()
    }
}

/// A browser that visits one site. Its cookies belong to the site, not to the door that it came through.
pub struct Browser {
    client: Client,
    jar: Jar,
    site: Url,
}

impl Browser {
    /// A browser without cookies for the site at this URL.
    ///
    /// # Errors
    /// The URL is not one of a web site, or the HTTP client cannot be made.
    pub fn new(site: &str) -> Result<Browser> {
        let site = Url::parse(site).with_context(|| format!("{site:?} is no URL"))?;
        ensure!(site.scheme() == "http" && site.host_str().is_some(), "{site} is not the URL of a site");
        let client = Client::builder()
            .user_agent("Mozilla/5.0 (compatible; wplab-smoke)")
            .redirect(Policy::none())
            // The doors are on this machine, whatever the environment says about the rest of the world.
            .no_proxy()
            .timeout(PATIENCE)
            // A connection that the other side has closed meanwhile would fail the next form that is sent.
            .pool_max_idle_per_host(0)
            .build()
            .context("cannot make an HTTP client")?;
        Ok(Browser { client, jar: Jar::default(), site })
    }

    /// The address of something on the site.
    ///
    /// # Errors
    /// The path cannot be part of a URL.
    pub fn url(&self, path: &str) -> Result<Url> {
        self.site.join(path).with_context(|| format!("{path:?} cannot be part of a URL"))
    }

    /// The cookies that would be sent to a path; marked as what must not be shown.
    ///
    /// # Errors
    /// As [`Browser::url`].
    pub fn cookies(&self, path: &str) -> Result<Option<HeaderValue>> {
        let mut cookies = self.jar.cookies(&self.url(path)?);
        cookies.iter_mut().for_each(|cookies| cookies.set_sensitive(true));
        Ok(cookies)
    }

    /// The names of the cookies that would be sent to a path.
    ///
    /// # Errors
    /// As [`Browser::url`].
    pub fn cookie_names(&self, path: &str) -> Result<Vec<String>> {
        let Some(cookies) = self.jar.cookies(&self.url(path)?) else { return Ok(Vec::new()) };
        let text = String::from_utf8_lossy(cookies.as_bytes()).into_owned();
        Ok(text.split("; ").filter_map(|c| c.split_once('=')).map(|(name, _)| name.to_owned()).collect())
    }

    /// Gets a page and follows redirects, all through the same door.
    ///
    /// # Errors
    /// The door does not answer, redirects run in a circle, or one leads away from the site.
    pub async fn get(&self, door: &Door, path: &str) -> Result<Page> {
        let page = self.send(door, Method::GET, path, |request| request).await?;
        self.follow(door, page).await
    }

    /// Sends a form, as a browser does when a button is pressed, and follows redirects.
    ///
    /// # Errors
    /// As [`Browser::get`].
    pub async fn submit(&self, door: &Door, path: &str, form: &[(&str, &str)]) -> Result<Page> {
        let page = self.send(door, Method::POST, path, |request| request.form(form)).await?;
        self.follow(door, page).await
    }

    /// Sends one request and follows nothing.
    ///
    /// # Errors
    /// The door does not answer.
    pub async fn send(
        &self,
        door: &Door,
        method: Method,
        path: &str,
        edit: impl FnOnce(RequestBuilder) -> RequestBuilder + Send,
    ) -> Result<Page> {
        let at = self.url(path)?;
        let what = || format!("no answer from {} to {method} {}", door.name, at.path());
        let mut target = at.clone();
        // Both fail only for URLs without a host, which `new` has refused.
        if target.set_ip_host(door.addr.ip()).is_err() || target.set_port(Some(door.addr.port())).is_err() {
            bail!("{at} cannot be asked at {}", door.addr);
        }
        let mut request = self.client.request(method.clone(), target).header(HOST, host_header(&self.site));
        if let Some(cookies) = self.jar.cookies(&at) {
            request = request.header(COOKIE, cookies);
        }
        // The port of a forward means nothing to a reader, and a query is nobody's business: errors go without the URL.
        let response = edit(request).send().await.map_err(reqwest::Error::without_url).with_context(what)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        self.jar.set_cookies(&mut headers.get_all(SET_COOKIE).iter(), &at);
        let body = response.bytes().await.map_err(reqwest::Error::without_url).with_context(what)?;
        Ok(Page { status, at, headers, body })
    }

    async fn follow(&self, door: &Door, mut page: Page) -> Result<Page> {
        for _ in 0..REDIRECTS {
            let location = page.headers.get(LOCATION).and_then(|l| l.to_str().ok());
            let Some(location) = location.filter(|_| (300..400).contains(&page.status)) else { return Ok(page) };
            let next =
                page.at.join(location).with_context(|| format!("{} redirects to what is no URL", page.path()))?;
            ensure!(
                next.origin() == self.site.origin(),
                "{} of {} redirects to {}, which is not the site {}",
                page.path(),
                door.name,
                next.origin().ascii_serialization(),
                self.site.origin().ascii_serialization()
            );
            page = self.send(door, Method::GET, next.as_str(), |request| request).await?;
        }
        bail!("{} of {} redirects in a circle", page.path(), door.name)
    }
}

/// What a browser at this URL sends as Host: the port only where it is not the scheme's own.
fn host_header(site: &Url) -> String {
    let host = site.host_str().unwrap_or_default();
    site.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actions::smoke::testing::{Server, answer};

    fn door(server: &Server, name: &str) -> Door {
        Door::new(name, server.addr)
    }

    #[tokio::test]
    async fn the_host_header_is_the_sites_and_redirects_stay_at_the_door() {
        let server = Server::start(|request| match request.path.as_str() {
            "/old" => answer(302, &[("Location", "http://site.example:8080/new?x=1")], ""),
            "/new?x=1" => answer(200, &[], &format!("you asked {}", request.header("host"))),
            _ => answer(404, &[], ""),
        })
        .await;
        let browser = Browser::new("http://site.example:8080").expect("a browser");
        let page = browser.get(&door(&server, "a"), "/old").await.expect("a page");
        assert_eq!((page.status, page.text().as_str()), (200, "you asked site.example:8080"));
        assert_eq!(page.at.as_str(), "http://site.example:8080/new?x=1");
    }

    #[tokio::test]
    async fn a_redirect_to_another_site_and_one_in_a_circle_are_errors() {
        let server = Server::start(|request| match request.path.as_str() {
            "/away" => answer(301, &[("Location", "http://127.0.0.1:9/")], ""),
            _ => answer(302, &[("Location", "/again")], ""),
        })
        .await;
        let browser = Browser::new("http://site.example:8080").expect("a browser");
        let away = browser.get(&door(&server, "wordpress-1"), "/away").await.expect_err("leads away").to_string();
        assert_eq!(
            away,
            "/away of wordpress-1 redirects to http://127.0.0.1:9, which is not the site http://site.example:8080"
        );
        let circle = browser.get(&door(&server, "wordpress-1"), "/again").await.expect_err("a circle").to_string();
        assert_eq!(circle, "/again of wordpress-1 redirects in a circle");
    }

    #[tokio::test]
    async fn a_cookie_of_one_replica_is_shown_to_the_next_and_only_below_its_path() {
        let (one, two) = (
            Server::start(|_| {
                answer(200, &[("Set-Cookie", "s=1; path=/; HttpOnly"), ("Set-Cookie", "a=2; path=/wp-admin")], "")
            })
            .await,
            Server::start(|request| answer(200, &[], &request.header("cookie"))).await,
        );
        let browser = Browser::new("http://127.0.0.1:8080").expect("a browser");
        browser.get(&door(&one, "one"), "/login").await.expect("a page");
        assert_eq!(browser.get(&door(&two, "two"), "/").await.expect("a page").text(), "s=1");
        let mut names = browser.cookie_names("/wp-admin/").expect("names");
        names.sort();
        assert_eq!(names, ["a", "s"]);
        let other = Browser::new("http://127.0.0.1:8080").expect("a browser");
        assert_eq!(other.get(&door(&two, "two"), "/").await.expect("a page").text(), "");
    }

    #[tokio::test]
    async fn a_form_is_sent_as_a_form_and_its_content_is_in_no_error() {
        let server =
            Server::start(|request| answer(200, &[], &format!("{} {}", request.header("content-type"), request.body)))
                .await;
        let browser = Browser::new("http://127.0.0.1:8080").expect("a browser");
        let page = browser.submit(&door(&server, "a"), "/f", &[("pwd", "a b&c")]).await.expect("a page");
        assert_eq!(page.text(), "application/x-www-form-urlencoded pwd=a+b%26c");
        let gone = Door::new("wordpress-2", SocketAddr::from(([127, 0, 0, 1], 1)));
        let error =
            format!("{:#}", browser.submit(&gone, "/f?key=hush", &[("pwd", "hush")]).await.expect_err("nobody there"));
        assert!(error.starts_with("no answer from wordpress-2 to POST /f") && !error.contains("hush"), "{error}");
    }
}
