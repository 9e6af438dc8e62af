//! Executes runs in virtual time: each job's run lasts as long as its load says, unless it is told to end. What starts
//! and ends is told to the ledger, outside of the scheduler.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use worker::{
    driver::{Driver, Exit, RunSpec, Running, StartError, StopSignal},
    output::Output,
};

use crate::{
    clock::SimClock,
    ledger::{End, Ledger, Started},
};

/// What one life of a worker executes with.
pub struct SimDriver {
    /// Told what starts and ends.
    pub ledger: Arc<Ledger>,
    /// The worker's number.
    pub worker: usize,
    /// The worker's clock, which says how early a run may start.
    pub clock: Arc<SimClock>,
    /// The machine has died, and with it all that it executes.
    pub died: CancellationToken,
    rng: Mutex<StdRng>,
}

impl SimDriver {
    /// With chance from `seed`.
    pub fn new(
        ledger: Arc<Ledger>,
        worker: usize,
        clock: Arc<SimClock>,
        died: CancellationToken,
        seed: u64,
    ) -> Self {
        Self { ledger, worker, clock, died, rng: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// How long a command takes that is told to end: most do so at once, some not before they are killed.
    fn reluctance(&self) -> f64 {
        let mut rng = self.rng.lock();
        if rng.random_range(0..5) == 0 { 1.0 } else { rng.random_range(0.0..0.2) }
    }
}

#[async_trait]
impl Driver for SimDriver {
    async fn start(&self, spec: &RunSpec, output: Arc<Output>) -> Result<Box<dyn Running>, StartError> {
        if self.died.is_cancelled() {
            return Err(StartError::new("the machine has died"));
        }
        output.begin();
        let started = Started {
            job: spec.job.name.clone(),
            tick: spec.tick,
            run: spec.run,
            attempt: spec.attempt,
            fence: spec.fence.0,
            worker: self.worker,
            ahead_ms: self.clock.ahead_ms(),
        };
        let lasts = self.ledger.started(&started);
        Ok(Box::new(SimRun {
            ends: Instant::now() + lasts,
            reluctance: self.reluctance(),
            died: self.died.clone(),
            open: Some((self.ledger.clone(), started)),
        }))
    }
}

struct SimRun {
    ends: Instant,
    reluctance: f64,
    died: CancellationToken,
    open: Option<(Arc<Ledger>, Started)>,
}

impl SimRun {
    fn end(&mut self, how: End) {
        if let Some((ledger, started)) = self.open.take() {
            ledger.ended(&started, how);
        }
    }
}

impl Drop for SimRun {
    fn drop(&mut self) {
        self.end(End::Stopped);
    }
}

#[async_trait]
impl Running for SimRun {
    async fn wait(mut self: Box<Self>, mut stop: StopSignal) -> Exit {
        let died = self.died.clone();
        let mut kill: Option<Instant> = None;
        // It may have been told before it is waited for.
        stop.mark_changed();
        loop {
            let at = kill.map_or(self.ends, |kill| kill.min(self.ends));
            tokio::select! {
                biased;
                () = died.cancelled() => {
                    self.end(End::Died);
                    return Exit::signal(9);
                }
                () = sleep_until(at) => {
                    let complete = at == self.ends;
                    // Who was told to end and does so by itself meanwhile counts as told.
                    self.end(if kill.is_none() { End::Complete } else { End::Stopped });
                    return if complete { Exit::code(0) } else { Exit::signal(15) };
                }
                Ok(()) = stop.changed() => {
                    if let Some(grace) = *stop.borrow_and_update() {
                        let end = Instant::now() + grace.mul_f64(self.reluctance).max(Duration::from_millis(1));
                        kill = Some(kill.map_or(end, |before| before.min(end)));
                    }
                }
            }
        }
    }
}
