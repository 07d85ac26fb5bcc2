//! The CPU executor on random cases: the bits of the reference interpreter, at every level of vector instructions and
//! for any number of threads. Only functions whose bits are defined are used; NaNs are all the same.

use kernels::cpu::isa::Isa;
use kernels::cpu::loops::compile_for;
use kernels::cpu::threads::Pool;
use kernels::loops::Precision;
use kernels::loops::random::{Style, case};

#[test]
fn the_executor_does_what_the_reference_does() {
    let pools = [Pool::new(1), Pool::new(3)];
    for seed in 0..600 {
        let case = case(seed, Style::Exact);
        let program = &case.composed.program;
        let expected = case.expected(Precision::Declared).expect("random cases stay in range");
        for isa in Isa::available() {
            let compiled = compile_for(program, isa).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{program}"));
            for pool in &pools {
                let mut found = case.buffers.clone();
                let pointers: Vec<*mut u8> =
                    case.of_access.iter().map(|&buffer| found[buffer].bytes_mut().as_mut_ptr()).collect();
                // SAFETY: a random case passes `verify_geometry` and shares buffers only in place, which the loop
                // language's own tests check.
                unsafe { compiled.run(&case.geometry, &pointers, &case.params, pool) }
                    .unwrap_or_else(|e| panic!("seed {seed}: {e}\n{program}"));
                for (number, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    for i in 0..found.len() {
                        let (a, b) = (found.get(i), expected.get(i));
                        assert!(
                            a == b || (a.to_f64().is_nan() && b.to_f64().is_nan()),
                            "seed {seed}, {isa:?}, {} threads: buffer {number}[{i}] is {a}, should be {b}\n{program}{:?}",
                            pool.threads(),
                            case.geometry
                        );
                    }
                }
            }
        }
    }
}
