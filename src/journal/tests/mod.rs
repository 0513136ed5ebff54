//! The floor as a whole, on a disk that can do what disks do.

mod codec;
mod damage;
mod fixture;
mod histories;
mod measure;
mod nonsense;
mod world;
