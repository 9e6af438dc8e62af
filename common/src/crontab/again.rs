//! A table that is imported again: which line belongs to which job of the earlier import, what a person has changed
//! since, and what is gone from the table. Pure.
//!
//! An import owns a job's trigger, driver and required labels, and leaves a hash of them in the label
//! [`IMPRINT_LABEL`]: if a job has different ones by now, a person has edited it. Everything else about a job (its
//! timeout, its retries, …) belongs to people, and survives every import.

use crate::{
    id::{JobName, MAX_NAME_BYTES},
    job::{Command, Job},
    placement::{FNV_OFFSET, fnv},
};

/// The label that tells from which table a job was made.
pub const SOURCE_LABEL: &str = "crontab";

/// The label with the hash of what an import made of a line.
pub const IMPRINT_LABEL: &str = "crontab-imprint";

/// What a line of the table means for the jobs that are there.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// There is no job of it yet.
    Added,
    /// Its job says something else.
    Changed,
    /// Its job says the same.
    Unchanged,
    /// A person changed its job, and the line is as it was: the job stays as it is.
    Edited,
    /// A person changed its job, and the line has changed as well.
    Conflict,
}

/// A line's job, as it should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Again {
    /// The job to save.
    pub job: Job,
    /// Why, or why not.
    pub change: Change,
    /// Which of the jobs that were given it is; none: a new one.
    pub was: Option<usize>,
}

/// Says of each of a table's jobs which of `there`, the jobs that this table made before, it is. Those that no line is
/// any more are left over: their places in `there` are the second result.
pub fn again(jobs: &[&Job], there: &[Job]) -> (Vec<Again>, Vec<usize>) {
    let pairs = pairs(jobs, there);
    let gone: Vec<usize> = (0..there.len()).filter(|place| !pairs.contains(&Some(*place))).collect();
    let mut taken: Vec<JobName> = there.iter().map(|job| job.name.clone()).collect();
    let mut result = Vec::with_capacity(jobs.len());
    for (job, was) in jobs.iter().zip(pairs) {
        result.push(if let Some(place) = was {
            let old = &there[place];
            Again { job: merged(old, job), change: change(old, job), was }
        } else {
            let name = free_name(&job.name, &taken);
            taken.push(name.clone());
            Again { job: Job { name, ..(*job).clone() }, change: Change::Added, was }
        });
    }
    (result, gone)
}

/// The hash of what an import owns of a job; the same in every release.
pub fn imprint(job: &Job) -> String {
    let owned = serde_json::to_vec(&(&job.trigger, &job.driver, &job.placement.require)).unwrap_or_default();
    format!("{:016x}", fnv(FNV_OFFSET, &owned))
}

/// True: a person has changed what an import made of it. Imports of earlier versions left no imprint.
pub fn is_edited(job: &Job) -> bool {
    job.labels.get(IMPRINT_LABEL).is_some_and(|made| *made != imprint(job))
}

fn change(old: &Job, new: &Job) -> Change {
    let made = old.labels.get(IMPRINT_LABEL);
    let wanted = imprint(new);
    if imprint(old) == wanted {
        // An imprint that is missing is made good.
        if made == Some(&wanted) { Change::Unchanged } else { Change::Changed }
    } else if !is_edited(old) {
        Change::Changed
    } else if made == Some(&wanted) {
        Change::Edited
    } else {
        Change::Conflict
    }
}

/// The old job with what the import owns from the new one.
fn merged(old: &Job, new: &Job) -> Job {
    let mut job = old.clone();
    job.trigger = new.trigger.clone();
    job.driver = new.driver.clone();
    job.placement.require.clone_from(&new.placement.require);
    job.labels.extend(new.labels.clone());
    if old.description.starts_with("imported from ") {
        job.description.clone_from(&new.description);
    }
    job
}

/// For each job its earlier self. What is most alike is paired first; equal ones in their order.
fn pairs(jobs: &[&Job], there: &[Job]) -> Vec<Option<usize>> {
    let new: Vec<String> = jobs.iter().map(|job| imprint(job)).collect();
    let old: Vec<String> = there.iter().map(imprint).collect();
    let exact = |n: usize, o: usize| new[n] == old[o];
    // A person changed its job since.
    let same_line = |n: usize, o: usize| there[o].labels.get(IMPRINT_LABEL) == Some(&new[n]);
    let same_command = |n: usize, o: usize| what(jobs[n]) == what(&there[o]);
    let same_name =
        |n: usize, o: usize| jobs[n].name == there[o].name && program(jobs[n]) == program(&there[o]);
    let likenesses: [&dyn Fn(usize, usize) -> bool; 4] = [&exact, &same_line, &same_command, &same_name];
    let mut pairs = vec![None; jobs.len()];
    let mut left: Vec<usize> = (0..there.len()).collect();
    for is_same in likenesses {
        for (n, pair) in pairs.iter_mut().enumerate().filter(|(_, pair)| pair.is_none()) {
            if let Some(place) = left.iter().position(|o| is_same(n, *o)) {
                *pair = Some(left.remove(place));
            }
        }
    }
    pair_by_program(jobs, there, &mut pairs, &mut left);
    pairs
}

/// The only line that runs a program is the only job that did, with other arguments.
fn pair_by_program(jobs: &[&Job], there: &[Job], pairs: &mut [Option<usize>], left: &mut Vec<usize>) {
    let new: Vec<usize> = (0..jobs.len()).filter(|n| pairs[*n].is_none()).collect();
    for n in &new {
        let mut others = new.iter().filter(|other| program(jobs[**other]) == program(jobs[*n]));
        let mut olds = (0..left.len()).filter(|place| program(&there[left[*place]]) == program(jobs[*n]));
        if let (Some(_), None, Some(only), None) = (others.next(), others.next(), olds.next(), olds.next()) {
            pairs[*n] = Some(left.remove(only));
        }
    }
}

/// What a job of a table runs, and as whom.
fn what(job: &Job) -> Option<(&str, Option<&str>)> {
    match &job.driver {
        Command::Shell(shell) => Some((&shell.command, shell.environment.user.as_deref())),
        Command::Exec(_) | Command::Docker(_) | Command::Http(_) | Command::Noop(_) => None,
    }
}

/// The first word of it.
fn program(job: &Job) -> Option<(&str, Option<&str>)> {
    what(job).map(|(command, user)| (command.split_whitespace().next().unwrap_or_default(), user))
}

/// The name, or the first numbered one that nobody has.
fn free_name(name: &JobName, taken: &[JobName]) -> JobName {
    if !taken.contains(name) {
        return name.clone();
    }
    let end = (0..=name.as_str().len().min(MAX_NAME_BYTES - 12)).rev();
    let end = end.into_iter().find(|end| name.as_str().is_char_boundary(*end)).unwrap_or(0);
    let stem = &name.as_str()[..end];
    (2..=taken.len() + 2)
        .filter_map(|n| format!("{stem}-{n}").parse().ok())
        .find(|name| !taken.contains(name))
        .unwrap_or_else(|| name.clone())
}

#[cfg(test)]
mod tests;
