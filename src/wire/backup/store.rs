//! A destination, opened: objects by their names, and what its server says, in one sentence. The only file that names the library for
//! object stores; what the objects are is [`super::shelf`]'s to know.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::{
    ClientOptions, Error, ObjectStore, ObjectStoreExt, PutPayload, RetryConfig,
    aws::AmazonS3Builder,
    client::{HttpClient, HttpConnector},
    gcp::GoogleCloudStorageBuilder,
    http::HttpBuilder,
    local::LocalFileSystem,
    path::Path,
};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};

use super::{Unusable, credentials::Credentials};
use crate::{run::advice::Trouble, spec::destination::Destination, wire::net};

/// How long a store may need to take up a connection.
const HELLO: Duration = Duration::from_secs(10);
/// How long a name server somewhere in the world may take.
const LOOKUP: Duration = Duration::from_secs(5);
/// How long a store that is out of order is asked again.
const PATIENCE: Duration = Duration::from_mins(1);

/// A destination.
#[derive(Clone)]
pub(super) struct Store {
    inner: Arc<dyn ObjectStore>,
    pub(super) destination: Destination,
    /// The destination's folder: what is named is in it.
    folder: Path,
}

impl Store {
    /// Opens a destination. Nothing is asked yet; the folder of `file://` is made.
    ///
    /// # Errors
    /// A credential is missing ([`Unusable`]) or cannot be read, or the folder cannot be made.
    pub(super) fn open(destination: &Destination, credentials: &Credentials) -> Result<Store> {
        let missing = credentials.missing(destination);
        if !missing.is_empty() {
            return Err(Trouble::from(Unusable::NoCredentials { destination: destination.clone(), missing }).into());
        }
        let cannot = || format!("cannot open {destination}");
        let (inner, folder) = library(destination, credentials).with_context(cannot)?;
        let folder = Path::parse(folder).map_err(anyhow::Error::from).with_context(cannot)?;
        Ok(Store { inner, destination: destination.clone(), folder })
    }

    /// Nothing in a name leads out of the folder, whoever has written it: a slash in one is none.
    fn at(&self, names: &[&str]) -> Path {
        names.iter().fold(self.folder.clone(), |path, name| path.join(*name))
    }

    /// Writes an object.
    pub(super) async fn put(&self, names: &[&str], bytes: Bytes) -> Result<()> {
        let put = self.inner.put(&self.at(names), PutPayload::from_bytes(bytes)).await;
        put.map(drop).map_err(|error| self.told(&error))
    }

    /// Reads an object, if there is one.
    pub(super) async fn get(&self, names: &[&str]) -> Result<Option<Bytes>> {
        let path = self.at(names);
        let got = async { self.inner.get(&path).await?.bytes().await };
        match got.await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.told(&error)),
        }
    }

    /// The names of the folders in a folder.
    pub(super) async fn folders(&self, names: &[&str]) -> Result<Vec<String>> {
        let root = Some(self.at(names)).filter(|path| !path.as_ref().is_empty());
        let found = self.inner.list_with_delimiter(root.as_ref()).await.map_err(|error| self.told(&error))?;
        Ok(found.common_prefixes.iter().filter_map(|path| path.filename().map(str::to_owned)).collect())
    }

    /// The objects in a folder, and their lengths.
    pub(super) async fn objects(&self, names: &[&str]) -> Result<Vec<(String, u64)>> {
        let root = self.at(names);
        let found: Result<Vec<_>, Error> = self.inner.list(Some(&root)).try_collect().await;
        let found = found.map_err(|error| self.told(&error))?;
        let named = found.iter().filter_map(|object| Some((object.location.filename()?.to_owned(), object.size)));
        Ok(named.collect())
    }

    /// Removes an object; one that is not there is removed.
    pub(super) async fn delete(&self, names: &[&str]) -> Result<()> {
        match self.inner.delete(&self.at(names)).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.told(&error)),
        }
    }

    /// What the library says, in one sentence and, where somebody can do something, typed.
    fn told(&self, error: &Error) -> anyhow::Error {
        let text = net::innermost(error).replace(['\n', '\r'], " ");
        let (destination, why) = (self.destination.clone(), said(&text));
        // What a list of names is answered is not told apart by the library.
        let status = |wanted: &[&str]| wanted.iter().any(|code| text.contains(code));
        let refused = matches!(error, Error::PermissionDenied { .. } | Error::Unauthenticated { .. });
        if refused || status(&["401 Unauthorized", "403 Forbidden"]) {
            return Trouble::from(Unusable::NotLetIn { destination, why }).into();
        }
        if matches!(error, Error::NotFound { .. }) || status(&["404 Not Found"]) {
            return Trouble::from(Unusable::NoDestination { destination, why }).into();
        }
        anyhow!("{destination}: {why}")
    }
}

/// What a store says, without what only its maker reads.
fn said(text: &str) -> String {
    let between = |tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>"))?;
        Some(rest.split_once(&format!("</{tag}>"))?.0.trim_end_matches('.').to_owned())
    };
    let said = between("Message").or_else(|| between("Code")).or_else(|| {
        // A page for people has nothing to say either.
        let (status, page) = text.split_once(": <")?;
        Some(status.trim_start_matches("Server returned non-2xx status code: ").to_owned()).filter(|_| !page.is_empty())
    });
    said.unwrap_or_else(|| text.trim_end_matches([' ', ':']).to_owned())
}

