//! A finished table out: its file format, its checked object key, its store.

pub mod csv;
