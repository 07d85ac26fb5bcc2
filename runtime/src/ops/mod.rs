//! The op table's blocks, one file for each family. A block is everything that is known of an op.

mod activation;
mod advanced;
mod arithmetic;
mod arrange;
mod attention;
mod bags;
mod batch;
mod bell;
mod bessel;
mod blas;
mod bounds;
mod channels;
pub mod channels_last;
mod combine;
mod compare;
mod convolution;
mod create;
mod diagonals;
mod distance;
mod draw;
mod einsum;
mod equations;
mod extrema;
mod factors;
mod fold;
mod found;
mod gamma;
mod gates;
mod gathering;
mod incomplete;
mod index;
mod indexing;
mod join;
mod likelihood;
mod loss;
mod margins;
mod matrices;
mod measures;
mod moments;
mod movement;
mod normal;
mod norms;
mod numbers;
mod order;
mod pairs;
mod parts;
mod places;
mod polynomials;
mod pooling;
mod pools;
mod power;
mod product;
mod quantiles;
mod reduction;
mod regression;
mod replace;
mod resample;
mod rules;
mod running;
mod scale;
mod select;
mod sequence;
mod series;
mod shapes;
mod solve;
mod special;
mod spectral;
mod spreads;
mod stacks;
mod state;
mod statistics;
mod unary;
mod view;
mod window;
mod zeta;

pub use activation::*;
pub use advanced::*;
pub use arithmetic::*;
pub use arrange::*;
pub use attention::{Heads, Projection};
pub use bags::Bags;
pub use batch::*;
pub use bell::*;
pub use bessel::*;
pub use blas::*;
pub use bounds::*;
pub use channels::*;
pub use compare::*;
pub use convolution::*;
pub use create::*;
pub use diagonals::*;
pub use distance::*;
pub use draw::*;
pub use extrema::*;
pub use factors::*;
pub use fold::*;
pub use found::*;
pub use gamma::*;
pub use gates::*;
pub use gathering::*;
pub use incomplete::*;
pub use index::*;
pub use indexing::*;
pub use join::*;
pub use likelihood::*;
pub use loss::*;
pub use moments::*;
pub use movement::*;
pub use normal::*;
pub use norms::*;
pub use numbers::*;
pub use order::*;
pub use pairs::*;
pub use parts::*;
pub use places::*;
pub use polynomials::*;
pub use pooling::*;
pub use pools::*;
pub use power::*;
pub use product::*;
pub use quantiles::*;
pub use reduction::*;
pub use regression::*;
pub use replace::*;
pub use resample::*;
pub use running::*;
pub use scale::*;
pub use select::*;
pub use sequence::Lengths;
pub use solve::*;
pub use special::*;
pub use spectral::*;
pub use spreads::Spacing;
pub use stacks::*;
pub(crate) use state::assign_now;
pub use state::*;
pub use statistics::*;
pub use unary::*;
pub use view::*;
pub use zeta::*;

use crate::table::OpDef;

/// The lists of every file.
#[allow(unused_qualifications, reason = "every file has a list of this name")]
pub(crate) const LISTS: &[&[&OpDef]] = &[
    unary::LIST,
    activation::LIST,
    gates::LIST,
    channels::LIST,
    arithmetic::LIST,
    power::LIST,
    special::LIST,
    gamma::LIST,
    zeta::LIST,
    incomplete::LIST,
    bessel::LIST,
    bell::LIST,
    polynomials::LIST,
    numbers::LIST,
    parts::LIST,
    pairs::LIST,
    bounds::LIST,
    compare::LIST,
    select::LIST,
    reduction::LIST,
    extrema::LIST,
    places::LIST,
    order::LIST,
    found::LIST,
    statistics::LIST,
    moments::LIST,
    running::LIST,
    movement::LIST,
    view::LIST,
    diagonals::LIST,
    arrange::LIST,
    join::LIST,
    stacks::LIST,
    product::LIST,
    blas::LIST,
    convolution::LIST,
    pooling::LIST,
    fold::LIST,
    factors::LIST,
    solve::LIST,
    spectral::LIST,
    normal::LIST,
    scale::LIST,
    loss::LIST,
    distance::LIST,
    regression::LIST,
    likelihood::LIST,
    index::LIST,
    gathering::LIST,
    replace::LIST,
    advanced::LIST,
    draw::LIST,
    create::LIST,
    state::LIST,
];
