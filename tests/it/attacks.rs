//! What hostile clients, tenants and writers of data try. docs/security.md names, claim by claim, the test that shows it.

mod bounds;
mod connections;
mod files;
mod fuzzed;
mod keys;
mod owners;
mod rows;
