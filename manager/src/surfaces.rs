//! The forerunners' routes: each translated to the native model, and nothing else knows them.

pub(crate) mod gdts;
