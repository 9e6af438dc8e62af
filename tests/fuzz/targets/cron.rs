//! Cron text: whatever it is, it is refused or has instants that ascend, in bounded time, and says what it means.

#![no_main]

use chrono::{DateTime, Utc};
use common::schedule::{Schedule, parse_zone};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (String, u8, u32)| {
    let (text, zone, from) = input;
    let zone = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca"]
        [usize::from(zone) % 5];
    let zone = parse_zone(zone).expect("a zone of the database");
    let from = DateTime::<Utc>::from_timestamp(i64::from(from), 0).expect("up to 2106");
    match Schedule::cron(&[&text], zone, from) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(schedule) => {
            assert!(!schedule.to_string().is_empty());
            let mut at = from;
            for _ in 0..8 {
                let Some(next) = schedule.next_after(at) else { break };
                assert!(next > at, "{text:?} does not ascend");
                at = next;
            }
        }
    }
});
