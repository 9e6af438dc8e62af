//! `quorate admin`: puts a cluster's store in order, working on the store itself.

use anyhow::Context as _;
use common::{
    clock::{Clock as _, SystemClock},
    store::key::Keys,
};
use manager::restore::{self, Restored};

use crate::{config::AdminSettings, exit::Exit, output::Output, wiring};

/// After etcd was restored from a copy.
pub(super) async fn after_restore(settings: AdminSettings) -> anyhow::Result<Exit> {
    let store = wiring::etcd_store(&settings.etcd).await?;
    let clock = SystemClock::start().context("start the clock")?;
    let keys = Keys::new(&settings.prefix)?;
    let done = restore::after_restore(&*store, &keys, clock.now()).await?;
    let mut output = Output::new(settings.output);
    if output.is_json() {
        output.json(&done)?;
    } else {
        for line in lines(&done) {
            output.line(line)?;
        }
    }
    output.flush()?;
    Ok(Exit::Done)
}

fn lines(done: &Restored) -> Vec<String> {
    let Restored { epoch, to, locks, moved, held, orphaned, broken, queued } = done;
    // A request whose answer was lost is not in the count: its fences were found in place when they were looked at again.
    let mut lines = vec![format!(
        "{moved} of {locks} fences moved to {to}; the others were there already, or were moved by a request whose answer was lost"
    )];
    if *held > 0 {
        lines.push(format!("{held} jobs are held by live workers"));
    }
    if *orphaned > 0 {
        lines.push(format!(
            "{orphaned} jobs are held by workers that are gone: their locks are freed automatically, and their runs recorded as lost"
        ));
    }
    if *queued > 0 {
        lines.push(format!(
            "{queued} runs wait in the queue; those that were taken from it since the copy was made run again"
        ));
    }
    lines.extend(
        broken.iter().map(|key| format!("{key} is not a lock and was left alone; save its job again")),
    );
    lines.push(format!("epoch {epoch}: workers that had stopped claiming claim again"));
    lines
}
