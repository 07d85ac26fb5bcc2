//! Tests of the crate that look at several modules at once, and what they share.

mod random;
mod text;
mod trace;
mod verifier;
