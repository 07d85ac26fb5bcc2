//! What `gather` makes of small graphs, as text, and that the numbers stay.

use super::golden::becomes;
use super::optimize;
use crate::{Graph, Options, PassSelection, interpret, parse};
use runtime::Tensor;

#[test]
fn gradients_of_slices_that_fill_a_tensor_are_one_cat() {
    becomes(
        "gather",
        "graph g(%x: f32[2,2], %y: f32[2,3], %z: f32[2,5]) {
          %a: f32[2,5] = slice_backward(%x, input_sizes=[2,5], dim=1, start=0, step=1)
          %b: f32[2,5] = slice_backward(%y, input_sizes=[2,5], dim=1, start=2, step=1)
          %c: f32[2,5] = add(%b, %z)
          %d: f32[2,5] = add(%c, %a)
          return %d
        }",
        "graph g(%x: f32[2,2], %y: f32[2,3], %z: f32[2,5]) {
          %a: f32[2,5] = slice_backward(%x, input_sizes=[2,5], dim=1, start=0, step=1)
          %b: f32[2,5] = slice_backward(%y, input_sizes=[2,5], dim=1, start=2, step=1)
          %c: f32[2,5] = add(%b, %z)
          %e: f32[2,5] = cat([%x, %y], dim=1)
          %d: f32[2,5] = add(%e, %z)
          return %d
        }",
    );
}

/// A gap, an overlap, a step, or a reader of its own: nothing is laid side by side.
#[test]
fn gradients_of_slices_that_do_not_fill_a_tensor_stay() {
    for (x, y) in [
        ("start=0, step=1", "start=3, step=1"),
        ("start=0, step=1", "start=1, step=1"),
        ("start=0, step=2", "start=1, step=2"),
    ] {
        let text = format!(
            "graph g(%x: f32[2], %y: f32[2]) {{
              %a: f32[5] = slice_backward(%x, input_sizes=[5], dim=0, {x})
              %b: f32[5] = slice_backward(%y, input_sizes=[5], dim=0, {y})
              %c: f32[5] = add(%a, %b)
              return %c
            }}"
        );
        becomes("gather", &text, &text);
    }
}

#[test]
fn a_sum_of_small_products_is_one_product() {
    becomes(
        "gather",
        "graph g(%x: f32[2,1,4], %d: f32[1,4], %e: f32[1,4]) {
          %x0: f32[1,4] = select(%x, dim=0, index=0)
          %x1: f32[1,4] = select(%x, dim=0, index=1)
          %t0: f32[4,1] = permute(%x0, dims=[1, 0])
          %t1: f32[4,1] = permute(%x1, dims=[1, 0])
          %a: f32[4,4] = matmul(%t0, %d)
          %b: f32[4,4] = matmul(%t1, %e)
          %c: f32[4,4] = add(%a, %b)
          return %c
        }",
        "graph g(%x: f32[2,1,4], %d: f32[1,4], %e: f32[1,4]) {
          %x0: f32[1,4] = select(%x, dim=0, index=0)
          %x1: f32[1,4] = select(%x, dim=0, index=1)
          %t0: f32[4,1] = permute(%x0, dims=[1, 0])
          %t1: f32[4,1] = permute(%x1, dims=[1, 0])
          %a: f32[4,4] = matmul(%t0, %d)
          %b: f32[4,4] = matmul(%t1, %e)
          %r: f32[2,4] = reshape(%x, shape=[2, 4])
          %t: f32[4,2] = permute(%r, dims=[1, 0])
          %s: f32[2,4] = cat([%d, %e], dim=0)
          %c: f32[4,4] = matmul(%t, %s)
          return %c
        }",
    );
}

