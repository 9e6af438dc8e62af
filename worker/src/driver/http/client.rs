//! The clients of a worker: nearly all calls share one, and its connections. What a client is made of cannot be said call by
//! call, so that calls with other settings have others, and the least used go.

use std::{fs, io::Read as _, path::Path, time::Duration};

use common::job::{Http, Redirects, Tls};
use reqwest::{Certificate, Client, Identity, redirect};
use tokio::{sync::Mutex, task::spawn_blocking};

use super::{
    address::{Forbidden, Guarded, Refusal},
    fault,
};
use crate::driver::StartError;

/// How long a connection may take where the job does not say.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// As browsers and curl do.
const MOST_REDIRECTS: usize = 10;

/// Clients at a time.
const MOST_CLIENTS: usize = 32;

/// Shorter than what servers wait before they close a connection that nobody uses (5 s with Node): else a job that calls
/// as often would meet one that is just being closed.
const IDLE: Duration = Duration::from_secs(4);

/// No certificate is longer, nor is a bundle of all authorities.
const LONGEST_FILE: u64 = 4 << 20;

/// All that tells a client from others.
#[derive(Clone, PartialEq, Eq)]
struct Settings {
    connect_timeout: Duration,
    redirects: Redirects,
    files: Files,
}

/// What stands in the files of a job's TLS settings: renewed ones make another client.
#[derive(Clone, Default, PartialEq, Eq)]
struct Files {
    ca: Option<Vec<u8>>,
    /// Certificate and key.
    identity: Option<Vec<u8>>,
}

/// The clients that there are.
pub(super) struct Clients {
    resolver: Guarded,
    /// The last one used comes last.
    made: Mutex<Vec<(Settings, Client)>>,
}

impl Clients {
    pub(super) fn new(forbidden: Forbidden) -> Self {
        Self { resolver: Guarded::new(forbidden), made: Mutex::default() }
    }

    /// The client for such calls.
    pub(super) async fn get(&self, http: &Http) -> Result<Client, StartError> {
        let files = if http.tls.is_empty() { Files::default() } else { read_aside(http.tls.clone()).await? };
        let connect_timeout = http.connect_timeout.map_or(CONNECT_TIMEOUT, |span| span.0);
        let settings = Settings { connect_timeout, redirects: http.redirects, files };
        // Held while one is made, so that many calls at once do not all make the same.
        let mut made = self.made.lock().await;
        if let Some(at) = made.iter().position(|(others, _)| *others == settings) {
            made[at..].rotate_left(1);
        } else {
            let (resolver, of) = (self.resolver.clone(), settings.clone());
            // It reads the machine's certificates.
            let client = spawn_blocking(move || make(of, &resolver)).await.map_err(|_| ending())??;
            if made.len() == MOST_CLIENTS {
                made.remove(0);
            }
            made.push((settings, client));
        }
        made.last().map(|(_, client)| client.clone()).ok_or_else(ending)
    }
}

fn ending() -> StartError {
    StartError::new("the worker is shutting down")
}

async fn read_aside(tls: Tls) -> Result<Files, StartError> {
    spawn_blocking(move || Files::read(&tls)).await.map_err(|_| ending())?
}

impl Files {
    fn read(tls: &Tls) -> Result<Self, StartError> {
        let ca = tls.ca.as_deref().map(|path| read("tls.ca", path)).transpose()?;
        let identity = match (&tls.cert, &tls.key) {
            (Some(cert), Some(key)) => {
                let mut pem = read("tls.cert", cert)?;
                pem.push(b'\n');
                pem.extend(read("tls.key", key)?);
                Some(pem)
            }
            _ => None,
        };
        Ok(Self { ca, identity })
    }
}

fn read(field: &str, path: &str) -> Result<Vec<u8>, StartError> {
    let failed = |why: &dyn std::fmt::Display| {
        StartError::new(format!("driver.http.{field}: {path} cannot be read on this worker: {why}"))
    };
    // A pipe would never end.
    if !fs::metadata(Path::new(path)).map_err(|error| failed(&error))?.is_file() {
        return Err(failed(&"it is no file"));
    }
    let (mut bytes, file) = (Vec::new(), fs::File::open(path).map_err(|error| failed(&error))?);
    file.take(LONGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    if bytes.len() as u64 > LONGEST_FILE {
        return Err(failed(&"it is too long for certificates"));
    }
    Ok(bytes)
}

/// Makes a client. No proxy is taken from the environment: it would resolve names itself, and reach what is forbidden.
fn make(settings: Settings, resolver: &Guarded) -> Result<Client, StartError> {
    let Settings { connect_timeout, redirects, files: Files { ca, identity } } = settings;
    // Without one a client cannot be made; the binary has set one up.
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        rustls::crypto::ring::default_provider().install_default().ok();
    }
    let ca = ca.map(|pem| authorities(&pem)).transpose()?;
    let identity = identity.map(|pem| Identity::from_pem(&pem)).transpose();
    let identity = identity.map_err(|error| useless("tls.cert, tls.key", &error))?;
    let build = |ca: Option<Vec<Certificate>>| {
        let mut builder = Client::builder()
            .user_agent(concat!("quorate/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .referer(false)
            .dns_resolver(resolver.clone())
            .connect_timeout(connect_timeout)
            .pool_idle_timeout(IDLE)
            .redirect(policy(redirects, resolver.forbidden()));
        if let Some(identity) = &identity {
            builder = builder.identity(identity.clone());
        }
        if let Some(ca) = ca {
            builder = builder.tls_certs_only(ca);
        }
        builder.build()
    };
    match build(ca.clone()) {
        Ok(client) => Ok(client),
        Err(error) if ca.is_some() => Err(useless("tls", &error)),
        // Perhaps the machine has no authorities: it can call what needs none.
        Err(error) => {
            let client = build(Some(Vec::new())).map_err(|error| useless("tls", &error))?;
            let why = fault::innermost(&error);
            tracing::warn!(why, "https calls fail on this worker unless their jobs have tls.ca");
            Ok(client)
        }
    }
}

fn authorities(pem: &[u8]) -> Result<Vec<Certificate>, StartError> {
    let found = Certificate::from_pem_bundle(pem).map_err(|error| useless("tls.ca", &error))?;
    if found.is_empty() {
        return Err(StartError::new(
            "driver.http.tls.ca: there is no certificate in that file; right is PEM",
        ));
    }
    Ok(found)
}

fn useless(field: &str, error: &reqwest::Error) -> StartError {
    let why = fault::innermost(error);
    StartError::new(format!("driver.http.{field}: what stands in the file is of no use: {why}"))
}

fn policy(redirects: Redirects, forbidden: Forbidden) -> redirect::Policy {
    match redirects {
        Redirects::None => redirect::Policy::none(),
        Redirects::Follow => redirect::Policy::custom(move |attempt| {
            if attempt.previous().len() > MOST_REDIRECTS {
                return attempt.error(Refusal(format!("it was sent on more than {MOST_REDIRECTS} times")));
            }
            match forbidden.check(attempt.url()) {
                Ok(()) => attempt.follow(),
                Err(Refusal(why)) => attempt.error(Refusal(format!("it was sent on, but {why}"))),
            }
        }),
    }
}
