//! Where labelled frames go.

use std::sync::Arc;

use crate::frame::Seen;

/// Takes labelled frames, on a thread of its own: a slow one gets fewer, and holds up nobody.
pub trait Sink: Send {
    /// What it is called in reports, such as `page` or `save`.
    fn name(&self) -> String;

    /// Takes a frame.
    ///
    /// # Errors
    /// Why it can take no more, for people. It is not asked again, only finished.
    fn show(&mut self, seen: &Arc<Seen>) -> Result<(), String>;

    /// Closes what is open, after the last frame or an error. Returns what it leaves behind, for
    /// people, such as the name of a file.
    ///
    /// # Errors
    /// Why it could not be closed as it should.
    fn finish(&mut self) -> Result<Option<String>, String> {
        Ok(None)
    }
}
