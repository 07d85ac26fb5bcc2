//! Random state: a Variable of two integers, seed and offset. Every draw is a pure function of it (Philox), so all modes
//! and devices draw the same numbers, and a staged step carries the state as an explicit input and output.

use crate::device::DeviceId;
use crate::error::Result;
use crate::tensor::Tensor;
use crate::variable::Variable;
use std::cell::RefCell;

/// A stream of random draws.
#[derive(Clone, Debug)]
pub struct Generator {
    state: Variable,
}

impl Generator {
    /// A stream that starts at this seed.
    pub fn new(seed: i64, device: DeviceId) -> Result<Generator> {
        let state = Generator::start(seed)?.to_device(device)?;
        Ok(Generator { state: Variable::with_trainable(&state, "random", false)? })
    }

    fn start(seed: i64) -> Result<Tensor> {
        Tensor::from_slice(&[seed, 0i64], &[2])
    }

    /// The state for one draw (two i64: seed, offset); the next draw sees the next offset.
    pub fn next(&self) -> Result<Tensor> {
        let state = self.state.read()?;
        let step = Tensor::from_slice(&[0i64, 1], &[2])?.to_device(state.device())?;
        self.state.assign(&state.add(&step)?)?;
        Ok(state)
    }

    /// The state, from which the next draw comes.
    pub fn state(&self) -> Result<Tensor> {
        self.state.read()
    }

    /// Goes on from a state that was read before.
    pub fn set_state(&self, state: &Tensor) -> Result<()> {
        self.state.assign(state)
    }
}

thread_local! {
    static DEFAULT: RefCell<Option<Generator>> = const { RefCell::new(None) };
}

/// Starts this thread's default stream anew at `seed`, for what was recorded with it too.
pub fn manual_seed(seed: i64) -> Result<()> {
    default_generator()?.set_state(&Generator::start(seed)?)
}

/// This thread's default stream; seed 0 until `manual_seed`.
pub fn default_generator() -> Result<Generator> {
    if let Some(generator) = DEFAULT.with_borrow(Clone::clone) {
        return Ok(generator);
    }
    let generator = Generator::new(0, DeviceId::Cpu)?;
    DEFAULT.set(Some(generator.clone()));
    Ok(generator)
}
