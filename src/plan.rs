//! A compiled graph: backward order, gradient modes, liveness, offsets; then steps that neither allocate nor fail.

use crate::arena::{Arena, Lifetime, place};
use crate::graph::{Graph, Labels, Var};
use crate::ops::{Backward, Forward, MAX_BUFFERS, MAX_INPUTS, MAX_PARAMS, Operation, Real, Spec};
use crate::params::{Params, spans};
use crate::tensor::Tensor;
use moue_kernels::{Grad, Isa, Mode, Shape};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

type Span = Range<usize>;

/// One operation with its places.
#[derive(Debug)]
struct Step {
    op: Arc<dyn Operation>,
    spec: Spec,
    input_shape: Option<Shape>,
    x: [Span; MAX_INPUTS],
    y: Span,
    aux: Span,
    index: Span,
    forward_scratch: Span,
    backward_scratch: Span,
    /// Whether backward runs at all.
    differentiated: bool,
    dy: Span,
    dx: [Option<(Span, Mode)>; MAX_INPUTS],
    w: [Span; MAX_PARAMS],
    dw: [Option<Mode>; MAX_PARAMS],
    buffers: [Span; MAX_BUFFERS],
    labels: Option<usize>,
}

/// Time of one operation, summed over the steps since [`Plan::start_profile`].
#[derive(Clone, Debug)]
pub struct OpTime {
    /// Operation.
    pub op: &'static str,
    /// First input's shape and the result's, e.g. `32x48x48x32 -> 32x48x48x64`.
    pub shape: String,
    /// Multiply-adds of the forward pass.
    pub macs: u64,
    /// Forward time.
    pub forward: Duration,
    /// Backward time.
    pub backward: Duration,
}

/// An executable graph. Made by [`Graph::compile`].
#[derive(Debug)]
pub struct Plan<T> {
    steps: Vec<Step>,
    values: Vec<Span>,
    shapes: Vec<Shape>,
    gradients: Vec<Span>,
    is_input: Vec<bool>,
    loss: Option<(Span, Span)>,
    arena: Arena<T>,
    index: Vec<u8>,
    labels: Vec<Vec<u32>>,
    unshared: usize,
    isa: Isa,
    times: Vec<(Duration, Duration)>,
}

impl<T: Real> Plan<T> {
    pub(crate) fn new(graph: &Graph, loss: Option<Var>, isa: Isa) -> Self {
        Planner::new(graph, loss).plan(isa)
    }

    /// Writes an input.
    ///
    /// # Panics
    /// If `v` is no input or `x` has another length.
    pub fn set(&mut self, v: Var, x: &[T]) {
        self.input_mut(v).copy_from_slice(x);
    }

    /// An input's place, to fill without a copy.
    ///
    /// # Panics
    /// If `v` is no input.
    pub fn input_mut(&mut self, v: Var) -> &mut [T] {
        assert!(self.is_input[v.0], "value {} is not an input", v.0);
        let span = self.values[v.0].clone();
        &mut self.arena.all()[span]
    }

    /// Writes class indices.
    ///
    /// # Panics
    /// If `classes` has another length.
    pub fn set_labels(&mut self, labels: Labels, classes: &[u32]) {
        self.labels[labels.0].copy_from_slice(classes);
    }

    /// A copy of a value: see [`Plan::value`].
    pub fn tensor(&self, v: Var) -> Tensor<T> {
        Tensor::new(self.shapes[v.0], self.value(v).to_vec())
    }

    /// A value after the forward pass: the loss, or what [`Graph::keep`] named (others may be overwritten).
    pub fn value(&self, v: Var) -> &[T] {
        self.arena.get(&self.values[v.0])
    }

    /// The gradient of a value that [`Graph::watch`] named, after the backward pass.
    pub fn gradient(&self, v: Var) -> &[T] {
        self.arena.get(&self.gradients[v.0])
    }

    /// The loss after the forward pass; NaN for a plan without one.
    pub fn loss(&self) -> f64 {
        self.loss.as_ref().map_or(f64::NAN, |(value, _)| self.arena.get(value)[0].to_f64())
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.arena.bytes() + self.index.len()
    }

