//! What a chain does to eight numbers: a list of vector operations, each naming earlier ones.

/// The number of an operation, which is the name of its result.
pub(crate) type Value = u32;

/// Operations of two vectors. `Min` and `Max` are the machine's: the second operand where one is NaN or both are equal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Two {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
    And,
    Or,
    Xor,
    /// 32-bit integers.
    SubInt,
}

/// When a comparison holds; NaN compares as the float comparisons of Rust do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Predicate {
    Eq = 0x00,
    Lt = 0x11,
    Le = 0x12,
    Unordered = 0x03,
    Ne = 0x04,
    Ge = 0x1d,
    Gt = 0x1e,
}

/// Which integer a rounding takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Rounding {
    Even = 8,
    Floor = 9,
    Ceil = 10,
    Trunc = 11,
}

/// One operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Node {
    /// Eight numbers of an operand of the chain.
    Input(u16),
    /// Eight equal words.
    Constant(u32),
    Two(Two, Value, Value),
    /// a * b + c with one rounding, or c - a * b.
    MulAdd {
        a: Value,
        b: Value,
        c: Value,
        negative: bool,
    },
    /// All ones where it holds, else zero.
    Compare(Predicate, Value, Value),
    /// `yes` where the mask's highest bit is set.
    Blend {
        mask: Value,
        yes: Value,
        no: Value,
    },
    Sqrt(Value),
    Round(Rounding, Value),
    Shift {
        left: bool,
        by: u8,
        a: Value,
    },
}

impl Node {
    /// Calls `each` with the operands.
    pub(super) fn operands(&self, mut each: impl FnMut(Value)) {
        match *self {
            Node::Input(_) | Node::Constant(_) => {}
            Node::Two(_, a, b) | Node::Compare(_, a, b) => [a, b].into_iter().for_each(each),
            Node::MulAdd { a, b, c, .. } => [a, b, c].into_iter().for_each(each),
            Node::Blend { mask, yes, no } => [mask, yes, no].into_iter().for_each(each),
            Node::Sqrt(a) | Node::Round(_, a) | Node::Shift { a, .. } => each(a),
        }
    }
}

/// How a chain combines values over its points, in sixteen lanes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fold {
    Sum,
    Max,
    Min,
}

/// The operations of a chain, what it stores, and what it combines.
#[derive(Default)]
pub(crate) struct Body {
    pub(super) nodes: Vec<Node>,
    /// Operands, and whether each is a long stream that is fetched ahead.
    pub(super) inputs: Vec<bool>,
    /// What is stored, and whether into a long stream.
    pub(super) outputs: Vec<(Value, bool)>,
    pub(super) folds: Vec<(Fold, Value)>,
}

impl Body {
    /// Appends an operation; inputs and constants exist once.
    pub(super) fn push(&mut self, node: Node) -> Value {
        if matches!(node, Node::Input(_) | Node::Constant(_))
            && let Some(at) = self.nodes.iter().position(|n| *n == node)
        {
            return at as Value;
        }
        self.nodes.push(node);
        self.nodes.len() as Value - 1
    }

    /// A further operand of the chain; `streams` says that it is a long piece of memory.
    pub(crate) fn input(&mut self, streams: bool) -> Value {
        self.inputs.push(streams);
        self.push(Node::Input(self.inputs.len() as u16 - 1))
    }

    /// A value to be stored, perhaps into a long piece of memory; outputs are numbered in this order.
    pub(crate) fn output(&mut self, value: Value, streams: bool) {
        self.outputs.push((value, streams));
    }

    /// A value to be combined; folds are numbered in this order.
    pub(crate) fn fold(&mut self, fold: Fold, value: Value) {
        self.folds.push((fold, value));
    }

    /// Whether any operand or result is a long stream.
    pub(super) fn streams(&self) -> bool {
        self.inputs.iter().chain(self.outputs.iter().map(|(_, streams)| streams)).any(|&streams| streams)
    }

    pub(super) fn bits(&mut self, bits: u32) -> Value {
        self.push(Node::Constant(bits))
    }

    /// Eight times a number.
    pub(crate) fn number(&mut self, x: f32) -> Value {
        self.bits(x.to_bits())
    }

    pub(super) fn two(&mut self, op: Two, a: Value, b: Value) -> Value {
        self.push(Node::Two(op, a, b))
    }

    pub(super) fn fma(&mut self, a: Value, b: Value, c: Value) -> Value {
        self.push(Node::MulAdd { a, b, c, negative: false })
    }
}
