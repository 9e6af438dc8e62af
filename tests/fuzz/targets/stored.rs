//! Stored values of every kind: read or refused, and what was read is written and read alike.

#![no_main]

use common::{
    lock::{Held, Lock},
    queue::{Kill, Wanted},
    worker::{Boot, Mark, Registration},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(lock) = Lock::decode(bytes) {
        assert_eq!(Lock::decode(&lock.encode()).expect("what is written is read"), lock);
    }
    if let Ok(held) = Held::decode(bytes) {
        assert_eq!(Held::decode(&held.encode()).expect("what is written is read"), held);
    }
    // Nothing of these reaches a panic.
    let _ = Wanted::decode(bytes);
    let _ = Kill::decode(bytes);
    let _ = Registration::decode(bytes);
    let _ = Mark::decode(bytes);
    let _ = Boot::decode(bytes);
});
