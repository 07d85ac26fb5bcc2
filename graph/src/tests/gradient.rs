//! Gradients of graphs: against finite differences, and the two halves against the whole, bit for bit.

use super::random::{Choices, random_graph, random_tensor};
use crate::grad::{Joint, joint};
use crate::interpret;
use crate::ir::Graph;
use crate::parse::parse;
use crate::trace::{Mode, Spec, cond, record};
use runtime::{DeviceId, Result, Tensor};

fn all(graph: &Graph) -> Joint {
    let (inputs, results) = (graph.params().len(), graph.results().len());
    joint(graph, DeviceId::Cpu, &vec![true; inputs], &vec![true; results]).unwrap()
}

/// Results and gradients for cotangents of ones.
fn gradients(graph: &Graph, inputs: &[Tensor]) -> Vec<Option<Tensor>> {
    let joint = all(graph);
    let mut args = inputs.to_vec();
    for &r in &joint.cotangents {
        let ty = graph.tensor_type(graph.results()[r]).unwrap();
        args.push(
            Tensor::from_slice(&vec![1.0f64; ty.dims().unwrap().iter().product()], &ty.dims().unwrap())
                .unwrap(),
        );
    }
    let out = interpret::run(&joint.graph, &args).unwrap();
    joint.gradients.iter().map(|at| at.map(|i| out[i].clone())).collect()
}

fn sum_of_results(graph: &Graph, inputs: &[Tensor]) -> f64 {
    let results = interpret::run(graph, inputs).unwrap();
    results.iter().map(|t| t.to_f64_vec().unwrap().iter().sum::<f64>()).sum()
}

#[track_caller]
fn agrees_with_differences(graph: &Graph, inputs: &[Vec<f64>], dims: &[usize]) {
    let tensors = |inputs: &[Vec<f64>]| -> Vec<Tensor> {
        inputs.iter().map(|data| Tensor::from_slice(data, dims).unwrap()).collect()
    };
    let found = gradients(graph, &tensors(inputs));
    for (i, gradient) in found.iter().enumerate() {
        let gradient = gradient.as_ref().map_or(vec![0.0; inputs[i].len()], |g| g.to_f64_vec().unwrap());
        for k in 0..inputs[i].len() {
            let mut moved = inputs.to_vec();
            moved[i][k] += 1e-6;
            let up = sum_of_results(graph, &tensors(&moved));
            moved[i][k] -= 2e-6;
            let down = sum_of_results(graph, &tensors(&moved));
            let wanted = (up - down) / 2e-6;
            let error = (wanted - gradient[k]).abs() / wanted.abs().max(1.0);
            assert!(error < 1e-5, "input {i} element {k}: {} instead of {wanted}\n{graph}", gradient[k]);
        }
    }
}

#[test]
fn rules_agree_with_finite_differences() {
    let graph = parse(
        "graph g(%x: f64[2,2], %w: f64[2,2]) {
           %0: f64[2,2] = matmul(%x, %w)
           %1: f64[2,2] = mul(%0, %x)
           %2: f64[2,2] = permute(%1, dims=[1, 0])
           %3: f64[2] = sum(%2, dim=[0])
           %4: f64[2,2] = fused(%1, %2)
           { (%5: f64[2,2], %6: f64[2,2])
             %7: f64[2,2] = mul(%5, %6)
             yield %7
           }
           return %3, %4
         }",
    )
    .unwrap();
    agrees_with_differences(&graph, &[vec![0.5, -1.0, 2.0, 0.25], vec![1.5, 0.5, -0.75, 1.0]], &[2, 2]);
}

#[test]
fn a_branch_is_differentiated_by_a_branch() {
    let x = Tensor::from_slice(&[0.5f64, 1.5], &[2]).unwrap();
    let program = |a: &[Tensor]| -> Result<Vec<Tensor>> {
        let (x, w) = (&a[0], &a[1]);
        let positive = x.sum(&[], false)?.gt(0.0)?;
        let out = cond(&positive, || Ok(vec![x.mul(w)?.mul(x)?]), || Ok(vec![w.neg()?]))?;
        Ok(vec![out[0].mul(3.0)?])
    };
    let recording = record("g", Mode::Staged, &[Spec::of(&x), Spec::of(&x)], program).unwrap();
    agrees_with_differences(&recording.graph, &[vec![0.5, 1.5], vec![2.0, -1.0]], &[2]);
    agrees_with_differences(&recording.graph, &[vec![-0.5, -1.5], vec![2.0, -1.0]], &[2]);
}

#[test]
fn second_derivatives_are_gradients_of_gradients() {
    let graph = parse(
        "graph g(%x: f64[1]) {
           %0: f64[1] = mul(%x, %x)
           %1: f64[1] = mul(%0, %x)
           return %1
         }",
    )
    .unwrap();
    let twice = all(&all(&graph).graph);
    let out = |v: f64| Tensor::from_slice(&[v], &[1]).unwrap();
    // Inputs x and dy, results y and dx; cotangents of both results.
    let args = [out(3.0), out(1.0), out(0.0), out(1.0)];
    let results = interpret::run(&twice.graph, &args).unwrap();
    let second = &results[twice.gradients[0].unwrap()];
    assert_eq!(second.to_vec::<f64>().unwrap(), [18.0]);
}

#[test]
fn the_halves_are_the_whole() {
    for seed in 0..60 {
        let graph = Graph { write_backs: Vec::new(), ..random_graph(seed) };
        let joint = all(&graph);
        let split = joint.split(&joint.saved()).unwrap();
        let mut choices = Choices::new(seed + 1000);
        let inputs: Vec<Tensor> = (0..3).map(|_| random_tensor(&mut choices, &[3, 3])).collect();
        let seeds: Vec<Tensor> =
            joint.cotangents.iter().map(|_| random_tensor(&mut choices, &[3, 3])).collect();
        let bytes = |tensors: &[Tensor]| tensors.iter().map(|t| t.to_bytes().unwrap()).collect::<Vec<_>>();
        let args: Vec<Tensor> = inputs.iter().chain(&seeds).cloned().collect();
        let whole = interpret::run(&joint.graph, &args).unwrap();
        let forward = interpret::run(&split.forward, &inputs).unwrap();
        let (results, residuals) = forward.split_at(joint.results);
        assert_eq!(residuals.len(), split.residuals);
        assert_eq!(bytes(results), bytes(&whole[..joint.results]), "seed {seed}");
        let args: Vec<Tensor> = inputs.iter().chain(residuals).chain(&seeds).cloned().collect();
        let gradients = interpret::run(&split.backward, &args).unwrap();
        assert_eq!(bytes(&gradients), bytes(&whole[joint.results..]), "seed {seed}\n{}", joint.graph);
    }
}

#[test]
fn what_is_saved_is_what_rules_read() {
    let graph = parse(
        "graph g(%x: f32[2,2], %w: f32[2,2]) {
           %h: f32[2,2] = matmul(%x, %w)
           %t: f32[2,2] = permute(%h, dims=[1, 0])
           %u: f32[2,2] = add(%t, %x)
           %v: f32[2,2] = mul(%u, %x)
           return %v
         }",
    )
    .unwrap();
    // Only the product reads a computed value.
    assert_eq!(all(&graph).saved(), [(2, 0)]);
    let for_w = joint(&graph, DeviceId::Cpu, &[false, true], &[true]).unwrap();
    assert_eq!(for_w.saved(), []);
    assert_eq!(for_w.gradients.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
}