    /// Bytes that the same buffers would take if none shared its place with another.
    pub fn unshared_bytes(&self) -> usize {
        self.unshared
    }

    /// Multiply-adds of a forward pass.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(|s| s.spec.macs).sum()
    }

    /// How many roundings a gradient may have seen on its way: of every operation, the terms that one element of
    /// its result sums, those that one element of its input's gradient sums, and the pixels that a parameter's
    /// gradient or a statistic sums. The loss itself is left out: no gradient passes through its value.
    pub fn roundings(&self) -> f64 {
        let per = |macs: u64, len: usize| macs as f64 / len.max(1) as f64;
        let steps = self.steps.iter().rev().skip(1);
        steps
            .map(|s| {
                let pixels = if s.w[0].is_empty() { 0 } else { s.spec.shape.pixels() };
                let x = s.input_shape.map_or(1, |x| x.len());
                2.0 + per(s.spec.macs, s.spec.shape.len()) + per(s.spec.macs, x) + pixels as f64
            })
            .sum()
    }

    /// Computes every value; running buffers in `params` are updated in training.
    pub fn forward(&mut self, params: &mut Params<T>) {
        for i in 0..self.steps.len() {
            let begin = self.clock();
            self.forward_step(i, params);
            if let Some(begin) = begin {
                self.times[i].0 += begin.elapsed();
            }
        }
    }

    /// Computes the gradients of all parameters, after [`Plan::forward`].
    pub fn backward(&mut self, params: &mut Params<T>) {
        let Some((_, gradient)) = self.loss.clone() else { return };
        self.arena.all()[gradient].fill(T::from_f64(1.0));
        for i in (0..self.steps.len()).rev() {
            let begin = self.clock();
            self.backward_step(i, params);
            if let Some(begin) = begin {
                self.times[i].1 += begin.elapsed();
            }
        }
    }

    /// The first operation whose result is not finite: runs the forward pass again and looks after each one.
    pub fn first_not_finite(&mut self, params: &mut Params<T>) -> Option<String> {
        (0..self.steps.len()).find_map(|i| {
            self.forward_step(i, params);
            let step = &self.steps[i];
            let finite = self.arena.get(&step.y).iter().all(|x| x.to_f64().is_finite());
            (!finite).then(|| format!("{} (operation {i}, {})", step.spec.name, step.spec.shape))
        })
    }

    /// Starts timing every operation.
    pub fn start_profile(&mut self) {
        self.times = vec![Default::default(); self.steps.len()];
    }

    /// Times since [`Plan::start_profile`], in forward order.
    pub fn profile(&self) -> Vec<OpTime> {
        let op_time = |(step, &(forward, backward)): (&Step, &(Duration, Duration))| OpTime {
            op: step.spec.name,
            shape: match step.input_shape {
                Some(x) => format!("{x} -> {}", step.spec.shape),
                None => step.spec.shape.to_string(),
            },
            macs: step.spec.macs,
            forward,
            backward,
        };
        self.steps.iter().zip(&self.times).map(op_time).collect()
    }

    fn clock(&self) -> Option<Instant> {
        (!self.times.is_empty()).then(Instant::now)
    }

    fn forward_step(&mut self, i: usize, params: &mut Params<T>) {
        let step = &self.steps[i];
        let [x0, x1, y, aux, scratch] = self.arena.borrow([
            step.x[0].clone(),
            step.x[1].clone(),
            step.y.clone(),
            step.aux.clone(),
            step.forward_scratch.clone(),
        ]);
        let values = &params.values;
        T::runner(&*step.op).forward(Forward {
            isa: self.isa,
            x: [x0, x1],
            w: [&values[step.w[0].clone()], &values[step.w[1].clone()]],
            buffers: disjoint(&mut params.buffers, step.buffers.clone()),
            labels: step.labels.map_or(&[], |l| &self.labels[l]),
            y,
            aux,
            index: &mut self.index[step.index.clone()],
            scratch,
        });
    }

    fn backward_step(&mut self, i: usize, params: &mut Params<T>) {
        let step = &self.steps[i];
        if !step.differentiated {
            return;
        }
        let place = |i: usize| step.dx[i].as_ref().map_or(0..0, |(span, _)| span.clone());
        let read = |span: &Span, wanted: bool| if wanted { span.clone() } else { 0..0 };
        let [x0, x1, y, aux, dy, dx0, dx1, scratch] = self.arena.borrow([
            read(&step.x[0], step.spec.reads_x),
            read(&step.x[1], step.spec.reads_x),
            read(&step.y, step.spec.reads_y),
            step.aux.clone(),
            step.dy.clone(),
            place(0),
            place(1),
            step.backward_scratch.clone(),
        ]);
        let input = |i: usize, to| step.dx[i].as_ref().map(|&(_, mode)| Grad { to, mode });
        let [dw0, dw1] = disjoint(&mut params.grads, step.w.clone());
        let param = |i: usize, to| step.dw[i].map(|mode| Grad { to, mode });
        let values = &params.values;
        T::runner(&*step.op).backward(Backward {
            isa: self.isa,
            x: [x0, x1],
            w: [&values[step.w[0].clone()], &values[step.w[1].clone()]],
            buffers: [&params.buffers[step.buffers[0].clone()], &params.buffers[step.buffers[1].clone()]],
            labels: step.labels.map_or(&[], |l| &self.labels[l]),
            y,
            aux,
            index: &self.index[step.index.clone()],
            dy,
            dx: [input(0, dx0), input(1, dx1)],
            dw: [param(0, dw0), param(1, dw1)],
            scratch,
        });
    }
}

