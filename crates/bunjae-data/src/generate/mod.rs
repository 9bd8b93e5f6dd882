//! Pictures made by the program itself, for demonstrations, tests and whoever has no data.

pub mod prps;
