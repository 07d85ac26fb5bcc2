//! Checks of programs and geometries.
//!
//! `verify` checks that operands precede their users, that types and levels obey the rules of `ir`, that accesses are
//! used in their direction and type, and that access and parameter numbers exist. `verify_geometry` checks ranks, named
//! axes, gathers, that Row accesses do not move within a row, and that no access leaves its buffer.
//!
//! Not checked: that no two stores meet (different points of one store, or stores of one buffer through two accesses),
//! that a buffer which is both read and written is stepped through identically, and that a gathered index is in range,
//! which each launch checks.

use super::ir::{AccessId, AccessKind, Geometry, InstOp, Level, Program, ReduceOp, Reg};
use crate::dtype::DType;
use thiserror::Error;

/// What is wrong with a program or its geometry.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum VerifyError {
    /// An operand that does not exist yet, or is a store.
    #[error("%{}: operand %{} is not a value of an earlier instruction", at.0, operand.0)]
    Operand {
        /// The instruction.
        at: Reg,
        /// The operand.
        operand: Reg,
    },
    /// An access that does not exist, or is used against its direction.
    #[error("%{}: a{} is not an access that can be {what}", at.0, access.0)]
    Access {
        /// The instruction.
        at: Reg,
        /// The access.
        access: AccessId,
        /// What the instruction does with it.
        what: &'static str,
    },
    /// A parameter that does not exist.
    #[error("%{}: there is no parameter p{param}", at.0)]
    Param {
        /// The instruction.
        at: Reg,
        /// The parameter.
        param: u32,
    },
    /// A type that breaks a rule.
    #[error("%{}: {what} cannot be {dtype}", at.0)]
    DType {
        /// The instruction.
        at: Reg,
        /// Whose type it is.
        what: &'static str,
        /// The type.
        dtype: DType,
    },
    /// A level that breaks a rule.
    #[error("%{}: {what}", at.0)]
    Level {
        /// The instruction.
        at: Reg,
        /// The rule.
        what: &'static str,
    },
    /// A word of a random block that does not exist.
    #[error("%{}: a random block has no word {stream}", at.0)]
    Stream {
        /// The instruction.
        at: Reg,
        /// The word.
        stream: u8,
    },
    /// Another number of accesses than the program's.
    #[error("{given} {what} for a program with {accesses} accesses")]
    Count {
        /// What was counted.
        what: &'static str,
        /// How many there are.
        given: usize,
        /// How many there should be.
        accesses: usize,
    },
    /// Another number of strides than axes.
    #[error("a{}: {strides} strides for {axes} axes", access.0)]
    Rank {
        /// The access.
        access: AccessId,
        /// Number of strides.
        strides: usize,
        /// Number of axes.
        axes: usize,
    },
    /// An access that is used with an index and has no gathered dimension.
    #[error("a{}: used with an index, but without a gathered dimension", .0.0)]
    Gather(AccessId),
    /// A named axis that the geometry does not have, or has at another level.
    #[error("%{}: axis {axis} is not an axis of this level among {outer} outer and {inner} inner ones", at.0)]
    Axis {
        /// The instruction.
        at: Reg,
        /// The axis.
        axis: u32,
        /// Number of outer axes.
        outer: usize,
        /// Number of inner axes.
        inner: usize,
    },
    /// A Row access that moves within a row.
    #[error("%{}: a{} is used once a row, but steps along an inner axis", at.0, access.0)]
    RowStride {
        /// The instruction.
        at: Reg,
        /// The access.
        access: AccessId,
    },
    /// Inner axes in a program that neither reduces nor scans.
    #[error("inner axes without a reduction")]
    InnerWithoutReduction,
    /// An access that leaves its buffer.
    #[error("a{}: reaches positions {first}..={last} of a buffer of {len} elements", access.0)]
    Bounds {
        /// The access.
        access: AccessId,
        /// The lowest position.
        first: i128,
        /// The highest position.
        last: i128,
        /// The buffer's length.
        len: usize,
    },
}

/// Checks a program.
pub fn verify(program: &Program) -> Result<(), VerifyError> {
    for i in 0..program.insts.len() {
        check_instruction(program, Reg(i as u32))?;
    }
    Ok(())
}

