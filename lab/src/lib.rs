//! Measuring: interleaved samples, counters, comparisons of execution models, reference files, reports.

pub mod environment;
pub mod measure;
pub mod record;
pub mod statistics;
pub mod table;
