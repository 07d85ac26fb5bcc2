//! An order of straight code in which the members of each group are neighbours.

use crate::ir::{Graph, NodeId};
use crate::passes::moves::is_pure;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// The nodes of the main block, those of a group together, as near to the old order as that allows; `None` where a member
/// needs what another one makes. What does more than compute keeps its order.
pub(super) fn ordered(graph: &Graph, groups: &[Vec<NodeId>]) -> Option<Vec<NodeId>> {
    let nodes = &graph.main().nodes;
    // Units: a node, or all members of a group.
    let mut unit_of: HashMap<NodeId, usize> = HashMap::new();
    for (number, group) in groups.iter().enumerate() {
        group.iter().for_each(|&id| {
            unit_of.insert(id, number);
        });
    }
    let mut units: Vec<Vec<NodeId>> = groups.to_vec();
    for &id in nodes {
        unit_of.entry(id).or_insert_with(|| {
            units.push(vec![id]);
            units.len() - 1
        });
    }
    let mut maker = vec![None; graph.value_count()];
    for &id in nodes {
        graph.node(id).outputs.iter().for_each(|v| maker[v.0 as usize] = Some(unit_of[&id]));
    }
    let mut after: Vec<Vec<usize>> = vec![Vec::new(); units.len()];
    let mut waits = vec![0usize; units.len()];
    let mut last = None;
    for &id in nodes {
        let (node, unit) = (graph.node(id), unit_of[&id]);
        let inner = node.blocks.iter().flat_map(|&b| graph.free_values(b));
        for v in node.reads().chain(inner) {
            if let Some(before) = maker[v.0 as usize] {
                if before == unit && groups.get(unit).is_some() {
                    return None;
                }
                after[before].push(unit);
                waits[unit] += 1;
            }
        }
        if !is_pure(node)
            && let Some(before) = last.replace(unit)
        {
            after[before].push(unit);
            waits[unit] += 1;
        }
    }
    let place: HashMap<NodeId, usize> = nodes.iter().enumerate().map(|(i, &id)| (id, i)).collect();
    let first: Vec<usize> = units.iter().map(|unit| place[&unit[0]]).collect();
    let mut ready: BinaryHeap<Reverse<(usize, usize)>> =
        (0..units.len()).filter(|&u| waits[u] == 0).map(|u| Reverse((first[u], u))).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(Reverse((_, unit))) = ready.pop() {
        order.extend(&units[unit]);
        for &next in &after[unit] {
            waits[next] -= 1;
            if waits[next] == 0 {
                ready.push(Reverse((first[next], next)));
            }
        }
    }
    (order.len() == nodes.len()).then_some(order)
}
