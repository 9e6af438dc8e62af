//! Requests to the native API: whatever they are, they are answered, and what is refused is refused with a problem
//! document that says why, and never as a failure of the server.
//!
//! The first line is the method and the path; then comes the body, as JSON.

#![no_main]

use std::sync::{LazyLock, Mutex};

use fuzz::served::Served;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

static SERVED: LazyLock<Mutex<Served>> = LazyLock::new(Mutex::default);

fuzz_target!(|input: &[u8]| {
    let split = input.iter().position(|byte| *byte == b'\n').unwrap_or(input.len());
    let (line, body) = (&input[..split], input.get(split + 1..).unwrap_or_default());
    let Ok(line) = std::str::from_utf8(line) else { return };
    let Some((method, path)) = line.split_once(' ') else { return };
    // Whoever waits for output is kept waiting.
    if path.contains("wait") {
        return;
    }
    let mut served = SERVED.lock().expect("a panic ends it all");
    let Some(answer) = served.fresh().send(method, path, "application/json", body) else { return };
    let refused = (400..500).contains(&answer.status);
    assert!(refused || (200..300).contains(&answer.status), "{line}: {answer:?}");
    if !refused || method == "HEAD" {
        return;
    }
    assert_eq!(answer.headers["content-type"], "application/problem+json", "{answer:?}");
    let problem: Value = serde_json::from_str(&answer.text).expect("JSON");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
    assert_eq!(problem["status"], answer.status);
    for error in problem["errors"].as_array().into_iter().flatten() {
        assert!(error["problem"].as_str().is_some_and(|text| !text.is_empty()), "{problem}");
    }
});
