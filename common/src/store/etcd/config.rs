//! How to reach etcd: typed, and checked before anything is sent. A server that is away is not an error here; a
//! setting that can never work is, and its message says what would.

use std::{fmt, time::Duration};

use etcd_client::{Certificate, ConnectOptions, Identity, TlsOptions};

/// Where etcd is and how to talk to it.
#[derive(Clone)]
pub struct EtcdConfig {
    /// `host:port`, or the same behind `http://` or `https://`.
    pub endpoints: Vec<String>,
    /// The user, if etcd has authentication switched on.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<String>,
    /// The certificate authority that signed etcd's certificate (PEM); turns TLS on.
    pub ca: Option<Vec<u8>>,
    /// Our own certificate (PEM), if etcd asks for one.
    pub cert: Option<Vec<u8>>,
    /// The key of our own certificate (PEM).
    pub key: Option<Vec<u8>>,
    /// How long an endpoint may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a request may take in all, but for those that name a timeout of their own.
    pub request_timeout: Duration,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: Vec::new(),
            user: None,
            password: None,
            ca: None,
            cert: None,
            key: None,
            connect_timeout: Duration::from_secs(2),
            request_timeout: Duration::from_secs(5),
        }
    }
}

impl fmt::Debug for EtcdConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = |secret: bool| secret.then_some("<hidden>");
        f.debug_struct("EtcdConfig")
            .field("endpoints", &self.endpoints)
            .field("user", &self.user)
            .field("password", &hidden(self.password.is_some()))
            .field("ca", &self.ca.as_ref().map(Vec::len))
            .field("cert", &self.cert.as_ref().map(Vec::len))
            .field("key", &hidden(self.key.is_some()))
            .field("connect_timeout", &self.connect_timeout)
            .field("request_timeout", &self.request_timeout)
            .finish()
    }
}

/// Why a configuration cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EtcdConfigError {
    /// Nowhere to go.
    #[error("no etcd endpoint is given; use, for example, \"127.0.0.1:2379\"")]
    NoEndpoint,
    /// Not an address.
    #[error(
        "{0:?} is not an etcd endpoint: that is a host and a port, with or without http:// or https:// before it; \
         use, for example, \"10.0.0.7:2379\" or \"https://etcd-1.example.org:2379\""
    )]
    Endpoint(String),
    /// One of user and password.
    #[error("the etcd user and its password belong together; give both or neither")]
    HalfCredentials,
    /// One of certificate and key.
    #[error("the etcd client certificate and its key belong together; give both or neither")]
    HalfIdentity,
    /// Certificates for a connection without TLS.
    #[error("certificates are given but {0:?} is without TLS; use \"https://…\"")]
    CertificatesWithoutTls(String),
    /// TLS without knowing whom to trust.
    #[error("{0:?} uses TLS, but there is nobody to trust: give etcd's certificate authority (PEM)")]
    NoAuthority(String),
    /// A certificate or key that is not one.
    #[error(
        "the certificates for etcd cannot be used ({0}); they are PEM files: -----BEGIN CERTIFICATE-----…"
    )]
    Certificates(String),
    /// No time at all.
    #[error("a timeout of zero lets no request succeed; use, for example, 5s")]
    ZeroTimeout,
}

/// How often a connection with an open stream is tried when nothing comes, and how long an answer may take. etcd
/// takes more than one such ping in 5 s, or any on a connection without streams, for an attack, and closes the
/// connection at the fourth, with whatever is under way on it (seen on 3.4 and 3.5: pings every 2 s break a quiet
/// watch every 8 s). Watches notice a frozen peer sooner, by asking for progress.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(6), Duration::from_secs(2));

impl EtcdConfig {
    /// The endpoints as URLs, once everything is checked.
    pub(super) fn checked(&self) -> Result<Vec<String>, EtcdConfigError> {
        use EtcdConfigError as E;
        if self.endpoints.is_empty() {
            return Err(E::NoEndpoint);
        }
        if self.user.is_some() != self.password.is_some() {
            return Err(E::HalfCredentials);
        }
        if self.cert.is_some() != self.key.is_some() {
            return Err(E::HalfIdentity);
        }
        for (pem, what) in
            [(&self.ca, "CERTIFICATE"), (&self.cert, "CERTIFICATE"), (&self.key, "PRIVATE KEY")]
        {
            if pem.as_ref().is_some_and(|pem| !holds(pem, what)) {
                return Err(E::Certificates(format!("no {what} in one of them")));
            }
        }
        if self.connect_timeout.is_zero() || self.request_timeout.is_zero() {
            return Err(E::ZeroTimeout);
        }
        self.endpoints.iter().map(|endpoint| self.url(endpoint.trim())).collect()
    }

