//! Random graphs with open extents against the same graphs for these very extents: values and gradients, bit for bit.

use crate::function::CompiledFunction;
use crate::ir::{Graph, Type};
use crate::open::{Call, to_record};
use crate::options::Options;
use crate::specialize::specialize;
use crate::testing::{Draw, bits, inputs, oracle, random_graph};
use runtime::DeviceId;
use runtime::callable::{Ask, Callable};
use runtime::infer::TensorType;
use runtime::tensor::Tensor;
use std::sync::Arc;

/// The extents that random graphs are made with.
const EXTENTS: [usize; 3] = [3, 4, 5];

fn types(graph: &Graph, extents: [usize; 3]) -> Vec<TensorType> {
    let ty = |&param| match graph.ty(param) {
        Type::Tensor(ty) => {
            let dims = ty.dims().unwrap();
            let new = dims.iter().map(|n| extents[EXTENTS.iter().position(|e| e == n).unwrap()]);
            TensorType::new(ty.dtype, &new.collect::<Vec<_>>())
        }
        other => panic!("{other}"),
    };
    graph.params().iter().map(ty).collect()
}

/// Results, and gradients of all inputs for the results themselves as cotangents.
fn everything(function: &Arc<CompiledFunction>, args: &[Tensor]) -> Vec<Vec<u8>> {
    let values = function.run(args).unwrap();
    let (outputs, residuals) = function.run_with_residuals(args).unwrap();
    assert_eq!(bits(&values), bits(&outputs));
    let cotangents: Vec<Option<Tensor>> = outputs.iter().cloned().map(Some).collect();
    let gradients = function.clone().vjp(args, &residuals, &cotangents, Ask::ALL).unwrap();
    let some: Vec<Option<Tensor>> = outputs.iter().take(1).cloned().map(Some).collect();
    let some: Vec<Option<Tensor>> = some.into_iter().chain(outputs.iter().skip(1).map(|_| None)).collect();
    let first = function.clone().vjp(args, &residuals, &some, Ask::ALL).unwrap();
    let all: Vec<Tensor> = outputs.into_iter().chain(gradients.into_iter().chain(first).flatten()).collect();
    bits(&all)
}

#[test]
fn random_graphs_are_one_for_all_extents() {
    for seed in 0..300 {
        let mut draw = Draw(seed);
        let graph = random_graph(&mut draw, 3 + seed as usize % 12);
        let graph = Graph { write_backs: Vec::new(), ..graph };
        let at = |extents| specialize(&graph, &types(&graph, extents)).unwrap();
        let call = |extents| Call { types: types(&graph, extents), numbers: Vec::new() };
        let [first, second] = to_record(&[call([4, 6, 9]), call([7, 5, 2]), call([3, 8, 8])]).unwrap().calls;
        let recorded = [first, second].map(|call| specialize(&graph, &call.types).unwrap());
        let options = Options { exact: true, ..Options::default() };
        let open = CompiledFunction::open(recorded, options.clone(), DeviceId::Cpu);
        let open = open.unwrap_or_else(|e| panic!("{seed}: {e}\n{graph}"));
        for extents in [[3, 4, 5], [2, 2, 2], [9, 2, 31], [40, 211, 3]] {
            let exact = at(extents);
            let args = inputs(&exact, &mut draw);
            let expected = oracle(&exact, &args).unwrap();
            assert_eq!(bits(&open.run(&args).unwrap()), bits(&expected), "{seed} {extents:?}\n{graph}");
            let compiled = CompiledFunction::new(exact, options.clone(), DeviceId::Cpu).unwrap();
            assert_eq!(everything(&open, &args), everything(&compiled, &args), "{seed} {extents:?}\n{graph}");
        }
        // One is a kind of its own.
        let args = inputs(&at([1, 4, 5]), &mut draw);
        assert!(open.run(&args).is_err() || types(&graph, [1, 4, 5]) == types(&graph, [3, 4, 5]));
    }
}
