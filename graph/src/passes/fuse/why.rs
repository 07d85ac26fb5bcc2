//! Why two nodes are not one kernel, in categories that a report can count and a reader can act on.

use kernels::loops::Unfusible;
use std::fmt;

/// The kind of obstacle.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Category {
    /// One of them is no loop program: a matrix product, several kernels, a call, control flow.
    NotALoop,
    /// They reduce over different axes.
    ReducedAxes,
    /// Something would be made more than once, because shapes differ.
    Shapes,
    /// Points would be visited in another order.
    LoopOrder,
    /// A value is needed at two points at once.
    TwoPoints,
    /// A gather reads what would be computed in the same kernel.
    Gather,
    /// Something else would have to run between them.
    Cycle,
    /// The fused kernel would compute more than it saves.
    Work,
    /// The fused kernel would be too large.
    Size,
    /// The region is not valid for another reason.
    Other,
}

impl Category {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Category::NotALoop => "not a loop",
            Category::ReducedAxes => "reduced axes",
            Category::Shapes => "shapes",
            Category::LoopOrder => "loop order",
            Category::TwoPoints => "two points",
            Category::Gather => "gather",
            Category::Cycle => "cycle",
            Category::Work => "work",
            Category::Size => "size",
            Category::Other => "other",
        }
    }

    /// The category of what the composer says.
    pub(super) fn of(reason: &Unfusible) -> Category {
        match reason {
            Unfusible::ReducedAxesDiffer { .. } => Category::ReducedAxes,
            Unfusible::ShapesDiffer { .. } => Category::Shapes,
            Unfusible::TwoPoints { .. } => Category::TwoPoints,
            Unfusible::GatherOfComputedValue | Unfusible::GatherOfBroadcast => Category::Gather,
            Unfusible::OrderDiffers { .. } | Unfusible::SeedVaries => Category::LoopOrder,
            Unfusible::NoOutput
            | Unfusible::UnknownNode(_)
            | Unfusible::DType { .. }
            | Unfusible::DTypesDiffer { .. }
            | Unfusible::Broadcast { .. }
            | Unfusible::Dim { .. } => Category::Other,
        }
    }
}

/// One edge of the graph along which nothing was fused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WhyNot {
    /// The node that makes the value.
    pub producer: String,
    /// The node that reads it.
    pub consumer: String,
    /// The kind of obstacle.
    pub category: Category,
    /// The obstacle.
    pub reason: String,
}

impl fmt::Display for WhyNot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} [{}]: {}", self.producer, self.consumer, self.category.name(), self.reason)
    }
}
