//! Works out a plan: backward order, gradient modes, liveness, offsets.

use crate::arena::{Arena, Lifetime, place};
use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Var};
use crate::ops::{MAX_INPUTS, MAX_PARAMS, Real, Spec};
use crate::params::spans;
use crate::plan::{Plan, Span, Step};
use moue_kernels::{Isa, Mode};
use std::array::from_fn;

/// Works out a plan: who is differentiated, when each buffer lives, where it goes.
pub(crate) struct Planner<'a> {
    graph: &'a Graph,
    loss: Option<Var>,
    /// Value `i` leads to the loss and depends on a parameter or a watched value.
    differentiated: Vec<bool>,
    lives: Vec<Lifetime>,
    index_lives: Vec<Lifetime>,
}

/// Indices of [`Planner::lives`]: where the values and gradients of all nodes are, and what operations use alone.
struct Buffers {
    values: Vec<usize>,
    grads: Vec<usize>,
    own: Vec<Option<Own>>,
}

/// What an operation uses alone: an index of [`Planner::index_lives`], the others of [`Planner::lives`].
#[derive(Clone, Copy)]
struct Own {
    aux: usize,
    index: usize,
    forward: usize,
    backward: usize,
}

/// How an operation writes the gradients of its inputs and parameters; none where nobody asks for one.
#[derive(Clone, Copy, Default)]
struct Modes {
    inputs: [Option<Mode>; MAX_INPUTS],
    params: [Option<Mode>; MAX_PARAMS],
}

impl<'a> Planner<'a> {
    pub(crate) fn new(graph: &'a Graph, loss: Option<Var>) -> Self {
        let n = graph.nodes.len();
        let mut learns = vec![false; n];
        for (i, node) in graph.nodes.iter().enumerate() {
            let watched = graph.watched.contains(&Var(i));
            learns[i] = watched || !node.params.is_empty() || node.inputs.iter().any(|v| learns[v.0]);
        }
        let mut reaches = vec![false; n];
        if let Some(loss) = loss {
            reaches[loss.0] = true;
            for i in (0..n).rev().filter(|&i| i <= loss.0) {
                if reaches[i] {
                    graph.nodes[i].inputs.iter().for_each(|v| reaches[v.0] = true);
                }
            }
        }
        let differentiated = (0..n).map(|i| reaches[i] && learns[i]).collect();
        Self { graph, loss, differentiated, lives: Vec::new(), index_lives: Vec::new() }
    }

    /// Forward of node `i` happens at time `i`, its backward at this time.
    fn backward_time(&self, i: usize) -> usize {
        2 * self.graph.nodes.len() - i
    }

    fn live(&mut self, len: usize, start: usize, end: usize) -> usize {
        self.lives.push(Lifetime { len, start, end });
        self.lives.len() - 1
    }

    pub(crate) fn plan<T: Real>(mut self, isa: Isa) -> Result<Plan<T>> {
        let nodes = &self.graph.nodes;
        let specs: Vec<Option<Spec>> =
            nodes.iter().map(|node| node.op.as_ref().map(|op| op.spec())).collect();
        let buffers = self.buffers::<T>(&specs);
        let (places, len) = place(&self.lives);
        let (index_places, index_len) = place(&self.index_lives);
        let modes = self.modes();
        let steps = self.steps(&specs, &buffers, &places, &index_places, &modes);
        let unshared = self.lives.iter().map(|b| b.len * size_of::<T>()).sum::<usize>()
            + self.index_lives.iter().map(|b| b.len).sum::<usize>();
        let value = |i: usize| places[buffers.values[i]].clone();
        let gradient = |i: usize| places[buffers.grads[i]].clone();
        let watched = |i: usize| if self.graph.watched.contains(&Var(i)) { gradient(i) } else { 0..0 };
        Ok(Plan {
            steps,
            loss: self.loss.map(|v| (value(v.0), gradient(v.0))),
            gradients: (0..nodes.len()).map(watched).collect(),
            values: (0..nodes.len()).map(value).collect(),
            shapes: nodes.iter().map(|node| node.shape).collect(),
            is_input: nodes.iter().map(|node| node.op.is_none()).collect(),
            arena: Arena::new(len).map_err(|source| Error::Memory { bytes: len * size_of::<T>(), source })?,
            index: vec![0; index_len],
            labels: self.graph.labels.iter().map(|&n| vec![0; n]).collect(),
            unreached: self.unreached(&modes),
            params: self.graph.param_lengths(),
            unshared,
            isa,
            times: Vec::new(),
            team: None,
            summed: Vec::new(),
        })
    }

