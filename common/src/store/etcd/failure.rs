//! Sorts what can go wrong with a request to etcd by one question: may it have been done? Everything that is not
//! known to be a "no" counts as "perhaps". The only place that looks at etcd's error texts, which are its protocol:
//! the codes alone do not tell.

use std::time::Duration;

use etcd_client::Error;
use tonic::{Code, ConnectError, Status};

use crate::store::{LeaseId, Revision, StoreError};

/// What became of a request that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// There was no connection to send it on.
    NotSent,
    /// The member says that it did not do it, and could at another time or elsewhere.
    NotDone,
    /// It may have been done.
    Unknown,
    /// The token has run out or is missing: log in and repeat. It was not done.
    Token,
    /// The lease has ended. It was not done.
    LeaseGone,
    /// The space alarm. Not done, unless this very request was the one that crossed the line.
    Full,
    /// The revision is no longer kept.
    Compacted,
    /// The revision is yet to come.
    Future,
    /// It will never be done as it is.
    Refused,
}

/// A request that did not succeed at one endpoint.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) failure: Failure,
    cause: Cause,
}

#[derive(Debug, thiserror::Error)]
#[error("etcd at {address}: {text}")]
struct Cause {
    address: String,
    text: String,
}

/// May a request be sent again when it is not known what became of it, and what is it called then?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Changes nothing.
    Read,
    /// Changes something, and doing it twice does no harm.
    Repeatable,
    /// Must reach etcd at most once.
    Once,
}

impl Failed {
    pub(super) fn new(address: &str, error: &Error) -> Self {
        let failure = classify(error);
        let mut text = describe(error);
        if let Some(advice) = advice(&text) {
            text = format!("{text}; {advice}");
        }
        Self { failure, cause: Cause { address: address.into(), text } }
    }

    pub(super) fn no_answer(address: &str, within: Duration) -> Self {
        Self::saying(address, Failure::Unknown, format!("no answer within {within:.1?}"))
    }

    pub(super) fn saying(address: &str, failure: Failure, text: String) -> Self {
        Self { failure, cause: Cause { address: address.into(), text } }
    }

    /// For what came before the request itself, such as logging in: whatever became of that, the request was not
    /// sent.
    pub(super) fn before_sending(self) -> Self {
        let failure = match self.failure {
            Failure::Unknown => Failure::NotSent,
            other => other,
        };
        Self { failure, ..self }
    }

    /// True when another endpoint may do better, or this one in a moment.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.failure, Failure::NotSent | Failure::NotDone | Failure::Unknown)
    }

    /// As the port has it. `lease` and `at` are those that the request names.
    pub(super) fn into_store_error(
        self,
        kind: Kind,
        lease: Option<LeaseId>,
        at: Option<Revision>,
    ) -> StoreError {
        match (self.failure, lease, at) {
            (Failure::NotSent | Failure::NotDone, ..) => StoreError::Unavailable(self.cause.into()),
            (Failure::Unknown, ..) if kind == Kind::Read => StoreError::Unavailable(self.cause.into()),
            (Failure::Unknown, ..) => StoreError::Ambiguous(self.cause.into()),
            (Failure::Full, ..) => StoreError::Full(self.cause.into()),
            (Failure::LeaseGone, Some(lease), _) => StoreError::LeaseGone(lease),
            // etcd does not say what it still has; what is asked for is gone.
            (Failure::Compacted, _, Some(at)) => StoreError::Compacted(at + 1),
            _ => StoreError::Refused(self.cause.into()),
        }
    }
}

/// What became of the request that this error answers.
pub(super) fn classify(error: &Error) -> Failure {
    match error {
        Error::GRpcStatus(status) => classify_status(status),
        // The client's own word for a keepalive that was answered with no time left.
        Error::LeaseKeepAliveError(text) if text == "lease not found" => Failure::LeaseGone,
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => Failure::Refused,
        _ => Failure::Unknown,
    }
}

fn classify_status(status: &Status) -> Failure {
    let text = status.message();
    if !is_etcds_own(text) {
        return match status.code() {
            Code::Unavailable if was_not_connected(status) => Failure::NotSent,
            // The connection was there, and is not any more.
            Code::Unimplemented => Failure::Refused,
            Code::Unauthenticated => Failure::Token,
            _ => Failure::Unknown,
        };
    }
    let says = |part: &str| text.contains(part);
    match status.code() {
        Code::Unauthenticated => Failure::Token,
        Code::ResourceExhausted if says("database space exceeded") => Failure::Full,
        Code::ResourceExhausted if says("too many requests") => Failure::NotDone,
        Code::Unavailable | Code::FailedPrecondition
            if says("no leader") || says("not leader") || says("not capable") || says("learner") =>
        {
            Failure::NotDone
        }
        Code::InvalidArgument if says("user name is empty") || says("auth store is old") => Failure::Token,
        Code::NotFound if says("requested lease not found") => Failure::LeaseGone,
        Code::OutOfRange if says("has been compacted") => Failure::Compacted,
        Code::OutOfRange if says("future revision") => Failure::Future,
        Code::InvalidArgument
        | Code::FailedPrecondition
        | Code::NotFound
        | Code::AlreadyExists
        | Code::OutOfRange
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::ResourceExhausted => Failure::Refused,
        // Time-outs, changes of leader, a member that stops: proposed perhaps, and perhaps done later.
        _ => Failure::Unknown,
    }
}

