//! Between the port's types and etcd's.

use std::time::Duration;

use etcd_client::{
    self as etcd, CompareOp, Event as EtcdEvent, EventType, KeyValue, PutOptions, TxnOp, TxnOpResponse,
    TxnResponse,
};

use crate::store::{Compare, Entry, Event, Key, LeaseId, Op, OpOutcome, Revision, Txn, TxnOutcome};

pub(super) fn txn(txn: &Txn) -> etcd::Txn {
    etcd::Txn::new()
        .when(txn.compares.iter().map(compare).collect::<Vec<_>>())
        .and_then(txn.then.iter().map(op).collect::<Vec<_>>())
        .or_else(txn.otherwise.iter().map(op).collect::<Vec<_>>())
}

fn compare(compare: &Compare) -> etcd::Compare {
    match compare {
        Compare::ModRevision(key, revision) => {
            etcd::Compare::mod_revision(key.as_bytes(), CompareOp::Equal, (*revision).get())
        }
        Compare::CreateRevision(key, revision) => {
            etcd::Compare::create_revision(key.as_bytes(), CompareOp::Equal, (*revision).get())
        }
        Compare::CreateRevisionNot(key, revision) => {
            etcd::Compare::create_revision(key.as_bytes(), CompareOp::NotEqual, (*revision).get())
        }
        Compare::ValueGreater(key, value) => {
            etcd::Compare::value(key.as_bytes(), CompareOp::Greater, value.as_slice())
        }
        Compare::ValueLess(key, value) => {
            etcd::Compare::value(key.as_bytes(), CompareOp::Less, value.as_slice())
        }
    }
}

fn op(op: &Op) -> TxnOp {
    match op {
        Op::Put(key, value, lease) => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(key.as_bytes(), value.as_slice(), options)
        }
        Op::Delete(key) => TxnOp::delete(key.as_bytes(), None),
        Op::Get(key) => TxnOp::get(key.as_bytes(), None),
        Op::Txn(inner) => TxnOp::txn(txn(inner)),
    }
}

/// `revision` is that of the whole: the nested replies tell only how far etcd was when it came to them.
pub(super) fn txn_outcome(reply: &TxnResponse, revision: Revision) -> TxnOutcome {
    let results = reply.op_responses().into_iter().map(|result| match result {
        TxnOpResponse::Put(_) => OpOutcome::Put,
        TxnOpResponse::Delete(deleted) => OpOutcome::Deleted(deleted.deleted() > 0),
        TxnOpResponse::Get(mut got) => OpOutcome::Got(got.take_kvs().pop().map(entry)),
        TxnOpResponse::Txn(inner) => OpOutcome::Txn(txn_outcome(&inner, revision)),
    });
    TxnOutcome { succeeded: reply.succeeded(), results: results.collect(), revision }
}

/// The first lease that a transaction puts a key under, for the error that says a lease is gone: etcd does not
/// tell which one.
pub(super) fn lease_of(txn: &Txn) -> Option<LeaseId> {
    txn.then.iter().chain(&txn.otherwise).find_map(|op| match op {
        Op::Put(_, _, lease) => *lease,
        Op::Txn(inner) => lease_of(inner),
        Op::Delete(_) | Op::Get(_) => None,
    })
}

pub(super) fn entry(kv: KeyValue) -> Entry {
    let (create_revision, mod_revision, lease) = (kv.create_revision(), kv.mod_revision(), kv.lease());
    let (key, value) = kv.into_key_value();
    Entry {
        key: Key::from_bytes(&key),
        value: value.into(),
        create_revision: Revision::new(create_revision),
        mod_revision: Revision::new(mod_revision),
        lease: (lease != 0).then_some(LeaseId(lease)),
    }
}

/// False, and said so, for a key that is not text: such a key is not ours, and has no name that could be asked for.
pub(super) fn is_text(kv: &KeyValue) -> bool {
    let text = kv.key_str().is_ok();
    if !text {
        let key = kv.key().escape_ascii();
        tracing::warn!(%key, "ignored a key among ours that is not UTF-8; remove it");
    }
    text
}

/// `None` for a key that is not text.
pub(super) fn event(event: &EtcdEvent) -> Option<Event> {
    let kv = event.kv().filter(|kv| is_text(kv))?;
    Some(match event.event_type() {
        EventType::Put => Event::Put(entry(kv.clone())),
        EventType::Delete => Event::Deleted(Key::from_bytes(kv.key()), Revision::new(kv.mod_revision())),
    })
}

/// Whole seconds, never less than asked for.
pub(super) fn ttl_seconds(ttl: Duration) -> i64 {
    let rounded_up = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0));
    i64::try_from(rounded_up).unwrap_or(i64::MAX).max(1)
}

/// What etcd grants; never negative.
pub(super) fn ttl(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}
