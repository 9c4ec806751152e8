//! What the key `w` does: the history is written as a file, just as an export of it would be.

use std::path::PathBuf;

use super::session::Session;
use crate::cli::output;
use crate::format;
use crate::tui::Query;

/// Writes what is remembered, looked at as it is shown; what is to be said of that.
pub(super) fn save(session: &mut Session<'_>, query: &Query, name: &str) -> String {
    write(session, query, name).unwrap_or_else(|error| format!("{error:#}"))
}

fn write(session: &mut Session<'_>, query: &Query, name: &str) -> anyhow::Result<String> {
    let format = format::by_name(name)?;
    let extension = format.extensions.first().copied().unwrap_or_default();
    let path: PathBuf = output::default_name(session.pid(), extension);
    output::probe(&path)?;
    let options = query.exported();
    for output in output::plan(std::slice::from_ref(&path), Some(name))? {
        session.as_recording(options.clone(), |recording| output.write(recording, &options))?;
    }
    Ok(format!("wrote {}: open it with {}", path.display(), format.opens_with))
}
