//! A cluster in virtual time: it is built, broken by a plan, mended, ended, and judged.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use common::{
    job::StoredJob,
    lock::Lock,
    runlog::RunLog,
    store::{Op, Store, Txn, embedded::EmbeddedStore, key::Keys},
    tick::Tick,
};
use tempfile::TempDir;
use tokio::{
    runtime::Builder,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::Time,
    editor::Editor,
    ledger::{Fault, Ledger, Rules},
    link::{Health, Way},
    load::{Load, Plan},
    network::Network,
    node::{Node, SYNC, Surroundings, mix},
    plan::{Nemesis, RECOVERY, Step, plan},
    report::Report,
    runlog::MemoryRunLog,
};

/// What is to be played.
#[derive(Clone, Debug)]
pub struct Play {
    /// Where all chance comes from.
    pub seed: u64,
    /// How long the jobs run.
    pub time: Duration,
    /// The jobs.
    pub load: Load,
    /// How many workers there are.
    pub workers: usize,
    /// How many managers there are; with none, nothing is edited.
    pub managers: usize,
    /// What is broken, by turns; nothing: nothing.
    pub nemeses: Vec<Nemesis>,
    /// How many lines of the trace are kept.
    pub trace: usize,
}

/// Before the first ticks that count: the workers start and find each other.
const WARM_UP: Duration = Duration::from_secs(60);

/// How late a run may start where nothing is broken: one request in a hundred takes 20 ms each way, and may have to
/// wait for another one.
const LATE_MS: i64 = 200;

/// After the order to end, edits that were begun come to their end within this time.
const EDITED_BY: Duration = Duration::from_secs(300);

/// Between two judgements.
const JUDGE_EVERY: Duration = Duration::from_secs(60);

/// Between two times that the run log forgets what has expired.
const PRUNE_EVERY: u64 = 5;

/// Plays it to its end, in a runtime of its own.
pub fn play(play: &Play) -> anyhow::Result<Report> {
    play_with(play, |_| {})
}

/// The same with a store that something was done to.
fn play_with(play: &Play, doctor: impl FnOnce(&mut Surroundings)) -> anyhow::Result<Report> {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        let mut world = World::build(play, doctor).await?;
        world.run(play).await;
        world.end().await
    })
}

struct World {
    around: Surroundings,
    /// The workers, and behind them the managers.
    nodes: Vec<Node>,
    edited: Vec<Plan>,
    _dir: TempDir,
}

fn start() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(2026, 11, 22, 0, 58, 30).single().unwrap_or_default()
}

impl World {
    async fn build(play: &Play, doctor: impl FnOnce(&mut Surroundings)) -> anyhow::Result<Self> {
        let time = Time::starting_at(start());
        let plans = play.load.plans(start());
        let from = (start() + TimeDelta::from_std(WARM_UP)?).timestamp();
        let rules = Rules { from, late_ms: LATE_MS, trace: play.trace };
        let ledger = Ledger::new(time, plans.clone(), rules);
        let mut around = Surroundings {
            time,
            network: Network::start(),
            store: Arc::new(EmbeddedStore::in_memory()),
            runlog: Arc::new(MemoryRunLog::new(ledger.clone())),
            ledger,
            keys: Keys::new("/quorate/")?,
            seed: play.seed,
        };
        save(&*around.store, &around.keys, &plans).await?;
        doctor(&mut around);
        let dir = tempfile::tempdir()?;
        let nodes = (0..play.workers).map(|n| Node::worker(n, dir.path(), &around));
        let mut nodes = nodes.collect::<Result<Vec<_>, _>>().context("make the workers' folders")?;
        nodes.extend((0..play.managers).map(|n| Node::manager(play.workers + n, &around)));
        let edited = plans.into_iter().filter(|plan| plan.other.is_some() && play.managers > 0).collect();
        Ok(Self { around, nodes, edited, _dir: dir })
    }

    async fn run(&mut self, play: &Play) {
        for node in &mut self.nodes {
            node.start(&self.around);
        }
        tokio::spawn(judge(self.around.ledger.clone(), self.around.runlog.clone(), self.around.time));
        let (editors, ending) = (TaskTracker::new(), CancellationToken::new());
        self.until(WARM_UP).await;
        self.start_editors(&editors, &ending);
        for step in plan(play.seed, play.time, self.nodes.len(), &play.nemeses) {
            self.until(step.at).await;
            self.breaks(&step).await;
        }
        self.until(play.time).await;
        ending.cancel();
        // An editor that is not told that it is done has a finding of its own: all its ticks go either way.
        if timeout(EDITED_BY, editors.wait()).await.is_err() {
            self.around.ledger.refused("an edit did not come to its end".to_owned());
        }
    }

    fn start_editors(&self, editors: &TaskTracker, ending: &CancellationToken) {
        let doors: Vec<_> = self.nodes.iter().filter_map(Node::door).cloned().collect();
        for (n, plan) in self.edited.iter().enumerate() {
            let (ledger, time) = (self.around.ledger.clone(), self.around.time);
            let seed = mix(self.around.seed, u64::MAX - n as u64);
            let editor = Editor::new(doors.clone(), ledger, time, plan.clone(), start(), seed);
            editors.spawn(editor.run(ending.clone()));
        }
        editors.close();
    }

    async fn until(&self, elapsed: Duration) {
        sleep_until(self.around.time.at(elapsed)).await;
    }

