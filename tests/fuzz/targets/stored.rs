//! Stored values of every kind: read or refused, what was read is written and read alike, and a lock compares with the
//! claims of ticks as the protocol says, in the bytes that stand in the store.

#![no_main]

use chrono::{DateTime, Utc};
use common::{
    epoch::Raised,
    lock::{HeldLock, Lock, fence_bytes},
    queue::{Kill, QueuedRun},
    tick::Tick,
    worker::{Boot, Mark, Registration},
};
use libfuzzer_sys::fuzz_target;

/// What was read is written and read alike.
macro_rules! is_read_alike {
    ($bytes:expr, $($kind:ty),*) => {$(
        if let Ok(value) = <$kind>::decode($bytes) {
            let again = <$kind>::decode(&value.encode()).expect("what is written is read");
            assert_eq!(again, value);
        }
    )*};
}

fuzz_target!(|bytes: &[u8]| {
    is_read_alike!(bytes, HeldLock, QueuedRun, Kill, Boot, Mark, Raised);
    if let Ok(lock) = Lock::decode(bytes) {
        let written = lock.encode();
        assert_eq!(Lock::decode(&written).as_ref(), Ok(&lock));
        compares_as_the_protocol_says(&lock, bytes);
        compares_as_the_protocol_says(&lock, &written);
    }
    if let Ok(held) = HeldLock::decode(bytes) {
        let grows = held.token(7) < held.token(8);
        assert_eq!(grows, held.claim_revision.is_none(), "tokens grow with the revision of the claim");
    }
    if let Ok(registration) = Registration::decode(bytes) {
        // Its last digits may be lost, and nobody ranks by them.
        let load = registration.load;
        let mut again = Registration::decode(&registration.encode()).expect("what is written is read");
        assert!((again.load - load).abs() <= load.abs() * 1e-12, "{load} became {}", again.load);
        again.load = load;
        assert_eq!(again, registration);
        assert!(!registration.readiness.describe().is_empty());
    }
});

fn compares_as_the_protocol_says(lock: &Lock, stands: &[u8]) {
    let fence = lock.fence();
    let near = [-86_400, -1, 0, 1, 59, 86_400].map(|seconds| fence.seconds() + seconds);
    let far = [i64::MIN / 2_000_000, -1, 0, 1_795_310_523, i64::MAX / 2_000_000];
    for second in near.into_iter().chain(far) {
        let Some(instant) = DateTime::<Utc>::from_timestamp(second, 0) else { continue };
        let tick = Tick::from_instant(instant);
        let claim = fence_bytes(tick);
        match lock {
            Lock::Held(_) => assert!(*stands > *claim, "a held lock refuses {tick}"),
            Lock::Free(_) => {
                assert_eq!(*stands < *claim, fence < tick, "{fence} and {tick}");
                assert_eq!(*stands > *claim, fence >= tick, "{fence} and {tick}");
            }
        }
    }
}
