//! Waiting for a condition on a value, with a deadline: never sleep and hope.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer; at the deadline it fails with what it waited for.
pub async fn until<T, F: Future<Output = Option<T>>>(
    what: &str,
    within: Duration,
    mut ask: impl FnMut() -> F,
) -> T {
    let begun = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begun.elapsed() < within, "after {within:?} still not so: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
