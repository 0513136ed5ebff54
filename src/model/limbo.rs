//! What a flush reads and what is replaced meanwhile, for the model tests: limbo, the order, and blocks.

use super::limbo::Limbo;
use crate::{
    arena::{Arena, BlockRef, Budget, Magazine},
    epoch::{Collector, Handle},
    model::{Seats, pinned},
    order::{Consumer, Order, Taken, u64_at},
    sync::Arc,
};
use std::cell::RefCell;

const LEN: usize = 64;

/// One content that is replaced, in an order that one thread flushes.
pub struct Replaced {
    seats: Seats<Seat>,
    _collector: Collector,
    queue: Queue,
}

/// Dropped after the collector.
struct Queue {
    arena: Arc<Arena>,
    limbo: Limbo,
    order: Order,
    /// The flusher's: what it consumes from, and what it has taken.
    front: RefCell<Option<(Consumer, Vec<Taken>)>>,
    /// The content, and what is to be the next ones. Only one thread writes.
    blocks: RefCell<Vec<BlockRef>>,
}

impl Drop for Queue {
    fn drop(&mut self) {
        if let Some((consumer, _)) = self.front.take() {
            // SAFETY: the collector is gone, and nobody else is left.
            unsafe { self.order.tear_down(consumer) };
        }
    }
}

struct Seat {
    handle: Handle,
    magazine: Magazine,
}

impl Replaced {
    /// A content that is in the order and not flushed, and `more` that may replace it.
    pub fn new(more: usize) -> Self {
        let arena = Arc::new(Arena::new(Arc::new(Budget::new(1 << 16)), LEN, false).expect("small"));
        let (order, consumer) = Order::new(arena.clone()).expect("room");
        let collector = Collector::new();
        let seats = Seats::new(|| Seat { handle: collector.register(), magazine: Magazine::new() });
        let magazine = Magazine::new();
        let block = |value| {
            let block = arena.alloc(&magazine, LEN).expect("room");
            // SAFETY: fresh.
            unsafe { arena.slack_mut(block, 0, LEN).write_bytes(value, LEN) };
            block
        };
        let blocks: Vec<_> = (0..=more as u8).map(block).collect();
        arena.drain(&magazine);
        let front = RefCell::new(Some((consumer, Vec::new())));
        let queue = Queue { arena, limbo: Limbo::new(), order, front, blocks: RefCell::new(blocks) };
        let this = Self { seats, _collector: collector, queue };
        let first = this.queue.blocks.borrow()[0];
        this.append(first);
        this
    }

    fn with<R>(&self, run: impl FnOnce(&Seat) -> R) -> R {
        let seat = self.seats.take();
        let done = run(seat);
        self.seats.give(seat);
        done
    }

    fn append(&self, block: BlockRef) {
        self.with(|seat| {
            let guard = pinned(&seat.handle);
            let order = &self.queue.order;
            let fill = |bytes: &mut [u8]| bytes.copy_from_slice(&block.bits().to_le_bytes());
            order.append(order.record(&seat.magazine, 0, 0, 8, fill).expect("room"), &guard);
        });
    }

    /// The next content takes its place in the order; what it replaces is given up, at once: a flush has no pin while it reads.
    pub fn replace(&self) {
        let (old, new) = {
            let mut blocks = self.queue.blocks.borrow_mut();
            (blocks.remove(0), blocks[0])
        };
        self.append(new);
        if !self.queue.limbo.keeps(old, false) {
            // SAFETY: the content's reference, given up once.
            unsafe { self.queue.arena.release(old) };
        }
    }

    /// A flush: the value of the content that it writes, if there is one that is not durable.
    pub fn flush(&self) -> Option<u8> {
        let mut front = self.queue.front.borrow_mut();
        let (consumer, taken) = front.as_mut().expect("the model is not over");
        let limbo = &self.queue.limbo;
        let reading = limbo.begin();
        self.with(|seat| self.queue.order.take(consumer, taken, || pinned(&seat.handle)));
        let value = taken.last().map(|last| {
            let block = BlockRef::from_bits(u64_at(last.record().bytes(), 0));
            // SAFETY: current, or in limbo until the end: which is what the model checks.
            let bytes = unsafe { self.queue.arena.bytes(block) };
            bytes[0]
        });
        drop(reading);
        // SAFETY: put into limbo once, and the flush that had begun has read.
        limbo.take_replaced(|block| _ = unsafe { self.queue.arena.release(block) });
        self.with(|seat| self.queue.order.release(taken.drain(..), &pinned(&seat.handle)));
        value
    }

    /// Gives back what is left; whether that is all.
    pub fn finish(self) {
        self.flush();
        self.flush();
        for block in self.queue.blocks.borrow_mut().drain(..) {
            // SAFETY: nobody else has it.
            unsafe { self.queue.arena.release(block) };
        }
    }
}
