//! The lab's own certificate authority, and the certificates that it gives: one that all database members share, one for etcd.

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// An authority, as PEM. It is kept so that certificates can be added later without changing what clients trust.
#[derive(Clone, PartialEq, Eq)]
pub struct Authority {
    /// The certificate that clients trust.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

/// A server's certificate, as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its private key.
    pub key: String,
}

impl Authority {
    /// A new authority.
    ///
    /// # Errors
    /// The machine has no randomness to give.
    pub fn new() -> Result<Authority> {
        let key = KeyPair::generate().context("cannot generate the authority's key")?;
        let certificate: Certificate =
            params()?.self_signed(&key).context("cannot sign the authority's certificate")?;
        Ok(Authority { certificate: certificate.pem(), key: key.serialize_pem() })
    }

    /// A certificate for servers of these names, and for their being clients of each other. `subject` is its common name.
    ///
    /// # Errors
    /// The authority's key cannot be read, or a name is not a DNS name.
    pub fn issue(&self, subject: &str, names: &[String]) -> Result<Issued> {
        let key = KeyPair::from_pem(&self.key).context("cannot read the authority's key")?;
        let issuer = Issuer::new(params()?, key);
        let mut server = CertificateParams::new(names.to_vec()).context("a name for the certificate is not valid")?;
        server.distinguished_name.push(DnType::CommonName, subject);
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        server.use_authority_key_identifier_extension = true;
        lifetime(&mut server);
        let key = KeyPair::generate().context("cannot generate the certificate's key")?;
        let certificate = server.signed_by(&key, &issuer).context("cannot sign the certificate")?;
        Ok(Issued { certificate: certificate.pem(), key: key.serialize_pem() })
    }
}

/// The same parameters every time: an [`Issuer`] is made from them and the stored key, without reading the certificate.
fn params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new()).context("cannot describe the authority")?;
    params.distinguished_name.push(DnType::CommonName, "wplab lab authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    lifetime(&mut params);
    Ok(params)
}

/// A lab does not renew certificates: they begin before any clock's error and outlive the lab.
fn lifetime(params: &mut CertificateParams) {
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2049, 12, 31);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
        crypto::ring,
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
    };

    use super::*;

    fn accepts(authority: &Authority, issued: &Issued, name: &str) -> bool {
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a PEM certificate");
        let mut roots = RootCertStore::empty();
        roots.add(der(&authority.certificate)).expect("an authority");
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .expect("a verifier");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        verifier.verify_server_cert(&der(&issued.certificate), &[], &name, &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_certificate_holds_for_its_names_under_its_own_authority_only() {
        let (ours, other) = (Authority::new().expect("an authority"), Authority::new().expect("an authority"));
        let issued =
            ours.issue("test", &["db".into(), "*.db-members.wplab.svc.cluster.local".into()]).expect("a certificate");
        assert!(accepts(&ours, &issued, "db"));
        assert!(accepts(&ours, &issued, "db-7.db-members.wplab.svc.cluster.local"));
        assert!(!accepts(&ours, &issued, "db-read"));
        assert!(!accepts(&other, &issued, "db"));
    }
}
