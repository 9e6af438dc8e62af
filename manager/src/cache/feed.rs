//! Feeds the cache: one follower per place, until the manager ends.

use std::sync::Arc;

use common::{
    queue::QueuedRun,
    store::{Away, Entry, Key, Mirror, Prefix, Revision, follow_as, keep},
    vital::Vital,
    worker::{Drain, Registration},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Cache, HeldRun, Place, TaskRun,
    list::{JobRow, LockRow},
    table::{Named, Row},
};
use crate::state::App;

/// Starts the followers; they end at `shutdown`. Without one of them a list would stay as it was for ever.
pub(crate) fn start(app: &Arc<App>, vital: &Vital, tasks: &TaskTracker, shutdown: &CancellationToken) {
    let follow = Followers { app, vital, tasks, shutdown };
    follow.one::<JobRow>();
    follow.one::<LockRow>();
    follow.one::<Arc<Registration>>();
    follow.one::<Arc<QueuedRun>>();
    follow.one::<HeldRun>();
    follow.one::<TaskRun>();
    follow.one::<Arc<Drain>>();
}

struct Followers<'a> {
    app: &'a Arc<App>,
    vital: &'a Vital,
    tasks: &'a TaskTracker,
    shutdown: &'a CancellationToken,
}

impl Followers<'_> {
    fn one<R: Row>(&self) {
        let prefix = R::prefix(&self.app.config.keys).clone();
        let place = prefix.clone();
        let read = move |entry| read::<R>(&place, &entry);
        let changes = follow_as(self.app.store.clone(), prefix.clone(), self.shutdown.clone(), read);
        let feed = Feed::<R> { app: self.app.clone(), prefix, news: Vec::new() };
        self.vital.spawn(self.tasks, "the cache's feed", self.shutdown, keep(changes, feed));
    }
}

/// What does not decode stands there as nothing that is understood, said in the log.
fn read<R: Row>(prefix: &Prefix, entry: &Entry) -> Option<Named<R>> {
    let name = prefix.name(&entry.key)?;
    let row = R::read(name, entry).inspect_err(|error| {
        tracing::warn!(key = %entry.key, error, "left out a stored value that does not decode");
    });
    Some((name.into(), row.ok()))
}

/// Brings what is told of a place into the cache.
struct Feed<R> {
    app: Arc<App>,
    prefix: Prefix,
    /// Changes that are told and not shown yet: what belongs together is shown together.
    news: Vec<Named<R>>,
}

impl<R: Row> Mirror<Named<R>> for Feed<R> {
    fn list(&mut self, all: Vec<Named<R>>, at: Revision) {
        R::listed(&self.app);
        self.app.cache.reset(all, at);
    }

    fn put(&mut self, (name, row): Named<R>) {
        R::heard(&self.app, &name, row.as_ref());
        self.news.push((name, row));
    }

    fn remove(&mut self, key: &Key, _at: Revision) {
        let Some(name) = self.prefix.name(key) else { return };
        R::heard(&self.app, name, None);
        self.news.push((name.into(), None));
    }

    fn reached(&mut self, at: Revision) {
        self.app.cache.change(std::mem::take(&mut self.news), at);
    }

    fn away(&mut self, why: Away) {
        let reason = match why {
            Away::Unreachable(reason) => reason,
            Away::WentBack { seen, now } => {
                let reason = format!("the store went back from revision {seen} to {now}: it was restored");
                tracing::warn!(place = ?R::PLACE, "{reason}");
                reason
            }
        };
        self.app.cache.mark_stale(R::PLACE, &reason);
    }
}

impl Cache {
    pub(super) fn reached(&self, place: Place, revision: impl FnOnce(Revision) -> Revision) {
        self.progress.send_modify(|progress| {
            let known = &mut progress.revision[place as usize];
            *known = Some(revision(known.unwrap_or_default()));
            if progress.stale[place as usize].take().is_some() {
                tracing::info!(?place, "the store is back");
            }
        });
        self.wake(place);
    }

    pub(super) fn mark_stale(&self, place: Place, reason: &str) {
        self.progress.send_if_modified(|progress| {
            let stale = &mut progress.stale[place as usize];
            let news = stale.as_deref() != Some(reason);
            if stale.is_none() {
                tracing::warn!(?place, reason, "the store is away; lists show what was known");
            }
            *stale = Some(reason.into());
            news
        });
    }
}
