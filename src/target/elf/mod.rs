//! The ELF modules of a process: what the loader put into memory, and what only the file knows.

pub mod file;
pub mod image;

pub use file::ElfFile;
pub use image::{Image, NotImage, Segment, Symbol};
