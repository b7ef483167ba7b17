//! What the API server or the way to it said, in one short sentence. kube's own texts repeat it up to three times, with the
//! whole answer in between.

use std::{error::Error, fmt, io};

/// A request that came to nothing. Turn a [`kube::Error`] into one with `map_err(Refused)` before adding context.
#[derive(Debug)]
pub struct Refused(pub kube::Error);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            kube::Error::Api(status) => {
                let verb = if passing(&self.0) { "cannot answer yet" } else { "refused" };
                match status.message.trim() {
                    "" => write!(f, "the API server {verb} ({})", status.code),
                    said => write!(f, "the API server {verb}: {said} ({})", status.code),
                }
            }
            error if passing(error) => write!(f, "the API server does not answer: {}", plain(root(error))),
            kube::Error::SerdeError(error) => write!(f, "the API server's answer cannot be read: {error}"),
            error => write!(f, "the request came to nothing: {}", plain(root(error))),
        }
    }
}

impl Error for Refused {}

/// The innermost of an error's sources: what the others only repeat.
fn root(error: &kube::Error) -> &(dyn Error + 'static) {
    let mut root: &(dyn Error + 'static) = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root
}

/// What the operating system says, without its numbers.
fn plain(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof) => {
            "the connection broke".to_owned()
        }
        Some(io::ErrorKind::TimedOut) => "no answer in time".to_owned(),
        _ => error.to_string(),
    }
}

/// Whether a request failed in a way that the same request may survive a moment later: nobody answered, or the server
/// is starting, busy or electing.
pub fn passing(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => matches!(status.code, 429 | 500 | 502 | 503 | 504),
        kube::Error::HyperError(_) | kube::Error::Service(_) | kube::Error::ReadEvents(_) => true,
        _ => false,
    }
}

/// What was done to an object; that it is gone already is as good.
///
/// # Errors
/// The API server does not answer or refuses.
pub fn gone<T>(did: kube::Result<T>) -> anyhow::Result<()> {
    match did {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        other => Ok(other.map(drop).map_err(Refused)?),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::{Status, response::StatusSummary};

    use super::*;

    fn api(code: u16, message: &str) -> kube::Error {
        let status = Some(StatusSummary::Failure);
        let (message, reason) = (message.to_owned(), "Forbidden".to_owned());
        kube::Error::Api(Box::new(Status { status, code, message, reason, ..Status::default() }))
    }

    fn service(kind: io::ErrorKind) -> kube::Error {
        // As the client wraps it: in an error of its own, in a box.
        kube::Error::Service(anyhow::Error::from(io::Error::from(kind)).context("client error (Connect)").into())
    }

    #[test]
    fn each_message_is_told_once_in_one_short_line() {
        let table = [
            (api(403, "pods is forbidden"), "the API server refused: pods is forbidden (403)"),
            (api(404, ""), "the API server refused (404)"),
            (api(503, "etcd leader changed"), "the API server cannot answer yet: etcd leader changed (503)"),
            (service(io::ErrorKind::ConnectionRefused), "the API server does not answer: connection refused"),
            (service(io::ErrorKind::ConnectionReset), "the API server does not answer: the connection broke"),
            (service(io::ErrorKind::TimedOut), "the API server does not answer: no answer in time"),
            (
                kube::Error::ReadEvents(io::ErrorKind::UnexpectedEof.into()),
                "the API server does not answer: the connection broke",
            ),
            (kube::Error::TlsRequired, "the request came to nothing: TLS required but no TLS stack selected"),
        ];
        for (error, wanted) in table {
            let refused = Refused(error);
            assert_eq!(refused.to_string(), wanted);
            // Nothing below it says it again.
            assert_eq!(format!("{:#}", anyhow::Error::from(refused)), wanted);
        }
    }

    #[tokio::test]
    async fn an_api_server_that_is_not_there_is_told_in_words() {
        let config = kube::Config::new("https://127.0.0.1:1".parse().expect("an address"));
        let client = kube::Client::try_from(config).expect("a client");
        let error = client.apiserver_version().await.expect_err("nobody is there");
        assert!(passing(&error));
        assert_eq!(Refused(error).to_string(), "the API server does not answer: connection refused");
    }

    #[tokio::test]
    async fn an_answer_that_breaks_off_is_told_in_words() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let config = kube::Config::new(
            format!("http://{}", listener.local_addr().expect("an address")).parse().expect("an address"),
        );
        let client = kube::Client::try_from(config).expect("a client");
        let (error, _) = tokio::join!(client.apiserver_version(), async { drop(listener.accept().await) });
        let refused = Refused(error.expect_err("it hung up")).to_string();
        assert!(refused.starts_with("the API server does not answer: "), "{refused}");
        assert!(!refused.contains('{') && refused.lines().count() == 1 && refused.len() < 100, "{refused}");
    }
}
