//! Walking the dynamic graph back: `backward`, which adds to the `.grad` of leaves, and `grad`, which returns gradients.

use crate::engine::{ResidualSource, history};
use crate::node::{Edge, Leaf, Links, Node, Rule, needs_of, slot_for, slot_of};
use crate::saved::{SavedTensor, Values, freed_error, values};
use runtime::callable::Ask;
use runtime::door;
use runtime::error::{Error, Result};
use runtime::hash::NumberMap;
use runtime::ops;
use runtime::reverse::{self, Cotangents, Later, Recorded};
use runtime::shared::Shared;
use runtime::table::{Gradients, OpDef, Saves, Vjp, VjpContext};
use runtime::{Arg, Origin, Tensor};
use smallvec::{SmallVec, smallvec};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};

/// How to run `backward`.
#[derive(Clone, Copy, Default)]
pub struct BackwardOptions<'a> {
    /// The gradient of the tensor itself; left out, it is 1 for a tensor of one element.
    pub gradient: Option<&'a Tensor>,
    /// Whether what was saved stays for another backward; left out, as `create_graph`.
    pub retain_graph: Option<bool>,
    /// Whether the gradients can be differentiated again.
    pub create_graph: bool,
    /// The tensors whose `.grad` to add to; left out, every leaf.
    pub inputs: Option<&'a [&'a Tensor]>,
}

/// How to run `grad`.
#[derive(Clone, Copy, Default)]
pub struct GradOptions<'a> {
    /// The gradients of the outputs; `None` is 1 for an output of one element.
    pub grad_outputs: Option<&'a [Option<&'a Tensor>]>,
    /// Whether what was saved stays for another walk; left out, as `create_graph`.
    pub retain_graph: Option<bool>,
    /// Whether the gradients can be differentiated again.
    pub create_graph: bool,
    /// Whether an input that the outputs do not depend on gives `None` instead of an error.
    pub allow_unused: bool,
    /// Whether it gives zeros of its type; includes `allow_unused`.
    pub materialize_grads: bool,
}

/// The gradients of the sum of `outputs` with respect to `inputs`; adds to no `.grad`.
#[track_caller]
pub fn grad(outputs: &[&Tensor], inputs: &[&Tensor], options: GradOptions) -> Result<Vec<Option<Tensor>>> {
    let origin = Origin::caller();
    grad_at(outputs, inputs, options).map_err(|e| e.at(origin))
}

fn grad_at(outputs: &[&Tensor], inputs: &[&Tensor], options: GradOptions) -> Result<Vec<Option<Tensor>>> {
    if let Some(given) = options.grad_outputs
        && given.len() != outputs.len()
    {
        return Err(
            Error::gradient(format!("{} gradients for {} outputs", given.len(), outputs.len())).in_op("grad")
        );
    }
    let targets = inputs.iter().map(|t| target(t, "grad")).collect::<Result<Vec<Edge>>>()?;
    let roots = outputs
        .iter()
        .enumerate()
        .map(|(i, t)| root(t, options.grad_outputs.and_then(|g| g[i]), "grad"))
        .collect::<Result<Vec<_>>>()?;
    let retain = options.retain_graph.unwrap_or(options.create_graph);
    let walk = Walk::new(options.create_graph, retain).towards(&roots, &targets);
    let mut captured = walk.run(roots, &targets)?;
    let mut gradients = Vec::with_capacity(inputs.len());
    for (i, edge) in targets.iter().enumerate() {
        let gradient = match captured.take(edge) {
            None if options.materialize_grads => Some(full_like(inputs[i], 0.0)?),
            gradient => gradient,
        };
        if gradient.is_none() && !options.allow_unused {
            return Err(Error::gradient(format!("the outputs do not depend on input {i}"))
                .in_op("grad")
                .hint("set allow_unused to get None for it, or materialize_grads to get zeros"));
        }
        gradients.push(gradient);
    }
    Ok(gradients)
}

