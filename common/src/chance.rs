//! The source of randomness: the ids of runs, and how retries are spread. A simulation seeds it, so that the same
//! seed plays the same.

use chrono::{DateTime, Utc};
#[cfg(feature = "test-support")]
use parking_lot::Mutex;
use rand::Rng as _;
#[cfg(feature = "test-support")]
use rand::{SeedableRng as _, rngs::StdRng};

use crate::id::RunId;

/// A source of chance.
#[derive(Debug, Default)]
pub enum Chance {
    /// Each thread's own generator, seeded by the machine.
    #[default]
    Machine,
    /// The same each time.
    #[cfg(feature = "test-support")]
    Seeded(Box<Mutex<StdRng>>),
}

impl Chance {
    /// What a seed gives.
    #[cfg(feature = "test-support")]
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Box::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A new run's id: what is wanted later sorts later.
    pub fn run_id(&self, now: DateTime<Utc>) -> RunId {
        let millis = u64::try_from(now.timestamp_millis()).unwrap_or_default();
        RunId::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid())
    }

    fn bytes(&self) -> [u8; 10] {
        match self {
            Self::Machine => rand::rng().random(),
            #[cfg(feature = "test-support")]
            Self::Seeded(generator) => generator.lock().random(),
        }
    }

    /// A number from 0 to 1, without 1.
    pub fn fraction(&self) -> f64 {
        match self {
            Self::Machine => rand::rng().random(),
            #[cfg(feature = "test-support")]
            Self::Seeded(generator) => generator.lock().random(),
        }
    }
}
