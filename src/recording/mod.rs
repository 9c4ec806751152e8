//! What was recorded, as tables; how it lies in a file; and how to look at it.

pub mod account;
pub mod attribution;
pub mod contention;
pub mod file;
pub mod gc;
pub mod growth;
pub mod heap;
pub mod heatmap;
pub mod imports;
pub mod known;
pub mod label;
pub mod merge;
pub mod meta;
mod module;
pub mod options;
pub mod phase;
pub mod place;
pub mod plain;
pub mod resolution;
pub mod tables;
pub mod tree;
pub mod view;
mod weight;

pub use account::Account;
pub use attribution::{Sampled, Source};
pub use contention::{Contention, Spent};
pub use file::{Damage, OpenError, Recorder, open, read};
pub use imports::Imports;
pub use known::Refusal;
pub use merge::{Merge, Origin, Stream, Subject};
pub use meta::{Achieved, Asked, Consistency, Meta, Schedule};
pub use options::{By, Metric, Mode, ViewOptions};
pub use phase::Phases;
pub use tables::Recording;
pub use tree::Tree;
pub use view::{View, ViewError};