    /// All buffers of a step, with the times at which they live.
    fn buffers<T: Real>(&mut self, specs: &[Option<Spec>]) -> Buffers {
        let nodes = &self.graph.nodes;
        let (value_ends, grad_starts) = (self.value_ends(specs), self.grad_starts());
        let empty = self.live(0, 0, 0);
        let mut values = Vec::with_capacity(nodes.len());
        let mut grads = vec![empty; nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            let start = if node.op.is_some() { i } else { 0 };
            let len = node.shape.len() + specs[i].map_or(0, |s| s.extra);
            values.push(self.live(len, start, value_ends[i]));
            if self.differentiated[i] {
                let watched = self.graph.watched.contains(&Var(i));
                let end = if watched { self.backward_time(0) } else { self.backward_time(i) };
                grads[i] = self.live(len, grad_starts[i], end);
            }
        }
        let own = nodes.iter().zip(specs).enumerate().map(|(i, (node, spec))| {
            let (op, spec) = node.op.as_ref().zip(*spec)?;
            let (back, differentiated) = (self.backward_time(i), self.differentiated[i]);
            let kept_until = if differentiated { back } else { i };
            let scratch = T::runner(&**op).scratch();
            let aux = self.live(spec.aux, i, kept_until);
            self.index_lives.push(Lifetime { len: spec.index, start: i, end: kept_until });
            let index = self.index_lives.len() - 1;
            let forward = self.live(scratch.forward, i, i);
            let backward = if differentiated { self.live(scratch.backward, back, back) } else { empty };
            Some(Own { aux, index, forward, backward })
        });
        let own = own.collect();
        Buffers { values, grads, own }
    }

    /// When each value is read last.
    fn value_ends(&self, specs: &[Option<Spec>]) -> Vec<usize> {
        let nodes = &self.graph.nodes;
        let last = self.backward_time(0);
        let mut value_ends: Vec<usize> = (0..nodes.len()).collect();
        for (j, node) in nodes.iter().enumerate() {
            let reads_x = specs[j].is_some_and(|s| s.reads_x) && self.differentiated[j];
            for v in &node.inputs {
                let end = if reads_x { self.backward_time(j) } else { j };
                value_ends[v.0] = value_ends[v.0].max(end);
            }
            if specs[j].is_some_and(|s| s.reads_y) && self.differentiated[j] {
                value_ends[j] = value_ends[j].max(self.backward_time(j));
            }
            if node.op.is_none() {
                value_ends[j] = last;
            }
        }
        for v in self.graph.kept.iter().chain(&self.loss) {
            value_ends[v.0] = last;
        }
        value_ends
    }

    /// When each gradient is first written: by the backward of the last operation that reads the value.
    fn grad_starts(&self) -> Vec<usize> {
        let nodes = &self.graph.nodes;
        let mut grad_starts = vec![usize::MAX; nodes.len()];
        for (j, node) in nodes.iter().enumerate().filter(|(j, _)| self.differentiated[*j]) {
            for v in &node.inputs {
                grad_starts[v.0] = grad_starts[v.0].min(self.backward_time(j));
            }
        }
        if let Some(loss) = self.loss {
            grad_starts[loss.0] = nodes.len();
        }
        grad_starts
    }

