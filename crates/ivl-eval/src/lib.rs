//! Measuring models: evaluation tasks, what values change, how far they travel, and how sure one can be of the figures.

mod statistics;

pub use statistics::{Estimate, Interval, bootstrap, mean};
