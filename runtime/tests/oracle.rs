//! Every op x sample x dtype against an oracle: the op's own kernels, run by the loop language's reference interpreter in
//! f64 and, for matrix products, by three nested loops. And against itself on operands that are not dense, bit for bit.

use kernels::loops::Precision;
use kernels::loops::reference::{self, Buffer};
use kernels::routines::Routine;
use kernels::{Layout, Scalar};
use runtime::lower::{self, Kernel, LowerArg, Slot, Step};
use runtime::samples::{Made, Samples, make};
use runtime::table::{Effect, Lower, OpDef, table};
use runtime::{Arg, DType, Origin, Tensor, door};

/// A type in which the oracle keeps values: floats as f64.
fn wide(dtype: DType) -> DType {
    if dtype.is_float() { DType::F64 } else { dtype }
}

fn buffer_of(t: &Tensor) -> Buffer {
    Buffer::of_scalars(wide(t.dtype()), t.to_scalars().unwrap())
}

/// c = a b by definition.
fn multiply(
    gemm: &kernels::cpu::gemm::Gemm,
    a: &Buffer,
    b: &Buffer,
    c: &mut Buffer,
    bias: Option<&Buffer>,
    at: [usize; 4],
) {
    let batch: usize = gemm.batch.iter().product();
    for n in 0..batch {
        let mut rest = n;
        let mut offsets = [0isize; 3];
        for d in (0..gemm.batch.len()).rev() {
            let i = (rest % gemm.batch[d]) as isize;
            rest /= gemm.batch[d];
            for (offset, g) in offsets.iter_mut().zip([&gemm.a, &gemm.b, &gemm.c]) {
                *offset += i * g.batch_strides[d];
            }
        }
        let place =
            |base: usize, offset: isize, row: usize, col: usize, g: &kernels::cpu::gemm::MatrixGeometry| {
                (base as isize + offset + row as isize * g.row_stride + col as isize * g.col_stride) as usize
            };
        for i in 0..gemm.m {
            for j in 0..gemm.n {
                let (mut sum, mut whole) = (0.0, 0i64);
                for k in 0..gemm.k {
                    let x = a.get(place(at[0], offsets[0], i, k, &gemm.a));
                    let y = b.get(place(at[1], offsets[1], k, j, &gemm.b));
                    sum += x.to_f64() * y.to_f64();
                    whole = whole.wrapping_add(x.to_i64().wrapping_mul(y.to_i64()));
                }
                let target = place(at[2], offsets[2], i, j, &gemm.c);
                for more in [bias.map(|v| v.get(at[3] + j)), gemm.accumulate.then(|| c.get(target))]
                    .into_iter()
                    .flatten()
                {
                    sum += more.to_f64();
                    whole = whole.wrapping_add(more.to_i64());
                }
                let value = match gemm.dtype {
                    d if d.is_float() => Scalar::Float(sum),
                    DType::Bool => Scalar::Bool(whole != 0),
                    _ => Scalar::Int(whole),
                };
                c.set(target, value);
            }
        }
    }
}

/// Runs a routine in f64. What routines compute is checked by their own tests; here that steps hand them the right places.
fn widened(routine: &Routine, step: &Step, index: impl Fn(Slot) -> usize, buffers: &mut [Buffer]) {
    let wider = Routine { dtype: wide(routine.dtype), ..routine.clone() };
    let operands: Vec<_> = routine.operands().into_iter().zip(wider.operands()).collect();
    let places = || {
        step.buffers.iter().zip(&operands).map(|(&(slot, at), (o, w))| (index(slot), at / o.dtype.size(), *w))
    };
    let mut memory: Vec<Vec<u64>> = places()
        .map(|(buffer, start, w)| {
            let count = w.elements * routine.batch;
            let mut words = vec![0u64; (count * w.dtype.size()).div_ceil(8)];
            if !w.writes {
                let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
                for (i, out) in bytes.chunks_exact_mut(w.dtype.size()).take(count).enumerate() {
                    let value = buffers[buffer].get(start + i);
                    match w.dtype {
                        DType::F64 => out.copy_from_slice(&value.to_f64().to_ne_bytes()),
                        d => out.copy_from_slice(&value.to_i64().to_ne_bytes()[..d.size()]),
                    }
                }
            }
            words
        })
        .collect();
    let pointers: Vec<*mut u8> = memory.iter_mut().map(|m| m.as_mut_ptr().cast()).collect();
    // SAFETY: each operand has memory of its own of its size, aligned to eight bytes.
    unsafe { wider.run(&pointers, kernels::cpu::threads::global()).unwrap() };
    for ((buffer, start, w), words) in places().zip(&memory).filter(|((.., w), _)| w.writes) {
        let bytes: &[u8] = bytemuck::cast_slice(words);
        for (i, at) in bytes.chunks_exact(w.dtype.size()).take(w.elements * routine.batch).enumerate() {
            let value = match w.dtype {
                DType::F64 => Scalar::Float(f64::from_ne_bytes(std::array::from_fn(|k| at[k]))),
                DType::I32 => Scalar::Int(i32::from_ne_bytes(std::array::from_fn(|k| at[k])) as i64),
                DType::I64 => Scalar::Int(i64::from_ne_bytes(std::array::from_fn(|k| at[k]))),
                DType::Bool => Scalar::Bool(at[0] != 0),
                _ => Scalar::Int(at[0] as i64),
            };
            buffers[buffer].set(start + i, value);
        }
    }
}

