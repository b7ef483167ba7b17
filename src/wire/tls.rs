//! A certificate authority of the lab's own, and the certificates that it gives. A lab has one for each purpose, and a
//! certificate is good for what its holder does with it, and for nothing else.

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

/// What a certificate is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// To be reached under its names.
    Server,
    /// To be let in.
    Client,
    /// Both, for those that talk to each other.
    Peer,
}

/// A certificate, as PEM.
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

    /// A certificate for whoever has these names. `subject` is its common name.
    ///
    /// # Errors
    /// The authority's key cannot be read, or a name is not a DNS name.
    pub fn issue(&self, used: Use, subject: &str, names: &[String]) -> Result<Issued> {
        let key = KeyPair::from_pem(&self.key).context("cannot read the authority's key")?;
        let issuer = Issuer::new(params()?, key);
        let mut holder = CertificateParams::new(names.to_vec()).context("a name for the certificate is not valid")?;
        holder.distinguished_name.push(DnType::CommonName, subject);
        holder.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        holder.extended_key_usages = match used {
            Use::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
            Use::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Use::Peer => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
        };
        holder.use_authority_key_identifier_extension = true;
        lifetime(&mut holder);
        let key = KeyPair::generate().context("cannot generate the certificate's key")?;
        let certificate = holder.signed_by(&key, &issuer).context("cannot sign the certificate")?;
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
        server::WebPkiClientVerifier,
    };

    use super::*;

    fn der(pem: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(pem.as_bytes()).expect("a PEM certificate")
    }

    fn accepts(authority: &Authority, issued: &Issued, name: &str) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(der(&authority.certificate)).expect("an authority");
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .expect("a verifier");
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        verifier.verify_server_cert(&der(&issued.certificate), &[], &name, &[], UnixTime::now()).is_ok()
    }

    fn lets_in(authority: &Authority, issued: &Issued) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(der(&authority.certificate)).expect("an authority");
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()))
            .build()
            .expect("a verifier");
        verifier.verify_client_cert(&der(&issued.certificate), &[], UnixTime::now()).is_ok()
    }

    #[test]
    fn a_certificate_holds_for_its_names_under_its_own_authority_only() {
        let (ours, other) = (Authority::new().expect("an authority"), Authority::new().expect("an authority"));
        let names = ["db".into(), "*.db-members.wplab.svc.cluster.local".into()];
        let issued = ours.issue(Use::Server, "test", &names).expect("a certificate");
        assert!(accepts(&ours, &issued, "db"));
        assert!(accepts(&ours, &issued, "db-7.db-members.wplab.svc.cluster.local"));
        assert!(!accepts(&ours, &issued, "db-read"));
        assert!(!accepts(&other, &issued, "db"));
    }
    #[test]
    fn a_certificate_is_good_for_what_it_was_made_for() {
        let (ours, other) = (Authority::new().expect("an authority"), Authority::new().expect("an authority"));
        for (used, serves, comes) in [(Use::Server, true, false), (Use::Client, false, true), (Use::Peer, true, true)] {
            let issued = ours.issue(used, "test", &["db".into()]).expect("a certificate");
            assert_eq!((accepts(&ours, &issued, "db"), lets_in(&ours, &issued)), (serves, comes), "{used:?}");
            assert!(!lets_in(&other, &issued), "{used:?}");
        }
    }
}
