//! Edits a job through the managers, close to its ticks: saves it again, pauses and resumes it, changes its trigger and
//! changes it back, deletes it and makes it again, kills its runs, wants one. Whatever is broken meanwhile, it asks again
//! until it is told that it is done.

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use common::id::RunId;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Time,
    door::{Answer, Door, NoAnswer},
    ledger::{JobState, Ledger},
    load::{Plan, Rhythm},
};

/// How far from a tick an edit is made, at most.
const CLOSE_MS: i64 = 50;

/// After an answer that does not say that it is done.
const AGAIN: Duration = Duration::from_millis(700);

/// A request that was not answered may arrive so much later.
const AFTERWARDS: Duration = Duration::from_secs(90);

/// Edits one job.
pub struct Editor {
    /// The managers.
    pub doors: Vec<Arc<Door>>,
    /// Told of each edit.
    pub ledger: Arc<Ledger>,
    /// Virtual time.
    pub time: Time,
    /// The job.
    pub plan: Plan,
    /// When the job was saved first.
    pub start: DateTime<Utc>,
    rng: StdRng,
    turn: u64,
}

/// What is asked for.
struct Request {
    method: &'static str,
    path: String,
    body: Option<String>,
    /// No job of this name is what was wanted.
    gone_is_done: bool,
}

/// Whether a request was answered each time it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answered {
    Yes,
    NotAlways,
}

impl Editor {
    /// With chance from `seed`.
    pub fn new(
        doors: Vec<Arc<Door>>,
        ledger: Arc<Ledger>,
        time: Time,
        plan: Plan,
        start: DateTime<Utc>,
        seed: u64,
    ) -> Self {
        Self { doors, ledger, time, plan, start, rng: StdRng::seed_from_u64(seed), turn: 0 }
    }

    /// Edits until `ending`, and then to the end of what was begun.
    pub async fn run(mut self, ending: CancellationToken) {
        loop {
            let pause = Duration::from_millis(self.rng.random_range(1_000..30_000));
            tokio::select! {
                biased;
                () = ending.cancelled() => return,
                () = sleep(pause) => {}
            }
            self.turn += 1;
            self.close_to_a_tick().await;
            match self.rng.random_range(0..6) {
                0 => drop(self.becomes(self.on(), self.put(self.plan.rhythm)).await),
                1 => self.off_and_on("pause").await,
                2 => self.off_and_on("delete").await,
                3 => self.other_trigger().await,
                4 => self.kill().await,
                _ => self.want_a_run().await,
            }
        }
    }

    const fn on(&self) -> JobState {
        JobState::On(self.plan.rhythm)
    }

    /// Sleeps until just before, at or just behind a tick.
    async fn close_to_a_tick(&mut self) {
        let by = self.rng.random_range(-CLOSE_MS..=CLOSE_MS);
        let now = self.time.millis();
        let mut at = self.plan.rhythm.next_after(now / 1000) * 1000 + by;
        if at <= now {
            at += self.plan.rhythm.every * 1000;
        }
        sleep(Duration::from_millis(at.abs_diff(now))).await;
    }

    /// Lets some ticks pass, or none.
    async fn wait(&mut self) {
        for _ in 0..self.rng.random_range(0..=2) {
            self.close_to_a_tick().await;
        }
    }

    async fn off_and_on(&mut self, how: &'static str) {
        let (state, off, on) = match how {
            "delete" => (JobState::Gone, self.request("DELETE", ""), self.put(self.plan.rhythm)),
            _ => (JobState::Paused, self.request("POST", "/pause"), self.request("POST", "/resume")),
        };
        self.becomes(state, Request { gone_is_done: state == JobState::Gone, ..off }).await;
        self.wait().await;
        let answered = self.becomes(self.on(), on).await;
        if answered == Answered::NotAlways {
            // If it arrives after the next deletion, it makes the job again.
            sleep(AFTERWARDS).await;
        }
    }

    async fn other_trigger(&mut self) {
        let Some(other) = self.plan.other else { return };
        self.becomes(JobState::On(other), self.put(other)).await;
        self.wait().await;
        self.becomes(self.on(), self.put(self.plan.rhythm)).await;
    }

    async fn kill(&mut self) {
        // A manager that has not heard of the job refuses it, and one that is cut off does not hear of it.
        drop(self.ask(&self.request("POST", "/kill")).await);
    }

    async fn want_a_run(&mut self) {
        let Ok(answer) = self.ask(&self.request("POST", "/run")).await else { return };
        let run = serde_json::from_str::<serde_json::Value>(&answer.body).ok();
        let run = run.and_then(|body| body.get("run")?.as_str()?.parse::<RunId>().ok());
        match run {
            Some(run) if answer.status == StatusCode::ACCEPTED => {
                self.ledger.promised(&self.plan.name, run);
            }
            _ => self.may_be_refused("/run", &answer),
        }
    }

    fn request(&self, method: &'static str, verb: &str) -> Request {
        let path = format!("/api/v1/jobs/{}{verb}", self.plan.name);
        Request { method, path, body: None, gone_is_done: false }
    }

    fn put(&self, rhythm: Rhythm) -> Request {
        let mut job = self.plan.job_by(rhythm, self.start);
        job.description = format!("turn {}", self.turn);
        Request { body: serde_json::to_string(&job).ok(), ..self.request("PUT", "") }
    }

    /// Asks until it is done, and tells the ledger when that was.
    async fn becomes(&mut self, state: JobState, request: Request) -> Answered {
        let mut answered = Answered::Yes;
        // A manager decides by its own clock when it was asked.
        self.ledger.asks(&self.plan.name, state, self.time.millis() + self.clocks().0);
        loop {
            let door = self.door();
            let answer = door.call(request.method, &request.path, request.body.clone()).await;
            match answer {
                Ok(answer) if answer.is_done(&request) => {
                    self.ledger.asked(&self.plan.name, self.time.millis() + self.clocks().1);
                    return answered;
                }
                Ok(answer) => {
                    if answer.status.is_server_error() {
                        answered = Answered::NotAlways;
                    }
                    self.may_be_refused(&request.path, &answer);
                }
                Err(NoAnswer::Lost) => answered = Answered::NotAlways,
                Err(NoAnswer::Refused) => {}
            }
            sleep(AGAIN).await;
        }
    }

    /// How far the managers' clocks are behind and ahead, at most.
    fn clocks(&self) -> (i64, i64) {
        let all = self.doors.iter().map(|door| door.clock.ahead_ms());
        all.fold((-1, 1), |(behind, ahead), one| (behind.min(one - 1), ahead.max(one + 1)))
    }

    fn door(&mut self) -> Arc<Door> {
        self.doors.choose(&mut self.rng).expect("there is a manager").clone()
    }

    async fn ask(&mut self, request: &Request) -> Result<Answer, NoAnswer> {
        self.door().call(request.method, &request.path, request.body.clone()).await
    }

    /// What an editor asks for is always right: a manager that cannot do it says so as a fault of its own, or that others
    /// write the job as well.
    fn may_be_refused(&self, path: &str, answer: &Answer) {
        if answer.status.is_client_error() && answer.status != StatusCode::CONFLICT {
            self.ledger.refused(format!("{path}: {} {}", answer.status, answer.body));
        }
    }
}

impl Answer {
    fn is_done(&self, request: &Request) -> bool {
        self.status.is_success() || (request.gone_is_done && self.status == StatusCode::NOT_FOUND)
    }
}
