//! The disk floor as a whole, over real files whose disk can be made to fail.

mod crash;
mod damage;
mod full;
mod measure;
mod recycle;
mod reopen;
mod store;
mod syncing;
