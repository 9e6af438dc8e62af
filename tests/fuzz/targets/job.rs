//! A job as it is stored, or put there by hand: read or refused, and what was read is written and read alike.

#![no_main]

use common::job::StoredJob;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(stored) = StoredJob::decode("a", bytes) {
        let again = StoredJob::decode("a", &stored.encode()).expect("what is written is read");
        assert_eq!(stored.job, again.job);
        if let Ok(Some(schedule)) = stored.job.schedule() {
            assert!(!schedule.to_string().is_empty());
        }
    }
});