/// Adds the gradient of `tensor` to the leaves that it was computed from.
pub(crate) fn backward(tensor: &Tensor, options: BackwardOptions) -> Result<()> {
    let roots = vec![root(tensor, options.gradient, "backward")?];
    let retain = options.retain_graph.unwrap_or(options.create_graph);
    let mut walk = Walk::new(options.create_graph, retain);
    let targets = match options.inputs {
        None => Vec::new(),
        Some(inputs) => inputs.iter().map(|t| target(t, "backward")).collect::<Result<Vec<_>>>()?,
    };
    if options.inputs.is_some() {
        walk = walk.towards(&roots, &targets);
    }
    let captured = walk.run(roots, &targets)?;
    for (leaf, gradient) in captured.leaves {
        let mut grad = leaf.grad();
        let before = grad.take();
        *grad = Some(accumulate(before, gradient, options.create_graph)?);
        drop(grad);
        leaf.extras.accumulated(&leaf)?;
    }
    for ((number, index), gradient) in captured.nodes {
        let node = targets.iter().find_map(|e| match e {
            Edge::Node(node, i) if (node.number, *i) == (number, index) => Some(node),
            _ => None,
        });
        if let Some(node) = node {
            node.extras().retain(index);
            node.extras()
                .set_retained(index, |old| accumulate(old, gradient, options.create_graph).map(Some))?;
        }
    }
    Ok(())
}

/// A `.grad` with a contribution added. The first is taken as it is where nobody else holds its memory, and copied where
/// someone does: an update of one gradient in place must not change another.
pub(crate) fn accumulate(before: Option<Tensor>, gradient: Tensor, create_graph: bool) -> Result<Tensor> {
    door::effect("a gradient is added to `.grad`", Origin::caller());
    match before {
        Some(before) if create_graph => before.add(&gradient),
        Some(before) => {
            door::mutate(&ops::ADD, &[Arg::Tensor(&before), Arg::Tensor(&gradient)], Origin::caller())?;
            Ok(before)
        }
        None => {
            let unseen = match gradient.pending() {
                Some(pending) => pending.handles() == 1,
                None => gradient.storage().is_ok_and(|s| s.handles() == 1),
            };
            let alone = unseen && gradient.handles() == 1 && gradient.is_contiguous();
            if create_graph || alone || gradient.traced().is_some() { Ok(gradient) } else { gradient.copy() }
        }
    }
}

/// The history of a tensor whose gradient is asked for.
fn target(tensor: &Tensor, what: &'static str) -> Result<Edge> {
    match history(tensor) {
        Edge::None => Err(Error::gradient("one of the inputs does not require grad").in_op(what)),
        edge => Ok(edge),
    }
}

/// Where a walk starts, and with which gradient.
fn root(tensor: &Tensor, gradient: Option<&Tensor>, what: &'static str) -> Result<(Edge, Tensor)> {
    let edge = history(tensor);
    if !edge.is_some() {
        return Err(Error::gradient("the tensor does not require grad and has no history")
            .in_op(what)
            .with_operands([(tensor.dtype(), tensor.layout().shape.clone())])
            .hint(
                "call requires_grad_(true) on the tensors that it is computed from, outside of no_grad()",
            ));
    }
    let gradient = match gradient {
        Some(g) if g.dtype() == tensor.dtype() && g.shape() == tensor.shape() => g.clone(),
        Some(g) => {
            return Err(Error::gradient(format!(
                "the gradient {} does not have the tensor's type {}",
                g.tensor_type(),
                tensor.tensor_type()
            ))
            .in_op(what));
        }
        None if tensor.numel() == 1 => full_like(tensor, 1.0)?,
        None => {
            return Err(Error::gradient(format!(
                "gradients can be created implicitly only for tensors of one element, not for shape {:?}",
                tensor.shape()
            ))
            .in_op(what)
            .hint("pass a gradient of the tensor's shape"));
        }
    };
    Ok((edge, gradient))
}

/// One number in every element of a tensor like this one, without memory for more than the number.
pub(crate) fn full_like(tensor: &Tensor, value: f32) -> Result<Tensor> {
    let _constant = door::outside();
    Tensor::from_slice(&[value], &[])?.to(tensor.dtype())?.to_device(tensor.device())?.expand(tensor.shape())
}

/// One walk and what it needs to know everywhere.
struct Walk {
    create_graph: bool,
    retain_graph: bool,
    /// Whether nothing records the walk.
    alone: bool,
    /// Numbers of the nodes and leaves on the way to the targets; `None` where every leaf is one.
    wanted: Option<NumberMap<()>>,
    leaves: RefCell<NumberMap<Shared<Leaf>>>,
}

/// Gradients that a walk brought to its targets.
struct Captured {
    leaves: Vec<(Shared<Leaf>, Tensor)>,
    nodes: HashMap<(u64, u32), Tensor>,
}