/// The projections of all steps are one product before the recurrence, whose own products wait for each other.
const CELL: &str = "graph cell(%x: f32[3,2,4], %h: f32[2,4], %wx: f32[4,4], %wh: f32[4,4]) {
  %x0: f32[2,4] = select(%x, dim=0, index=0)
  %p0: f32[2,4] = matmul(%x0, %wx)
  %q0: f32[2,4] = matmul(%h, %wh)
  %s0: f32[2,4] = add(%p0, %q0)
  %h0: f32[2,4] = tanh(%s0)
  %x1: f32[2,4] = select(%x, dim=0, index=1)
  %p1: f32[2,4] = matmul(%x1, %wx)
  %q1: f32[2,4] = matmul(%h0, %wh)
  %s1: f32[2,4] = add(%p1, %q1)
  %h1: f32[2,4] = tanh(%s1)
  %x2: f32[2,4] = select(%x, dim=0, index=2)
  %p2: f32[2,4] = matmul(%x2, %wx)
  %q2: f32[2,4] = matmul(%h1, %wh)
  %s2: f32[2,4] = mul(%p2, %q2)
  %h2: f32[2,4] = tanh(%s2)
  return %h2
}";

fn passed(graph: Graph, passes: &[&str]) -> Graph {
    let passes = PassSelection::Only(passes.iter().map(|p| p.to_string()).collect());
    optimize(graph, &Options { passes, ..Options::default() }).unwrap().0
}

#[test]
fn products_that_do_not_wait_for_each_other_are_one() {
    let before = parse(CELL).unwrap();
    let after = passed(before.clone(), &["gather", "dce"]);
    assert_eq!((after.count("matmul"), after.count("select"), after.count("slice")), (4, 0, 3), "{after}");
    let tensor = |dims: &[usize], seed: f64| {
        let n: usize = dims.iter().product();
        let values: Vec<f32> = (0..n).map(|i| ((i as f64 + seed) * 1.7).sin() as f32).collect();
        Tensor::from_slice(&values, dims).unwrap()
    };
    let args = [tensor(&[3, 2, 4], 1.0), tensor(&[2, 4], 2.0), tensor(&[4, 4], 3.0), tensor(&[4, 4], 4.0)];
    let bytes = |graph: &Graph| interpret::run(graph, &args).unwrap()[0].to_bytes().unwrap();
    // A row of a product has the same bits whatever rows are beside it.
    assert_eq!(bytes(&before), bytes(&after));
}

/// What one group waits for, another makes: both are joined, in an order that the old one does not have.
#[test]
fn groups_that_feed_each_other_are_joined_one_after_the_other() {
    let graph = "graph g(%a: f32[1,2], %b: f32[1,2], %u: f32[2,2], %v: f32[2,2]) {
      %p: f32[1,2] = matmul(%a, %u)
      %q: f32[1,2] = matmul(%p, %v)
      %r: f32[1,2] = matmul(%b, %u)
      %s: f32[1,2] = matmul(%r, %v)
      %t: f32[1,2] = add(%q, %s)
      return %t
    }";
    let after = passed(parse(graph).unwrap(), &["gather", "dce"]);
    assert_eq!(after.count("matmul"), 2, "{after}");
    // The rows of the first product are the left factor of the second, as they lie.
    assert_eq!(after.count("cat"), 1, "{after}");
}

/// The steps of a backward recurrence read a transpose again and again: it is turned once, and no bit changes.
#[test]
fn a_transpose_that_many_products_wait_for_is_turned_once() {
    for (steps, clones) in [(7, 0), (8, 1)] {
        let mut text = "graph g(%h0: f32[6,5], %w: f32[5,5]) {\n".to_string();
        for i in 0..steps {
            text += &format!(
                "%t{i}: f32[5,5] = permute(%w, dims=[1, 0])\n%q{i}: f32[6,5] = matmul(%h{i}, %t{i})\n"
            );
            text += &format!("%h{}: f32[6,5] = tanh(%q{i})\n", i + 1);
        }
        let before = parse(&(text + &format!("return %h{steps}\n}}"))).unwrap();
        let after = passed(before.clone(), &["gather", "dce"]);
        assert_eq!((after.count("clone"), after.count("matmul")), (clones, steps), "{after}");
        let values = |n: usize| (0..n).map(|i| (i as f32 * 1.7).sin()).collect::<Vec<f32>>();
        let args = [(6, 5), (5, 5)].map(|(m, n)| Tensor::from_slice(&values(m * n), &[m, n]).unwrap());
        let bytes = |graph: &Graph| interpret::run(graph, &args).unwrap()[0].to_bytes().unwrap();
        assert_eq!(bytes(&before), bytes(&after));
    }
}
