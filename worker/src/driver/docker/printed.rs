//! What a container prints: live while the engine passes it on, and from the engine's log where it could not.
//!
//! The log holds each stream from its beginning. So whatever happened, it says what is missing: all that is behind the
//! bytes that were taken.

use std::{sync::Arc, time::Duration};

use bollard::container::LogOutput;
use common::runlog::Stream;
use futures::StreamExt as _;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::engine::{Client, EngineError, Printed};
use crate::output::Output;

/// An end that does not come after the container's own so soon does not come at all.
const LINGER: Duration = Duration::from_secs(2);

/// Between two looks into the log: at least this, and so many times as long as a look takes.
const SHORTEST_PAUSE: Duration = Duration::from_millis(500);
const PAUSE_FACTOR: u32 = 20;

/// A log of many gigabytes is not read to its end.
const LONGEST_READ: Duration = Duration::from_secs(120);

/// Where the output comes from.
pub(super) enum Source {
    /// As it is printed.
    Live(Printed),
    /// It has ended, or is read from the log by a task until the run's end.
    Over { is_whole: bool },
    /// From the log, now and again.
    Log(AbortOnDropHandle<()>),
}

impl Source {
    /// From the log, since it cannot be had as it is printed.
    pub(super) fn log(client: &Client, id: &str, output: &Arc<Output>) -> Self {
        let (client, id, output) = (client.clone(), id.to_owned(), Arc::clone(output));
        Self::Log(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                // It is read to its end once more at the run's end.
                if let Err(error) = read_log(&client, &id, &output).await {
                    tracing::debug!(container = id, %error, "a container's log cannot be read now");
                }
                sleep((begun.elapsed() * PAUSE_FACTOR).max(SHORTEST_PAUSE)).await;
            }
        })))
    }

    /// True: [`Source::turn`] may give something.
    pub(super) const fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// Takes what comes next. Cancel safe.
    pub(super) async fn turn(&mut self, output: &Arc<Output>) {
        let Self::Live(printed) = self else { return };
        match printed.next().await {
            Some(Ok(piece)) => append(piece, output, &mut [0; 2]),
            None => *self = Self::Over { is_whole: true },
            Some(Err(error)) => {
                tracing::debug!(%error, "a container's output breaks off");
                *self = Self::Over { is_whole: false };
            }
        }
    }

    /// The container has ended: takes what is left. An error: some of it is missing.
    pub(super) async fn finish(
        &mut self,
        client: &Client,
        id: &str,
        output: &Arc<Output>,
    ) -> Result<(), EngineError> {
        let live = async {
            while self.is_live() {
                self.turn(output).await;
            }
        };
        let _ = timeout(LINGER, live).await;
        match std::mem::replace(self, Self::Over { is_whole: true }) {
            Self::Over { is_whole: true } => return Ok(()),
            Self::Over { is_whole: false } | Self::Live(_) => {}
            Self::Log(task) => {
                task.abort();
                // It must not append beside us.
                let _ = task.await;
            }
        }
        read_log(client, id, output).await
    }
}

/// Takes from the log what is behind the bytes that were taken.
async fn read_log(client: &Client, id: &str, output: &Arc<Output>) -> Result<(), EngineError> {
    let mut skip = [Stream::Out, Stream::Err].map(|stream| output.taken(stream));
    let mut log = client.log(id);
    let reading = async {
        while let Some(piece) = log.next().await {
            append(piece?, output, &mut skip);
        }
        Ok(())
    };
    let late = || EngineError::away("its log was not read in time");
    timeout(LONGEST_READ, reading).await.map_err(|_| late())?
}

/// Appends a piece but for the first `skip` bytes of its stream.
fn append(piece: LogOutput, output: &Arc<Output>, skip: &mut [u64; 2]) {
    let (stream, message) = match piece {
        LogOutput::StdErr { message } => (Stream::Err, message),
        LogOutput::StdOut { message } | LogOutput::Console { message } => (Stream::Out, message),
        LogOutput::StdIn { .. } => return,
    };
    let left = &mut skip[stream as usize];
    let known = usize::try_from(*left).unwrap_or(usize::MAX).min(message.len());
    *left -= known as u64;
    output.append(stream, &message[known..]);
}

#[cfg(test)]
mod tests {
    use common::job::OutputLimit;

    use super::*;

    #[test]
    fn what_was_taken_is_skipped_in_each_stream() {
        let output = Output::new(OutputLimit::of(1000), Instant::now(), None);
        let out = |text: &'static str| LogOutput::StdOut { message: text.into() };
        let err = |text: &'static str| LogOutput::StdErr { message: text.into() };
        append(out("one\nt"), &output, &mut [0; 2]);
        append(err("o"), &output, &mut [0; 2]);
        let mut skip = [Stream::Out, Stream::Err].map(|stream| output.taken(stream));
        for piece in [out("one\n"), err("oh\n"), out("two\n"), out("three\n")] {
            append(piece, &output, &mut skip);
        }
        let all = output.finish();
        let of = |wanted: Stream| -> String {
            let mut at = 0;
            let mut text = String::new();
            for piece in &all.pieces {
                let end = at + piece.2 as usize;
                if piece.1 == wanted {
                    text.push_str(&all.text[at..end]);
                }
                at = end;
            }
            text
        };
        assert_eq!((of(Stream::Out).as_str(), of(Stream::Err).as_str()), ("one\ntwo\nthree\n", "oh\n"));
    }
}