    /// Tells the ledger what is about to be broken.
    fn announce(&self, step: &Step) {
        let from = self.around.time.millis();
        let excused = step.lasts + RECOVERY;
        self.around.ledger.broken(Fault {
            name: step.to_string(),
            from_ms: from,
            to_ms: from + i64::try_from(excused.as_millis()).unwrap_or(i64::MAX),
            clock_ms: if step.nemesis == Nemesis::ClockStep { step.step_ms.abs() } else { 0 },
        });
    }

    async fn breaks(&mut self, step: &Step) {
        self.announce(step);
        let mended = Instant::now() + step.lasts;
        let half = self.nodes.len().div_ceil(2);
        let (all, one) = (0..self.nodes.len(), step.machine..step.machine + 1);
        let way = |way| Health { way, ..Health::default() };
        match step.nemesis {
            Nemesis::Crash => {
                self.nodes[step.machine].die();
                sleep_until(mended).await;
                self.nodes[step.machine].start(&self.around);
            }
            Nemesis::Restart => {
                self.nodes[step.machine].end().await;
                sleep_until(mended).await;
                self.nodes[step.machine].start(&self.around);
            }
            Nemesis::CutOff => self.store_is(one, way(Way::Cut), mended).await,
            Nemesis::HeldUp => self.store_is(one, way(Way::Held), mended).await,
            Nemesis::Isolated => {
                self.nodes[step.machine].set_runlog(way(Way::Cut));
                self.store_is(one, way(Way::Cut), mended).await;
                self.nodes[step.machine].set_runlog(Health::default());
            }
            Nemesis::HalfCutOff => {
                // The victims are those behind the chosen one, around the end.
                let victims: Vec<usize> = (0..half).map(|n| (step.machine + n) % self.nodes.len()).collect();
                for victim in &victims {
                    self.nodes[*victim].set_store(way(Way::Cut));
                }
                sleep_until(mended).await;
                for victim in &victims {
                    self.nodes[*victim].set_store(Health::default());
                }
            }
            Nemesis::StoreAway => self.store_is(all, way(Way::Refused), mended).await,
            Nemesis::Flaky => {
                let flaky = Health { lost_permille: 50, slow: 20, ..Health::default() };
                self.store_is(all, flaky, mended).await;
            }
            Nemesis::Compaction => self.nodes.iter().for_each(Node::compact),
            Nemesis::RunLogAway => {
                self.nodes.iter_mut().for_each(|node| node.set_runlog(way(Way::Refused)));
                sleep_until(mended).await;
                self.nodes.iter_mut().for_each(|node| node.set_runlog(Health::default()));
            }
            Nemesis::ClockStep => {
                let clock = self.nodes[step.machine].clock.clone();
                let right = clock.ahead_ms();
                clock.step_to(right + step.step_ms);
                sleep_until(mended).await;
                clock.step_to(right);
            }
            Nemesis::SlowDisk => {
                let disk = self.nodes[step.machine].spool().cloned();
                if let Some(disk) = &disk {
                    disk.set_sync_time(Duration::from_secs(3));
                }
                sleep_until(mended).await;
                if let Some(disk) = &disk {
                    disk.set_sync_time(SYNC);
                }
            }
        }
    }

    /// The ways of these to the store are so, until they are mended.
    async fn store_is(&mut self, nodes: std::ops::Range<usize>, health: Health, mended: Instant) {
        for node in &mut self.nodes[nodes.clone()] {
            node.set_store(health);
        }
        sleep_until(mended).await;
        for node in &mut self.nodes[nodes] {
            node.set_store(Health::default());
        }
    }

    /// Ends all; the ticks before it are judged.
    async fn end(mut self) -> anyhow::Result<Report> {
        let now = self.around.time.millis();
        // Some runs last longer.
        let ending = Fault { name: "the end".into(), from_ms: now, to_ms: now + 60_000, clock_ms: 0 };
        self.around.ledger.broken(ending);
        let last = self.around.time.now().timestamp() - 2;
        let ends = self.nodes.iter_mut().map(Node::end);
        futures::future::join_all(ends).await;
        for node in &self.nodes {
            let shipped = node.spool().is_none_or(|spool| spool.is_empty());
            anyhow::ensure!(shipped, "a spool was not shipped at the end");
        }
        Ok(self.around.ledger.close(last))
    }
}

async fn judge(ledger: Arc<Ledger>, runlog: Arc<dyn RunLog>, time: Time) {
    for n in 1.. {
        sleep(JUDGE_EVERY).await;
        ledger.judge();
        if n % PRUNE_EVERY == 0 && runlog.prune(time.now(), u64::MAX).await.is_err() {
            return;
        }
    }
}

/// Puts the jobs and their locks into the store, as a manager does.
async fn save(store: &dyn Store, keys: &Keys, plans: &[Plan]) -> anyhow::Result<()> {
    let fence = Lock::new(Tick::from_instant(start())).encode();
    for plans in plans.chunks(50) {
        let puts = plans.iter().flat_map(|plan| {
            let definition = StoredJob::new(plan.job(start()), start()).encode();
            let lock = Op::Put(keys.lock(&plan.name), fence.clone(), None);
            [lock, Op::Put(keys.job(&plan.name), definition, None)]
        });
        store.txn(Txn::when(Vec::new(), puts.collect())).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
