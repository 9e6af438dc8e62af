//! Logging, on standard error: standard output belongs to results.
//!
//! A process that serves goes on whatever becomes of its log: a thread of its own writes the lines (see [`lines`]),
//! and a line that cannot be written is lost. A command that a person waits for writes them itself, and waits for the
//! reader.

use std::{
    backtrace::{Backtrace, BacktraceStatus},
    fmt::Display,
    fs::File,
    io::{self, IsTerminal as _, Write as _},
    os::fd::AsFd as _,
    panic::PanicHookInfo,
    sync::{Arc, OnceLock},
    time::Duration,
};

use anyhow::Context as _;
use tracing_subscriber::{EnvFilter, fmt::MakeWriter};

use self::lines::{Lines, Waiting};
use crate::config::{LogFormat, LogSettings, Role};

mod lines;

/// The lines of a process that serves.
static LINES: OnceLock<Arc<Lines>> = OnceLock::new();

/// At the end, waiting lines get this long.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Sets logging up for the rest of the process.
pub(crate) fn start(settings: &LogSettings, role: Role) -> anyhow::Result<()> {
    let to = match role {
        Role::Dev | Role::Manager | Role::Worker => To::Queue(start_lines()?),
        Role::Client | Role::Admin => To::StandardError,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&settings.filter)?)
        // It would say so on standard error, and panic where it cannot.
        .log_internal_errors(false)
        .with_writer(to);
    let started = match settings.format {
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
        LogFormat::Text => builder.with_ansi(io::stderr().is_terminal()).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!(error).context("set up logging"))
}

fn start_lines() -> anyhow::Result<Arc<Lines>> {
    // A handle of its own: the usual one has a lock, which a write that waits would hold.
    let to = File::from(io::stderr().as_fd().try_clone_to_owned().context("use standard error")?);
    let lines = Lines::start(to, lost).context("start the thread that writes the log")?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(LINES.get_or_init(|| lines).clone())
}

/// Said in place of lines that were lost, once lines can be written again.
fn lost(lines: u64) {
    tracing::warn!(lines, "some lines of this log are lost: standard error did not take them");
}

/// In place of the usual hook, which writes by itself and would wait for a reader that stalls.
fn log_panic(info: &PanicHookInfo<'_>) {
    let payload = info.payload();
    let text =
        payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    tracing::error!(place, thread, "a panic, which is a bug in Quorate: {}", text.unwrap_or("no text"));
    let trace = Backtrace::capture();
    if trace.status() == BacktraceStatus::Captured {
        tracing::error!("its backtrace:\n{trace}");
    }
}

/// Says something to people on standard error, behind what was logged before. That nobody reads it is no reason to end.
pub(crate) fn say(line: impl Display) {
    let line = format!("{line}\n").into_bytes();
    match LINES.get() {
        Some(lines) => lines.push(line),
        // There is nobody left who could be told.
        None => drop(io::stderr().write_all(&line)),
    }
}

/// Waits until what was logged and said is written, but not for long: for the end of the process.
pub(crate) fn flush() {
    if let Some(lines) = LINES.get() {
        lines.flush(LAST_LINES);
    }
}

/// Where lines go.
enum To {
    Queue(Arc<Lines>),
    StandardError,
}

/// Takes one line.
enum LineTo<'a> {
    Queue(Waiting<'a>),
    StandardError(io::Stderr),
}

impl<'a> MakeWriter<'a> for To {
    type Writer = LineTo<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        match self {
            Self::Queue(lines) => LineTo::Queue(lines.waiting()),
            Self::StandardError => LineTo::StandardError(io::stderr()),
        }
    }
}

impl io::Write for LineTo<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Queue(waiting) => waiting.write(bytes),
            Self::StandardError(stderr) => stderr.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
