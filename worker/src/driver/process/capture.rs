//! Reads what a process prints from two pipes, without a thread, a task or a buffer of its own while it is silent.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    process::Stdio,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use common::runlog::Stream;
use tokio::{net::unix::pipe::Receiver, time::sleep};

use crate::output::Output;

/// Between two reads of what nobody wants: some megabytes a second.
const DRAIN_PAUSE: Duration = Duration::from_millis(10);

/// As much as a pipe holds.
const BUFFER_BYTES: usize = 64 << 10;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; BUFFER_BYTES]);
}

/// The reading ends of a process's standard output and standard error.
pub(super) struct Capture {
    /// By [`Stream`]; none: closed.
    pipes: [Option<Receiver>; 2],
    /// Read last; where both have something, the other one is next, so that neither starves.
    last: Stream,
}

impl Capture {
    /// Two pipes: their reading ends, and the writing ends for the process.
    pub(super) fn open() -> io::Result<(Self, Stdio, Stdio)> {
        let (out, out_end) = io::pipe()?;
        let (err, err_end) = io::pipe()?;
        let pipes = [Some(Receiver::from_owned_fd(out.into())?), Some(Receiver::from_owned_fd(err.into())?)];
        Ok((Self { pipes, last: Stream::Err }, out_end.into(), err_end.into()))
    }

    /// Whether anything can still come.
    pub(super) fn is_open(&self) -> bool {
        self.pipes.iter().any(Option::is_some)
    }

    /// Takes what can still come, if anything can.
    pub(super) fn take_open(&mut self) -> Option<Self> {
        self.is_open().then(|| Self { pipes: std::mem::take(&mut self.pipes), last: self.last })
    }

    /// Waits until something comes or a stream ends, and takes it. False when both have ended. Cancel safe.
    pub(super) async fn turn(&mut self, output: &Arc<Output>) -> bool {
        if !self.is_open() {
            return false;
        }
        let stream = poll_fn(|context| self.poll_ready(context)).await;
        self.last = stream;
        if stream == Stream::Err {
            // What waits on standard output was printed before the error as a rule: it fills its pipe, an error does not.
            self.read(Stream::Out, output);
        }
        self.read(stream, output);
        self.is_open()
    }

    /// Reads on until both streams have ended, and throws away what comes: who still prints must not die of it. It reads
    /// slowly, so that one who prints without end waits for it, and does not take a processor from others.
    pub(super) async fn drain(mut self) {
        while self.is_open() {
            let stream = poll_fn(|context| self.poll_ready(context)).await;
            self.last = stream;
            self.read_to(stream, |_| {});
            sleep(DRAIN_PAUSE).await;
        }
    }

    fn poll_ready(&self, context: &mut Context<'_>) -> Poll<Stream> {
        let order = match self.last {
            Stream::Out => [Stream::Err, Stream::Out],
            Stream::Err => [Stream::Out, Stream::Err],
        };
        for stream in order {
            // An error is found, and told, by the read.
            if let Some(pipe) = &self.pipes[stream as usize]
                && pipe.poll_read_ready(context).is_ready()
            {
                return Poll::Ready(stream);
            }
        }
        Poll::Pending
    }

    fn read(&mut self, stream: Stream, output: &Arc<Output>) {
        self.read_to(stream, |bytes| output.append(stream, bytes));
    }

    fn read_to(&mut self, stream: Stream, mut take: impl FnMut(&[u8])) {
        let pipe = &mut self.pipes[stream as usize];
        let Some(receiver) = pipe else { return };
        let read = BUFFER.with_borrow_mut(|buffer| {
            let read = receiver.try_read(buffer);
            if let Ok(count) = read {
                take(&buffer[..count]);
            }
            read
        });
        match read {
            Ok(0) => *pipe = None,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                tracing::warn!(%error, "a process's output cannot be read");
                *pipe = None;
            }
            _ => {}
        }
    }
}