/// The library's store for a destination, and the folder in it.
fn library(destination: &Destination, credentials: &Credentials) -> Result<(Arc<dyn ObjectStore>, String)> {
    let retry = RetryConfig { retry_timeout: PATIENCE, ..RetryConfig::default() };
    let value = |name: &str| credentials.get(name).unwrap_or_default().to_owned();
    Ok(match destination {
        Destination::S3 { bucket, folder, endpoint, region } => {
            let mut builder = AmazonS3Builder::new()
                .with_bucket_name(bucket)
                .with_region(region.as_deref().unwrap_or("us-east-1"))
                .with_access_key_id(value("AWS_ACCESS_KEY_ID"))
                .with_secret_access_key(value("AWS_SECRET_ACCESS_KEY"))
                .with_http_connector(Connector {
                    near: endpoint.as_deref().is_some_and(is_near),
                    ..Connector::default()
                })
                .with_retry(retry);
            if let Some(token) = credentials.get("AWS_SESSION_TOKEN") {
                builder = builder.with_token(token);
            }
            if let Some(endpoint) = endpoint {
                builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
            }
            (Arc::new(builder.build()?), folder.clone())
        }
        Destination::Gs { bucket, folder } => {
            let builder = GoogleCloudStorageBuilder::new()
                .with_bucket_name(bucket)
                .with_service_account_key(value("GOOGLE_SERVICE_ACCOUNT_KEY"))
                .with_http_connector(Connector::default())
                .with_retry(retry);
            (Arc::new(builder.build()?), folder.clone())
        }
        Destination::Dav { url } => {
            let mut headers = HeaderMap::new();
            if let Some(user) = credentials.get("WEBDAV_USER") {
                use base64::{Engine as _, engine::general_purpose::STANDARD};
                let encoded = STANDARD.encode(format!("{user}:{}", value("WEBDAV_PASSWORD")));
                let mut header =
                    HeaderValue::try_from(format!("Basic {encoded}")).context("cannot send the password")?;
                header.set_sensitive(true);
                headers.insert(AUTHORIZATION, header);
            }
            // The library makes folders below the address that it is given, and not that one.
            let (scheme, rest) = url.split_once("://").unwrap_or_default();
            let (server, folder) = rest.split_once('/').unwrap_or((rest, ""));
            let options = ClientOptions::new().with_allow_http(url.starts_with("http://"));
            let builder = HttpBuilder::new()
                .with_url(format!("{scheme}://{server}"))
                .with_client_options(options)
                .with_http_connector(Connector { headers, near: is_near(url) })
                .with_retry(retry);
            (Arc::new(builder.build()?), folder.to_owned())
        }
        Destination::File { folder } => {
            std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
            let store = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true);
            (Arc::new(store), String::new())
        }
    })
}

/// HTTP as the rest of this executable speaks it: names without the C library. What is to be sent with every request is ours to say,
/// because the library keeps its own headers to itself.
#[derive(Debug, Default)]
struct Connector {
    headers: HeaderMap,
    /// The server is here: no proxy is on the way to it.
    near: bool,
}

/// Nothing goes unencrypted but to this machine and its own networks.
fn is_near(url: &str) -> bool {
    url.starts_with("http://")
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = net::client(LOOKUP);
        // Who speaks to nobody over TLS needs no authorities; inside a cluster there may be none.
        let client = if self.near { client.no_proxy().tls_certs_only([]) } else { client };
        let client = client.connect_timeout(HELLO).read_timeout(PATIENCE).default_headers(self.headers.clone()).build();
        let generic = |source: reqwest::Error| Error::Generic { store: "HTTP", source: Box::new(source) };
        client.map(HttpClient::new).map_err(generic)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_says_what_is_wrong_and_no_more() {
        let answered = "Server returned non-2xx status code: ";
        for (text, why) in [
            (
                "404 Not Found: <Error><Code>NoSuchBucket</Code><Message>There is none.</Message><HostId>x</HostId></Error>",
                "There is none",
            ),
            ("403 Forbidden: <Error><Code>AccessDenied</Code></Error>", "AccessDenied"),
            ("401 Unauthorized: <html><body>Log in</body></html>", "401 Unauthorized"),
        ] {
            assert_eq!(said(&format!("{answered}{text}")), why);
        }
        assert_eq!(said("tcp connect error: Connection refused"), "tcp connect error: Connection refused");
    }

    #[tokio::test]
    async fn no_name_leads_out_of_the_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("secret"), "geheim").expect("written");
        let destination = Destination::File { folder: folder.path().join("backups") };
        let store = Store::open(&destination, &Credentials::default()).expect("a store");
        for names in [&["demo", "../../secret"][..], &["..", "secret"], &["/", "secret"]] {
            assert_eq!(store.get(names).await.expect("asked"), None, "{names:?}");
        }
    }
}
