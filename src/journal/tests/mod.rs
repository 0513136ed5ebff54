//! The floor as a whole, on a disk that can do what disks do.

mod histories;
mod world;
