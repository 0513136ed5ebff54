//! A linearizability checker: Wing and Gong's search with Lowe's memory of what was tried.
//!
//! A history is linearizable if its operations can be put in one order that a sequential object could have answered so, in
//! which no operation stands before another that had returned before it was called. The search linearizes one operation
//! after the other, backing up where it gets stuck; a pair (operations done, state) met a second time is given up at once.

use std::{collections::HashSet, fmt::Debug, hash::Hash};

/// A sequential object.
pub(crate) trait Object {
    type State: Clone + Eq + Hash;
    type Call: Debug;

    fn start() -> Self::State;

    /// The state after `call`, or `None` if the answer recorded with it is not what an object in `state` gives.
    fn step(state: &Self::State, call: &Self::Call) -> Option<Self::State>;
}

/// One completed operation; times are any that all threads agree on.
#[derive(Clone, Debug)]
pub(crate) struct Event<C> {
    pub(crate) thread: usize,
    pub(crate) called: u64,
    pub(crate) returned: u64,
    /// The operation, with its answer.
    pub(crate) call: C,
}

/// An order that explains the history, as indices into it, or `None` if there is none.
pub(crate) fn order_of<O: Object>(history: &[Event<O::Call>]) -> Option<Vec<usize>> {
    assert!(history.len() <= 128, "a history of {} operations", history.len());
    let mut search = Search::<O> { history, tried: HashSet::new(), order: Vec::new() };
    search.from(0, &O::start()).then_some(search.order)
}

struct Search<'a, O: Object> {
    history: &'a [Event<O::Call>],
    tried: HashSet<(u128, O::State)>,
    order: Vec<usize>,
}

impl<O: Object> Search<'_, O> {
    /// Whether the operations not in `done` can follow, from `state`.
    fn from(&mut self, done: u128, state: &O::State) -> bool {
        if self.order.len() == self.history.len() {
            return true;
        }
        let open = |index: &usize| done & (1 << index) == 0;
        let first_return = (0..self.history.len())
            .filter(open)
            .map(|i| self.history[i].returned)
            .min()
            .expect("one is open");
        for index in (0..self.history.len()).filter(open) {
            // Something else had returned before this was called: it cannot be next.
            if self.history[index].called > first_return {
                continue;
            }
            let Some(next) = O::step(state, &self.history[index].call) else { continue };
            let now_done = done | 1 << index;
            if !self.tried.insert((now_done, next.clone())) {
                continue;
            }
            self.order.push(index);
            if self.from(now_done, &next) {
                return true;
            }
            self.order.pop();
        }
        false
    }
}

/// How many pairs of operations overlap in time: a history without any proves little.
pub(crate) fn overlaps<C>(history: &[Event<C>]) -> usize {
    let overlap = |a: &Event<C>, b: &Event<C>| a.called <= b.returned && b.called <= a.returned;
    (0..history.len())
        .map(|i| history[i + 1..].iter().filter(|later| overlap(&history[i], later)).count())
        .sum()
}
