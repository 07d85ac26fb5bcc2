//! A graph made ready to run: optimised, planned, executable; or, where it cannot be planned, interpreted, with the
//! reason. A graph whose inputs may have any extents has a program instead of a plan.

use crate::exec::Executable;
use crate::interpret;
use crate::ir::Graph;
use crate::open::{OpenProgram, PRIMES, Primes, admit};
use crate::options::Options;
use crate::passes::{PassLog, optimize};
use crate::plan::plan;
use runtime::device::DeviceId;
use runtime::door::{self, Outputs};
use runtime::error::{Error, Result};
use runtime::profile::{self, Bucket};
use runtime::run;
use runtime::tensor::Tensor;
use std::sync::Arc;

/// A graph that runs.
pub struct Runner {
    graph: Graph,
    log: PassLog,
    how: How,
}

enum How {
    Plan(Arc<Executable>),
    Interpret(String),
    Open(OpenProgram),
}

impl Runner {
    /// Optimises and plans a graph for a device. A graph that cannot be planned is interpreted.
    pub fn new(graph: &Graph, options: &Options, device: DeviceId) -> Result<Runner> {
        let _plan = profile::timed(Bucket::Plan);
        let (graph, log) = optimize(graph.clone(), options)?;
        let how = match plan(&graph, options, device).and_then(Executable::new) {
            Ok(executable) => How::Plan(Arc::new(executable)),
            Err(reason) => How::Interpret(reason.to_string()),
        };
        Ok(Runner { graph, log, how })
    }

    /// Optimises the two recordings of one graph and makes the program that both are; an error where they are not one.
    pub(crate) fn open(twins: [&Graph; 2], options: &Options, device: DeviceId) -> Result<Runner> {
        let _plan = profile::timed(Bucket::Plan);
        let make = |graph: &Graph, primes: &Primes| {
            admit(graph, primes)?;
            let (graph, log) = optimize(graph.clone(), options)?;
            admit(&graph, primes)?;
            let program = OpenProgram::of(&graph, primes, device)?;
            Ok((graph, log, program))
        };
        let (graph, log, program) = make(twins[0], &PRIMES[0])?;
        match make(twins[1], &PRIMES[1])?.2 == program {
            true => Ok(Runner { graph, log, how: How::Open(program) }),
            false => {
                let what = format!("{} depends on extents in other ways than by products", graph.name);
                Err(Error::shape(what))
            }
        }
    }

    /// Runs on one tensor for each input. New state is written into the tensors that are passed for it; the other results
    /// are returned.
    pub fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        match &self.how {
            How::Plan(executable) => executable.run(args),
            How::Open(program) => program.run(args),
            How::Interpret(_) => {
                let _outside = (door::outside(), door::no_grad());
                let results = interpret::run(&self.graph, args)?;
                for &(input, result) in &self.graph.write_backs {
                    run::copy_into(&results[result], &args[input])?;
                    args[input].storage()?.bump_version();
                }
                Ok(self.graph.returned().into_iter().map(|r| results[r].clone()).collect())
            }
        }
    }

    /// The optimised graph.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// What the passes did.
    pub fn log(&self) -> &PassLog {
        &self.log
    }

    /// The executable, where there is a plan.
    pub fn executable(&self) -> Option<&Arc<Executable>> {
        match &self.how {
            How::Plan(executable) => Some(executable),
            How::Interpret(_) | How::Open(_) => None,
        }
    }

    /// Steps of the program that stands for any extents, where there is one.
    pub fn open_steps(&self) -> Option<usize> {
        match &self.how {
            How::Open(program) => Some(program.steps()),
            How::Plan(_) | How::Interpret(_) => None,
        }
    }

    /// Why the graph is interpreted, where it is.
    pub fn fallback(&self) -> Option<&str> {
        match &self.how {
            How::Plan(_) | How::Open(_) => None,
            How::Interpret(reason) => Some(reason),
        }
    }
}