impl Captured {
    fn take(&mut self, edge: &Edge) -> Option<Tensor> {
        match edge {
            Edge::None => None,
            Edge::Leaf(leaf) => self.leaves.iter().find(|(l, _)| l.same(leaf)).map(|(_, g)| g.clone()),
            Edge::Node(node, index) => self.nodes.get(&(node.number, *index)).cloned(),
        }
    }
}

impl Walk {
    fn new(create_graph: bool, retain_graph: bool) -> Walk {
        let alone = !create_graph && !door::in_scope();
        Walk { create_graph, retain_graph, alone, wanted: None, leaves: RefCell::default() }
    }

    /// Visits only what lies between the roots and the targets. Numbers ascend along edges, so one pass in ascending
    /// order over what can be reached decides.
    fn towards(mut self, roots: &[(Edge, Tensor)], targets: &[Edge]) -> Walk {
        let mut wanted: NumberMap<()> = targets.iter().filter_map(Edge::number).map(|n| (n, ())).collect();
        let mut reached: NumberMap<()> = NumberMap::default();
        let mut found: Vec<Shared<Node>> = Vec::new();
        let mut stack: Vec<Shared<Node>> = Vec::new();
        let mut push = |stack: &mut Vec<Shared<Node>>, edge: &Edge| {
            if let Edge::Node(node, _) = edge
                && reached.insert(node.number, ()).is_none()
            {
                stack.push(node.clone());
            }
        };
        roots.iter().for_each(|(edge, _)| push(&mut stack, edge));
        while let Some(node) = stack.pop() {
            node.edges.iter().for_each(|edge| push(&mut stack, edge));
            found.push(node);
        }
        found.sort_unstable_by_key(|node| node.number);
        for node in found {
            if node.edges.iter().filter_map(Edge::number).any(|n| wanted.contains_key(&n)) {
                wanted.insert(node.number, ());
            }
        }
        self.wanted = Some(wanted);
        self
    }

    fn wants(&self, edge: &Edge) -> bool {
        match (&self.wanted, edge.number()) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(wanted), Some(number)) => wanted.contains_key(&number),
        }
    }

    fn follow<'w>(&'w self, edge: &Edge) -> reverse::Edge<Step<'w>> {
        if !self.wants(edge) {
            return reverse::Edge::None;
        }
        match edge {
            Edge::None => reverse::Edge::None,
            Edge::Node(node, index) => reverse::Edge::Record(Step { node: node.clone(), walk: self }, *index),
            Edge::Leaf(leaf) => {
                self.leaves.borrow_mut().entry(leaf.number).or_insert_with(|| leaf.clone());
                reverse::Edge::Leaf(leaf.number)
            }
        }
    }

    fn run(&self, roots: Vec<(Edge, Tensor)>, targets: &[Edge]) -> Result<Captured> {
        let _mode = if self.create_graph { door::enable_grad() } else { door::no_grad() };
        let targets: HashSet<(u64, u32)> = targets
            .iter()
            .filter_map(|e| match e {
                Edge::Node(node, index) => Some((node.number, *index)),
                Edge::None | Edge::Leaf(_) => None,
            })
            .collect();
        let mut nodes = HashMap::new();
        let roots = roots.into_iter().map(|(edge, gradient)| (self.follow(&edge), gradient));
        let gradients = reverse::walk(roots, |step: &Step, cotangents: &mut Cotangents| {
            let extras = step.node.extras.get();
            if extras.is_none() && targets.is_empty() {
                return Ok(());
            }
            // A target on the way to others is what arrives, one at the end what its hooks make of that, as in torch.
            let passed = step.node.edges.iter().any(|edge| self.wants(edge));
            for (index, slot) in cotangents.iter_mut().enumerate() {
                let Some(mut gradient) = slot.take() else { continue };
                let index = index as u32;
                let arrived = gradient.clone();
                if let Some(extras) = extras {
                    gradient = extras.apply(index, gradient)?;
                    extras.set_retained(index, |old| {
                        accumulate(old, gradient.clone(), self.create_graph).map(Some)
                    })?;
                }
                if targets.contains(&(step.node.number, index)) {
                    let target = if passed { arrived } else { gradient.clone() };
                    nodes.insert((step.node.number, index), target);
                }
                *slot = Some(gradient);
            }
            Ok(())
        })?;
        let reached = self.leaves.take();
        let mut leaves: Vec<(Shared<Leaf>, Tensor)> = Vec::with_capacity(gradients.len());
        for (number, gradient) in gradients {
            if let Some(leaf) = reached.get(&number) {
                leaves.push((leaf.clone(), leaf.extras.apply(0, gradient)?));
            }
        }
        leaves.sort_by_key(|(leaf, _)| leaf.number);
        Ok(Captured { leaves, nodes })
    }
}

