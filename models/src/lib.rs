//! things to run
