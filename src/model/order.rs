//! The order of changes, for the model tests.

use super::{Consumer, Order, Record, Taken};
use crate::{
    arena::{Arena, Budget, Magazine},
    epoch::{Collector, Handle},
    model::{Seats, pinned},
    sync::Arc,
};
use std::cell::RefCell;

/// The kind of a record that says a number, instead of being one.
const FRESH: u16 = u16::MAX;

/// A queue, and records that wait to be put into it; each is held by whoever made it as well, as a descriptor holds its.
pub struct Changes {
    seats: Seats<Seat>,
    _collector: Collector,
    order: Queue,
    records: Vec<*const Record>,
}

/// Dropped after the collector.
struct Queue {
    order: Order,
    /// The consumer's, of whom there is one.
    front: RefCell<Option<(Consumer, Vec<Taken>)>>,
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

/// A thread's handle on [`Changes`].
pub struct ChangeUser<'a> {
    changes: &'a Changes,
    seat: &'a Seat,
}

impl Changes {
    /// An empty queue and so many records, numbered from 0.
    pub fn new(records: u32) -> Self {
        let budget = Arc::new(Budget::new(1 << 16));
        let arena = Arc::new(Arena::new(budget, 64, false).expect("small"));
        let (order, consumer) = Order::new(arena.clone()).expect("room");
        let collector = Collector::new();
        let seats = Seats::new(|| Seat { handle: collector.register(), magazine: Magazine::new() });
        let magazine = Magazine::new();
        let make = |kind| std::ptr::from_ref(order.record(&magazine, kind, 1, 8, |_| ()).expect("room"));
        let records = (0..records as u16).map(make).collect();
        arena.drain(&magazine);
        let order = Queue { order, front: RefCell::new(Some((consumer, Vec::new()))) };
        Self { seats, _collector: collector, order, records }
    }

    /// For the calling thread.
    pub fn user(&self) -> ChangeUser<'_> {
        ChangeUser { changes: self, seat: self.seats.take() }
    }
}

impl ChangeUser<'_> {
    /// Puts a record into the queue, unless it is there; its place.
    pub fn append(&self, number: usize) -> u64 {
        let guard = pinned(&self.seat.handle);
        // SAFETY: held by its maker until the end of the model.
        self.changes.order.order.append(unsafe { &*self.changes.records[number] }, &guard)
    }

    /// Makes a record that says `value`, and puts it into the queue.
    pub fn append_fresh(&self, value: u64) -> u64 {
        let guard = pinned(&self.seat.handle);
        let order = &self.changes.order.order;
        let fill = |bytes: &mut [u8]| bytes.copy_from_slice(&value.to_le_bytes());
        order.append(order.record(&self.seat.magazine, FRESH, 0, 8, fill).expect("room"), &guard)
    }

    /// Takes what is there, and lets go of it; the numbers of the records, in order. For one thread.
    pub fn take(&self) -> Vec<u32> {
        let guard = pinned(&self.seat.handle);
        let mut front = self.changes.order.front.borrow_mut();
        let (consumer, taken) = front.as_mut().expect("the model is not over");
        self.changes.order.order.take(consumer, taken, || pinned(&self.seat.handle));
        let number = |taken: &Taken| match taken.record().kind() {
            FRESH => u64::from_le_bytes(taken.record().bytes().try_into().expect("a number")) as u32,
            number => number.into(),
        };
        let numbers = taken.iter().map(number).collect();
        self.changes.order.order.release(taken.drain(..), &guard);
        numbers
    }

    /// Gives up the maker's hold on a record.
    pub fn give_up(&self, number: usize) {
        let guard = pinned(&self.seat.handle);
        // SAFETY: the maker's hold, given up once.
        unsafe { self.changes.order.order.give_up(&*self.changes.records[number], &guard) };
    }

    /// Lets the epoch advance, and frees what it can.
    pub fn collect(&self) {
        pinned(&self.seat.handle).flush();
    }
}

impl Drop for ChangeUser<'_> {
    fn drop(&mut self) {
        self.changes.seats.give(self.seat);
    }
}