/// A node as a walk sees it.
#[derive(Clone)]
struct Step<'w> {
    node: Shared<Node>,
    walk: &'w Walk,
}

impl Recorded for Step<'_> {
    fn number(&self) -> u64 {
        self.node.number
    }

    fn outputs(&self) -> usize {
        self.node.outputs as usize
    }

    fn edge(&self, operand: usize) -> reverse::Edge<Self> {
        self.node.edges.get(operand).map_or(reverse::Edge::None, |edge| self.walk.follow(edge))
    }

    fn vjp(&self, cotangents: &Cotangents, later: &Later) -> Result<Gradients> {
        // Single gradients are seen where they are recorded or searched.
        let later = Some(later).filter(|_| self.walk.alone && !ANOMALY.get());
        let node = &*self.node;
        let needs = node
            .edges
            .iter()
            .enumerate()
            .fold(0u64, |bits, (i, edge)| bits | (self.walk.wants(edge) as u64) << i.min(63));
        if needs == 0 && !matches!(node.rule, Rule::Refuse(_)) {
            return Ok(SmallVec::from_elem(None, node.edges.len()));
        }
        let gradients = match &node.rule {
            Rule::Op(op) => self.op_vjp(op, needs, cotangents, later),
            Rule::Call(call) => {
                let (callable, sources) = &**call;
                // What the call was told when it was recorded, whoever asks now.
                let kept = needs_of(&node.edges);
                let given = || cotangents.iter().map(Option::is_some).collect::<SmallVec<[bool; 8]>>();
                let recorded = self.walk.create_graph;
                let reads = |read| match read {
                    Read::Argument(_) if recorded => true,
                    Read::Residual(_) if recorded => !callable.recomputes(),
                    Read::Argument(i) => callable.reads(i, kept, Some(&given())),
                    Read::Residual(i) => callable.reads_residual(i, kept, &given()),
                };
                let operands = self.call_operands(sources, &reads)?;
                let (args, residuals) = operands.split_at(node.edges.len());
                let ask = Ask { needs: kept, later };
                callable.clone().vjp(args, residuals, cotangents, ask).map(|g| g.into_iter().collect())
            }
            Rule::Part(region) => region.part_gradient(&whole(cotangents)?).map(|g| smallvec![Some(g)]),
            Rule::Splice(region) => region.splice_gradients(&whole(cotangents)?, needs),
            Rule::Refuse(why) => Err(Error::gradient(*why)),
        }
        .map_err(|e| e.at(node.origin))?;
        if ANOMALY.get() {
            self.look_for_nan(&gradients)?;
        }
        // Operands after the last one with a gradient (indices, targets) may be left out.
        if gradients.len() > node.edges.len() {
            return Err(Error::internal(format!(
                "the gradient of {} gave {} gradients for {} operands",
                node.name(),
                gradients.len(),
                node.edges.len()
            )));
        }
        if !self.walk.retain_graph && !kept_nothing(node) {
            node.free();
        }
        Ok(gradients)
    }
}

/// What a call's backward may read.
enum Read {
    Argument(usize),
    Residual(usize),
}

/// Whether a node's rule reads nothing that was kept, so that there is nothing to give up.
fn kept_nothing(node: &Node) -> bool {
    match &node.rule {
        Rule::Op(op) => matches!(op.vjp, Vjp::Rule(Saves::NOTHING, _)),
        Rule::Call(call) => {
            let (callable, sources) = &**call;
            let needs = needs_of(&node.edges);
            sources.is_empty() && (0..node.edges.len()).all(|arg| !callable.reads(arg, needs, None))
        }
        Rule::Part(_) | Rule::Splice(_) | Rule::Refuse(_) => false,
    }
}

/// The cotangent of a node's only output.
fn whole(cotangents: &Cotangents) -> Result<Tensor> {
    cotangents
        .first()
        .cloned()
        .flatten()
        .ok_or_else(|| Error::internal("a node without a cotangent was visited"))
}

thread_local! {
    static ANOMALY: Cell<bool> = const { Cell::new(false) };
}

/// Looks for NaN until it drops.
pub struct Anomaly {
    before: bool,
}

