//! Things to run: deterministic data, the fixed workloads, real digits, layers and optimisers.
//!
//! Programs here are plain functions over `Tensor`; which execution model runs them is not their business.

pub mod generate;
pub mod mnist;
pub mod nn;
pub mod optim;
pub mod workloads;

#[cfg(test)]
mod reference_tests;
