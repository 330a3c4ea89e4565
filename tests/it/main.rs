//! The program from outside, and its seams' conformance suites: one binary, so that it is linked once.

mod api;
mod cli;
mod databases;
mod house;
mod http;
mod oracle;
mod proxy;
mod queue;
mod reports;
mod scans;
mod site;
mod sources;
