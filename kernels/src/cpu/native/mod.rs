//! Machine code for chains: element-wise steps of f32, and the reductions that they feed, as one loop whose intermediate
//! values never leave the registers.
//!
//! A chain is described as a `Body`; `functions` says what each function of the loop language is in vector operations,
//! `emit` gives registers, `encode` bytes, `memory` pages that can run. Everything computes the bits of the kernels in
//! `cpu::loops`, which run where code cannot be made: other processors, systems that forbid it, other types.

mod body;
#[cfg(all(target_arch = "x86_64", unix))]
mod emit;
#[cfg(all(target_arch = "x86_64", unix))]
mod encode;
mod functions;
#[cfg(all(target_arch = "x86_64", unix))]
mod memory;

pub(super) use body::{Body, Fold, Value};

#[cfg(all(target_arch = "x86_64", unix))]
mod chain {
    use super::{Body, emit, memory::CodeMemory};

    /// The code of a chain.
    pub(in crate::cpu) struct Native {
        memory: CodeMemory,
        arguments: emit::Arguments,
    }

    /// Words of the arguments of any chain.
    const MOST_WORDS: usize = 2 * emit::MOST_POINTERS + emit::MOST_POINTERS + emit::MOST_FOLDS + 2;

    /// Sixteen lanes that are on, then sixteen that are off.
    static MASK: [i32; 32] = {
        let mut mask = [0; 32];
        let mut i = 0;
        while i < 16 {
            mask[i] = -1;
            i += 1;
        }
        mask
    };

    impl Native {
        /// The code of a body, for a processor with AVX2 and FMA; `None` where it needs too many registers or the system
        /// lets no new code run.
        pub(in crate::cpu) fn new(body: &Body) -> Option<Native> {
            let memory = CodeMemory::new(&emit::emit(body)?)?;
            Some(Native { memory, arguments: emit::Arguments::of(body) })
        }

        /// Runs over `points` points. `fill` writes the words: for each input its address and 64 (or 0, where it is sixteen
        /// equal numbers that do not step), the address of each output, that of each reduction's lanes.
        ///
        /// # Safety
        /// As many of each as the body has; each is valid for all points, or sixteen numbers; an output may be an
        /// operand only if both begin at the same place and step.
        ///
        /// A chain of a program with rows fetches lines from `fetch` on, one for every sixteen points.
        #[inline(always)]
        pub(in crate::cpu) unsafe fn run(
            &self,
            points: usize,
            fetch: *const u8,
            fill: impl FnOnce(*mut usize),
        ) {
            let mut words = std::mem::MaybeUninit::<[usize; MOST_WORDS]>::uninit();
            let at = words.as_mut_ptr().cast::<usize>();
            fill(at);
            // SAFETY: the memory holds a function of this kind, which `emit` made for arguments laid out like these.
            unsafe {
                let last = self.arguments.len() - 2;
                at.add(last).write(MASK.as_ptr().add(16 - points % 16) as usize);
                // Without a wish it fetches what it reads.
                at.add(last + 1).write(if fetch.is_null() { at.read() } else { fetch as usize });
                let code: unsafe extern "sysv64" fn(*const usize, usize) =
                    std::mem::transmute(self.memory.start());
                code(at, points);
            }
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", unix)))]
mod chain {
    use super::Body;

    /// There is no code for this processor.
    pub(in crate::cpu) enum Native {}

    impl Native {
        pub(in crate::cpu) fn new(_: &Body) -> Option<Native> {
            None
        }

        /// # Safety
        /// It cannot be called.
        pub(in crate::cpu) unsafe fn run(&self, _: usize, _: *const u8, _: impl FnOnce(*mut usize)) {
            match *self {}
        }
    }
}

pub(super) use chain::Native;
