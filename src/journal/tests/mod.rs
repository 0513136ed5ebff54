//! The floor as a whole.
