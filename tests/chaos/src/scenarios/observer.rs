//! Looks at the run log and at the locks all the while, to see what they say go back.

use std::time::Duration;

use anyhow::Result;
use common::lock::Lock;
use etcd_client::{Client, GetOptions};
use tokio::{sync::oneshot, task::JoinHandle, time::timeout};

use crate::{
    checker::{History, SeenLock},
    cluster::{DATABASE, PREFIX},
    records::RecordReader,
    trial::Trial,
};

/// Between two looks.
const EVERY: Duration = Duration::from_secs(1);

/// A store that is broken just now has this long.
const PATIENCE: Duration = Duration::from_secs(2);

/// Looks until it is ended.
pub(super) struct Observer {
    end: oneshot::Sender<()>,
    looks: JoinHandle<History>,
}

impl Observer {
    pub(super) async fn start(trial: &Trial) -> Result<Self> {
        let records = RecordReader::connect(&trial.cluster.mongod.uri(), DATABASE).await?;
        let etcd = trial.cluster.etcd_client().await?;
        let (end, ended) = oneshot::channel();
        Ok(Self { end, looks: tokio::spawn(look(records, etcd, ended)) })
    }

    /// All that was seen.
    pub(super) async fn end(self) -> History {
        self.end.send(()).ok();
        self.looks.await.expect("the observer does not panic")
    }
}

async fn look(records: RecordReader, mut etcd: Client, mut ended: oneshot::Receiver<()>) -> History {
    let mut history = History::default();
    loop {
        // What cannot be read while it is broken is read later.
        if let Ok(Ok(records)) = timeout(PATIENCE, records.read()).await {
            history.see_records(&records);
        }
        let prefix = format!("{PREFIX}locks/");
        let all = Some(GetOptions::new().with_prefix());
        if let Ok(Ok(reply)) = timeout(PATIENCE, etcd.get(prefix.as_str(), all)).await {
            for entry in reply.kvs() {
                let job = entry.key_str().ok().and_then(|key| key.strip_prefix(&prefix));
                if let (Some(job), Ok(lock)) = (job, Lock::decode(entry.value())) {
                    let (job, created) = (job.to_owned(), entry.create_revision());
                    history.see_lock(&SeenLock { job, created, lock });
                }
            }
        }
        if timeout(EVERY, &mut ended).await.is_ok() {
            return history;
        }
    }
}