    /// Whether each operation sets gradients or adds to them: backward runs from the last node to the first, and the
    /// first to write a gradient sets it.
    fn modes(&self) -> Vec<Modes> {
        let nodes = &self.graph.nodes;
        let mut written = vec![false; nodes.len()];
        let mut param_written = vec![false; self.graph.param_specs().0.len()];
        let mode_of = |seen: &mut bool| if std::mem::replace(seen, true) { Mode::Add } else { Mode::Set };
        let mut modes = vec![Modes::default(); nodes.len()];
        for (i, node) in nodes.iter().enumerate().rev().filter(|(i, _)| self.differentiated[*i]) {
            for (mode, v) in modes[i].inputs.iter_mut().zip(&node.inputs) {
                *mode = self.differentiated[v.0].then(|| mode_of(&mut written[v.0]));
            }
            for (mode, p) in modes[i].params.iter_mut().zip(&node.params) {
                *mode = Some(mode_of(&mut param_written[p.0]));
            }
        }
        modes
    }

    /// Places of the parameters that no gradient reaches.
    fn unreached(&self, modes: &[Modes]) -> Vec<Span> {
        let mut spans = spans(self.graph.param_specs().0);
        for (node, modes) in self.graph.nodes.iter().zip(modes) {
            for (p, _) in node.params.iter().zip(modes.params).filter(|(_, mode)| mode.is_some()) {
                spans[p.0] = 0..0;
            }
        }
        spans.retain(|span| !span.is_empty());
        spans
    }

    /// The first operation to read each value: the last one to write its gradient.
    fn first_readers(&self) -> Vec<usize> {
        let nodes = &self.graph.nodes;
        let mut first_reader = vec![usize::MAX; nodes.len()];
        for (i, node) in nodes.iter().enumerate().filter(|(i, _)| self.differentiated[*i]) {
            node.inputs.iter().for_each(|v| first_reader[v.0] = first_reader[v.0].min(i));
        }
        first_reader
    }

    /// The operations in the order in which they were recorded, each with the places of what it reads and writes.
    fn steps(
        &self,
        specs: &[Option<Spec>],
        Buffers { values, grads, own }: &Buffers,
        places: &[Span],
        index_places: &[Span],
        modes: &[Modes],
    ) -> Vec<Step> {
        let nodes = &self.graph.nodes;
        let (param_specs, buffer_specs) = self.graph.param_specs();
        let (param_spans, buffer_spans) = (spans(param_specs), spans(buffer_specs));
        let first_reader = self.first_readers();
        let step = |(i, node): (usize, &Node)| {
            let (op, spec) = node.op.as_ref().zip(specs[i])?;
            let Own { aux, index, forward, backward } = own[i]?;
            let operand = |k: usize| node.inputs.get(k).map_or(0..0, |v| places[values[v.0]].clone());
            let gradient =
                |k: usize| Some((places[grads[node.inputs.get(k)?.0]].clone(), modes[i].inputs[k]?));
            let w = |k: usize| node.params.get(k).map_or(0..0, |p| param_spans[p.0].clone());
            let buffer = |k: usize| node.buffers.get(k).map_or(0..0, |b| buffer_spans[b.0].clone());
            Some(Step {
                op: op.clone(),
                spec,
                input_shape: node.inputs.first().map(|v| nodes[v.0].shape),
                x: from_fn(operand),
                y: places[values[i]].clone(),
                aux: places[aux].clone(),
                index: index_places[index].clone(),
                forward_scratch: places[forward].clone(),
                backward_scratch: places[backward].clone(),
                differentiated: self.differentiated[i],
                dy: places[grads[i]].clone(),
                dx: from_fn(gradient),
                dx_last: from_fn(|k| node.inputs.get(k).is_some_and(|v| first_reader[v.0] == i)),
                w: from_fn(w),
                dw: modes[i].params,
                dw_apart: from_fn(|_| 0..0),
                buffers: from_fn(buffer),
                labels: node.labels.map(|l| l.0),
            })
        };
        nodes.iter().enumerate().filter_map(step).collect()
    }
}
