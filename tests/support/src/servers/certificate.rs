//! Certificates for servers on this machine.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use tempfile::TempDir;

/// A certificate for 127.0.0.1 and its key, in files that are removed when this is dropped.
pub(super) struct SelfSigned(TempDir);

impl SelfSigned {
    pub(super) fn make() -> Self {
        let made = Self(tempfile::tempdir().expect("make a folder for a certificate"));
        let made_it = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "30", "-subj", "/CN=quorate test", "-addext", "subjectAltName=IP:127.0.0.1"])
            .args(["-addext", "basicConstraints=critical,CA:FALSE", "-keyout"])
            .arg(made.key())
            .arg("-out")
            .arg(made.cert())
            .stderr(Stdio::null())
            .status();
        let problem = "this test needs the program openssl: `apt-get install openssl`";
        assert!(made_it.expect(problem).success(), "openssl made no certificate");
        made
    }

    pub(super) fn cert(&self) -> PathBuf {
        self.0.path().join("cert.pem")
    }

    pub(super) fn key(&self) -> PathBuf {
        self.0.path().join("key.pem")
    }

    /// The certificate's text.
    pub(super) fn pem(&self) -> Vec<u8> {
        std::fs::read(self.cert()).expect("read the certificate")
    }
}
