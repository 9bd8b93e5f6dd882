//! Files that appear whole or not at all.
//!
//! Owns the way in which models, checkpoints, tables and reports get onto a disk. An [`AtomicFile`]
//! is written under a temporary name in the folder of its target and takes the target's place only
//! when [`commit`](AtomicFile::commit) is called, after its contents have reached the disk. Until
//! then the old file stands; a failed or abandoned write leaves nothing behind. A process that is
//! killed leaves its temporary file, which [`remove_unfinished`] finds by its name.
//!
//! Never here: what is in a file, and what folders are called.
#![forbid(unsafe_code)]

mod atomic;
mod temporary;

pub use atomic::{AtomicFile, WriteError, commit_all, write};
pub use temporary::{folder_of, remove_unfinished};
