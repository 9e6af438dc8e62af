//! A store that takes no writes for a time.

use common::runlog::TickOutcome;

use crate::support::{Bench, job, run_of};

// Once: they were on record as skipped, by a run that had not begun; a claim that a full store refused was sent
// again until there was room, as of the time when it was first sent.
#[tokio::test]
async fn ticks_that_pass_while_the_store_takes_no_writes_are_missed_for_that_reason() {
    let mut bench = Bench::start().await;
    bench.save(&job("a")).await;
    bench.set_full(true);
    bench.move_to(1.0).await;
    bench.until_claim_refused().await;
    for second in 2..=17_u8 {
        bench.until_awaited(f64::from(second) - 0.2, f64::from(second)).await;
        bench.pass(1.0);
    }
    assert!(bench.none_started() && bench.ticks("a").await.is_empty());
    bench.set_full(false);
    let run = bench.started().await;
    assert_eq!(run.spec.tick, Some(bench.tick(17)), "the newest one, and none of those that were refused");
    let missed = bench.until_ticks("a").await;
    assert_eq!((missed.from, missed.to, missed.count), (bench.tick(1), bench.tick(16), 16));
    assert_eq!(missed.outcome, TickOutcome::Missed);
    assert!(missed.reason.contains("worker w claimed nothing from"), "{}", missed.reason);
    assert!(missed.reason.ends_with("the store took no writes"), "{}", missed.reason);
    run.end();
    bench.until_free_at("a", bench.tick(17)).await;
    assert_eq!(bench.ticks("a").await.len(), 1, "nothing was skipped");
}

/// As etcd does it: all that come behind are refused and not done.
#[tokio::test]
async fn the_claim_that_fills_the_store_is_carried_out() {
    let mut bench = Bench::start().await;
    bench.save(&job("a")).await;
    bench.fill_by_a_claim();
    bench.move_to(1.0).await;
    let run = bench.started().await;
    let (id, held) = (run_of(&run), bench.until_held("a").await);
    assert_eq!((run.spec.tick, held.run), (Some(bench.tick(1)), id));
    run.end();
    bench.set_full(false);
    bench.until_free_at("a", bench.tick(1)).await;
    assert!(bench.none_started() && bench.ticks("a").await.is_empty());
}
