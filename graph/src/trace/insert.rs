//! A graph that exists already as part of a recording: its nodes go to the end of the block that is open.

use super::tracer::Tracer;
use crate::build::ValueMap;
use crate::ir::Graph;
use runtime::device::DeviceId;
use runtime::error::{Error, Origin, Result};
use runtime::tensor::Tensor;

impl Tracer {
    /// The results of a graph on these tensors, one for each input.
    pub(crate) fn insert(&self, graph: &Graph, args: &[Tensor], origin: Origin) -> Result<Vec<Tensor>> {
        if args.len() != graph.params().len() {
            let message = format!("{} tensors for {} inputs", args.len(), graph.params().len());
            return Err(Error::internal(message).at(origin));
        }
        let mut state = self.state();
        let mut map = ValueMap::new(graph);
        for (&param, arg) in graph.params().iter().zip(args) {
            let cell = self.cell(&mut state, arg)?;
            map.set(param, state.read(cell)?);
        }
        let results = state.builder.inline(graph, &mut map)?;
        let device = args.first().map_or(DeviceId::Cpu, Tensor::device);
        results.into_iter().map(|value| self.wrap(&mut state, value, device, origin)).collect()
    }
}