    /// One endpoint as a URL. Without a scheme it uses TLS if a certificate authority is given.
    fn url(&self, endpoint: &str) -> Result<String, EtcdConfigError> {
        use EtcdConfigError as E;
        let (tls, address) = if let Some(address) = endpoint.strip_prefix("https://") {
            (true, address)
        } else if let Some(address) = endpoint.strip_prefix("http://") {
            (false, address)
        } else {
            (self.ca.is_some(), endpoint)
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        let (host, port) = address.rsplit_once(':').ok_or_else(|| E::Endpoint(endpoint.into()))?;
        let port_is_right = port.parse::<u16>().is_ok_and(|port| port != 0);
        let host_is_right = !host.is_empty()
            && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
            && !host.contains(|c: char| c.is_whitespace() || c.is_control() || "/@?#,\\\"<>".contains(c));
        if !port_is_right || !host_is_right {
            return Err(E::Endpoint(endpoint.into()));
        }
        match (tls, self.ca.is_some() || self.cert.is_some()) {
            (false, true) => Err(E::CertificatesWithoutTls(endpoint.into())),
            (true, _) if self.ca.is_none() => Err(E::NoAuthority(endpoint.into())),
            (true, _) => Ok(format!("https://{address}")),
            (false, false) => Ok(format!("http://{address}")),
        }
    }

    /// Who we are to etcd.
    pub(super) fn credentials(&self) -> Option<(String, String)> {
        self.user.clone().zip(self.password.clone())
    }

    /// The options for one endpoint. The user is not among them: the client would authenticate while it connects,
    /// and fail if the server is away.
    pub(super) fn options(&self) -> ConnectOptions {
        let mut options = ConnectOptions::new()
            .with_connect_timeout(self.connect_timeout)
            .with_keep_alive(KEEP_ALIVE.0, KEEP_ALIVE.1)
            .with_keep_alive_while_idle(false)
            // A member that has lost its leader says so at once instead of letting requests and watches hang.
            .with_require_leader(true);
        if let Some(ca) = &self.ca {
            let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(ca));
            if let (Some(cert), Some(key)) = (&self.cert, &self.key) {
                tls = tls.identity(Identity::from_pem(cert, key));
            }
            options = options.with_tls(tls);
        }
        options
    }
}

/// Whether there is a section of this kind in a PEM file. The TLS library takes a file without any for an empty
/// list.
fn holds(pem: &[u8], what: &str) -> bool {
    String::from_utf8_lossy(pem).lines().any(|line| line.starts_with("-----BEGIN ") && line.contains(what))
}

#[cfg(test)]
mod tests {
    use super::{EtcdConfigError as E, *};

    const CA: &[u8] = b"-----BEGIN CERTIFICATE-----\n";

    fn of(endpoints: &[&str]) -> EtcdConfig {
        EtcdConfig { endpoints: endpoints.iter().map(ToString::to_string).collect(), ..EtcdConfig::default() }
    }

    #[test]
    fn endpoints_are_read_with_and_without_a_scheme() {
        let config = of(&["127.0.0.1:2379", "http://etcd-1:2379/", "[::1]:1"]);
        assert_eq!(
            config.checked().unwrap(),
            ["http://127.0.0.1:2379", "http://etcd-1:2379", "http://[::1]:1"]
        );
        let tls = EtcdConfig { ca: Some(CA.to_vec()), ..of(&["a:1", "https://b:2"]) };
        assert_eq!(tls.checked().unwrap(), ["https://a:1", "https://b:2"]);
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_an_example() {
        for bad in
            ["", "a", "a:", ":2379", "a:0", "a:70000", "ftp://a:1", "a:1/x", "::1:2379", "a b:1", "a:1,b:1"]
        {
            let error = of(&[bad]).checked().unwrap_err();
            assert_eq!(error, E::Endpoint(bad.trim().into()), "{bad:?}");
            assert!(error.to_string().contains("10.0.0.7:2379"), "{error}");
        }
        assert_eq!(of(&[]).checked().unwrap_err(), E::NoEndpoint);
    }

    #[test]
    fn settings_that_belong_together_come_together() {
        let user = EtcdConfig { user: Some("root".into()), ..of(&["a:1"]) };
        assert_eq!(user.checked().unwrap_err(), E::HalfCredentials);
        let cert = EtcdConfig { cert: Some(Vec::new()), ..of(&["a:1"]) };
        assert_eq!(cert.checked().unwrap_err(), E::HalfIdentity);
        assert_eq!(of(&["https://a:1"]).checked().unwrap_err(), E::NoAuthority("https://a:1".into()));
        let plain = EtcdConfig { ca: Some(CA.to_vec()), ..of(&["http://a:1"]) };
        assert_eq!(plain.checked().unwrap_err(), E::CertificatesWithoutTls("http://a:1".into()));
    }

    #[test]
    fn a_file_without_a_certificate_is_none() {
        let config = EtcdConfig { ca: Some(b"-----BEGIN PRIVATE KEY-----".to_vec()), ..of(&["a:1"]) };
        assert!(matches!(config.checked().unwrap_err(), E::Certificates(_)));
    }

    #[test]
    fn secrets_are_not_printed() {
        let config =
            EtcdConfig { password: Some("hunter2".into()), key: Some(b"hunter3".to_vec()), ..of(&["a:1"]) };
        let text = format!("{config:?}");
        assert!(!text.contains("hunter") && text.contains("<hidden>"), "{text}");
    }
}
