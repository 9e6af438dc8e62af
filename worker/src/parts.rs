//! The parts of a worker that decide and run, put together.

use std::sync::Arc;

use common::id::JobName;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::{
    claim::claims::Claims,
    plan::Plan,
    queue::{freed::FreedLocks, hear::KillWatch, line::Line, take::Queue},
    run::{
        carry_out::Carrier, orphan::Orphans, record::Journal, retry::Retries, runner::Runner, task::Tasks,
    },
    session::{Standing, registry::Registry},
    spool::Spool,
    tick::{
        decide::Decider,
        lead::Lead,
        marks::{Marks, Publisher},
        scheduler::Scheduler,
    },
};

/// The parts of a worker that decide and run.
pub(crate) struct Parts {
    pub(crate) standing: Arc<Standing>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) claims: Arc<Claims>,
    pub(crate) carrier: Arc<Carrier>,
    pub(crate) decider: Arc<Decider>,
    pub(crate) tasks: Arc<Tasks>,
    pub(crate) line: Arc<Mutex<Line>>,
    pub(crate) marks: Arc<Marks>,
}

impl Parts {
    /// Makes them, each with what it needs of the others; and what tells of locks that are freed here.
    pub(crate) fn new(
        claims: Arc<Claims>,
        runner: Arc<Runner>,
        spool: Spool,
        plan: Arc<Plan>,
    ) -> (Self, mpsc::UnboundedReceiver<JobName>) {
        let line = Arc::default();
        let (freed, freed_here) = FreedLocks::new(Arc::clone(&line));
        let standing = claims.standing.clone();
        let (me, clock, load) = (standing.id().clone(), standing.clock.clone(), standing.load.clone());
        let registry = Registry::new(me, clock, load);
        let journal = Arc::new(Journal { standing: standing.clone(), spool, hindrances: Mutex::default() });
        let chance = claims.chance.clone();
        let retries = Arc::new(Retries { standing: standing.clone(), chance, kills: Arc::default() });
        let orphans = Arc::new(Orphans {
            claims: claims.clone(),
            registry: registry.clone(),
            plan: plan.clone(),
            journal: journal.clone(),
            retries: retries.clone(),
        });
        let tasks = Arc::new(Tasks {
            standing: standing.clone(),
            claims: claims.clone(),
            runner: runner.clone(),
            journal: journal.clone(),
            retries: retries.clone(),
            unfinished: Mutex::default(),
        });
        let carrier = Arc::new(Carrier {
            standing: standing.clone(),
            plan,
            claims: claims.clone(),
            runner,
            journal,
            retries,
            freed,
        });
        let decider = Arc::new(Decider {
            standing: standing.clone(),
            claims: claims.clone(),
            carrier: carrier.clone(),
            orphans,
            lead: Lead::default(),
        });
        let marks = Arc::default();
        (Self { standing, registry, claims, carrier, decider, tasks, line, marks }, freed_here)
    }

    pub(crate) fn scheduler(&self) -> Scheduler {
        Scheduler {
            standing: self.standing.clone(),
            plan: self.carrier.plan.clone(),
            decider: self.decider.clone(),
            registry: self.registry.clone(),
            marks: self.marks.clone(),
        }
    }

    pub(crate) fn queue(&self) -> Queue {
        Queue {
            standing: self.standing.clone(),
            carrier: self.carrier.clone(),
            orphans: self.decider.orphans.clone(),
            tasks: self.tasks.clone(),
            line: self.line.clone(),
        }
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher {
            standing: self.standing.clone(),
            marks: self.marks.clone(),
            registry: self.registry.clone(),
            batcher: self.claims.batcher.clone(),
        }
    }

    pub(crate) fn kill_watch(&self) -> KillWatch {
        let (kills, runner) = (self.carrier.retries.kills.clone(), self.carrier.runner.clone());
        KillWatch { kills, runner, keys: self.claims.keys().clone() }
    }
}
