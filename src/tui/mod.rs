//! The live view: a bounded history, pictures taken of it, a state that keys change, and screens that show both.
//!
//! Nothing here looks at a process. `cli/top` feeds the history, asks for pictures, and does what the state says.

pub mod keys;
pub mod app;
pub mod branches;
pub mod clipboard;
pub mod cursor;
pub mod menu;
pub mod memory;
pub mod query;
pub mod history;
pub mod picture;
pub mod view;
pub mod terminal;

pub use app::{Action, App, Event, Sight};
pub use history::History;
pub use keys::Key;
pub use picture::{Picture, Vitals};
pub use query::Query;