fn check_instruction(program: &Program, at: Reg) -> Result<(), VerifyError> {
    let inst = program.inst(at);
    for operand in inst.op.operands() {
        let exists = operand < at && !matches!(program.inst(operand).op, InstOp::Store { .. });
        if !exists {
            return Err(VerifyError::Operand { at, operand });
        }
        if program.inst(operand).level > inst.level && !matches!(inst.op, InstOp::Reduce(..)) {
            return Err(VerifyError::Level { at, what: "a row value cannot depend on an elem value" });
        }
    }
    let dtype = |reg: Reg| program.inst(reg).dtype;
    let wanted = |what: &'static str, found: DType, wanted: Option<DType>| match wanted {
        Some(wanted) if wanted == found => Ok(()),
        _ => Err(VerifyError::DType { at, what, dtype: found }),
    };
    let level = |wanted: Level, what: &'static str| match inst.level == wanted {
        true => Ok(()),
        false => Err(VerifyError::Level { at, what }),
    };
    let access = |access: AccessId, kind: AccessKind, what: &'static str| {
        let found = program.accesses.get(access.0 as usize).filter(|found| found.kind == kind);
        let found = found.ok_or(VerifyError::Access { at, access, what })?;
        wanted("the access", found.dtype, Some(inst.dtype))
    };
    match inst.op {
        InstOp::Const(_) | InstOp::Extent => level(Level::Row, "constants and extents are row values"),
        InstOp::Param(param) => {
            let declared = program.params.get(param as usize).ok_or(VerifyError::Param { at, param })?;
            wanted("a parameter", inst.dtype, Some(*declared))?;
            level(Level::Row, "parameters are row values")
        }
        InstOp::Index(_) => wanted("a coordinate", inst.dtype, Some(DType::I64)),
        InstOp::Load { access: from, index, mask } => {
            access(from, AccessKind::Read, "read")?;
            if let Some(index) = index {
                wanted("an index", dtype(index), Some(DType::I64))?;
            }
            mask.map_or(Ok(()), |mask| wanted("a mask", dtype(mask), Some(DType::Bool)))
        }
        InstOp::Unary(op, a) => match op.result(dtype(a)) {
            None => Err(VerifyError::DType { at, what: "the operand", dtype: dtype(a) }),
            result => wanted("the result", inst.dtype, result),
        },
        InstOp::Binary(op, a, b) => {
            wanted("the second operand", dtype(b), Some(dtype(a)))?;
            match op.result(dtype(a)) {
                None => Err(VerifyError::DType { at, what: "the operand", dtype: dtype(a) }),
                result => wanted("the result", inst.dtype, result),
            }
        }
        InstOp::Select(c, a, b) => {
            wanted("a condition", dtype(c), Some(DType::Bool))?;
            wanted("the first choice", dtype(a), Some(inst.dtype))?;
            wanted("the second choice", dtype(b), Some(inst.dtype))
        }
        InstOp::Cast(_) => Ok(()),
        InstOp::RandomBits { stream, seed, offset } => {
            if stream > 3 {
                return Err(VerifyError::Stream { at, stream });
            }
            wanted("a seed", dtype(seed), Some(DType::I64))?;
            wanted("an offset", dtype(offset), Some(DType::I64))?;
            wanted("random bits", inst.dtype, Some(DType::I32))?;
            if [seed, offset].iter().any(|&reg| program.inst(reg).level != Level::Row) {
                return Err(VerifyError::Level { at, what: "seeds and offsets are row values" });
            }
            level(Level::Elem, "random bits are elem values")
        }
        InstOp::Reduce(op, a) => {
            if program.inst(a).level != Level::Elem {
                return Err(VerifyError::Level { at, what: "only elem values are reduced" });
            }
            wanted("the result", inst.dtype, op.result(dtype(a)))?;
            level(Level::Row, "reductions are row values")
        }
        InstOp::Scan(op, a) => {
            if program.inst(a).level != Level::Elem {
                return Err(VerifyError::Level { at, what: "only elem values are scanned" });
            }
            let known = matches!(op, ReduceOp::Sum | ReduceOp::Prod | ReduceOp::Max | ReduceOp::Min);
            wanted("the result", inst.dtype, op.result(dtype(a)).filter(|_| known))?;
            level(Level::Elem, "scans are elem values")
        }
        InstOp::Store { access: to, value, index, .. } => {
            access(to, AccessKind::Write, "written")?;
            wanted("the stored value", dtype(value), Some(inst.dtype))?;
            index.map_or(Ok(()), |index| wanted("an index", dtype(index), Some(DType::I64)))
        }
    }
}

