//! Laws of arithmetic. A law is bitwise only if it holds for NaN, infinities and both zeros: `x + 0` is not, since
//! -0 + 0 is +0; `x - 0` is. (All NaN are one value: their signs and payloads are not kept.) A law that would turn a NaN or
//! an infinity into a number, such as `x / y * y`, is not a law here.

use super::pattern::{c, op, x, y};
use super::{Law, Rule, When};
use crate::passes::Class::{Approximating, Bitwise, Reassociating};
use When::{Always, Integers};

macro_rules! laws {
    ($($name:literal $class:ident $when:ident: $left:expr => $right:expr;)*) => {
        vec![$(Rule { name: $name, class: $class, when: $when, law: Law::Sides($left, $right) }),*]
    };
}

pub(super) fn rules() -> Vec<Rule> {
    laws! {
        "x * 1" Bitwise Always: x() * 1.0 => x();
        "1 * x" Bitwise Always: 1.0 * x() => x();
        "x / 1" Bitwise Always: x() / 1.0 => x();
        "x - 0" Bitwise Always: x() - 0.0 => x();
        "x + -0" Bitwise Always: x() + -0.0 => x();
        "-0 + x" Bitwise Always: -0.0 + x() => x();
        "x + 0, integers" Bitwise Integers: x() + 0.0 => x();
        "0 + x, integers" Bitwise Integers: 0.0 + x() => x();
        "x + 0" Reassociating Always: x() + 0.0 => x();
        "0 + x" Reassociating Always: 0.0 + x() => x();
        "--x" Bitwise Always: -(-x()) => x();
        "x + -y" Bitwise Always: x() + -y() => x() - y();
        "-x + y" Bitwise Always: -x() + y() => y() - x();
        "x - -y" Bitwise Always: x() - -y() => x() + y();
        "-x * -y" Bitwise Always: -x() * -y() => x() * y();
        "-x / -y" Bitwise Always: -x() / -y() => x() / y();
        "x * -1" Bitwise Always: x() * -1.0 => -x();
        "-(x - y)" Reassociating Always: -(x() - y()) => y() - x();
        "(x * y) + (x * c)" Reassociating Always: x() * y() + x() * c() => x() * (y() + c());
        "|-x|" Bitwise Always: op("abs", [-x()]) => op("abs", [x()]);
        "||x||" Bitwise Always: op("abs", [op("abs", [x()])]) => op("abs", [x()]);
        "relu(relu x)" Bitwise Always: op("relu", [op("relu", [x()])]) => op("relu", [x()]);
        "floor(floor x)" Bitwise Always: op("floor", [op("floor", [x()])]) => op("floor", [x()]);
        "ceil(ceil x)" Bitwise Always: op("ceil", [op("ceil", [x()])]) => op("ceil", [x()]);
        "not not x" Bitwise Always: op("logical_not", [op("logical_not", [x()])]) => x();
        "max(x, x)" Bitwise Always: op("maximum", [x(), x()]) => x();
        "min(x, x)" Bitwise Always: op("minimum", [x(), x()]) => x();
        "where(c, x, x)" Bitwise Always: op("where", [c(), x(), x()]) => x();
        "1 / (1 / x)" Approximating Always: 1.0 / (1.0 / x()) => x();
        "log(exp x)" Approximating Always: op("log", [op("exp", [x()])]) => x();
        "log(softmax x)" Approximating Always: op("log", [op("softmax", [x(), c()])]) => op("log_softmax", [x(), c()]);
        "exp(log_softmax x)" Approximating Always: op("exp", [op("log_softmax", [x(), c()])]) => op("softmax", [x(), c()]);
    }
}
