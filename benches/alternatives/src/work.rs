//! What a thread does in one round.

mod churn;
mod round;
mod thread;

pub(crate) use churn::Churn;
pub(crate) use round::{Measured, Round, Work};
pub(crate) use thread::Worker;
