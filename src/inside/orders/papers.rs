//! What each end of an order shows and trusts: the orders' own authority, whom nobody else in the lab trusts, and a certificate
//! by it that is good for one end only. Nothing older than TLS 1.3 is spoken, and no session is taken up again.

use std::{path::Path, sync::Arc};

use anyhow::{Context, Result};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    client::Resumption,
    crypto::{CryptoProvider, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
    version::TLS13,
};

/// The papers of one end, as PEM.
#[derive(Clone)]
pub struct Papers {
    /// The authority of those that are talked to.
    pub(super) ca: String,
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Papers {
    /// Those that a pod mounts: `ca.crt`, `tls.crt` and `tls.key` of a folder.
    ///
    /// # Errors
    /// A file is not there.
    pub fn read(folder: &Path) -> Result<Papers> {
        let read = |name: &str| {
            let path = folder.join(name);
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        Ok(Papers { ca: read("ca.crt")?, certificate: read("tls.crt")?, key: read("tls.key")? })
    }

    /// For the end that takes orders: whoever has no certificate by the authority does not get through the handshake.
    ///
    /// # Errors
    /// They are no PEM, or the key is not the certificate's.
    pub(super) fn server(&self) -> Result<ServerConfig> {
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(self.roots()?), provider());
        let clients = clients.build().context("the orders' authority cannot be used")?;
        let config = ServerConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        let (chain, key) = self.own()?;
        let config = config.with_client_cert_verifier(clients).with_single_cert(chain, key);
        let mut config = config.context("the certificate for orders cannot be used")?;
        (config.session_storage, config.send_tls13_tickets) = (Arc::new(NoServerSessionStorage {}), 0);
        Ok(config)
    }

    /// For the end that gives orders.
    ///
    /// # Errors
    /// As [`Papers::server`].
    pub(super) fn client(&self) -> Result<ClientConfig> {
        let config = ClientConfig::builder_with_provider(provider()).with_protocol_versions(&[&TLS13])?;
        let (chain, key) = self.own()?;
        let config = config.with_root_certificates(self.roots()?).with_client_auth_cert(chain, key);
        let mut config = config.context("the certificate for orders cannot be used")?;
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn roots(&self) -> Result<RootCertStore> {
        let ca = CertificateDer::from_pem_slice(self.ca.as_bytes()).context("the orders' authority is no PEM")?;
        let mut roots = RootCertStore::empty();
        roots.add(ca).context("the orders' authority cannot be used")?;
        Ok(roots)
    }

    fn own(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let chain = CertificateDer::from_pem_slice(self.certificate.as_bytes());
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes());
        Ok((vec![chain.context("the certificate for orders is no PEM")?], key.context("the key for orders is no PEM")?))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
