//! Each pass on one small graph, before and after, as text.

use super::optimize;
use crate::{Options, PassSelection, parse};

pub(super) fn becomes(pass: &str, before: &str, after: &str) {
    let options = Options { passes: PassSelection::Only(vec![pass.to_string()]), ..Options::default() };
    let wanted = parse(after).unwrap();
    let (next, log) = optimize(parse(before).unwrap(), &options).unwrap();
    assert!(next == wanted, "{pass} gave\n{next}\ninstead of\n{wanted}\n{log}");
}

#[test]
fn fold() {
    becomes(
        "fold",
        "graph g(%x: f32[2]) {
          %c: f32[] = constant(f32[], [1.5])
          %d: f32[] = mul(%c, 2.0)
          %y: f32[2] = add(%x, %d)
          return %y
        }",
        "graph g(%x: f32[2]) {
          %c: f32[] = constant(f32[], [1.5])
          %d: f32[] = constant(f32[], [3.0])
          %y: f32[2] = add(%x, %d)
          return %y
        }",
    );
}

#[test]
fn absorb() {
    becomes(
        "absorb",
        "graph g(%x: f32[1,1,2,2]) {
          %w: f32[2,1,1,1] = constant(f32[2,1,1,1], [1.0, 2.0])
          %m: f32[1,2,1,1] = constant(f32[1,2,1,1], [0.5, 1.0])
          %s: f32[2,1,1] = constant(f32[2,1,1], [2.0, 4.0])
          %c: f32[1,2,2,2] = convolution(%x, %w)
          %d: f32[1,2,2,2] = sub(%c, %m)
          %y: f32[1,2,2,2] = mul(%d, %s)
          return %y
        }",
        "graph g(%x: f32[1,1,2,2]) {
          %w: f32[2,1,1,1] = constant(f32[2,1,1,1], [1.0, 2.0])
          %m: f32[1,2,1,1] = constant(f32[1,2,1,1], [0.5, 1.0])
          %s: f32[2,1,1] = constant(f32[2,1,1], [2.0, 4.0])
          %v: f32[2,1,1,1] = constant(f32[2,1,1,1], [2.0, 8.0])
          %b: f32[2] = constant(f32[2], [-1.0, -4.0])
          %y: f32[1,2,2,2] = convolution(%x, %v, %b)
          return %y
        }",
    );
    // A shift along another dimension, a second reader, and a quotient by the layer stay.
    for rest in [
        "%k: f32[2] = constant(f32[2], [1.0, 2.0]) %y: f32[2,2] = add(%c, %k) %z: f32[2,2] = mul(%c, %y)",
        "%k: f32[2,1] = constant(f32[2,1], [1.0, 2.0]) %z: f32[2,2] = add(%c, %k)",
        "%k: f32[2] = constant(f32[2], [1.0, 2.0]) %z: f32[2,2] = div(%k, %c)",
    ] {
        let text = format!(
            "graph g(%x: f32[2,3]) {{
              %w: f32[2,3] = constant(f32[2,3], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
              %c: f32[2,2] = linear(%x, %w)
              {rest}
              return %z
            }}"
        );
        becomes("absorb", &text, &text);
    }
}

#[test]
fn algebra() {
    becomes(
        "algebra",
        "graph g(%x: f32[2,3], %y: f32[2,3]) {
          %a: f32[2,3] = mul(%x, 1.0)
          %b: f32[2,3] = neg(%y)
          %c: f32[2,3] = add(%a, %b)
          return %c
        }",
        "graph g(%x: f32[2,3], %y: f32[2,3]) {
          %b: f32[2,3] = neg(%y)
          %c: f32[2,3] = sub(%x, %y)
          return %c
        }",
    );
}

#[test]
fn reassociate() {
    becomes(
        "reassociate",
        "graph g(%x: f32[2]) {
          %a: f32[2] = add(%x, 0.0)
          %b: f32[2] = neg(%a)
          return %b
        }",
        "graph g(%x: f32[2]) {
          %b: f32[2] = neg(%x)
          return %b
        }",
    );
}

#[test]
fn approximate() {
    becomes(
        "approximate",
        "graph g(%x: f32[2]) {
          %a: f32[2] = exp(%x)
          %b: f32[2] = log(%a)
          %c: f32[2] = neg(%b)
          return %c
        }",
        "graph g(%x: f32[2]) {
          %a: f32[2] = exp(%x)
          %c: f32[2] = neg(%x)
          return %c
        }",
    );
}

#[test]
fn cse() {
    becomes(
        "cse",
        "graph g(%x: f32[2]) {
          %a: f32[2] = neg(%x)
          %b: f32[2] = neg(%x)
          %c: f32[2] = mul(%a, %b)
          return %c
        }",
        "graph g(%x: f32[2]) {
          %a: f32[2] = neg(%x)
          %c: f32[2] = mul(%a, %a)
          return %c
        }",
    );
}

#[test]
fn dce() {
    becomes(
        "dce",
        "graph g(%x: f32[2], state %w: f32[2]) {
          %a: f32[2] = neg(%x)
          %n: f32[2] = add(%w, %x)
          return %n into %w
        }",
        "graph g(%x: f32[2], state %w: f32[2]) {
          %n: f32[2] = add(%w, %x)
          return %n into %w
        }",
    );
}

#[test]
fn accumulate() {
    becomes(
        "accumulate",
        "graph g(%x: f32[4,2], %y: f32[4,3], state %w: f32[2,3]) {
          %t: f32[2,4] = permute(%x, dims=[1, 0])
          %g: f32[2,3] = matmul(%t, %y)
          %s: f32[2,3] = mul(%g, 0.5)
          %n: f32[2,3] = sub(%w, %s)
          return %n into %w
        }",
        "graph g(%x: f32[4,2], %y: f32[4,3], state %w: f32[2,3]) {
          %t: f32[2,4] = permute(%x, dims=[1, 0])
          %s: f32[2,4] = mul(%t, -0.5)
          %n: f32[2,3] = addmm(%w, %s, %y)
          return %n into %w
        }",
    );
}

#[test]
fn fuse() {
    becomes(
        "fuse",
        "graph g(%x: f32[4,2], %b: f32[2]) {
          %y: f32[4,2] = add(%x, %b)
          %s: f32[2] = sum(%y, dim=[0])
          return %s, %y
        }",
        "graph g(%x: f32[4,2], %b: f32[2]) {
          %y: f32[4,2], %s: f32[2] = fused(%x, %b)
          { (%p: f32[4,2], %q: f32[2])
            %v: f32[4,2] = add(%p, %q)
            %u: f32[2] = sum(%v, dim=[0])
            yield %v, %u
          }
          return %s, %y
        }",
    );
}