/// Spans of one flat buffer; the layout keeps them apart.
fn disjoint<T, const N: usize>(flat: &mut [T], spans: [Span; N]) -> [&mut [T]; N] {
    flat.get_disjoint_mut(spans).expect("parameters of one operation lie apart")
}

/// The plan as a table: operation, shape, place, bytes, multiply-adds.
impl<T: Real> fmt::Display for Plan<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<16} {:>14} {:>12} {:>12} {:>14}",
            "op", "result", "offset", "bytes", "multiply-adds"
        )?;
        for step in &self.steps {
            let bytes = step.y.len() * size_of::<T>();
            let (name, shape) = (step.spec.name, step.spec.shape.to_string());
            writeln!(f, "{name:<16} {shape:>14} {:>12} {bytes:>12} {:>14}", step.y.start, step.spec.macs)?;
        }
        let (arena, unshared) = (self.arena_bytes(), self.unshared_bytes());
        write!(f, "arena {arena} bytes; without sharing {unshared} bytes")
    }
}

/// Works out a plan: who is differentiated, when each buffer lives, where it goes.
struct Planner<'a> {
    graph: &'a Graph,
    loss: Option<Var>,
    /// Value `i` leads to the loss and depends on a parameter or a watched value.
    differentiated: Vec<bool>,
    lives: Vec<Lifetime>,
    index_lives: Vec<Lifetime>,
}

impl<'a> Planner<'a> {
    fn new(graph: &'a Graph, loss: Option<Var>) -> Self {
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

    fn plan<T: Real>(mut self, isa: Isa) -> Plan<T> {
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
            values.push(self.live(node.shape.len(), start, value_end[i]));
            if self.differentiated[i] {
                let end = if self.graph.watched.contains(&Var(i)) { last } else { self.backward_time(i) };
                grads[i] = self.live(node.shape.len(), grad_start[i], end);
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
                w: [w(0), w(1)],
                dw: if differentiated { [dw(0), dw(1)] } else { [None, None] },
                buffers: [buffer(0), buffer(1)],
                labels: node.labels.map(|l| l.0),
            });
        }
        steps.reverse();
        Plan {
            steps,
            loss: self.loss.map(|v| (places[values[v.0]].clone(), places[grads[v.0]].clone())),
            gradients: (0..n).map(|i| places[grads[i]].clone()).collect(),
            values: values.into_iter().map(|v| places[v].clone()).collect(),
            shapes: nodes.iter().map(|node| node.shape).collect(),
            is_input: nodes.iter().map(|node| node.op.is_none()).collect(),
            arena: Arena::new(len),
            index: vec![0; index_len],
            labels: self.graph.labels.iter().map(|&n| vec![0; n]).collect(),
            unshared,
            isa,
            times: Vec::new(),
        }
    }
}
