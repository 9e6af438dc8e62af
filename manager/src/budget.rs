//! The memory that all requests and answers together may use. What would exceed it waits a little and is then
//! refused. A share is taken before it is needed and held until its memory is free again: an answer's until its last
//! byte has been handed to the system, so that clients that do not read what they asked for hold up each other, not
//! the machine.
//!
//! Small ones are not counted: however much the large ones hold, jobs can be looked at and killed.

use std::{sync::Arc, time::Duration};

use axum::{
    body::{Body, Bytes, HttpBody, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use parking_lot::Mutex;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::{
    problem::ApiError,
    route::{self, AnswerSize},
    state::App,
};

/// What all of them may have. A page of `/job/log` takes up to 32 MiB as records, and as much again as text, while it is
/// made: more would let clients that read nothing double what a busy `dev` takes.
const ALL: usize = 96 << 20;

/// So much is not counted of each.
pub(crate) const SMALL: usize = 256 << 10;

/// What is counted is counted in these, so that what grows does not ask for each byte.
const UNIT: usize = 256 << 10;

/// How long one waits for others.
const WAIT: Duration = Duration::from_secs(1);

/// What is left.
pub(crate) struct Budget {
    units: Arc<Semaphore>,
    all: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self::of(ALL)
    }
}

impl Budget {
    /// So many bytes, in whole units.
    pub(crate) fn of(bytes: usize) -> Self {
        let all = bytes / UNIT;
        Self { units: Arc::new(Semaphore::new(all)), all }
    }

    /// A share that holds nothing yet.
    pub(crate) fn share(&self) -> Share {
        Share { units: self.units.clone(), all: self.all, held: None }
    }

    /// A share of this many bytes.
    pub(crate) async fn hold(&self, bytes: usize) -> Result<Share, ApiError> {
        let mut share = self.share();
        share.hold(bytes).await?;
        Ok(share)
    }
}

/// What one request or answer holds, until it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    units: Arc<Semaphore>,
    all: usize,
    held: Option<OwnedSemaphorePermit>,
}

impl Share {
    /// Holds at least this many bytes. What is larger than the whole budget may have all of it.
    pub(crate) async fn hold(&mut self, bytes: usize) -> Result<(), ApiError> {
        let wanted = bytes.saturating_sub(SMALL).div_ceil(UNIT).min(self.all);
        let more = wanted.saturating_sub(self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        let Some(more) = u32::try_from(more).ok().filter(|more| *more > 0) else { return Ok(()) };
        let asked = timeout(WAIT, self.units.clone().acquire_many_owned(more)).await;
        let Ok(Ok(got)) = asked else { return Err(ApiError::Busy) };
        match &mut self.held {
            Some(held) => held.merge(got),
            None => self.held = Some(got),
        }
        Ok(())
    }

    /// Gives back what is beyond this many bytes.
    fn keep(&mut self, bytes: usize) {
        let kept = bytes.saturating_sub(SMALL).div_ceil(UNIT);
        self.held = self.held.take().and_then(|mut held| held.split(kept.min(held.num_permits())));
    }

    /// Leaves it with the answer that was made with it: who gave it back first would wait for others with an answer that
    /// is ready, and in vain.
    pub(crate) fn left_with(self, mut response: Response) -> Response {
        response.extensions_mut().insert(Left(Arc::new(Mutex::new(Some(self)))));
        response
    }
}

/// The share that an answer was made with.
#[derive(Clone)]
struct Left(Arc<Mutex<Option<Share>>>);

/// An answer's bytes, and what they hold.
struct Held {
    bytes: Bytes,
    _share: Share,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Lets no large answer go out unless there is room for it.
pub(crate) async fn hold_answers(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    if route::limits(request.extensions()).answer == AnswerSize::Small {
        return next.run(request).await;
    }
    let (mut parts, body) = next.run(request).await.into_parts();
    let left = parts.extensions.remove::<Left>();
    let left = left.and_then(|left| left.0.lock().take());
    let Some(size) = body.size_hint().exact().and_then(|size| usize::try_from(size).ok()) else {
        return Response::from_parts(parts, body);
    };
    if size <= SMALL {
        return Response::from_parts(parts, body);
    }
    let mut share = left.unwrap_or_else(|| app.budget.share());
    share.keep(size);
    if let Err(error) = share.hold(size).await {
        return error.into_response();
    }
    // It is in memory as a whole, and is not copied.
    match to_bytes(body, size).await {
        // The last one who has a part of the bytes, as the connection that writes them, gives the share back.
        Ok(bytes) => {
            let held = Bytes::from_owner(Held { bytes, _share: share });
            Response::from_parts(parts, Body::from(held))
        }
        Err(error) => {
            tracing::error!(%error, "failed to read an answer's body");
            ApiError::Internal.into_response()
        }
    }
}

#[cfg(test)]
mod tests;
