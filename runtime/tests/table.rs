//! Every op of the table: its block is complete, its samples run, its error samples fail as they say.

use runtime::error::ErrorKind;
use runtime::samples::{ErrorSamples, Samples, make};
use runtime::table::{Effect, Vjp, table};
use runtime::{Arg, DType, Origin, door, run};

#[test]
fn names_are_unique_and_schemas_say_their_operands() {
    let mut seen = std::collections::HashSet::new();
    for op in table() {
        assert!(seen.insert(op.name), "two ops are called {}", op.name);
        assert!(op.doc.trim().ends_with('.'), "{}: {:?} is no sentence", op.name, op.doc);
        assert!(op.schema.contains(") -> "), "{}: {}", op.name, op.schema);
        let names = op.operand_names();
        assert!(!names.is_empty(), "{}", op.name);
        assert!(
            names.iter().all(|n| n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')),
            "{}: {names:?}",
            op.name
        );
        if let Vjp::None(why) = op.vjp {
            assert!(why.len() > 10, "{} must say why it has no gradient", op.name);
        }
    }
}

#[test]
fn every_op_has_samples_and_they_run() {
    for op in table() {
        let mut cases = 0;
        for dtype in DType::ALL {
            let mut samples = Samples::new(dtype);
            (op.samples)(&mut samples);
            for (i, case) in samples.cases.iter().enumerate() {
                cases += 1;
                assert!(
                    case.len() <= op.operand_names().len(),
                    "{} {dtype} sample {i} has more operands than the schema",
                    op.name
                );
                let made = make(case, i as u64).unwrap();
                let args: Vec<Arg> = made.iter().map(|m| m.as_arg()).collect();
                let types =
                    run::infer(op, &args).unwrap_or_else(|e| panic!("{} {dtype} sample {i}: {e}", op.name));
                if op.effect == Effect::Write {
                    continue;
                }
                let outputs = door::bind(op, &args, Origin::caller())
                    .unwrap_or_else(|e| panic!("{} {dtype} sample {i}: {e}", op.name));
                assert_eq!(outputs.len(), types.len(), "{}", op.name);
                for (out, ty) in outputs.iter().zip(&types) {
                    assert_eq!(out.tensor_type(), *ty, "{} {dtype} sample {i}", op.name);
                }
            }
        }
        assert!(cases > 0, "{} has no samples", op.name);
    }
}

#[test]
fn error_samples_fail_as_they_say_and_name_the_op() {
    for op in table() {
        let mut errors = ErrorSamples::default();
        (op.errors)(&mut errors);
        for (i, (case, kind)) in errors.cases.iter().enumerate() {
            let made = make(case, 7).unwrap();
            let args: Vec<Arg> = made.iter().map(|m| m.as_arg()).collect();
            match door::bind(op, &args, Origin::caller()) {
                Ok(out) => panic!("{} error sample {i} gives {out:?}", op.name),
                Err(e) => {
                    assert_eq!(e.kind(), *kind, "{} error sample {i}: {e}", op.name);
                    assert_eq!(e.op(), Some(op.name));
                    assert!(e.origin().is_some());
                    assert_ne!(e.kind(), ErrorKind::Internal);
                }
            }
        }
    }
}
