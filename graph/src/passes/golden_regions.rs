//! Each pass on one small graph with regions, before and after, as text.

use super::golden::becomes;

#[test]
fn unroll() {
    becomes(
        "unroll",
        "graph g(%x: f32[2]) {
          %z: f32[] = constant(f32[], [0.0])
          %i: f32[], %y: f32[2] = while(%z, %x)
          { (%a: f32[], %b: f32[2])
            %t: bool[] = lt(%a, 1.5)
            yield %t
          }
          { (%c: f32[], %d: f32[2])
            %e: f32[] = add(%c, 1.0)
            %f: f32[2] = mul(%d, %c)
            yield %e, %f
          }
          return %y
        }",
        "graph g(%x: f32[2]) {
          %z: f32[] = constant(f32[], [0.0])
          %e: f32[] = add(%z, 1.0)
          %f: f32[2] = mul(%x, %z)
          %h: f32[] = add(%e, 1.0)
          %y: f32[2] = mul(%f, %e)
          return %y
        }",
    );
}

#[test]
fn unroll_counts_on_the_host_and_leaves_out_a_loop_without_turns() {
    becomes(
        "unroll",
        "graph g(%x: f32[2]) {
          %n: int = host.literal(3)
          %i: int, %y: f32[2] = while(%n, %x)
          { (%a: int, %b: f32[2])
            %t: bool = host.lt(%a, 3)
            yield %t
          }
          { (%c: int, %d: f32[2])
            %e: int = host.add(%c, 1)
            %f: f32[2] = neg(%d)
            yield %e, %f
          }
          %s: f32[2] = neg(%y)
          return %s
        }",
        "graph g(%x: f32[2]) {
          %n: int = host.literal(3)
          %s: f32[2] = neg(%x)
          return %s
        }",
    );
}

#[test]
fn branches() {
    becomes(
        "branches",
        "graph g(%x: f32[2], %c: bool[]) {
          %t: bool[] = constant(bool[], [true])
          %a: f32[2] = if(%t)
          { ()
            %p: f32[2] = neg(%x)
            yield %p
          }
          { ()
            yield %x
          }
          %b: f32[2] = if(%c)
          { ()
            yield %a
          }
          { ()
            %n: bool[] = logical_not(%c)
            %q: f32[2] = if(%n)
            { ()
              %r: f32[2] = exp(%a)
              yield %r
            }
            { ()
              yield %x
            }
            yield %q
          }
          return %b
        }",
        "graph g(%x: f32[2], %c: bool[]) {
          %t: bool[] = constant(bool[], [true])
          %a: f32[2] = neg(%x)
          %b: f32[2] = if(%c)
          { ()
            yield %a
          }
          { ()
            %n: bool[] = logical_not(%c)
            %r: f32[2] = exp(%a)
            yield %r
          }
          return %b
        }",
    );
}

/// In a body the condition of the turn is true, also where it is computed again.
#[test]
fn branches_know_the_condition_of_a_turn() {
    becomes(
        "branches",
        "graph g(%x: f32[], %n: f32[]) {
          %y: f32[] = while(%x)
          { (%a: f32[])
            %t: bool[] = lt(%a, %n)
            yield %t
          }
          { (%b: f32[])
            %u: bool[] = lt(%b, %n)
            %v: f32[] = if(%u)
            { ()
              %w: f32[] = add(%b, 1.0)
              yield %w
            }
            { ()
              yield %b
            }
            yield %v
          }
          return %y
        }",
        "graph g(%x: f32[], %n: f32[]) {
          %y: f32[] = while(%x)
          { (%a: f32[])
            %t: bool[] = lt(%a, %n)
            yield %t
          }
          { (%b: f32[])
            %u: bool[] = lt(%b, %n)
            %w: f32[] = add(%b, 1.0)
            yield %w
          }
          return %y
        }",
    );
}

