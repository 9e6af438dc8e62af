//! Ranks the live workers for one job's ticks: a pure function over the registrations, the same on every worker,
//! so that they agree without talking.

use crate::{
    id::WorkerId,
    job::{Placement, PlacementPolicy},
    worker::{LiveWorker, Readiness},
};

/// How many workers look after a tick: the first choice and two that stand in for it.
pub const RANKS: usize = 3;

/// The workers that may claim at a moment, with a hash that tells this view from any other.
#[derive(Clone, Debug, Default)]
pub struct Candidates {
    workers: Vec<Candidate>,
    view: u64,
}

#[derive(Clone, Debug)]
struct Candidate {
    id: WorkerId,
    hash: u64,
    labels: std::collections::BTreeMap<String, String>,
}

impl Candidates {
    /// The ready ones among the live workers.
    pub fn among<'a>(live: impl IntoIterator<Item = &'a LiveWorker>) -> Self {
        let mut workers = Vec::new();
        let mut view = FNV_OFFSET;
        for worker in live.into_iter().filter(|worker| worker.registration.readiness == Readiness::Ready) {
            let hash = fnv(FNV_OFFSET, worker.registration.id.as_str().as_bytes());
            view = view.wrapping_add(mix(hash ^ worker.session.get().unsigned_abs()));
            for (key, value) in &worker.registration.labels {
                view = view.wrapping_add(mix(fnv(fnv(hash, key.as_bytes()), value.as_bytes())));
            }
            workers.push(Candidate {
                id: worker.registration.id.clone(),
                hash,
                labels: worker.registration.labels.clone(),
            });
        }
        Self { workers, view }
    }

    /// Tells this set of candidates from any other. The order in which they were seen does not matter.
    pub const fn view(&self) -> u64 {
        self.view
    }

    /// The first [`RANKS`] workers for a job of this name, or for a task by its id, best first; fewer when fewer qualify.
    pub fn rank(&self, name: &str, placement: &Placement) -> Vec<&WorkerId> {
        let PlacementPolicy::Hash = placement.policy;
        let name = fnv(FNV_OFFSET, name.as_bytes());
        let mut best: [Option<(u64, &WorkerId)>; RANKS] = [None; RANKS];
        for worker in self.workers.iter().filter(|worker| placement.allows(&worker.labels)) {
            let mut entry = Some((mix(name ^ worker.hash.rotate_left(32)), &worker.id));
            for slot in &mut best {
                // Highest score first; ties by name, so that two workers never disagree.
                let better = match (&entry, &*slot) {
                    (Some((score, id)), Some((held, holder))) => (score, *holder) > (held, *id),
                    (Some(_), None) => true,
                    (None, _) => false,
                };
                if better {
                    std::mem::swap(slot, &mut entry);
                }
            }
        }
        best.into_iter().flatten().map(|(_, id)| id).collect()
    }

    /// Where `worker` stands for the job or task: 0 is the first choice; `None`: not among the first [`RANKS`].
    pub fn rank_of(&self, worker: &WorkerId, name: &str, placement: &Placement) -> Option<usize> {
        self.rank(name, placement).iter().position(|id| *id == worker)
    }

    /// True when no worker qualifies at all.
    pub fn none_fits(&self, placement: &Placement) -> bool {
        !self.workers.iter().any(|worker| placement.allows(&worker.labels))
    }
}

pub(crate) const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a: the same in every release and on every machine, unlike the standard library's hasher.
pub(crate) fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    for byte in bytes {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014): spreads what FNV leaves alike.
const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chrono::DateTime;

    use super::*;
    use crate::id::JobName;
    use crate::revision::Revision;
    use crate::worker::Registration;

    fn worker(id: &str, labels: &[(&str, &str)], readiness: Readiness) -> LiveWorker {
        LiveWorker {
            registration: Registration {
                id: id.parse().unwrap(),
                address: String::new(),
                host: String::new(),
                pid: 0,
                labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect::<BTreeMap<_, _>>(),
                slots: 1,
                running: 0,
                load: 0.0,
                readiness,
                epoch: crate::epoch::Epoch::default(),
                version: String::new(),
                started: DateTime::UNIX_EPOCH,
                clock: DateTime::UNIX_EPOCH,
            },
            session: Revision::new(1),
        }
    }

    fn five() -> Vec<LiveWorker> {
        ["a", "b", "c", "d", "e"].map(|id| worker(id, &[], Readiness::Ready)).into()
    }

    fn job(n: usize) -> JobName {
        format!("job{n}").parse().unwrap()
    }

    #[test]
    fn every_worker_gets_its_share() {
        let candidates = Candidates::among(&five());
        let mut share = BTreeMap::new();
        for n in 0..10_000 {
            *share.entry(candidates.rank(job(n).as_str(), &Placement::default())[0].clone()).or_insert(0) +=
                1;
        }
        assert!(share.values().all(|count| (1_800..2_200).contains(count)), "{share:?}");
    }

    #[test]
    fn a_worker_that_goes_moves_its_own_jobs_only_and_to_its_stand_in() {
        let all = five();
        let (before, after) = (Candidates::among(&all), Candidates::among(&all[1..]));
        for n in 0..1_000 {
            let (was, is) = (
                before.rank(job(n).as_str(), &Placement::default()),
                after.rank(job(n).as_str(), &Placement::default()),
            );
            let expected = if was[0].as_str() == "a" { was[1] } else { was[0] };
            assert_eq!(is[0], expected);
        }
    }

    #[test]
    fn the_order_of_the_registrations_does_not_matter() {
        let (all, mut reversed) = (five(), five());
        reversed.reverse();
        let (one, other) = (Candidates::among(&all), Candidates::among(&reversed));
        assert_eq!(one.view(), other.view());
        for n in 0..100 {
            assert_eq!(
                one.rank(job(n).as_str(), &Placement::default()),
                other.rank(job(n).as_str(), &Placement::default())
            );
        }
        assert_ne!(one.view(), Candidates::among(&all[1..]).view());
    }

    #[test]
    fn only_ready_workers_with_the_labels_count() {
        let live = [
            worker("plain", &[], Readiness::Ready),
            worker("ssd", &[("disk", "ssd")], Readiness::Ready),
            worker("full", &[("disk", "ssd")], Readiness::Full),
        ];
        let candidates = Candidates::among(&live);
        let wants = |label: &str| Placement { require: vec![label.into()], ..Placement::default() };
        assert_eq!(candidates.rank(job(1).as_str(), &wants("disk=ssd")).len(), 1);
        assert_eq!(candidates.rank(job(1).as_str(), &wants("disk"))[0].as_str(), "ssd");
        assert!(candidates.none_fits(&wants("disk=tape")));
        assert_eq!(
            candidates.rank_of(&"full".parse().unwrap(), job(1).as_str(), &Placement::default()),
            None
        );
    }
}
