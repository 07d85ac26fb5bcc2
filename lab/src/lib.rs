//! Measuring: interleaved samples, counters, comparisons of execution models, reference files, reports.

pub mod check;
pub mod compare;
pub mod digits;
pub mod diverge;
pub mod drivers;
pub mod environment;
pub mod execute;
pub mod explain;
pub mod inspect;
mod lazy;
pub mod listing;
pub mod measure;
pub mod modes;
pub mod program;
pub mod record;
pub mod reference;
pub mod statistics;
pub mod table;