#[test]
fn carry() {
    becomes(
        "carry",
        "graph g(%x: f32[], %n: f32[]) {
          %y: f32[], %m: f32[] = while(%x, %n)
          { (%a: f32[], %p: f32[])
            %t: bool[] = lt(%a, %p)
            yield %t
          }
          { (%b: f32[], %q: f32[])
            %w: f32[] = add(%b, %q)
            yield %w, %q
          }
          %z: f32[] = add(%y, %m)
          return %z
        }",
        "graph g(%x: f32[], %n: f32[]) {
          %y: f32[] = while(%x)
          { (%a: f32[])
            %t: bool[] = lt(%a, %n)
            yield %t
          }
          { (%b: f32[])
            %w: f32[] = add(%b, %n)
            yield %w
          }
          %z: f32[] = add(%y, %n)
          return %z
        }",
    );
}

/// A result may not become a tensor that the caller holds already.
#[test]
fn carry_copies_what_leaves() {
    becomes(
        "carry",
        "graph g(%x: f32[2], %c: bool[]) {
          %y: f32[2] = if(%c)
          { ()
            yield %x
          }
          { ()
            yield %x
          }
          return %y
        }",
        "graph g(%x: f32[2], %c: bool[]) {
          if(%c)
          { ()
            yield
          }
          { ()
            yield
          }
          %y: f32[2] = clone(%x)
          return %y
        }",
    );
}

#[test]
fn hoist() {
    becomes(
        "hoist",
        "graph g(%x: f32[2], %c: bool[]) {
          %y: f32[2] = if(%c)
          { ()
            %a: f32[2] = exp(%x)
            %b: f32[2] = neg(%a)
            yield %b
          }
          { ()
            %d: f32[2] = exp(%x)
            yield %d
          }
          return %y
        }",
        "graph g(%x: f32[2], %c: bool[]) {
          %a: f32[2] = exp(%x)
          %y: f32[2] = if(%c)
          { ()
            %b: f32[2] = neg(%a)
            yield %b
          }
          { ()
            yield %a
          }
          return %y
        }",
    );
}

#[test]
fn licm_moves_what_is_harmless_and_all_of_the_condition() {
    becomes(
        "licm",
        "graph g(%x: f32[2,2], %n: f32[2,2]) {
          %y: f32[2,2] = while(%x)
          { (%a: f32[2,2])
            %s: f32[] = sum(%n)
            %r: f32[] = sum(%a)
            %t: bool[] = lt(%r, %s)
            yield %t
          }
          { (%b: f32[2,2])
            %e: f32[2,2] = exp(%n)
            %w: f32[2,2] = add(%b, %e)
            yield %w
          }
          return %y
        }",
        "graph g(%x: f32[2,2], %n: f32[2,2]) {
          %s: f32[] = sum(%n)
          %e: f32[2,2] = exp(%n)
          %y: f32[2,2] = while(%x)
          { (%a: f32[2,2])
            %r: f32[] = sum(%a)
            %t: bool[] = lt(%r, %s)
            yield %t
          }
          { (%b: f32[2,2])
            %w: f32[2,2] = add(%b, %e)
            yield %w
          }
          return %y
        }",
    );
}

#[test]
fn licm_moves_the_rest_behind_a_guard() {
    becomes(
        "licm",
        "graph g(%x: f32[2,2], %n: f32[2,2]) {
          %y: f32[2,2] = while(%x)
          { (%a: f32[2,2])
            %r: f32[] = sum(%a)
            %t: bool[] = lt(%r, 9.0)
            yield %t
          }
          { (%b: f32[2,2])
            %p: f32[2,2] = matmul(%n, %n)
            %q: f32[2,2] = exp(%p)
            %w: f32[2,2] = add(%b, %q)
            yield %w
          }
          return %y
        }",
        "graph g(%x: f32[2,2], %n: f32[2,2]) {
          %s: f32[] = sum(%x)
          %u: bool[] = lt(%s, 9.0)
          %y: f32[2,2] = if(%u)
          { ()
            %p: f32[2,2] = matmul(%n, %n)
            %q: f32[2,2] = exp(%p)
            %z: f32[2,2] = while(%x)
            { (%a: f32[2,2])
              %r: f32[] = sum(%a)
              %t: bool[] = lt(%r, 9.0)
              yield %t
            }
            { (%b: f32[2,2])
              %w: f32[2,2] = add(%b, %q)
              yield %w
            }
            yield %z
          }
          { ()
            yield %x
          }
          return %y
        }",
    );
}

