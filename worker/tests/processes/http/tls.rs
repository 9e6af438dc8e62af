//! Calls over TLS, with an authority and a certificate of our own.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

use super::*;

/// An authority, and files of what it signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: rcgen::Certificate,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("it can be made");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("it can be made");
        let certificate = params.self_signed(&key).expect("it can be made");
        Self { issuer: Issuer::new(params, key), certificate }
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().expect("it can be made");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("it can be made");
        (params.signed_by(&key, &self.issuer).expect("it can be made"), key)
    }

    /// Answers those who show a certificate of ours.
    async fn serve(&self) -> SocketAddr {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (certificate, key) = self.sign("localhost");
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).expect("it can be made");
        let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .expect("it can be made");
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("it can be made")
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("it can be made");
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("it can be made");
        let address = listener.local_addr().expect("it can be made");
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                // The head comes in one piece.
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecure";
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        });
        address
    }
}

fn file(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).expect("it can be made");
    path.to_str().expect("it can be made").to_owned()
}

#[tokio::test]
async fn a_call_shows_its_certificate_and_believes_its_own_authority() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (Authority::new(), Authority::new());
    let address = ours.serve().await;
    let url = format!("https://localhost:{}/", address.port());
    let ca = file(dir.path(), "ca.pem", &ours.certificate.pem());
    let other_ca = file(dir.path(), "other.pem", &other.certificate.pem());
    let (certificate, key) = ours.sign("client");
    let cert = file(dir.path(), "cert.pem", &certificate.pem());
    let key = file(dir.path(), "key.pem", &key.serialize_pem());
    let (exit, output) = ended(json!({"url": url, "tls": {"ca": ca, "cert": cert, "key": key}})).await;
    assert!(exit.is_success() && output.text.ends_with(" ms\nsecure"), "{exit:?} {}", output.text);
    for (tls, words) in [
        (json!({"cert": cert, "key": key}), "failed: invalid peer certificate"),
        (json!({"ca": other_ca, "cert": cert, "key": key}), "failed: invalid peer certificate"),
        (json!({"ca": ca}), ""),
    ] {
        let (exit, output) = ended(json!({"url": url, "tls": tls})).await;
        let said = exit.words();
        assert!(!exit.is_success() && said.contains(words) && exit.is_retryable(), "{tls}: {said}");
        assert!(said.contains(&format!("localhost:{}", address.port())), "{tls}: {said}");
        assert!(!output.text.contains("secure"), "{}", output.text);
    }
}

#[tokio::test]
async fn files_that_are_no_certificates_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let text = file(dir.path(), "text.pem", "no certificate");
    let missing = dir.path().join("missing.pem").to_str().unwrap().to_owned();
    let folder = dir.path().to_str().unwrap().to_owned();
    for (tls, words) in [
        (json!({"ca": missing}), "tls.ca: "),
        (json!({"ca": folder}), "it is no file"),
        (json!({"ca": text}), "no certificate in that file"),
        (json!({"cert": text, "key": text}), "tls.cert, tls.key: "),
    ] {
        let refused = Bench::new().refusal(call(json!({"url": "https://localhost:1/", "tls": tls}))).await;
        assert!(refused.contains(words), "{tls}: {refused}");
    }
}
