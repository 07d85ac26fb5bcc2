//! The CPU executor against the reference interpreter over random programs, at every level of vector instructions that
//! this processor has and with one and three threads.

use kernels::cpu::isa::Isa;
use kernels::cpu::loops::compile_with;
use kernels::cpu::threads::Pool;
use kernels::loops::Precision;
use kernels::loops::random::{Case, Style, case};
use kernels::loops::reference::Buffer;
use kernels::{DType, Scalar};

/// Whether two numbers agree: by bits, or within a relative error where functions are only bounded.
fn agree(got: Scalar, expected: Scalar, dtype: DType, style: Style) -> bool {
    let (Scalar::Float(a), Scalar::Float(b)) = (got, expected) else { return got == expected };
    if a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()) {
        return true;
    }
    let tolerance = match dtype {
        DType::F16 => 2e-2,
        DType::BF16 => 1e-1,
        DType::F32 => 1e-4,
        _ => 1e-9,
    };
    style == Style::Any && (a - b).abs() <= tolerance * (1.0 + b.abs())
}

fn run(
    case: &Case,
    isa: Isa,
    native: bool,
    pool: &Pool,
) -> Result<Vec<Buffer>, kernels::loops::IndexOutOfRange> {
    let compiled = compile_with(&case.composed.program, isa, native).expect("a composed program compiles");
    let mut buffers = case.buffers.clone();
    let pointers: Vec<*mut u8> =
        case.of_access.iter().map(|&b| buffers[b].bytes_mut().as_mut_ptr()).collect();
    // SAFETY: the case's geometry lies in its buffers.
    unsafe { compiled.run(&case.geometry, &pointers, &case.params, pool) }?;
    Ok(buffers)
}

fn check(seeds: std::ops::Range<u64>, style: Style) -> Vec<(u64, String)> {
    let pools = [Pool::new(1), Pool::new(3)];
    let mut failures = Vec::new();
    for seed in seeds {
        let case = case(seed, style);
        let expected = case.expected(Precision::Declared);
        for (isa, native) in Isa::available().flat_map(|isa| [(isa, false), (isa, true)]) {
            for pool in &pools {
                let mut fail = |what: String| {
                    let how = if native { "native" } else { "tiled" };
                    failures.push((seed, format!("{isa:?} {how} {} threads: {what}", pool.threads())))
                };
                match (run(&case, isa, native, pool), &expected) {
                    (Err(got), Err(expected)) if got.access == expected.access => {}
                    (Ok(got), Ok(expected)) => {
                        for (b, (got, expected)) in got.iter().zip(expected).enumerate() {
                            let wrong = (0..got.len())
                                .find(|&i| !agree(got.get(i), expected.get(i), got.dtype(), style));
                            if let Some(i) = wrong {
                                fail(format!(
                                    "buffer {b}[{i}] is {}, should be {}",
                                    got.get(i),
                                    expected.get(i)
                                ));
                            }
                        }
                    }
                    (got, expected) => fail(format!("{:?} where {:?}", got.err(), expected.as_ref().err())),
                }
            }
        }
    }
    failures
}

fn report(failures: Vec<(u64, String)>, style: Style) {
    let Some((seed, _)) = failures.first() else { return };
    let case = case(*seed, style);
    let list: Vec<String> = failures.iter().take(20).map(|(s, f)| format!("seed {s}: {f}")).collect();
    panic!(
        "{} failures\n{}\n{:?}\n{:?}\n{:?}",
        failures.len(),
        list.join("\n"),
        case.composed.program,
        case.geometry,
        case.of_access
    );
}

#[test]
fn exact_programs_have_the_bits_of_the_reference() {
    report(check(0..1500, Style::Exact), Style::Exact);
}

#[test]
fn other_programs_are_near_the_reference() {
    report(check(0..500, Style::Any), Style::Any);
}