#[test]
fn dce_through_regions() {
    becomes(
        "dce",
        "graph g(%x: f32[], %n: f32[]) {
          %y: f32[], %m: f32[], %k: f32[] = while(%x, %n, %n)
          { (%a: f32[], %p: f32[], %u: f32[])
            %t: bool[] = lt(%a, %n)
            yield %t
          }
          { (%b: f32[], %q: f32[], %v: f32[])
            %w: f32[] = add(%b, %v)
            %r: f32[] = exp(%q)
            %s: f32[] = neg(%v)
            yield %w, %r, %s
          }
          return %y
        }",
        "graph g(%x: f32[], %n: f32[]) {
          %y: f32[], %k: f32[] = while(%x, %n)
          { (%a: f32[], %u: f32[])
            %t: bool[] = lt(%a, %n)
            yield %t
          }
          { (%b: f32[], %v: f32[])
            %w: f32[] = add(%b, %v)
            %s: f32[] = neg(%v)
            yield %w, %s
          }
          return %y
        }",
    );
}

#[test]
fn fold_computes_on_the_host() {
    becomes(
        "fold",
        "graph g(%x: f32[2]) {
          %a: int = host.literal(2)
          %b: int = host.mul(%a, 3)
          %y: f32[2] = mul(%x, %b)
          return %y
        }",
        "graph g(%x: f32[2]) {
          %a: int = host.literal(2)
          %b: int = host.literal(6)
          %y: f32[2] = mul(%x, 6)
          return %y
        }",
    );
}

#[test]
fn accumulate_in_a_turn() {
    becomes(
        "accumulate",
        "graph g(%w: f32[2,2], %x: f32[2,2]) {
          %y: f32[2,2] = while(%w)
          { (%a: f32[2,2])
            %r: f32[] = sum(%a)
            %t: bool[] = lt(%r, 9.0)
            yield %t
          }
          { (%b: f32[2,2])
            %p: f32[2,2] = matmul(%b, %x)
            %n: f32[2,2] = add(%b, %p)
            yield %n
          }
          return %y
        }",
        "graph g(%w: f32[2,2], %x: f32[2,2]) {
          %y: f32[2,2] = while(%w)
          { (%a: f32[2,2])
            %r: f32[] = sum(%a)
            %t: bool[] = lt(%r, 9.0)
            yield %t
          }
          { (%b: f32[2,2])
            %n: f32[2,2] = addmm(%b, %b, %x)
            yield %n
          }
          return %y
        }",
    );
}

#[test]
fn fuse_in_regions() {
    becomes(
        "fuse",
        "graph g(%x: f32[4]) {
          %y: f32[4] = while(%x)
          { (%a: f32[4])
            %q: f32[4] = mul(%a, %a)
            %r: f32[] = sum(%q)
            %t: bool[] = lt(%r, 9.0)
            yield %t
          }
          { (%b: f32[4])
            %c: f32[4] = mul(%b, 2.0)
            %d: f32[4] = add(%c, %x)
            yield %d
          }
          return %y
        }",
        "graph g(%x: f32[4]) {
          %y: f32[4] = while(%x)
          { (%a: f32[4])
            %t: bool[] = fused(%a)
            { (%h: f32[4])
              %q: f32[4] = mul(%h, %h)
              %r: f32[] = sum(%q)
              %u: bool[] = lt(%r, 9.0)
              yield %u
            }
            yield %t
          }
          { (%b: f32[4])
            %d: f32[4] = fused(%x, %b)
            { (%p: f32[4], %o: f32[4])
              %c: f32[4] = mul(%o, 2.0)
              %e: f32[4] = add(%c, %p)
              yield %e
            }
            yield %d
          }
          return %y
        }",
    );
}
