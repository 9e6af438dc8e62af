//! What a role does as the first process of a container: orphans become its children, and stay zombies unless it
//! waits for them. The process that runs a role waits for its own children only, so here it is a child itself.

use std::{
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode, id},
};

use anyhow::Context as _;
use nix::{
    errno::Errno,
    sys::{
        signal::{self, Signal},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use tokio::signal::unix::{SignalKind, signal};

/// What the role gets when the container does.
const HANDED_ON: [Signal; 6] =
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGUSR2];

/// True: this is the first process.
pub(crate) fn is_first_process() -> bool {
    id() == 1
}

/// Runs this program once more, with the same arguments, hands signals on to it, and waits for it and for every orphan. Ends
/// as it does. Blocks; must be called before anything else is started.
pub(crate) fn stand_in() -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime of the first process")?;
    let _context = runtime.enter();
    // Before there is anybody to wait for.
    let mut ended = signal(SignalKind::child()).context("listen for the end of processes")?;
    let (sender, mut signals) = tokio::sync::mpsc::unbounded_channel();
    for which in HANDED_ON {
        let mut heard = signal(SignalKind::from_raw(which as i32)).context("listen for signals")?;
        let sender = sender.clone();
        runtime.spawn(async move { while heard.recv().await.is_some() && sender.send(which).is_ok() {} });
    }
    let own = std::env::current_exe().context("find this program's own file")?;
    let child = Command::new(own)
        .args(std::env::args_os().skip(1))
        // A terminal's Ctrl-C is for this process, which hands it on: it must not come twice.
        .process_group(0)
        .spawn()
        .context("start the role beside the first process")?;
    let child = Pid::from_raw(child.id().try_into().context("its process id")?);
    runtime.block_on(async {
        loop {
            tokio::select! {
                Some(which) = signals.recv() => {
                    // It fails when the child has just ended, which the next turn finds.
                    let _ = signal::kill(child, which);
                }
                _ = ended.recv() => if let Some(code) = reap(child) {
                    return Ok(code);
                },
            }
        }
    })
}

/// Waits for all that have ended; the code of the child, if it was among them.
fn reap(child: Pid) -> Option<ExitCode> {
    let mut code = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, status)) if pid == child => code = Some(status),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => code = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) => break,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => break,
        }
    }
    code.map(|code| ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX)))
}
