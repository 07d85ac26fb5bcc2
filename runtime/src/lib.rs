//! Tensors and devices: memory, the op table, the door through which everything passes, and the reverse walk.
//!
//! This crate runs one operation at a time and knows no tape and no graph; those are interpreters of the door.

pub mod alloc;
mod blocks;
pub mod callable;
pub mod cpu;
pub mod cuda;
pub mod device;
pub mod door;
pub mod error;
mod exchange;
pub mod hash;
pub mod infer;
pub mod interrupt;
pub mod io;
pub mod lower;
pub mod null;
pub mod open;
pub mod ops;
pub mod origin;
pub mod pending;
pub mod profile;
pub mod random;
mod read;
pub mod reverse;
pub mod run;
pub mod samples;
pub mod shared;
mod slot;
pub mod table;
pub mod tensor;
pub mod testing;
pub mod value;
pub mod variable;
mod writes;

pub use device::DeviceId;
pub use error::{Error, ErrorKind, Origin, Result};
pub use kernels::{DType, Element, Scalar};
pub use tensor::Tensor;
pub use value::{Arg, Host, Value};
pub use variable::Variable;
