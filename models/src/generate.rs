//! Tensors that are a pure function of their names, so that a program in any language can make the same bits without a
//! file: the 64-bit FNV-1a hash of `trifold/<seed>/<workload>/<tensor>` seeds a splitmix64 sequence (Steele, Lea and Flood,
//! "Fast splittable pseudorandom number generators", OOPSLA 2014), whose upper 24 bits are a uniform number.

use runtime::{DType, Result, Tensor};

/// The numbers of one workload's tensors.
#[derive(Clone, Debug)]
pub struct Generator {
    prefix: String,
}

impl Generator {
    /// The generator of a workload, seed 0.
    pub fn new(workload: &str) -> Generator {
        Generator { prefix: format!("trifold/0/{workload}/") }
    }

    /// The random words of a tensor, in row-major order of its elements.
    fn words(&self, name: &str) -> impl Iterator<Item = u64> + use<> {
        let hash = |h: u64, b: u8| (h ^ b as u64).wrapping_mul(0x100_0000_01b3);
        let key = self.prefix.bytes().chain(name.bytes());
        let mut state = key.fold(0xcbf2_9ce4_8422_2325, hash);
        std::iter::repeat_with(move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        })
    }

    /// Uniform in [low, high): computed in f64, rounded to f32, then converted to `dtype` (so f64 runs start from the
    /// same numbers).
    pub fn uniform(&self, name: &str, dims: &[usize], low: f64, high: f64, dtype: DType) -> Result<Tensor> {
        let n = dims.iter().product();
        let number = |w: u64| (low + (high - low) * ((w >> 40) as f64 * 2f64.powi(-24))) as f32;
        Tensor::from_slice(&self.words(name).take(n).map(number).collect::<Vec<_>>(), dims)?.to(dtype)
    }

    /// Uniform in [-k, k) with k = 1 / sqrt(fan_in): weights and biases of dense layers.
    pub fn weight(&self, name: &str, dims: &[usize], fan_in: usize, dtype: DType) -> Result<Tensor> {
        let k = (1.0 / fan_in as f64).sqrt();
        self.uniform(name, dims, -k, k, dtype)
    }

    /// Integers in 0..n.
    pub fn integer(&self, name: &str, dims: &[usize], n: u64) -> Result<Tensor> {
        let count = dims.iter().product();
        Tensor::from_slice(
            &self.words(name).take(count).map(|w| ((w >> 11) % n) as i64).collect::<Vec<_>>(),
            dims,
        )
    }
}
