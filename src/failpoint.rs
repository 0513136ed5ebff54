//! Places where a test holds a thread still, to see that the others go on, or ends the process.
//!
//! Owns the names of those places and the gate. In every build but that of this crate's own tests [`pass`] is nothing.

/// The calling thread is between two steps of what it does. A test may have it stand still here.
#[inline(always)]
#[cfg_attr(test, track_caller)]
pub(crate) fn pass(step: &'static str) {
    #[cfg(all(test, not(memfs_loom)))]
    testing::pass(step);
    #[cfg(not(all(test, not(memfs_loom))))]
    let _ = step;
}

#[cfg(all(test, not(memfs_loom)))]
pub(crate) mod testing {
    use std::{
        cell::RefCell,
        collections::HashMap,
        panic::Location,
        sync::{Arc, Condvar, Mutex, OnceLock},
        time::Duration,
    };

    /// A step, and where it is in the source.
    pub(crate) type Step = (&'static str, &'static Location<'static>);

    #[derive(Default)]
    struct State {
        /// Where the thread stands.
        at: Option<Step>,
        /// It may go on, or never needed to stop.
        is_open: bool,
    }

    /// Where one thread is held still.
    #[derive(Default)]
    pub(crate) struct Gate {
        state: Mutex<State>,
        changed: Condvar,
    }

    impl Gate {
        /// Waits until the thread stands still, or has come to its end without; where it stands.
        pub(crate) fn wait(&self) -> Option<Step> {
            let state = self.state.lock().expect("no panic inside");
            let waiting = |state: &mut State| state.at.is_none() && !state.is_open;
            let (state, late) = self
                .changed
                .wait_timeout_while(state, Duration::from_secs(60), waiting)
                .expect("no panic inside");
            assert!(!late.timed_out(), "the thread neither stands still nor ends");
            state.at
        }

        /// Lets the thread go on.
        pub(crate) fn open(&self) {
            self.state.lock().expect("no panic inside").is_open = true;
            self.changed.notify_all();
        }

        fn stand(&self, step: Step) {
            let mut state = self.state.lock().expect("no panic inside");
            state.at = Some(step);
            self.changed.notify_all();
            drop(self.changed.wait_while(state, |state| !state.is_open).expect("no panic inside"));
        }
    }

    /// Places at which a thread stood still already, with their steps.
    pub(crate) type Seen = Mutex<HashMap<&'static Location<'static>, &'static str>>;

    /// Where a thread is to stand still.
    #[derive(Clone)]
    pub(crate) enum Where {
        /// At the first place that is not entered here; then it is.
        Unseen(Arc<Seen>),
        /// At the first step of this name.
        Step(&'static str),
    }

    impl Where {
        fn is(&self, (step, here): Step) -> bool {
            match self {
                Where::Unseen(seen) => seen.lock().expect("no panic inside").insert(here, step).is_none(),
                Where::Step(name) => *name == step,
            }
        }
    }

    thread_local! {
        static PLAN: RefCell<Option<(Where, Arc<Gate>)>> = const { RefCell::new(None) };
    }

    /// Runs `act`, which stands still at `place`, if it comes there.
    pub(crate) fn standing_still<R>(place: Where, gate: &Arc<Gate>, act: impl FnOnce() -> R) -> R {
        PLAN.set(Some((place, gate.clone())));
        let done = act();
        PLAN.set(None);
        gate.open();
        done
    }

    /// Asked at every step of every thread, in a process that wants that.
    static EVERY_PASS: OnceLock<fn(&'static str)> = OnceLock::new();

    /// Calls `ask` at every step of every thread from now on.
    pub(crate) fn on_every_pass(ask: fn(&'static str)) {
        assert!(EVERY_PASS.set(ask).is_ok(), "one at a time");
    }

    #[track_caller]
    pub(super) fn pass(step: &'static str) {
        if let Some(ask) = EVERY_PASS.get() {
            ask(step);
        }
        let here = Location::caller();
        // A thread that ends has no plan any more.
        let gate = PLAN.try_with(|plan| {
            let mut plan = plan.try_borrow_mut().ok()?;
            let (place, _) = plan.as_ref()?;
            if !place.is((step, here)) {
                return None;
            }
            plan.take().map(|(_, gate)| gate)
        });
        if let Ok(Some(gate)) = gate {
            gate.stand((step, here));
        }
    }
}