/// Runs an op's steps on the oracle; the outputs in row-major order.
fn oracle(op: &OpDef, args: &[Arg], outputs: &[(DType, Layout)]) -> Vec<Vec<Scalar>> {
    let dense: Vec<Layout> =
        args.iter().flat_map(|a| a.tensors()).map(|t| Layout::contiguous(t.shape())).collect();
    let mut next = dense.iter();
    let mut tensor = |t: &Tensor| (t.dtype(), next.next().unwrap());
    let lower_args: Vec<LowerArg> = args
        .iter()
        .map(|a| match a {
            Arg::Tensor(t) => {
                let (dtype, layout) = tensor(t);
                LowerArg::Tensor(dtype, layout)
            }
            Arg::Tensors(list) => LowerArg::Tensors(list.iter().map(&mut tensor).collect()),
            host => LowerArg::Host(*host),
        })
        .collect();
    let outs: Vec<(DType, &Layout)> = outputs.iter().map(|(d, l)| (*d, l)).collect();
    let lowered = lower::lower(op, &lower_args, &outs, true).unwrap();
    let inputs: Vec<&Tensor> = args.iter().flat_map(|a| a.tensors()).collect();
    let mut buffers: Vec<Buffer> = inputs.iter().map(|t| buffer_of(t)).collect();
    let temps = buffers.len() + outputs.len();
    buffers.extend(outputs.iter().map(|(d, l)| Buffer::zeros(wide(*d), l.numel().max(1))));
    // A temporary's type is that of the first step that names it.
    for (i, &bytes) in lowered.temps.iter().enumerate() {
        let named = |step: &Step| {
            let at = step.buffers.iter().position(|(slot, _)| *slot == Slot::Temp(i as u32))?;
            Some(match &step.kernel {
                Kernel::Loop(kernel, ..) => kernel.program.accesses[at].dtype,
                Kernel::Gemm(gemm) => gemm.dtype,
                Kernel::Routine(routine) => routine.operands()[at].dtype,
            })
        };
        let dtype = lowered.steps.iter().find_map(named).unwrap();
        buffers.push(Buffer::zeros(wide(dtype), (bytes / dtype.size()).max(1)));
    }
    let index = |slot: Slot| match slot {
        Slot::Input(i) => i as usize,
        Slot::Output(i) => inputs.len() + i as usize,
        Slot::Temp(i) => temps + i as usize,
    };
    for step in &lowered.steps {
        match &step.kernel {
            Kernel::Loop(kernel, geometry, params) => {
                assert!(params.is_empty(), "{}: a baked program has no parameters", op.name);
                let of_access: Vec<usize> = step.buffers.iter().map(|(slot, _)| index(*slot)).collect();
                reference::run(&kernel.program, geometry, &mut buffers, &of_access, &[], Precision::Double)
                    .unwrap();
            }
            Kernel::Gemm(gemm) => {
                let at = |i: usize| step.buffers.get(i).map_or(0, |(_, bytes)| bytes / gemm.dtype.size());
                let places: Vec<usize> = step.buffers.iter().map(|(slot, _)| index(*slot)).collect();
                let mut c = std::mem::replace(&mut buffers[places[2]], Buffer::zeros(DType::U8, 0));
                let bias = places.get(3).map(|&i| &buffers[i]);
                multiply(
                    gemm,
                    &buffers[places[0]],
                    &buffers[places[1]],
                    &mut c,
                    bias,
                    [at(0), at(1), at(2), at(3)],
                );
                buffers[places[2]] = c;
            }
            Kernel::Routine(routine) => widened(routine, step, index, &mut buffers),
        }
    }
    (0..outputs.len()).map(|i| buffers[inputs.len() + i].scalars()).collect()
}

