//! Tests of the crate that look at several modules at once, and what they share.

mod function;
mod gradient;
mod loops;
mod open;
mod random;
mod registers;
mod text;
mod trace;
mod verifier;
