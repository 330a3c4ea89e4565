//! The program from outside, and its seams' conformance suites: one binary, so that it is linked once.

mod api;
mod buckets;
mod cli;
mod daemon;
mod databases;
mod deploy;
mod faulty;
mod formats;
mod formulas;
mod health;
mod house;
mod http;
mod oracle;
mod pooler;
mod protected;
mod proxy;
mod quality;
mod queue;
mod reliability;
mod reports;
mod retention;
mod scans;
mod site;
mod sources;
mod stores;
mod written;