/// Relative error that one rounding of each intermediate value may cause.
fn tolerance(dtype: DType) -> f64 {
    match dtype {
        DType::F16 => 8e-3,
        DType::BF16 => 6e-2,
        DType::F32 => 2e-5,
        DType::F64 => 1e-11,
        DType::Bool | DType::U8 | DType::I32 | DType::I64 => 0.0,
    }
}

fn agrees(got: Scalar, want: Scalar, dtype: DType) -> bool {
    if !dtype.is_float() {
        return got.to_i64() == want.to_i64();
    }
    let (g, w) = (got.to_f64(), want.to_f64());
    // The oracle's f64 does not overflow where halves do.
    let overflow = g.is_infinite() && w.abs() > 6e4;
    g == w || (g.is_nan() && w.is_nan()) || overflow || (g - w).abs() <= tolerance(dtype) * (1.0 + w.abs())
}

/// Each op with every sample that has tensors or not, made.
fn each_sample(mut f: impl FnMut(&'static OpDef, DType, usize, &[Made])) {
    for op in table() {
        if op.effect == Effect::Write {
            continue;
        }
        for dtype in DType::ALL {
            let mut samples = Samples::new(dtype);
            (op.samples)(&mut samples);
            for (i, case) in samples.cases.iter().enumerate() {
                f(op, dtype, i, &make(case, 31 + i as u64).unwrap());
            }
        }
    }
}

#[test]
fn every_op_agrees_with_the_oracle() {
    let mut bad = Vec::new();
    each_sample(|op, dtype, i, made| {
        let args: Vec<Arg> = made.iter().map(Made::as_arg).collect();
        if matches!(op.lower, Lower::View(..)) {
            return;
        }
        let outputs = door::bind(op, &args, Origin::caller()).unwrap();
        let layouts: Vec<(DType, Layout)> =
            outputs.iter().map(|t| (t.dtype(), Layout::contiguous(t.shape()))).collect();
        if outputs.iter().all(|t| t.numel() == 0) {
            return;
        }
        let want = oracle(op, &args, &layouts);
        for (out, want) in outputs.iter().zip(&want) {
            let got = out.to_scalars().unwrap();
            let wrong = got.iter().zip(want).position(|(g, w)| !agrees(*g, *w, out.dtype()));
            if let Some(at) = wrong {
                bad.push(format!("{} {dtype} sample {i} [{at}]: {} against {}", op.name, got[at], want[at]));
            }
        }
    });
    assert!(bad.is_empty(), "{} cases:\n{}", bad.len(), bad.join("\n"));
}

/// The same elements with the dimensions laid out in opposite order.
fn turned(t: &Tensor) -> Tensor {
    let order: Vec<i64> = (0..t.rank() as i64).rev().collect();
    t.permute(&order).unwrap().copy().unwrap().permute(&order).unwrap()
}

#[test]
fn layouts_do_not_change_a_bit() {
    let mut bad = Vec::new();
    each_sample(|op, dtype, i, made| {
        let args: Vec<Arg> = made.iter().map(Made::as_arg).collect();
        let strided: Vec<Made> = made
            .iter()
            .map(|m| match m {
                Made::Tensor(t) => Made::Tensor(turned(t)),
                Made::Tensors(list) => Made::Tensors(list.iter().map(turned).collect()),
                Made::Host(h) => Made::Host(h.clone()),
            })
            .collect();
        let strided: Vec<Arg> = strided.iter().map(Made::as_arg).collect();
        let first = door::bind(op, &args, Origin::caller()).unwrap();
        let second = door::bind(op, &strided, Origin::caller()).unwrap();
        for (a, b) in first.iter().zip(&second) {
            if a.to_bytes().unwrap() != b.to_bytes().unwrap() {
                bad.push(format!("{} {dtype} sample {i}", op.name));
            }
        }
    });
    assert!(bad.is_empty(), "{} cases:\n{}", bad.len(), bad.join("\n"));
}
