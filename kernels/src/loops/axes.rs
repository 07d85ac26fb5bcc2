//! The iteration space of a region: which dimension of which value runs along which axis.
//!
//! Each dimension is a variable; an element-wise node says that variables are equal (union-find). A dimension of extent
//! 1 has a single coordinate, so it has no variable and needs no axis: broadcasting it and owning it are the same.
//!
//! Leaves (inputs, coordinates) get variables of their own at each use, because a buffer may be read at several points
//! at once (`x + x.T`); a computed value has one set, because it is computed once.
//!
//! Some equalities are wishes, not laws: two uses of one input or of one repeated dimension, two reductions of equal extents and two outputs of
//! equal shape run along the same axes unless this would make a value need the same axis twice. Laws come first.

use super::region::{Kind, Node, Output, Region, Unfusible, operands};
use crate::shape::Dims;
use smallvec::SmallVec;
use std::collections::HashMap;

/// Axes of a value's dimensions; `NO_AXIS` for those of extent 1.
pub(super) type AxisList = SmallVec<[u32; 6]>;

/// In an `AxisList`: no axis.
pub(super) const NO_AXIS: u32 = u32::MAX;

/// What the analysis says of one node or output.
#[derive(Clone, Default)]
pub(super) struct Placed {
    /// Axes of its own dimensions; of the visited points for a scatter.
    pub(super) own: AxisList,
    /// Axes of its operands' dimensions, at this use.
    pub(super) uses: SmallVec<[AxisList; 3]>,
    /// Whether any output depends on it.
    pub(super) live: bool,
}

/// The space of a region.
pub(super) struct Space {
    pub(super) outer: Dims,
    pub(super) inner: Dims,
    pub(super) nodes: Vec<Placed>,
    pub(super) outputs: Vec<Placed>,
    /// Whether there is a reduction or a scan (over extent 1 perhaps, which leaves `inner` empty).
    pub(super) reduces: bool,
    /// For each `Count` node whether it counts the inner points.
    pub(super) counts_inner: Vec<bool>,
}

/// Finds the space, or says why there is none.
pub(super) fn find_space(region: &Region) -> Result<Space, Unfusible> {
    let mut analysis = Analysis::new(region);
    analysis.mark_live();
    analysis.place();
    analysis.unify();
    analysis.one_point_each()?;
    analysis.grant_wishes();
    analysis.finish()
}

struct Analysis<'a> {
    region: &'a Region,
    parent: Vec<u32>,
    extents: Vec<usize>,
    nodes: Vec<Placed>,
    outputs: Vec<Placed>,
    /// Leaves whose own variables already serve a use.
    claimed: Vec<bool>,
    /// Variables of the repeated dimensions of views, at their first use.
    spread: HashMap<(Node, usize), u32>,
    wishes: Vec<(u32, u32)>,
}

