//! Works out a plan: backward order, gradient modes, liveness, offsets.

use crate::arena::{Arena, Lifetime, place};
use crate::error::{Error, Result};
use crate::graph::{Graph, Var};
use crate::ops::{Real, Spec};
use crate::params::spans;
use crate::plan::{Plan, Step};
use moue_kernels::{Isa, Mode};

/// Works out a plan: who is differentiated, when each buffer lives, where it goes.
pub(crate) struct Planner<'a> {
    graph: &'a Graph,
    loss: Option<Var>,
    /// Value `i` leads to the loss and depends on a parameter or a watched value.
    differentiated: Vec<bool>,
    lives: Vec<Lifetime>,
    index_lives: Vec<Lifetime>,
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
        let n = nodes.len();
        let last = self.backward_time(0);
        let specs: Vec<Option<Spec>> =
            nodes.iter().map(|node| node.op.as_ref().map(|op| op.spec())).collect();

        let mut value_end: Vec<usize> = (0..n).collect();
        let mut grad_start = vec![usize::MAX; n];
        for (j, node) in nodes.iter().enumerate() {
            let reads_x = specs[j].is_some_and(|s| s.reads_x) && self.differentiated[j];
            for v in &node.inputs {
                let end = if reads_x { self.backward_time(j) } else { j };
                value_end[v.0] = value_end[v.0].max(end);
                if self.differentiated[j] {
                    grad_start[v.0] = grad_start[v.0].min(self.backward_time(j));
                }
            }
            if specs[j].is_some_and(|s| s.reads_y) && self.differentiated[j] {
                value_end[j] = value_end[j].max(self.backward_time(j));
            }
            if node.op.is_none() {
                value_end[j] = last;
            }
        }
        for v in self.graph.kept.iter().chain(&self.loss) {
            value_end[v.0] = last;
        }
        if let Some(loss) = self.loss {
            grad_start[loss.0] = n;
        }

        let empty = self.live(0, 0, 0);
        let mut values = Vec::with_capacity(n);
        let mut grads = vec![empty; n];
        for (i, node) in nodes.iter().enumerate() {
            let start = if node.op.is_some() { i } else { 0 };
            let len = node.shape.len() + specs[i].map_or(0, |s| s.extra);
            values.push(self.live(len, start, value_end[i]));
            if self.differentiated[i] {
                let end = if self.graph.watched.contains(&Var(i)) { last } else { self.backward_time(i) };
                grads[i] = self.live(len, grad_start[i], end);
            }
        }

        // Places for what each operation alone uses: (aux, index, forward scratch, backward scratch).
        let mut own = Vec::with_capacity(n);
        for (i, node) in nodes.iter().enumerate() {
            let Some((op, spec)) = node.op.as_ref().zip(specs[i]) else {
                own.push(None);
                continue;
            };
            let back = self.backward_time(i);
            let kept_until = if self.differentiated[i] { back } else { i };
            let scratch = T::runner(&**op).scratch();
            let aux = self.live(spec.aux, i, kept_until);
            self.index_lives.push(Lifetime { len: spec.index, start: i, end: kept_until });
            let index = self.index_lives.len() - 1;
            let forward = self.live(scratch.forward, i, i);
            let backward =
                if self.differentiated[i] { self.live(scratch.backward, back, back) } else { empty };
            own.push(Some((aux, index, forward, backward)));
        }

        let (places, len) = place(&self.lives);
        let (index_places, index_len) = place(&self.index_lives);
        let unshared = self.lives.iter().map(|b| b.len * size_of::<T>()).sum::<usize>()
            + self.index_lives.iter().map(|b| b.len).sum::<usize>();

        let (param_specs, buffer_specs) = self.graph.param_specs();
        let (param_spans, buffer_spans) = (spans(param_specs), spans(buffer_specs));
        // Backward runs from the last node to the first: the first to write a gradient sets it, others add.
        let mut written = vec![false; n];
        let mut param_written = vec![false; param_specs.len()];
        let mode_of = |seen: &mut bool| if std::mem::replace(seen, true) { Mode::Add } else { Mode::Set };
        // The first to read a value is the last to write its gradient.
        let mut first_reader = vec![usize::MAX; n];
        for (i, node) in nodes.iter().enumerate().filter(|(i, _)| self.differentiated[*i]) {
            node.inputs.iter().for_each(|v| first_reader[v.0] = first_reader[v.0].min(i));
        }
        let mut steps = Vec::with_capacity(n);
        for (i, node) in nodes.iter().enumerate().rev() {
            let Some((op, (aux, index, forward, backward))) = node.op.as_ref().zip(own[i]) else { continue };
            let differentiated = self.differentiated[i];
            let operand = |k: usize| node.inputs.get(k).map_or(0..0, |v| places[values[v.0]].clone());
            let mut gradient = |k: usize| {
                let v = node.inputs.get(k).filter(|v| differentiated && self.differentiated[v.0])?;
                Some((places[grads[v.0]].clone(), mode_of(&mut written[v.0])))
            };
            let dx = [gradient(0), gradient(1)];
            let w = |k: usize| node.params.get(k).map_or(0..0, |p| param_spans[p.0].clone());
            let mut dw = |k: usize| node.params.get(k).map(|p| mode_of(&mut param_written[p.0]));
            let buffer = |k: usize| node.buffers.get(k).map_or(0..0, |b| buffer_spans[b.0].clone());
            steps.push(Step {
                op: op.clone(),
                spec: op.spec(),
                input_shape: node.inputs.first().map(|v| nodes[v.0].shape),
                x: [operand(0), operand(1)],
                y: places[values[i]].clone(),
                aux: places[aux].clone(),
                index: index_places[index].clone(),
                forward_scratch: places[forward].clone(),
                backward_scratch: places[backward].clone(),
                differentiated,
                dy: places[grads[i]].clone(),
                dx,
                dx_last: std::array::from_fn(|k| node.inputs.get(k).is_some_and(|v| first_reader[v.0] == i)),
                w: std::array::from_fn(w),
                dw: std::array::from_fn(|k| if differentiated { dw(k) } else { None }),
                dw_apart: std::array::from_fn(|_| 0..0),
                buffers: [buffer(0), buffer(1)],
                labels: node.labels.map(|l| l.0),
            });
        }
        steps.reverse();
        Ok(Plan {
            steps,
            loss: self.loss.map(|v| (places[values[v.0]].clone(), places[grads[v.0]].clone())),
            gradients: (0..n).map(|i| places[grads[i]].clone()).collect(),
            values: values.into_iter().map(|v| places[v].clone()).collect(),
            shapes: nodes.iter().map(|node| node.shape).collect(),
            is_input: nodes.iter().map(|node| node.op.is_none()).collect(),
            arena: Arena::new(len).map_err(|source| Error::Memory { bytes: len * size_of::<T>(), source })?,
            index: vec![0; index_len],
            labels: self.graph.labels.iter().map(|&n| vec![0; n]).collect(),
            unshared,
            isa,
            times: Vec::new(),
            team: None,
            summed: Vec::new(),
        })
    }
}
