//! The pause before each next attempt, however long the one before it took, and whatever made the run.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    clock::Clock as _,
    id::{JobName, RunId},
    job::{Delivery, Job, Trigger},
    queue::QueuedRun,
    run::{Cause, RunState},
    runlog::{RunLog as _, RunRecord},
    span::Span,
    store::{Event, Store as _},
};
use futures::StreamExt as _;
use tokio::task::JoinHandle;

use crate::{
    support::shell,
    world::{Living, World, until},
};

/// How long a run lasts, in milliseconds.
const LASTING: [u32; 5] = [0, 1, 50, 200, 1000];

const ATTEMPTS: u32 = 11;
const FIRST: Duration = Duration::from_millis(60);
const MOST: Duration = Duration::from_millis(200);

/// A job for each time that a run may last, which fails whenever it runs.
fn failing(way: &str, trigger: &Trigger) -> Vec<Job> {
    LASTING
        .map(|millis| {
            let command = match millis {
                0 => "exit 3".to_owned(),
                _ => format!("sleep {}.{:03}; exit 3", millis / 1000, millis % 1000),
            };
            let name = format!("{way}-{millis}").parse().expect("a name");
            let mut job = Job::new(name, trigger.clone(), shell(&command));
            let retry = format!(r#"{{"attempts": {ATTEMPTS}, "backoff": "60ms..200ms"}}"#);
            job.retry = serde_json::from_str(&retry).expect("retries");
            job
        })
        .into()
}

/// All that was ever put into the queue, by run and attempt.
struct Queue(Arc<Mutex<HashMap<(RunId, u32), QueuedRun>>>, JoinHandle<()>);

impl Queue {
    fn watch(world: &World) -> Self {
        let mut events = world.store.watch(&world.keys.queue, common::revision::Revision::new(1));
        let seen: Arc<Mutex<HashMap<_, _>>> = Arc::default();
        let all = seen.clone();
        let task = tokio::spawn(async move {
            while let Some(Ok(events)) = events.next().await {
                for event in events.events {
                    let Event::Put(entry) = event else { continue };
                    let wanted = QueuedRun::decode(&entry.value).expect("it decodes");
                    all.lock().expect("nobody panics").insert((wanted.run, wanted.attempt), wanted);
                }
            }
        });
        Self(seen, task)
    }

    fn get(&self, run: RunId, attempt: u32) -> Option<QueuedRun> {
        self.0.lock().expect("nobody panics").get(&(run, attempt)).cloned()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.1.abort();
    }
}

async fn log(world: &World, job: &JobName) -> Vec<RunRecord> {
    let mut records = world.runlog.log(job.as_str(), 0, 100).await.expect("the run log answers");
    records.sort_by_key(|record| record.attempt);
    records
}

/// The job's attempts, once the last one that there is to be has failed.
async fn all_attempts(world: &World, job: &JobName) -> Vec<RunRecord> {
    let has_ended = |records: &Vec<RunRecord>| {
        records.last().is_some_and(|last| last.attempt >= ATTEMPTS && last.state == RunState::Failed)
    };
    until(&format!("{job} has used up its attempts"), || log(world, job), has_ended).await
}

/// How many next attempts there were, each of which kept its pause.
fn check(records: &[RunRecord], queue: &Queue) -> usize {
    for (before, next) in records.iter().zip(&records[1..]) {
        let what = format!("{}, attempt {} after {before:?}", next.job_name, next.attempt);
        assert_eq!((next.run, next.attempt), (before.run, before.attempt + 1), "{what}");
        let wanted = queue.get(next.run, next.attempt).expect("it was in the queue");
        let all = FIRST.saturating_mul(1 << (before.attempt - 1).min(20)).min(MOST);
        let not_before = wanted.not_before.expect("it has a pause");
        let pause = (not_before - wanted.since).to_std().expect("not before it was wanted");
        assert!(all / 2 <= pause && pause <= all, "{what}: {pause:?} of {all:?}");
        // A lost run is found to have ended when its caretaker says so.
        assert!(before.end_time <= wanted.since.timestamp_millis(), "{what}: wanted before its end");
        let early = not_before.timestamp_millis() - next.start_time;
        assert!(early <= 0, "{what}: {early} ms early");
    }
    records.len() - 1
}

// Once: attempts of a job that failed at once had no pause between them; whoever waited for one attempt found
// the next one's entry under the same key, and looked at everything in it but its time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_keeps_its_pause_by_hand_by_schedule_and_when_caught_up() {
    let world = World { slots: 20, ..World::new() };
    let queue = Queue::watch(&world);
    let by_hand = failing("hand", &Trigger::Manual);
    let once = |anchor| Trigger::Every { period: Span::seconds(3600), anchor: Some(anchor) };
    let (now, second) = (world.clock.now(), chrono::Duration::seconds(1));
    let caught_up = failing("late", &once(now - second * 60));
    let scheduled = failing("due", &once(now + second * 2));
    for job in caught_up.iter().chain(&scheduled) {
        world.save_at(job, now - second * 120).await;
    }
    let living = Living::start(world.worker());
    for job in &by_hand {
        world.save(job).await;
        world.want(&job.name).await;
    }
    let mut retries = 0;
    for (jobs, cause) in [(by_hand, Cause::Manual), (caught_up, Cause::CatchUp), (scheduled, Cause::Schedule)]
    {
        for job in jobs {
            let records = all_attempts(&world, &job.name).await;
            assert_eq!(records.len(), ATTEMPTS as usize, "{}", job.name);
            assert_eq!(records[0].trigger, cause, "{}", job.name);
            retries += check(&records, &queue);
        }
    }
    assert_eq!(retries, 150);
    living.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attempt_keeps_its_pause_when_workers_are_killed_meanwhile() {
    let world = World { slots: 20, ..World::new() };
    let queue = Queue::watch(&world);
    let mut jobs = failing("killed", &Trigger::Manual);
    for job in &mut jobs {
        job.delivery = Delivery::AtLeastOnce;
        world.save(job).await;
        world.want(&job.name).await;
    }
    // While the shortest is between its attempts, and the longest executes or waits for its next one.
    for (short, long) in [(3, 1), (6, 2), (8, 3)] {
        let life = world.mortal();
        let begun = async |job: &Job, attempt| log(&world, &job.name).await.len() >= attempt;
        until("attempts have ended", || begun(&jobs[0], short), |begun| *begun).await;
        until("attempts have ended", || begun(&jobs[4], long), |begun| *begun).await;
        life.die();
    }
    let living = Living::start(world.worker());
    let (mut retries, mut lost) = (0, 0);
    for job in &jobs {
        let records = all_attempts(&world, &job.name).await;
        lost += records.iter().filter(|record| record.state == RunState::Lost).count();
        retries += check(&records, &queue);
    }
    assert!(retries >= 50, "{retries}");
    println!("{lost} attempts were lost");
    living.end().await;
}
