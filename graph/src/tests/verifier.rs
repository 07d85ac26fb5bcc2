//! Each class of fault is caught, and said in words.

use crate::ir::{BlockId, Graph, InputRole, NodeId, Operand, ValueId, tensor};
use crate::parse::parse;
use crate::verify::verify;
use kernels::{DType, Scalar};
use runtime::value::Host;

const SOUND: &str = r#"graph g(%x: f32[2,3], state %w: f32[2,3], %c: bool[]) {
  %0: f32[2,3] = add(%x, %w)
  %1: f32[2] = sum(%0, dim=[1])
  %2: f32[2,3] = fused(%0, %w)
  { (%3: f32[2,3], %4: f32[2,3])
    %5: f32[2,3] = mul(%3, %4)
    yield %5
  }
  %6: f32[2] = if(%c)
  { ()
    %7: f32[2] = neg(%1)
    yield %7
  }
  { ()
    yield %1
  }
  return %6, %2 into %w
}
"#;

fn broken(text: &str) -> String {
    verify(&parse(text).unwrap()).expect_err("the graph is broken").message().to_string()
}

fn damaged(damage: impl FnOnce(&mut Graph)) -> String {
    let mut graph = parse(SOUND).unwrap();
    verify(&graph).unwrap();
    damage(&mut graph);
    verify(&graph).expect_err("the graph is broken").message().to_string()
}

fn node(graph: &Graph, word: &str) -> NodeId {
    graph.walk().into_iter().find(|&n| graph.node(n).kind.word() == word).unwrap()
}

#[test]
fn annotated_types_must_be_the_rules() {
    assert!(
        broken(&SOUND.replace("%1: f32[2] = sum", "%1: f32[3] = sum")).contains("the rule gives (f32[2])")
    );
}

#[test]
fn operands_must_fit_the_schema() {
    let add = |g: &mut Graph, operand: Operand| {
        let id = node(g, "add");
        g.nodes[id.0 as usize].operands[1] = operand;
    };
    assert!(damaged(|g| add(g, Operand::Host(Host::Str("a".into())))).contains("'other' does not fit"));
    assert!(damaged(|g| add(g, Operand::Values(vec![ValueId(0)]))).contains("'other' does not fit"));
    assert!(damaged(|g| add(g, Operand::Host(Host::None))).contains("'other' does not fit"));
    assert!(
        damaged(|g| {
            let id = node(g, "add");
            let more = [1, 2].map(|v| Operand::Host(Host::Scalar(Scalar::Int(v))));
            g.nodes[id.0 as usize].operands.extend(more);
        })
        .contains("operands for the schema")
    );
}

#[test]
fn definitions_come_before_uses() {
    assert!(
        damaged(|g| {
            let body = g.body.0 as usize;
            g.blocks[body].nodes.swap(0, 1);
        })
        .contains("used before it is defined")
    );
    assert!(
        damaged(|g| {
            let body = g.body.0 as usize;
            let again = g.blocks[body].nodes[0];
            g.blocks[body].nodes.push(again);
        })
        .contains("defined twice")
    );
    assert!(
        damaged(|g| {
            let id = node(g, "add");
            g.nodes[id.0 as usize].operands[0] = Operand::Value(ValueId(99));
        })
        .contains("does not exist")
    );
}

#[test]
fn blocks_keep_their_values() {
    assert!(
        damaged(|g| {
            let inner = g.node(node(g, "neg")).outputs[0];
            let body = g.body.0 as usize;
            g.blocks[body].results[0] = inner;
        })
        .contains("not visible")
    );
    assert!(
        damaged(|g| {
            let outer = g.params()[0];
            let id = node(g, "mul");
            g.nodes[id.0 as usize].operands[0] = Operand::Value(outer);
        })
        .contains("not visible")
    );
}

#[test]
fn blocks_fit_their_node() {
    assert!(
        damaged(|g| {
            let id = node(g, "if");
            g.nodes[id.0 as usize].blocks.pop();
        })
        .contains("1 blocks where 2 are wanted")
    );
    assert!(
        damaged(|g| {
            let block: BlockId = g.node(node(g, "fused")).blocks[0];
            g.blocks[block.0 as usize].params.pop();
        })
        .contains("before it is defined")
    );
    assert!(
        damaged(|g| {
            let block: BlockId = g.node(node(g, "if")).blocks[1];
            g.blocks[block.0 as usize].results.clear();
        })
        .contains("does not give")
    );
    assert!(
        damaged(|g| {
            let (id, x) = (node(g, "if"), g.params()[0]);
            g.nodes[id.0 as usize].operands[0] = Operand::Value(x);
        })
        .contains("truth")
    );
}

#[test]
fn state_fits_its_input() {
    assert!(damaged(|g| g.inputs[1] = InputRole::Argument).contains("is not state"));
    assert!(damaged(|g| g.write_backs[0].1 = 0).contains("is written back into"));
    assert!(damaged(|g| g.write_backs.push((1, 1))).contains("written back twice"));
    assert!(damaged(|g| g.write_backs[0].1 = 9).contains("names input 1 and result 9"));
    assert!(
        damaged(|g| {
            g.inputs.pop();
        })
        .contains("3 inputs have 2 roles")
    );
}

#[test]
fn constants_have_their_own_type() {
    let text = "graph g() {\n %0: f32[1] = constant(f32[1], [1.0])\n return %0\n}";
    let mut graph = parse(text).unwrap();
    graph.values[0].ty = tensor(DType::F32, &[2]);
    assert!(verify(&graph).unwrap_err().message().contains("annotated (f32[2])"));
}
