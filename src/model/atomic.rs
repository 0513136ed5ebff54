//! Loom's atomics, each operation asking first whether it is to be broken. See [`Mutation`](super::Mutation).

use super::mutation::{Kind, here};
use Ordering::Relaxed;
use loom::sync::atomic as inner;
pub use loom::sync::atomic::Ordering;

/// `order`, or none.
#[track_caller]
fn weakened(order: Ordering) -> Ordering {
    if here() == Some(Kind::Relaxed) { Relaxed } else { order }
}

/// As [`std::sync::atomic::fence`].
#[track_caller]
pub fn fence(order: Ordering) {
    if here().is_none() {
        inner::fence(order);
    }
}

macro_rules! common {
    ($name:ident, $value:ty, $from:expr, [$($generic:tt)*]) => {
        /// As its namesake in [`std::sync::atomic`].
        #[derive(Debug)]
        pub struct $name $($generic)* (inner::$name $($generic)*);

        #[expect(missing_docs, reason = "as in std")]
        impl $($generic)* $name $($generic)* {
            #[track_caller]
            pub fn new(value: $value) -> Self {
                Self(inner::$name::new(value))
            }

            #[track_caller]
            pub fn load(&self, order: Ordering) -> $value {
                let from: fn(u64) -> $value = $from;
                match here() {
                    Some(Kind::Sees(bits)) => from(bits),
                    Some(Kind::Relaxed) => self.0.load(Relaxed),
                    _ => self.0.load(order),
                }
            }

            #[track_caller]
            pub fn store(&self, value: $value, order: Ordering) {
                match here() {
                    Some(Kind::Skipped) => {}
                    Some(Kind::Relaxed) => self.0.store(value, Relaxed),
                    _ => self.0.store(value, order),
                }
            }

            #[track_caller]
            pub fn swap(&self, value: $value, order: Ordering) -> $value {
                match here() {
                    Some(Kind::Skipped) => self.0.load(order_of_load(order)),
                    Some(Kind::Relaxed) => self.0.swap(value, Relaxed),
                    Some(Kind::Torn) => {
                        let before = self.0.load(order_of_load(order));
                        self.0.store(value, order_of_store(order));
                        before
                    }
                    _ => self.0.swap(value, order),
                }
            }

            #[track_caller]
            pub fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                match here() {
                    Some(Kind::Skipped) => Ok(current),
                    Some(Kind::Relaxed) => self.0.compare_exchange(current, new, Relaxed, Relaxed),
                    Some(Kind::Torn) => {
                        let before = self.0.load(failure);
                        if before != current {
                            return Err(before);
                        }
                        self.0.store(new, order_of_store(success));
                        Ok(before)
                    }
                    _ => self.0.compare_exchange(current, new, success, failure),
                }
            }

            #[track_caller]
            pub fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.compare_exchange(current, new, success, failure)
            }

            #[track_caller]
            pub fn fetch_update(
                &self,
                success: Ordering,
                failure: Ordering,
                mut change: impl FnMut($value) -> Option<$value>,
            ) -> Result<$value, $value> {
                let mut now = self.0.load(weakened(failure));
                while let Some(next) = change(now) {
                    match self.compare_exchange(now, next, success, failure) {
                        Ok(before) => return Ok(before),
                        Err(other) => now = other,
                    }
                }
                Err(now)
            }
        }
    };
}

fn order_of_load(order: Ordering) -> Ordering {
    match order {
        Ordering::Release => Relaxed,
        Ordering::AcqRel => Ordering::Acquire,
        other => other,
    }
}

fn order_of_store(order: Ordering) -> Ordering {
    match order {
        Ordering::Acquire => Relaxed,
        Ordering::AcqRel => Ordering::Release,
        other => other,
    }
}

macro_rules! fetch {
    ($name:ident, $value:ty, $($fetch:ident: $change:expr;)*) => {
        #[expect(missing_docs, reason = "as in std")]
        impl $name {$(
            #[track_caller]
            pub fn $fetch(&self, value: $value, order: Ordering) -> $value {
                match here() {
                    Some(Kind::Skipped) => self.0.load(order_of_load(order)),
                    Some(Kind::Relaxed) => self.0.$fetch(value, Relaxed),
                    Some(Kind::Torn) => {
                        let change: fn($value, $value) -> $value = $change;
                        let before = self.0.load(order_of_load(order));
                        self.0.store(change(before, value), order_of_store(order));
                        before
                    }
                    _ => self.0.$fetch(value, order),
                }
            }
        )*}
    };
}

macro_rules! integers {
    ($($name:ident: $value:ty;)*) => {$(
        common!($name, $value, |bits| bits as $value, []);
        fetch! { $name, $value,
            fetch_add: |a, b| a.wrapping_add(b);
            fetch_sub: |a, b| a.wrapping_sub(b);
            fetch_and: |a, b| a & b;
            fetch_or: |a, b| a | b;
            fetch_max: |a, b| a.max(b);
        }
    )*};
}

macro_rules! defaults {
    ($($name:ident)*) => {$(
        impl Default for $name {
            fn default() -> Self {
                Self::new(Default::default())
            }
        }
    )*};
}
defaults! { AtomicU8 AtomicU32 AtomicU64 AtomicUsize AtomicI64 AtomicBool }

integers! { AtomicU8: u8; AtomicU32: u32; AtomicU64: u64; AtomicUsize: usize; AtomicI64: i64; }
common!(AtomicBool, bool, |bits| bits != 0, []);
common!(AtomicPtr, *mut T, |bits| bits as *mut T, [<T>]);
