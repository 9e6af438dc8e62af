//! What an edited job is when. What a request makes of it is possible from when it was asked for, and certain from its
//! answer on: a tick in between goes either way.

use std::collections::VecDeque;

use crate::load::Rhythm;

/// What a job may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has these ticks.
    On(Rhythm),
    /// It is paused.
    Paused,
    /// There is no such job.
    Gone,
}

/// What a second has to be to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// A tick, with a run or an outcome.
    Tick,
    /// Either way.
    Either,
    /// No tick.
    Nothing,
}

/// A state from when on.
#[derive(Clone, Copy, Debug)]
struct Spell {
    state: State,
    asked_ms: i64,
    /// None: the request is not answered yet.
    sure_ms: Option<i64>,
}

/// All states of a job that count yet, in their order.
#[derive(Clone, Debug)]
pub(super) struct Timeline(VecDeque<Spell>);

impl Timeline {
    /// A job that has had this state ever since.
    pub(super) fn new(state: State) -> Self {
        Self([Spell { state, asked_ms: i64::MIN, sure_ms: Some(i64::MIN) }].into())
    }

    /// The job is to become so, from this time on at the earliest.
    pub(super) fn ask(&mut self, state: State, at_ms: i64) {
        self.0.push_back(Spell { state, asked_ms: at_ms, sure_ms: None });
    }

    /// It has become so by now.
    pub(super) fn sure(&mut self, at_ms: i64) {
        if let Some(last) = self.0.back_mut() {
            last.sure_ms.get_or_insert(at_ms);
        }
    }

    /// All that the job may have been in a time.
    fn possible(&self, from_ms: i64, to_ms: i64) -> impl Iterator<Item = State> {
        let over = |n: usize| self.0.get(n + 1).and_then(|next| next.sure_ms);
        let spells = self.0.iter().enumerate();
        spells
            .filter(move |(n, spell)| spell.asked_ms <= to_ms && over(*n).is_none_or(|over| from_ms <= over))
            .map(|(_, spell)| spell.state)
    }

    /// What the second is, where clocks are wrong by so much.
    pub(super) fn expected(&self, second: i64, clock_ms: i64) -> Expected {
        let at = second * 1000;
        let (mut ticks, mut others) = (0, 0);
        for state in self.possible(at - clock_ms, at + clock_ms) {
            *if state.has(second) { &mut ticks } else { &mut others } += 1;
        }
        match (ticks, others) {
            (0, _) => Expected::Nothing,
            (_, 0) => Expected::Tick,
            _ => Expected::Either,
        }
    }

    /// True when the request that made it so, or one that ends it, is so near.
    pub(super) fn is_edge(&self, at_ms: i64, within_ms: i64) -> bool {
        let met = |spell: &Spell| {
            spell.asked_ms.saturating_sub(within_ms) <= at_ms
                && spell.sure_ms.is_none_or(|sure| at_ms <= sure.saturating_add(within_ms))
        };
        self.0.iter().any(met)
    }

    /// True when the job went after this time and was made again by a manager whose clock said that the tick was yet to
    /// come: the fence went with the job, and the tick is one of another job.
    pub(super) fn is_made_again(&self, after_ms: i64, tick_ms: i64) -> bool {
        let gone = self.0.iter().zip(self.0.iter().skip(1)).filter(|(gone, _)| gone.state == State::Gone);
        gone.clone()
            .any(|(gone, made)| gone.sure_ms.is_none_or(|sure| after_ms <= sure) && made.asked_ms <= tick_ms)
    }

    /// Nobody asks for what was before this time any more.
    pub(super) fn forget(&mut self, before_ms: i64) {
        while self.0.get(1).and_then(|next| next.sure_ms).is_some_and(|sure| sure < before_ms) {
            self.0.pop_front();
        }
    }
}

impl State {
    fn has(self, second: i64) -> bool {
        match self {
            Self::On(rhythm) => rhythm.is_tick(second),
            Self::Paused | Self::Gone => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_goes_either_way_only_while_a_request_is_under_way() {
        let mut line = Timeline::new(State::On(Rhythm { every: 5, phase: 0 }));
        line.ask(State::Paused, 100_000);
        assert_eq!(line.expected(95, 0), Expected::Tick);
        assert_eq!(line.expected(100, 0), Expected::Either);
        assert_eq!(line.expected(105, 0), Expected::Either, "it is not answered yet");
        line.sure(102_000);
        assert_eq!(line.expected(105, 0), Expected::Nothing);
        assert_eq!(line.expected(105, 3_000), Expected::Either, "the clock may be behind");
        line.ask(State::On(Rhythm { every: 3, phase: 0 }), 110_000);
        line.sure(110_100);
        assert_eq!((line.expected(111, 0), line.expected(115, 0)), (Expected::Tick, Expected::Nothing));
        assert!(line.is_edge(111_000, 1_000) && !line.is_edge(112_000, 1_000));
        line.forget(111_000);
        assert_eq!(line.expected(111, 0), Expected::Tick);
    }

    #[test]
    fn a_tick_that_both_triggers_have_is_one_also_between_them() {
        let mut line = Timeline::new(State::On(Rhythm { every: 5, phase: 0 }));
        line.ask(State::On(Rhythm { every: 3, phase: 0 }), 14_990);
        line.sure(15_010);
        assert_eq!(line.expected(15, 0), Expected::Tick);
    }
}
