//! Launches loop programs: text once for each program, machine code once for each device, a plan once for each
//! geometry.

use super::context::Function;
use super::{Cuda, DEVICES, compile};
use crate::device::{LoopKernel, Space};
use crate::error::{Error, ErrorKind, Result};
use kernels::Scalar;
use kernels::cuda::{self, CudaSource, LaunchPlan};
use kernels::loops::{AccessGeometry, Geometry, InstOp, Program};
use kernels::shape::{Dims, Strides};
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock};

/// Plans that one program keeps; past it shapes are being generated, not reused.
const PLANS: usize = 4096;

/// What a program has on CUDA devices.
pub struct CudaLoop {
    source: CudaSource,
    /// Whether a launch may find an index out of range.
    may_fault: bool,
    functions: [OnceLock<Function>; DEVICES],
    strided: Mutex<HashMap<Geometry, Arc<LaunchPlan>>>,
    flat: Mutex<HashMap<(usize, u32), Arc<LaunchPlan>>>,
}

thread_local! {
    /// Argument blocks and addresses of the launch at hand.
    static SCRATCH: RefCell<(Vec<u8>, Vec<u64>)> = const { RefCell::new((Vec::new(), Vec::new())) };
}

impl Cuda {
    /// Queues a loop program.
    pub fn run_loop(
        &self,
        kernel: &LoopKernel,
        space: &Space,
        params: &[Scalar],
        pointers: &[*mut u8],
    ) -> Result<()> {
        let slot = kernel.cuda.get_or_init(|| Arc::new(CudaLoop::new(&kernel.program)));
        let Some(code) = slot.downcast_ref::<CudaLoop>() else {
            return Err(Error::internal("a kernel's CUDA slot holds something else"));
        };
        let plan = code.plan(&kernel.program, space)?;
        if plan.is_empty() {
            return Ok(());
        }
        let function = self.function(code)?;
        if code.may_fault {
            self.may_fault.store(true, Ordering::Relaxed);
        }
        SCRATCH.with_borrow_mut(|(arguments, addresses)| {
            addresses.clear();
            addresses.extend(pointers.iter().map(|&pointer| pointer as u64));
            let grid = plan.arguments(addresses, params, self.fault, arguments).map_err(refused)?;
            self.context.launch(&function, [grid, 1, 1], plan.block(), arguments)
        })
    }

    fn function(&self, code: &CudaLoop) -> Result<Function> {
        let slot = &code.functions[self.context.ordinal as usize];
        if let Some(function) = slot.get() {
            return Ok(*function);
        }
        let cubin = compile::cubin(&code.source.unit(), &self.context.architecture)?;
        let function = self.context.load(&cubin, ENTRY_C)?;
        Ok(*slot.get_or_init(|| function))
    }
}

/// Every program's kernel has this name, so that equal programs have equal texts and share their cached code.
const ENTRY: &str = "kernel";
const ENTRY_C: &std::ffi::CStr = c"kernel";

impl CudaLoop {
    fn new(program: &Program) -> CudaLoop {
        let indexed = |op: &InstOp| {
            matches!(op, InstOp::Load { index: Some(_), .. } | InstOp::Store { index: Some(_), .. })
        };
        CudaLoop {
            source: cuda::source(program, ENTRY),
            may_fault: program.insts.iter().any(|inst| indexed(&inst.op)),
            functions: [const { OnceLock::new() }; DEVICES],
            strided: Mutex::default(),
            flat: Mutex::default(),
        }
    }

    fn plan(&self, program: &Program, space: &Space) -> Result<Arc<LaunchPlan>> {
        match *space {
            Space::Strided(geometry) => {
                remembered(&self.strided, geometry, || LaunchPlan::new(&self.source, program, geometry))
            }
            Space::Flat { points, broadcast } => remembered(&self.flat, &(points, broadcast), || {
                LaunchPlan::new(&self.source, program, &flat(program.accesses.len(), points, broadcast))
            }),
        }
    }
}

/// One outer axis; each access steps by one element, or by none.
fn flat(accesses: usize, points: usize, broadcast: u32) -> Geometry {
    let access = |i: usize| AccessGeometry {
        offset: 0,
        strides: Strides::from_elem(if i < 32 && broadcast >> i & 1 == 1 { 0 } else { 1 }, 1),
        gather: None,
    };
    Geometry {
        outer: Dims::from_elem(points, 1),
        inner: Dims::new(),
        accesses: (0..accesses).map(access).collect(),
    }
}

fn remembered<K: Clone + Eq + Hash>(
    plans: &Mutex<HashMap<K, Arc<LaunchPlan>>>,
    key: &K,
    make: impl FnOnce() -> std::result::Result<LaunchPlan, cuda::LaunchError>,
) -> Result<Arc<LaunchPlan>> {
    let mut plans = plans.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(plan) = plans.get(key) {
        return Ok(plan.clone());
    }
    let plan = Arc::new(make().map_err(refused)?);
    if plans.len() >= PLANS {
        plans.clear();
    }
    plans.insert(key.clone(), plan.clone());
    Ok(plan)
}

#[cold]
fn refused(error: cuda::LaunchError) -> Error {
    Error::new(ErrorKind::Device, error.to_string())
}
