//! What the black-box tests share. They use the public interface alone, `validate` excepted.
#![allow(dead_code, reason = "each test binary uses a part of this module")]

pub(crate) mod alarm;
pub(crate) mod kind;
pub(crate) mod linear;
pub(crate) mod process;
pub(crate) mod rng;
pub(crate) mod stores;
pub(crate) mod ways;
pub(crate) mod words;