/// Checks a geometry for a verified program. `lens` has, for each access, the number of elements of its buffer.
pub fn verify_geometry(program: &Program, geometry: &Geometry, lens: &[usize]) -> Result<(), VerifyError> {
    let accesses = program.accesses.len();
    for (what, given) in [("steps", geometry.accesses.len()), ("buffers", lens.len())] {
        if given != accesses {
            return Err(VerifyError::Count { what, given, accesses });
        }
    }
    let (outer, inner) = (geometry.outer.len(), geometry.inner.len());
    for (i, steps) in geometry.accesses.iter().enumerate() {
        if steps.strides.len() != outer + inner {
            let (strides, axes) = (steps.strides.len(), outer + inner);
            return Err(VerifyError::Rank { access: AccessId(i as u32), strides, axes });
        }
    }
    let reduces = program.insts.iter().any(|i| matches!(i.op, InstOp::Reduce(..) | InstOp::Scan(..)));
    if inner > 0 && !reduces {
        return Err(VerifyError::InnerWithoutReduction);
    }
    let empty = geometry.outer.iter().chain(&geometry.inner).any(|&extent| extent == 0);
    for (i, inst) in program.insts.iter().enumerate() {
        let at = Reg(i as u32);
        let (access, index) = match inst.op {
            InstOp::Index(axis) => {
                let limit = if inst.level == Level::Row { outer } else { outer + inner };
                if axis as usize >= limit {
                    return Err(VerifyError::Axis { at, axis, outer, inner });
                }
                continue;
            }
            InstOp::Load { access, index, .. } | InstOp::Store { access, index, .. } => (access, index),
            InstOp::Const(_)
            | InstOp::Param(_)
            | InstOp::Extent
            | InstOp::Unary(..)
            | InstOp::Binary(..)
            | InstOp::Select(..)
            | InstOp::Cast(_)
            | InstOp::RandomBits { .. }
            | InstOp::Reduce(..)
            | InstOp::Scan(..) => continue,
        };
        let steps = &geometry.accesses[access.0 as usize];
        if inst.level == Level::Row && steps.strides[outer..].iter().any(|&stride| stride != 0) {
            return Err(VerifyError::RowStride { at, access });
        }
        let gather = match (index, steps.gather) {
            (Some(_), None) => return Err(VerifyError::Gather(access)),
            (Some(_), Some(gather)) => Some(gather),
            (None, _) => None,
        };
        if empty || gather.is_some_and(|(extent, _)| extent == 0) {
            continue;
        }
        let (mut first, mut last) = (steps.offset as i128, steps.offset as i128);
        let extents = geometry.outer.iter().chain(&geometry.inner).copied();
        for (extent, stride) in extents.zip(steps.strides.iter().copied()).chain(gather) {
            let reach = (extent as i128 - 1) * stride as i128;
            first += reach.min(0);
            last += reach.max(0);
        }
        let len = lens[access.0 as usize];
        if first < 0 || last >= len as i128 {
            return Err(VerifyError::Bounds { access, first, last, len });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Layout;
    use crate::loops::{BinaryOp, Region, UnaryOp};

    fn program(text: &str) -> Program {
        text.parse().unwrap()
    }

    #[test]
    fn broken_rules_are_named() {
        let head = "program (a0: read f32, a1: write f32; p0: i64) {\n";
        let broken = [
            ("%0: f32 elem = load a1", "%0: a1 is not an access that can be read"),
            ("%0: f64 elem = load a0", "%0: the access cannot be f32"),
            ("%0: f32 elem = neg %0", "%0: operand %0 is not a value of an earlier instruction"),
            ("%0: i64 row = param p1", "%0: there is no parameter p1"),
            ("%0: f32 row = const 1.0\n%1: f32 row = reduce sum %0", "%1: only elem values are reduced"),
            (
                "%0: f32 elem = load a0\n%1: f32 row = neg %0",
                "%1: a row value cannot depend on an elem value",
            ),
            ("%0: f32 elem = load a0\n%1: f32 elem = lt %0, %0", "%1: the result cannot be f32"),
            ("%0: f32 elem = load a0\n%1: f32 elem = and %0, %0", "%1: the operand cannot be f32"),
            ("%0: f32 elem = load a0 [%1]", "%0: operand %1 is not a value of an earlier instruction"),
            ("%0: i64 row = param p0\n%1: i32 elem = random 4 %0 %0", "%1: a random block has no word 4"),
        ];
        for (text, message) in broken {
            let error = verify(&program(&format!("{head}{text}\n}}"))).unwrap_err();
            assert_eq!(error.to_string(), message, "{text}");
        }
    }

    #[test]
    fn no_access_leaves_its_buffer() {
        let mut region = Region::new();
        let x = region.input(DType::F32, &[3, 4]);
        let y = region.unary(UnaryOp::Neg, x);
        let z = region.binary(BinaryOp::Add, x, y);
        region.output(z);
        let composed = region.compose().unwrap();
        verify(&composed.program).unwrap();
        let layout = Layout::contiguous(&[3, 4]);
        let geometry = composed.geometry(&[&layout], &[&layout]);
        verify_geometry(&composed.program, &geometry, &[12, 12]).unwrap();
        let error = verify_geometry(&composed.program, &geometry, &[12, 11]).unwrap_err();
        assert_eq!(error, VerifyError::Bounds { access: AccessId(1), first: 0, last: 11, len: 11 });
    }
}