/// True for what a member says itself. The rest comes from the connection or from the client's own library, which
/// uses the same codes for other things (a reply too large to decode is `OutOfRange`, and may be that of a write).
fn is_etcds_own(text: &str) -> bool {
    ["etcdserver: ", "mvcc: ", "auth: ", "lease: ", "grpc: received message larger"]
        .iter()
        .any(|start| text.starts_with(start))
}

fn was_not_connected(status: &Status) -> bool {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn describe(error: &Error) -> String {
    let Error::GRpcStatus(status) = error else { return error.to_string() };
    match std::error::Error::source(status) {
        Some(source) => StoreError::chain_of(source),
        None if status.message().is_empty() => status.code().to_string(),
        None => status.message().into(),
    }
}

/// What a person can do about it.
pub(super) fn advice(text: &str) -> Option<&'static str> {
    const ADVICE: [(&str, &str); 6] = [
        ("authentication failed", "check the etcd user and its password"),
        ("user name is empty", "etcd has authentication on: give --etcd-user and --etcd-password-file"),
        ("permission denied", "grant the etcd user a role with readwrite on the key prefix"),
        ("database space exceeded", "compact and defragment etcd, then disarm its alarm; or raise its quota"),
        ("corrupt", "remove the broken etcd member and add it anew"),
        ("request is too large", "keep a stored value under 1 MiB"),
    ];
    ADVICE.iter().find(|(part, _)| text.contains(part)).map(|(_, advice)| *advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: Code, text: &str) -> Failure {
        classify(&Error::GRpcStatus(Status::new(code, text)))
    }

    #[test]
    fn only_a_certain_no_is_a_no() {
        use Failure as F;
        for (code, text, failure) in [
            (Code::Unavailable, "etcdserver: no leader", F::NotDone),
            (Code::ResourceExhausted, "etcdserver: too many requests", F::NotDone),
            (Code::FailedPrecondition, "etcdserver: not leader", F::NotDone),
            (Code::Unavailable, "etcdserver: request timed out", F::Unknown),
            (Code::Unavailable, "etcdserver: request timed out, possibly due to connection lost", F::Unknown),
            (Code::Unavailable, "etcdserver: leader changed", F::Unknown),
            (Code::Unavailable, "etcdserver: server stopped", F::Unknown),
            (Code::Unavailable, "transport is closing", F::Unknown),
            (Code::Cancelled, "operation was canceled", F::Unknown),
            (Code::Unknown, "h2 protocol error: error reading a body from connection", F::Unknown),
            (Code::ResourceExhausted, "h2 protocol error: http2 error", F::Unknown),
            (Code::OutOfRange, "Error, decoded message length too large: found 5 bytes", F::Unknown),
            (Code::InvalidArgument, "etcdserver: duplicate key given in txn request", F::Refused),
            (Code::InvalidArgument, "etcdserver: too many operations in txn request", F::Refused),
            (Code::InvalidArgument, "etcdserver: request is too large", F::Refused),
            (Code::ResourceExhausted, "grpc: received message larger than max (3 vs. 2)", F::Refused),
            (Code::PermissionDenied, "etcdserver: permission denied", F::Refused),
            (
                Code::InvalidArgument,
                "etcdserver: authentication failed, invalid user ID or password",
                F::Refused,
            ),
            (Code::Unauthenticated, "etcdserver: invalid auth token", F::Token),
            (Code::InvalidArgument, "etcdserver: user name is empty", F::Token),
            (Code::InvalidArgument, "etcdserver: revision of auth store is old", F::Token),
            (Code::NotFound, "etcdserver: requested lease not found", F::LeaseGone),
            (Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded", F::Full),
            (Code::OutOfRange, "etcdserver: mvcc: required revision has been compacted", F::Compacted),
            (Code::OutOfRange, "etcdserver: mvcc: required revision is a future revision", F::Future),
        ] {
            assert_eq!(of(code, text), failure, "{text}");
        }
    }

    #[test]
    fn what_may_have_been_done_is_ambiguous_for_a_write_and_unavailable_for_a_read() {
        let failed = || Failed::no_answer("a:1", Duration::from_secs(5));
        assert!(matches!(failed().into_store_error(Kind::Once, None, None), StoreError::Ambiguous(_)));
        assert!(matches!(failed().into_store_error(Kind::Repeatable, None, None), StoreError::Ambiguous(_)));
        let error = failed().into_store_error(Kind::Read, None, None);
        assert!(matches!(error, StoreError::Unavailable(_)));
        assert_eq!(error.chain(), "the store cannot be reached: etcd at a:1: no answer within 5.0s");
    }

    #[test]
    fn a_refusal_says_what_to_do() {
        let status = Status::new(Code::PermissionDenied, "etcdserver: permission denied");
        let failed = Failed::new("a:1", &Error::GRpcStatus(status));
        let text = failed.into_store_error(Kind::Once, None, None).chain();
        assert!(text.contains("grant the etcd user a role"), "{text}");
    }
}
