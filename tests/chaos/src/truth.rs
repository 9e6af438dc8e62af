//! What really ran, told by the jobs themselves, outside of the scheduler: each run appends lines to one file.
//!
//! A line is one `write` in append mode, so lines do not mix and their order is the order of what happened, whatever
//! any clock says. Times come from `/proc/uptime`, which no faked clock reaches: they are cut to 10 ms.

use std::{
    io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use common::{clock::Clock, tick::Tick};

/// By how much a line's time may lie before what happened.
pub const RESOLUTION_MS: i64 = 10;

/// At which point of a run a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// First thing.
    Start,
    /// Now and then, by runs that last.
    Beat,
    /// Last thing, by runs that last.
    End,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// At which point of the run.
    pub mark: Mark,
    /// The job.
    pub job: String,
    /// Whose tick it was; none for a manual run.
    pub tick: Option<Tick>,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The fencing token.
    pub fence: i64,
    /// Who ran it.
    pub worker: String,
    /// The run.
    pub run: String,
    /// When, in milliseconds since 1970 by the machine's own clock.
    pub at_ms: i64,
}

/// The file, and the commands that write to it.
#[derive(Clone, Debug)]
pub struct Truth {
    path: PathBuf,
    /// When the machine started, in milliseconds since 1970.
    boot_ms: i64,
}

impl Truth {
    /// An empty file in this folder.
    pub fn create(dir: &Path, clock: &dyn Clock) -> io::Result<Self> {
        let path = dir.join("truth");
        std::fs::write(&path, "")?;
        let up = i64::try_from(clock.since_boot().as_millis()).unwrap_or(i64::MAX);
        Ok(Self { path, boot_ms: clock.now().timestamp_millis().saturating_sub(up) })
    }

    /// A command that says that it started, and nothing else: one shell, no further process.
    pub fn once(&self) -> String {
        format!("{}; say start", self.say())
    }

    /// A command that lasts so many halves of a second and says so all the while.
    pub fn lasting(&self, half_seconds: u32) -> String {
        format!(
            "{}; say start; n=0; while [ $n -lt {half_seconds} ]; do sleep 0.5; say beat; n=$((n+1)); done; say end",
            self.say()
        )
    }

    /// A command that fails in every attempt before this one.
    pub fn failing_before(&self, attempt: u32) -> String {
        format!("{}; say start; [ $QUORATE_ATTEMPT -ge {attempt} ] || exit 3; say end", self.say())
    }

    fn say(&self) -> String {
        let path = self.path.display();
        format!(
            "say() {{ read -r up idle </proc/uptime; echo \"$1 $QUORATE_JOB ${{QUORATE_TICK:--}} $QUORATE_ATTEMPT \
             $QUORATE_FENCE $QUORATE_WORKER $QUORATE_RUN $up\" >>'{path}'; }}"
        )
    }

    /// All lines so far.
    pub fn read(&self) -> Result<Vec<Line>> {
        let text = std::fs::read_to_string(&self.path).context("read the truth")?;
        text.lines().map(|line| parse(line, self.boot_ms).with_context(|| format!("read {line:?}"))).collect()
    }
}

fn parse(line: &str, boot_ms: i64) -> Option<Line> {
    let mut words = line.split(' ');
    let mark = match words.next()? {
        "start" => Mark::Start,
        "beat" => Mark::Beat,
        "end" => Mark::End,
        _ => return None,
    };
    let job = words.next()?.to_owned();
    let tick = match words.next()? {
        "-" => None,
        tick => Some(tick.parse().ok()?),
    };
    let attempt = words.next()?.parse().ok()?;
    let fence = words.next()?.parse().ok()?;
    let worker = words.next()?.to_owned();
    let run = words.next()?.to_owned();
    let (seconds, hundredths) = words.next()?.split_once('.')?;
    let up_ms = seconds.parse::<i64>().ok()? * 1000 + hundredths.parse::<i64>().ok()? * 10;
    Some(Line { mark, job, tick, attempt, fence, worker, run, at_ms: boot_ms + up_ms })
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use common::clock::SystemClock;

    use super::*;

    #[test]
    fn what_a_command_says_is_read_again() {
        let (dir, clock) = (tempfile::tempdir().unwrap(), SystemClock::start().unwrap());
        let truth = Truth::create(dir.path(), &clock).unwrap();
        for (command, tick) in [(truth.once(), "2026-11-22T01:02:03Z"), (truth.lasting(1), "")] {
            let status = Command::new("/bin/sh")
                .args(["-c", &command])
                .envs([("QUORATE_JOB", "a"), ("QUORATE_TICK", tick), ("QUORATE_ATTEMPT", "1")])
                .envs([("QUORATE_FENCE", "77"), ("QUORATE_WORKER", "w1"), ("QUORATE_RUN", "r")])
                .status();
            assert!(status.unwrap().success());
        }
        let lines = truth.read().unwrap();
        let marks: Vec<_> = lines.iter().map(|line| line.mark).collect();
        assert_eq!(marks, [Mark::Start, Mark::Start, Mark::Beat, Mark::End]);
        assert_eq!(lines[0].tick, Some("2026-11-22T01:02:03Z".parse().unwrap()));
        assert_eq!((lines[1].tick, lines[1].fence, lines[1].worker.as_str()), (None, 77, "w1"));
        let late = clock.now().timestamp_millis() - lines[3].at_ms;
        // The clock may be set a little between the two.
        assert!((-RESOLUTION_MS..60_000).contains(&late), "{late} ms");
    }
}