impl<'a> Analysis<'a> {
    fn new(region: &'a Region) -> Analysis<'a> {
        Analysis {
            region,
            parent: Vec::new(),
            extents: Vec::new(),
            nodes: vec![Placed::default(); region.nodes.len()],
            outputs: vec![Placed::default(); region.outputs.len()],
            claimed: vec![false; region.nodes.len()],
            spread: HashMap::new(),
            wishes: Vec::new(),
        }
    }

    fn mark_live(&mut self) {
        for output in &self.region.outputs {
            for operand in output_operands(output) {
                self.nodes[operand.0 as usize].live = true;
            }
        }
        for i in (0..self.nodes.len()).rev() {
            if self.nodes[i].live {
                for operand in operands(&self.region.nodes[i].kind) {
                    self.nodes[operand.0 as usize].live = true;
                }
            }
        }
    }

    /// Makes the variables of every live value and of every use.
    fn place(&mut self) {
        let region = self.region;
        for (i, node) in region.nodes.iter().enumerate() {
            if !self.nodes[i].live || matches!(node.kind, Kind::View { .. }) {
                continue;
            }
            self.nodes[i].own = self.fresh_list(&node.shape);
            for (slot, operand) in operands(&node.kind).into_iter().enumerate() {
                let gathered = match node.kind {
                    Kind::Gather { dim, .. } if slot == 0 => Some(dim),
                    _ => None,
                };
                let list = self.place_use(operand, gathered);
                self.nodes[i].uses.push(list);
            }
        }
        for (i, output) in region.outputs.iter().enumerate() {
            for operand in output_operands(output) {
                let list = self.place_use(operand, None);
                self.outputs[i].uses.push(list);
            }
            self.outputs[i].own = match output {
                Output::Store(_) => self.outputs[i].uses[0].clone(),
                Output::Scatter { points, .. } => self.fresh_list(points),
            };
        }
    }

    /// The variables of one use; none for the dimension that a gather replaces.
    fn place_use(&mut self, operand: Node, gathered: Option<usize>) -> AxisList {
        let region = self.region;
        let shape = region.shape(operand);
        let (base, dims) = region.resolve(operand);
        let base = base.0 as usize;
        let leaf = matches!(region.nodes[base].kind, Kind::Input(_) | Kind::Index(_));
        let again = leaf && std::mem::replace(&mut self.claimed[base], true);
        let mut list = AxisList::new();
        for (dim, &extent) in shape.iter().enumerate() {
            if extent == 1 || gathered == Some(dim) {
                list.push(NO_AXIS);
                continue;
            }
            let own = dims[dim].map(|d| self.nodes[base].own[d as usize]);
            list.push(match own {
                Some(own) if again => {
                    let variable = self.fresh(extent);
                    self.wishes.push((own, variable));
                    variable
                }
                Some(own) => own,
                None => {
                    let variable = self.fresh(extent);
                    match self.spread.get(&(operand, dim)) {
                        Some(&first) => self.wishes.push((first, variable)),
                        None => drop(self.spread.insert((operand, dim), variable)),
                    }
                    variable
                }
            });
        }
        list
    }

    /// The laws: operands of element-wise nodes run along the axes of the result.
    fn unify(&mut self) {
        let region = self.region;
        for (i, node) in region.nodes.iter().enumerate() {
            let placed = std::mem::take(&mut self.nodes[i]);
            match &node.kind {
                Kind::Input(_)
                | Kind::Param(_)
                | Kind::Const(_)
                | Kind::Index(_)
                | Kind::Random { .. }
                | Kind::Count { .. }
                | Kind::View { .. }
                | Kind::Invalid => {}
                Kind::Unary(..)
                | Kind::Cast(_)
                | Kind::Binary(..)
                | Kind::Select(..)
                | Kind::Scan { .. }
                | Kind::Gather { .. } => {
                    for list in &placed.uses {
                        self.align(&placed.own, list);
                    }
                }
                Kind::Reduce { dims, keepdim, .. } => {
                    for list in &placed.uses {
                        let kept: AxisList = (0..list.len())
                            .filter(|dim| *keepdim || !dims.contains(dim))
                            .map(|dim| if dims.contains(&dim) { NO_AXIS } else { list[dim] })
                            .collect();
                        self.align(&placed.own, &kept);
                    }
                }
            }
            self.nodes[i] = placed;
        }
        for i in 0..self.outputs.len() {
            let placed = std::mem::take(&mut self.outputs[i]);
            for list in &placed.uses {
                self.align(&placed.own, list);
            }
            self.outputs[i] = placed;
        }
    }

    /// Right-aligned, as broadcasting is.
    fn align(&mut self, own: &[u32], list: &[u32]) {
        for (&a, &b) in own.iter().rev().zip(list.iter().rev()) {
            if a != NO_AXIS && b != NO_AXIS {
                let (a, b) = (self.find(a), self.find(b));
                self.parent[a.max(b) as usize] = a.min(b);
            }
        }
    }

    fn one_point_each(&self) -> Result<(), Unfusible> {
        for (i, placed) in self.nodes.iter().enumerate() {
            for list in placed.uses.iter().chain([&placed.own]) {
                if self.repeats(list) {
                    return Err(Unfusible::TwoPoints { shape: self.region.nodes[i].shape.to_vec() });
                }
            }
        }
        for placed in &self.outputs {
            for list in placed.uses.iter().chain([&placed.own]) {
                if self.repeats(list) {
                    return Err(Unfusible::TwoPoints { shape: self.extents_of(&placed.own).to_vec() });
                }
            }
        }
        Ok(())
    }

    fn repeats(&self, list: &[u32]) -> bool {
        let found: AxisList = list.iter().filter(|&&v| v != NO_AXIS).map(|&v| self.find(v)).collect();
        (1..found.len()).any(|i| found[..i].contains(&found[i]))
    }

    fn grant_wishes(&mut self) {
        let mut wishes = std::mem::take(&mut self.wishes);
        let reduced = self.reduced();
        for later in reduced.iter().skip(1) {
            let equal = |a: &u32, b: &u32| self.extents[*a as usize] == self.extents[*b as usize];
            if later.len() == reduced[0].len() && later.iter().zip(&reduced[0]).all(|(a, b)| equal(a, b)) {
                wishes.extend(reduced[0].iter().copied().zip(later.iter().copied()));
            }
        }
        for (i, later) in self.outputs.iter().enumerate().skip(1) {
            let extents = |list: &[u32]| -> Dims { self.extents_of(list) };
            let same = self.outputs[..i].iter().find(|first| extents(&first.own) == extents(&later.own));
            if let Some(first) = same {
                let real =
                    |list: &AxisList| list.iter().copied().filter(|&v| v != NO_AXIS).collect::<AxisList>();
                wishes.extend(real(&first.own).into_iter().zip(real(&later.own)));
            }
        }
        for (a, b) in wishes {
            let (a, b) = (self.find(a), self.find(b));
            if a == b {
                continue;
            }
            let both = |list: &AxisList| {
                let has = |x: u32| list.iter().any(|&v| v != NO_AXIS && self.find(v) == x);
                has(a) && has(b)
            };
            let placed = self.nodes.iter().chain(&self.outputs);
            if !placed.into_iter().any(|p| both(&p.own) || p.uses.iter().any(both)) {
                self.parent[a.max(b) as usize] = a.min(b);
            }
        }
    }

    /// Variables that each reduction and scan runs over, in the order of the operand's dimensions.
    fn reduced(&self) -> Vec<AxisList> {
        let mut lists = Vec::new();
        for (node, placed) in self.region.nodes.iter().zip(&self.nodes) {
            if !placed.live {
                continue;
            }
            let list = match &node.kind {
                Kind::Reduce { dims, .. } => dims.iter().map(|&dim| placed.uses[0][dim]).collect(),
                Kind::Scan { dim, .. } => AxisList::from_elem(placed.uses[0][*dim], 1),
                _ => continue,
            };
            lists.push(list.into_iter().filter(|&v| v != NO_AXIS).collect());
        }
        lists
    }

    fn finish(self) -> Result<Space, Unfusible> {
        let found = |list: &[u32]| -> AxisList {
            list.iter().filter(|&&v| v != NO_AXIS).map(|&v| self.find(v)).collect()
        };
        let reduced: Vec<AxisList> = self.reduced().iter().map(|list| found(list)).collect();
        let inner = reduced.first().cloned().unwrap_or_default();
        if let Some(other) = reduced.iter().find(|other| **other != inner) {
            let (first, second) = (self.extents_of(&inner).to_vec(), self.extents_of(other).to_vec());
            return Err(Unfusible::ReducedAxesDiffer { first, second });
        }
        let leader = found(self.leader()?);
        let outer: AxisList = leader.iter().copied().filter(|v| !inner.contains(v)).collect();
        let space: AxisList = outer.iter().chain(&inner).copied().collect();
        self.check(&outer, &inner, &found)?;

        let axis = |list: &AxisList| -> AxisList {
            let number = |v: u32| space.iter().position(|&s| s == self.find(v)).map_or(NO_AXIS, |p| p as u32);
            list.iter().map(|&v| if v == NO_AXIS { NO_AXIS } else { number(v) }).collect()
        };
        let rename = |placed: &Placed| Placed {
            own: axis(&placed.own),
            uses: placed.uses.iter().map(axis).collect(),
            live: placed.live,
        };
        let counts_inner = |kind: &Kind| match kind {
            Kind::Count { of, dims } => self.counted(*of, dims) == inner,
            _ => false,
        };
        Ok(Space {
            outer: self.extents_of(&outer),
            inner: self.extents_of(&inner),
            nodes: self.nodes.iter().map(rename).collect(),
            outputs: self.outputs.iter().map(rename).collect(),
            reduces: !reduced.is_empty(),
            counts_inner: self.region.nodes.iter().map(|node| counts_inner(&node.kind)).collect(),
        })
    }

    /// The value whose dimensions give the outer axes their order: where points are numbered or visited in order, that
    /// value, else the first output.
    fn leader(&self) -> Result<&[u32], Unfusible> {
        let nodes = self.region.nodes.iter().zip(&self.nodes);
        let mut random = nodes.filter(|(node, p)| p.live && matches!(node.kind, Kind::Random { .. }));
        if let Some((_, placed)) = random.next() {
            return Ok(&placed.own);
        }
        let mut outputs = self.region.outputs.iter().zip(&self.outputs);
        let scatter = outputs.find(|(output, _)| matches!(output, Output::Scatter { .. })).map(|(_, p)| p);
        scatter.or(self.outputs.first()).map(|placed| placed.own.as_slice()).ok_or(Unfusible::NoOutput)
    }

    /// Every output exists once for each point or outer point, every reduction once for each outer point, and what
    /// depends on the numbers of points sees the numbers that it would see alone.
    fn check(
        &self,
        outer: &[u32],
        inner: &[u32],
        found: &dyn Fn(&[u32]) -> AxisList,
    ) -> Result<(), Unfusible> {
        let space: AxisList = outer.iter().chain(inner).copied().collect();
        let differ = |what: &'static str, list: &[u32]| {
            let (shape, space) = (self.extents_of(list).to_vec(), self.extents_of(&space).to_vec());
            Unfusible::ShapesDiffer { what, shape, space }
        };
        for (output, placed) in self.region.outputs.iter().zip(&self.outputs) {
            let list = found(&placed.own);
            let inside = list.iter().filter(|v| inner.contains(v)).count();
            let whole = outer.iter().all(|v| list.contains(v)) && list.len() == outer.len() + inside;
            let scatter = matches!(output, Output::Scatter { .. });
            if !whole || (inside != 0 && inside != inner.len()) {
                return Err(differ(if scatter { "a scatter" } else { "an output" }, &list));
            }
            if scatter && list[..] != space[..list.len()] {
                let shape = self.extents_of(&list).to_vec();
                return Err(Unfusible::OrderDiffers { what: "a scatter", shape });
            }
        }
        for (node, placed) in self.region.nodes.iter().zip(&self.nodes) {
            if !placed.live {
                continue;
            }
            match &node.kind {
                Kind::Reduce { .. } | Kind::Scan { .. } => {
                    let list = found(&placed.uses[0]);
                    if list.len() != space.len() {
                        return Err(differ("a reduction", &list));
                    }
                }
                Kind::Random { .. } => {
                    let list = found(&placed.own);
                    if list != space {
                        let shape = self.extents_of(&list).to_vec();
                        return Err(Unfusible::OrderDiffers { what: "random bits", shape });
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The axes that a `Count` node names, if the value that it counts is live.
    fn counted(&self, of: Node, dims: &[usize]) -> AxisList {
        let (base, view) = self.region.resolve(of);
        let own = &self.nodes[base.0 as usize].own;
        let axis = |&dim: &usize| view[dim].and_then(|d| own.get(d as usize)).copied();
        let extents = self.region.shape(of);
        let wide = dims.iter().filter(|&&dim| extents[dim] != 1);
        wide.map(|dim| axis(dim).map_or(NO_AXIS, |v| self.find(v))).collect()
    }

    fn fresh(&mut self, extent: usize) -> u32 {
        self.parent.push(self.parent.len() as u32);
        self.extents.push(extent);
        self.parent.len() as u32 - 1
    }

    fn fresh_list(&mut self, shape: &[usize]) -> AxisList {
        shape.iter().map(|&extent| if extent == 1 { NO_AXIS } else { self.fresh(extent) }).collect()
    }

    /// Chains stay short without compression, because the lower variable always wins.
    fn find(&self, mut variable: u32) -> u32 {
        while self.parent[variable as usize] != variable {
            variable = self.parent[variable as usize];
        }
        variable
    }

    fn extents_of(&self, list: &[u32]) -> Dims {
        list.iter().filter(|&&v| v != NO_AXIS).map(|&v| self.extents[v as usize]).collect()
    }
}

/// The nodes that an output reads.
pub(super) fn output_operands(output: &Output) -> SmallVec<[Node; 2]> {
    match *output {
        Output::Store(value) => SmallVec::from_slice(&[value]),
        Output::Scatter { index, value, .. } => SmallVec::from_slice(&[index, value]),
    }
}
