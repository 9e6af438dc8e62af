//! Calls a URL. The answer's body is the run's output; which status came, and how fast, is on its standard error.
//!
//! A call has no process: a stop breaks it off at once, whatever the grace, and when the worker dies the system closes its
//! connection. What the other side makes of that is its own affair, see `docs/guarantees.md`.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use common::{
    job::{Command, Http, OnLeaseLoss},
    runlog::Stream,
    span::Span,
};
use reqwest::{Client, Request, Response, StatusCode, Url, header::HeaderMap};
use tokio::time::{Instant, timeout_at};

use super::{Driver, Exit, RunSpec, Running, StartError, StopSignal, Unanswered, Wait, idle};
use crate::{guard::GuardHandle, output::Output};
use address::Refusal;
use client::{CONNECT_TIMEOUT, Clients};

pub use address::Forbidden;

mod address;
mod client;
mod fault;
mod request;

/// How long a call may take where neither it nor its job says: nobody waits for ever for what does not answer.
const TIMEOUT: Duration = Duration::from_secs(300);

/// So much of an answer is read beyond what is kept of it, in bytes. Then the connection is closed.
const READ_BEYOND: u64 = 1 << 20;

/// Calls URLs.
pub(super) struct HttpDriver {
    clients: Clients,
    forbidden: Forbidden,
    guard: GuardHandle,
}

impl HttpDriver {
    pub(super) fn new(forbidden: Forbidden, guard: GuardHandle) -> Self {
        Self { clients: Clients::new(forbidden), forbidden, guard }
    }
}

#[async_trait]
impl Driver for HttpDriver {
    async fn start(&self, spec: &RunSpec, output: Arc<Output>) -> Result<Box<dyn Running>, StartError> {
        let Command::Http(http) = &spec.job.driver else {
            return Err(StartError::new("the http driver was given a job without a call"));
        };
        let request = request::build(http, spec)?;
        let client = self.clients.get(http).await?;
        // A last time: this process may have been stopped meanwhile, and nothing ends a call that has been sent.
        if spec.job.on_lease_loss != OnLeaseLoss::Keep && self.guard.is_past() {
            return Err(StartError::new("its worker's lease could no longer be trusted"));
        }
        output.begin();
        let timeout = http.timeout.or(spec.job.timeout).unwrap_or(Span(TIMEOUT));
        let connect_timeout = http.connect_timeout.unwrap_or(Span(CONNECT_TIMEOUT));
        let most = spec.job.output.limit.0.saturating_add(READ_BEYOND);
        let allowed = self.forbidden.check(request.url());
        let http = Http::clone(http);
        Ok(Box::new(Call { http, client, request, allowed, timeout, connect_timeout, most, output }))
    }
}

/// A call that is about to be made.
struct Call {
    http: Http,
    client: Client,
    request: Request,
    allowed: Result<(), Refusal>,
    timeout: Span,
    connect_timeout: Span,
    /// So much of the answer is read.
    most: u64,
    output: Arc<Output>,
}

#[async_trait]
impl Running for Call {
    async fn wait(self: Box<Self>, stop: StopSignal) -> Exit {
        let output = self.output.clone();
        match idle::until_stopped(self.made(), stop, &output).await {
            Some(exit) => exit,
            None => Exit::unanswered("the call was broken off", Unanswered::ForNow),
        }
    }
}

impl Call {
    async fn made(self: Box<Self>) -> Exit {
        let Self { http, client, request, allowed, timeout, connect_timeout, most, output } = *self;
        if let Err(Refusal(why)) = allowed {
            return Exit::unanswered(why, Unanswered::ForGood);
        }
        let (begun, asked) = (Instant::now(), request.url().clone());
        let deadline = begun.checked_add(timeout.0).unwrap_or(begun + FAR);
        let response = match timeout_at(deadline, client.execute(request)).await {
            Err(_) => return Exit::unanswered(format!("no answer within {timeout}"), Unanswered::TimedOut),
            Ok(Err(error)) => {
                let (words, unanswered) = fault::unanswered(&error, connect_timeout);
                return Exit::unanswered(words, unanswered);
            }
            Ok(Ok(response)) => response,
        };
        let (status, wait) = (response.status(), wait_of(response.headers()));
        output.append(Stream::Err, first_line(&response, &asked, begun.elapsed()).as_bytes());
        let is_expected = http.expects(status.as_u16());
        let (note, fault) = match read(response, &output, most, deadline).await {
            Body::Whole => (None, None),
            Body::Longer => {
                (Some(format!("The answer is longer than {most} bytes: the rest was not read.")), None)
            }
            Body::Late => {
                let note = format!("not all of the answer came within {timeout}");
                (Some(note.clone()), Some((note, Unanswered::TimedOut)))
            }
            Body::Broken(why) => {
                let note = format!("the answer broke off: {why}");
                (Some(note.clone()), Some((note, Unanswered::ForNow)))
            }
        };
        if let Some(note) = note {
            output.append(Stream::Err, format!("\n{note}\n").as_bytes());
        }
        match fault {
            // What else was refused is refused, however much was said about it.
            Some((why, unanswered)) if is_expected => {
                Exit::unanswered(format!("{} came, but {why}", words_of(status)), unanswered)
            }
            _ => Exit::answered(status.as_u16(), is_expected, words_of(status), wait),
        }
    }
}

/// An end that nobody lives to see.
const FAR: Duration = Duration::from_secs(10 * 366 * 86_400);

/// How the reading of an answer ended.
enum Body {
    Whole,
    Longer,
    Late,
    Broken(String),
}

async fn read(mut response: Response, output: &Arc<Output>, most: u64, deadline: Instant) -> Body {
    let mut read: u64 = 0;
    loop {
        match timeout_at(deadline, response.chunk()).await {
            Err(_) => return Body::Late,
            Ok(Err(error)) => return Body::Broken(fault::innermost(&error)),
            Ok(Ok(None)) => return Body::Whole,
            Ok(Ok(Some(bytes))) => {
                output.append(Stream::Out, &bytes);
                read = read.saturating_add(bytes.len() as u64);
                if read > most {
                    return Body::Longer;
                }
            }
        }
    }
}

/// `HTTP/1.1 503 Service Unavailable in 12 ms`, and from where if it was not asked there.
fn first_line(response: &Response, asked: &Url, took: Duration) -> String {
    let (version, status) = (response.version(), response.status());
    let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    let url = response.url();
    // Without its query, which may hold what nobody else should see.
    let from = if url == asked {
        String::new()
    } else {
        format!(", from {}{}", url.origin().ascii_serialization(), url.path())
    };
    format!("{version:?} {}{reason} in {} ms{from}\n", status.as_u16(), took.as_millis())
}

fn words_of(status: StatusCode) -> String {
    let reason = status.canonical_reason().map(|reason| format!(" {reason}")).unwrap_or_default();
    format!("HTTP {}{reason}", status.as_u16())
}

fn wait_of(headers: &HeaderMap) -> Option<Wait> {
    Wait::parse(headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?)
}
