//! Cron expressions with seconds, evaluated in a time zone.

/// A checked cron expression.
#[derive(Clone, Debug)]
pub struct Cron;
