//! What was recorded, as tables; how it lies in a file; and how to look at it.

pub mod account;
pub mod file;
pub mod fold;
pub mod known;
pub mod label;
pub mod meta;
pub mod options;
pub mod place;
pub mod tables;
pub mod tree;
pub mod view;

pub use account::Account;
pub use file::{Damage, OpenError, Recorder, open, read};
pub use known::Refusal;
pub use meta::{Achieved, Asked, Consistency, Meta, Schedule};
pub use options::{By, Metric, Mode, ViewOptions};
pub use tables::Recording;
pub use tree::Tree;
pub use view::{View, ViewError};
