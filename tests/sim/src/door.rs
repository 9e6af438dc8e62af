//! A manager as its clients reach it: its real routes, in process.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use crate::clock::SimClock;

/// The way into a manager, whichever life it lives.
pub struct Door {
    /// The clock of its machine.
    pub clock: Arc<SimClock>,
    open: Mutex<Option<Open>>,
}

#[derive(Clone)]
struct Open {
    router: Router,
    died: CancellationToken,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: String,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nobody was there: nothing was done.
    Refused,
    /// Whoever was there died: it may have been done.
    Lost,
}

impl Door {
    /// One that is closed.
    pub fn new(clock: Arc<SimClock>) -> Self {
        Self { clock, open: Mutex::default() }
    }

    /// A life begins.
    pub fn open(&self, router: Router, died: CancellationToken) {
        *self.open.lock() = Some(Open { router, died });
    }

    /// A life is over, or is to end: nobody new is let in.
    pub fn close(&self) {
        *self.open.lock() = None;
    }

    /// Asks for something.
    pub async fn call(&self, method: &str, path: &str, json: Option<String>) -> Result<Answer, NoAnswer> {
        let open = self.open.lock().clone();
        let Open { router, died } = open.ok_or(NoAnswer::Refused)?;
        let request = Request::builder().method(method).uri(path).header(header::HOST, "127.0.0.1:8070");
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = request.body(json.map_or_else(Body::empty, Body::from)).expect("a good request");
        let answer = async {
            // A router has no errors of its own.
            let Ok(response) = router.oneshot(request).await;
            let (parts, body) = response.into_parts();
            let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
            Answer { status: parts.status, body: String::from_utf8_lossy(&body).into_owned() }
        };
        tokio::select! {
            biased;
            () = died.cancelled() => Err(NoAnswer::Lost),
            answer = answer => Ok(answer),
        }
    }
}
