//! How far this worker has decided: all ticks up to the mark that it ranks first for are decided. The others look
//! only after ticks behind it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use common::{
    store::{Op, Txn},
    tick::Tick,
    worker::Mark,
};
use parking_lot::Mutex;
use tokio::{sync::watch, time::sleep};

use crate::{claim::batch::Batcher, session::Standing, session::registry::Registry};

/// Ticks under way, and the mark, up to which none is.
#[derive(Debug)]
pub(crate) struct Marks {
    pending: Mutex<BTreeMap<Tick, usize>>,
    decided: watch::Sender<Option<Tick>>,
    newest: Mutex<Option<Tick>>,
}

impl Default for Marks {
    fn default() -> Self {
        Self { pending: Mutex::default(), decided: watch::Sender::new(None), newest: Mutex::default() }
    }
}

impl Marks {
    /// These ticks are to be decided.
    pub(crate) fn begin(&self, ticks: impl IntoIterator<Item = Tick>) {
        let mut pending = self.pending.lock();
        let mut newest = self.newest.lock();
        for tick in ticks {
            *pending.entry(tick).or_default() += 1;
            *newest = (*newest).max(Some(tick));
        }
    }

    /// One of them is.
    pub(crate) fn done(&self, tick: Tick) {
        let mut pending = self.pending.lock();
        if let Some(count) = pending.get_mut(&tick) {
            *count -= 1;
            if *count == 0 {
                pending.remove(&tick);
            }
        }
        let newest = *self.newest.lock();
        let decided = match pending.first_key_value() {
            Some((first, _)) => Some(Tick::from_instant(first.instant() - chrono::Duration::seconds(1))),
            None => newest,
        };
        self.decided.send_if_modified(|mark| {
            let moved = decided > *mark;
            if moved {
                *mark = decided;
            }
            moved
        });
    }

    /// The clock was ahead and now says `now`: nothing after that is decided.
    pub(crate) fn set_back(&self, now: Tick) {
        let mut pending = self.pending.lock();
        pending.retain(|tick, _| *tick <= now);
        let mut newest = self.newest.lock();
        *newest = newest.map(|newest| newest.min(now));
        self.decided.send_if_modified(|mark| {
            let ahead = mark.is_some_and(|mark| mark > now);
            if ahead {
                *mark = Some(now);
            }
            ahead
        });
    }

    /// Tells the mark as it moves.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Tick>> {
        self.decided.subscribe()
    }
}

/// Tells the other workers how far this one has decided.
pub(crate) struct Publisher {
    /// Whose mark it is.
    pub standing: Arc<Standing>,
    /// Where it stands.
    pub marks: Arc<Marks>,
    /// By which workers ticks were ranked.
    pub registry: Arc<Registry>,
    /// How it is told.
    pub batcher: Batcher,
}

impl Publisher {
    /// Publishes the mark as it moves, until the worker is closing.
    pub(crate) async fn run(self) {
        let mut mark = self.marks.watch();
        loop {
            tokio::select! {
                biased;
                () = self.standing.closing.cancelled() => return,
                changed = mark.changed() => if changed.is_err() { return },
            }
            let decided = *mark.borrow_and_update();
            if let Some(decided) = decided {
                self.publish(decided).await;
            }
        }
    }

    async fn publish(&self, decided: Tick) {
        let trust = self.standing.trust().borrow().clone();
        let Some(trust) = trust else { return };
        let view = self.registry.view().candidates.view();
        let key = self.standing.config.keys.mark(self.standing.id());
        let put = Op::Put(key, Mark { decided, view }.encode(), Some(trust.lease));
        if let Err(error) = self.batcher.guarded(Txn::when(Vec::new(), vec![put]), &trust.session).await {
            tracing::debug!(%error, "the mark was not moved; others look after these ticks");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_never_passes_a_tick_that_is_open() {
        let tick = |text: &str| text.parse::<Tick>().unwrap();
        let (one, two) = (tick("2026-11-22T01:00:01Z"), tick("2026-11-22T01:00:02Z"));
        let marks = Marks::default();
        marks.begin([one, one, two]);
        let decided = marks.watch();
        marks.done(two);
        assert_eq!(*decided.borrow(), Some(tick("2026-11-22T01:00:00Z")));
        marks.done(one);
        assert_eq!(*decided.borrow(), Some(tick("2026-11-22T01:00:00Z")));
        marks.done(one);
        assert_eq!(*decided.borrow(), Some(two));
    }
}