/// Lets every backward on this thread look for NaN in what each operation's gradient gives, and end with an error that
/// names the line of the forward; torch's `detect_anomaly`.
pub fn detect_anomaly() -> Anomaly {
    Anomaly { before: ANOMALY.replace(true) }
}

impl Drop for Anomaly {
    fn drop(&mut self) {
        ANOMALY.set(self.before);
    }
}

impl Step<'_> {
    fn look_for_nan(&self, gradients: &Gradients) -> Result<()> {
        for (i, gradient) in gradients.iter().enumerate() {
            let Some(gradient) = gradient.as_ref().filter(|g| g.traced().is_none()) else { continue };
            if gradient.detach()?.to_f64_vec()?.iter().any(|v| v.is_nan()) {
                let name = self.node.name();
                return Err(Error::gradient(format!(
                    "the gradient of '{name}' has NaN values for operand {i}"
                ))
                .at(self.node.origin)
                .hint("the line is that of the operation in the forward"));
            }
        }
        Ok(())
    }

    fn op_vjp(
        &self,
        op: &'static OpDef,
        needs: u64,
        cotangents: &Cotangents,
        later: Option<&Later>,
    ) -> Result<Gradients> {
        let node = &*self.node;
        let (saves, rule) = match op.vjp {
            Vjp::Rule(saves, rule) => (saves, rule),
            Vjp::Zero => return Ok(SmallVec::from_elem(None, node.edges.len())),
            Vjp::None(why) => return Err(op.no_gradient(why)),
        };
        let all = needs_of(&node.edges);
        let create_graph = self.walk.create_graph;
        let kept = node.kept();
        let ty = node.ty();
        let (mut args, mut outputs) = (Values::new(), Values::new());
        values(
            &mut args,
            &kept.args,
            &ty,
            op,
            node.origin,
            |i, at, tensors| kept.freed && saves.reads(i, all, at, tensors),
            |tensor, at| {
                if create_graph {
                    tensor.set_slot(node.edges.get(at).and_then(slot_for));
                }
            },
        )?;
        values(
            &mut outputs,
            &kept.outputs,
            &ty,
            op,
            node.origin,
            |i, _, _| kept.freed && saves.output(i),
            |tensor, at| {
                if create_graph {
                    tensor.set_slot(Some(slot_of(&self.node, at as u32)));
                }
            },
        )?;
        drop(kept);
        rule(&VjpContext { op, args: &args, outputs: &outputs, cotangents, needs, later })
    }

    /// Arguments of a call, then its residuals.
    fn call_operands(
        &self,
        sources: &[ResidualSource],
        reads: &dyn Fn(Read) -> bool,
    ) -> Result<SmallVec<[Tensor; 12]>> {
        let node = &*self.node;
        let kept = node.kept();
        if kept.freed {
            return Err(freed_error(node.name(), node.origin));
        }
        let create_graph = self.walk.create_graph;
        let open = |saved: &SavedTensor, edge: &dyn Fn() -> Option<Edge>, read: &dyn Fn() -> bool| {
            if let Some(versions) = saved.overwritten()
                && read()
            {
                return Err(saved.overwritten_error(node.name(), versions, node.origin));
            }
            let (tensor, same) = saved.open();
            if create_graph
                && let Some(edge) = edge()
                && !(same && tensor.slot().is_some())
            {
                let tensor = tensor.alias();
                tensor.set_slot(slot_for(&edge));
                return Ok(tensor);
            }
            Ok(tensor)
        };
        let mut operands = SmallVec::new();
        for (i, saved) in kept.args.saved().iter().enumerate() {
            operands.push(open(saved, &|| node.edges.get(i).cloned(), &|| reads(Read::Argument(i)))?);
        }
        for (i, (saved, source)) in kept.outputs.saved().iter().zip(sources).enumerate() {
            let edge = || match *source {
                ResidualSource::Arg(i) => node.edges.get(i as usize).cloned(),
                ResidualSource::Output(i) => Some(Edge::Node(self.node.clone(), i)),
                ResidualSource::Inside => Some(hidden(node.origin)),
            };
            operands.push(open(saved, &edge, &|| reads(Read::Residual(i)))?);
        }
        Ok(operands)
    }
}

/// A history that refuses: for values inside of a call, which a second derivative would need.
fn hidden(origin: Origin) -> Edge {
    let why =
        "the call keeps values of its inside for its backward, and these cannot be differentiated again";
    Edge::Node(Node::new(Rule::Refuse(why), Links::of(SmallVec::new()), &[], 0, origin), 0)
}
