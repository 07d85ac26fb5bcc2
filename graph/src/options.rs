//! What a caller may choose about compiling: numeric contract, passes, fusion, memory.

/// Which passes run.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum PassSelection {
    /// The whole list.
    #[default]
    All,
    /// None: the graph is planned as it was recorded.
    None,
    /// Only these, in the order of the list.
    Only(Vec<String>),
    /// All but these (ablation).
    Without(Vec<String>),
    /// The list up to and including this one (bisection).
    StopAfter(String),
}

/// How a plan gets memory.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Memory {
    /// One arena, laid out when the plan is made.
    #[default]
    Arena,
    /// The device's allocator at each step.
    Dynamic,
}

/// Everything that a caller may choose; part of the key of a function's cache.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Options {
    /// Bitwise passes only: all modes agree bit for bit.
    pub exact: bool,
    /// Which passes run.
    pub passes: PassSelection,
    /// Whether op nodes are gathered into fused ones.
    pub fuse: bool,
    /// How the plan gets memory.
    pub memory: Memory,
    /// Whether values take over the memory of operands that die, and new state that of old state.
    pub in_place: bool,
    /// Whether a backward computes cheap values of the forward again where that keeps fewer bytes between the two.
    pub recompute: bool,
    /// A loop of at most this many turns, where they can be counted, becomes straight code.
    pub unroll_turns: usize,
    /// Nodes that this may add to a graph in all.
    pub unroll_nodes: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            exact: false,
            passes: PassSelection::All,
            fuse: true,
            memory: Memory::Arena,
            in_place: true,
            recompute: false,
            unroll_turns: 32,
            unroll_nodes: 512,
        }
    }
}
