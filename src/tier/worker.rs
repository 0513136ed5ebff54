//! Background work: room made ahead of need, preloads, upkeep. With no workers callers do it all.
//!
//! Nobody on a path that reads, writes, creates, removes or looks up takes the queue's lock: those nudge through a flag.

use super::{core::Core, local::Local, preload::Preloading};
use crate::{
    arena::{Budget, metadata_reserve},
    config::Config,
    scorer::Band,
    sync::{AtomicBool, Condvar, Mutex, MutexGuard, Ordering::Relaxed},
};
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How often one worker looks after things nobody nudged it for.
const TICK: Duration = Duration::from_millis(100);
/// The least time between two rounds of making room ahead: a store at its limit is nudged by every write.
const PACE: Duration = Duration::from_millis(1);

pub(crate) struct Jobs {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// Somebody saw the budget above the high watermark, and a worker has not yet looked.
    pressure: AtomicBool,
    /// The watermark in bytes charged; above every limit where there are no workers.
    high_bytes: u64,
    /// Free or free-able bytes that workers keep ready.
    low_headroom: u64,
}

struct Queue {
    preloads: VecDeque<Arc<Preloading>>,
    /// A worker is making room; one is enough.
    making_room: bool,
    /// Workers that are at a job.
    busy: usize,
    stop: bool,
}

enum Job {
    Preload(Arc<Preloading>),
    MakeRoom,
    Upkeep,
    Stop,
}

impl Jobs {
    pub(crate) fn new(config: &Config) -> Self {
        let limit = config.memory_limit_bytes;
        let reserve = (limit / 64).clamp(16 << 10, 64 << 20);
        Self {
            queue: Mutex::new(Queue { preloads: VecDeque::new(), making_room: false, busy: 0, stop: false }),
            wake: Condvar::new(),
            pressure: AtomicBool::new(false),
            high_bytes: if config.worker_threads == 0 {
                u64::MAX
            } else {
                limit.saturating_sub(metadata_reserve(limit) + reserve)
            },
            low_headroom: reserve * 2,
        }
    }

    /// Asks for room to be made ahead of need, if the budget is nearly spent. Two loads otherwise; never waits.
    #[inline]
    pub(crate) fn nudge(&self, budget: &Budget) {
        if budget.charged() > self.high_bytes && !self.pressure.load(Relaxed) {
            self.nudge_slow();
        }
    }

    #[cold]
    fn nudge_slow(&self) {
        // Relaxed: the flag carries nothing; a wake-up that is missed is made good by the tick.
        if !self.pressure.swap(true, Relaxed) {
            self.wake.notify_one();
        }
    }

    pub(crate) fn enqueue(&self, preloading: Arc<Preloading>) {
        self.lock().preloads.push_back(preloading);
        self.wake.notify_one();
    }

    pub(crate) fn stop(&self) -> VecDeque<Arc<Preloading>> {
        let mut queue = self.lock();
        queue.stop = true;
        self.wake.notify_all();
        std::mem::take(&mut queue.preloads)
    }

    /// A panic elsewhere leaves the queue as it was between two operations: sound.
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until no worker is at a job, and lets none begin before the guard is dropped.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(crate) fn at_rest(&self) -> impl Sized + '_ {
        loop {
            let queue = self.lock();
            if queue.busy == 0 {
                return queue;
            }
            drop(queue);
            std::thread::sleep(PACE);
        }
    }

    /// The worker has done its job.
    fn done(&self) {
        self.lock().busy -= 1;
    }

    /// The next job; `timekeeper` is the worker that looks after upkeep.
    fn next(&self, timekeeper: bool) -> Job {
        let mut queue = self.lock();
        loop {
            if queue.stop {
                return Job::Stop;
            }
            if let Some(preloading) = queue.preloads.pop_front() {
                queue.busy += 1;
                return Job::Preload(preloading);
            }
            if self.pressure.load(Relaxed) && !queue.making_room {
                queue.making_room = true;
                queue.busy += 1;
                return Job::MakeRoom;
            }
            if timekeeper {
                let (back, timeout) =
                    self.wake.wait_timeout(queue, TICK).unwrap_or_else(|poisoned| poisoned.into_inner());
                queue = back;
                if timeout.timed_out() {
                    queue.busy += 1;
                    return Job::Upkeep;
                }
            } else {
                queue = self.wake.wait(queue).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        }
    }
}

impl Core {
    /// A worker's life.
    pub(crate) fn work(self: &Arc<Self>, number: usize) {
        let local = self.local();
        loop {
            match self.jobs.next(number == 0) {
                Job::Preload(preloading) => preloading.run(self, &local),
                Job::MakeRoom => self.make_room_ahead(&local),
                Job::Upkeep => self.upkeep(&local),
                Job::Stop => return,
            }
            self.jobs.done();
        }
    }

    fn make_room_ahead(&self, local: &Local) {
        let batch = (self.config.memory_limit_bytes / 256).clamp(8 << 10, 1 << 20);
        while !self.is_closed() && self.headroom() < self.jobs.low_headroom {
            if self.evict(local, batch, Band::Kept, u32::MAX) == 0 {
                break;
            }
            self.collect(local);
        }
        std::thread::sleep(PACE);
        self.jobs.pressure.store(false, Relaxed);
        self.jobs.lock().making_room = false;
    }
}
