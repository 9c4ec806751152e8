//! The recording itself: all of it, whatever the view shows.

use std::io::{self, Write};

use crate::recording::{View, file};

/// Writes the view's recording.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    file::write(view.recording(), out).map(|_| ())
}
