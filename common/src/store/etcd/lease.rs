//! Renewals. etcd renews a lease on a stream; here one is kept open for each lease that is renewed, and used for
//! one request at a time.
//!
//! A renewal that ends in any other way than with its own answer takes its stream with it. Otherwise the answer to
//! it, coming late, would pass for the answer to the next one, and the caller would trust the lease for longer than
//! etcd keeps it.

use std::collections::HashMap;

use etcd_client::{Error, LeaseClient, LeaseKeepAliveStream, LeaseKeeper};
use parking_lot::{Mutex, MutexGuard};

use crate::store::LeaseId;

/// The streams that wait for their next renewal.
#[derive(Default)]
pub(super) struct Renewals(Mutex<HashMap<LeaseId, Renewal>>);

/// A stream, with every request on it answered.
pub(super) struct Renewal {
    /// Where it leads.
    address: String,
    keeper: LeaseKeeper,
    answers: LeaseKeepAliveStream,
}

impl Renewals {
    /// The lease's stream if it leads to this endpoint. It is the caller's until put back.
    pub(super) fn take(&self, lease: LeaseId, address: &str) -> Option<Renewal> {
        self.lock().remove(&lease).filter(|renewal| renewal.address == address)
    }

    pub(super) fn put_back(&self, lease: LeaseId, renewal: Renewal) {
        self.lock().insert(lease, renewal);
    }

    pub(super) fn forget(&self, lease: LeaseId) {
        self.lock().remove(&lease);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<LeaseId, Renewal>> {
        self.0.lock()
    }
}

/// Renews once and tells the seconds that the lease has now: none when it is gone.
pub(super) async fn renew(
    open: Option<Renewal>,
    mut client: LeaseClient,
    address: String,
    lease: LeaseId,
) -> Result<(Renewal, i64), Error> {
    if let Some(mut renewal) = open {
        // A stream that has broken since: the same on a new one, which is allowed since renewing twice does no harm.
        if let Ok(seconds) = ask(&mut renewal).await {
            return Ok((renewal, seconds));
        }
    }
    // Opening renews too, but the library keeps the answer to itself, so it is asked for again.
    let (keeper, answers) = client.keep_alive(lease.0).await?;
    let mut renewal = Renewal { address, keeper, answers };
    let seconds = ask(&mut renewal).await?;
    Ok((renewal, seconds))
}

async fn ask(renewal: &mut Renewal) -> Result<i64, Error> {
    renewal.keeper.keep_alive().await?;
    match renewal.answers.message().await? {
        Some(answer) => Ok(answer.ttl()),
        None => Err(Error::LeaseKeepAliveError("the stream ended".into())),
    }
}
