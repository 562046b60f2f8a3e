//! A compiled graph: steps that neither allocate nor fail. `planner` works out the places.

#[cfg(test)]
mod tests;

use crate::arena::Arena;
use crate::graph::{Labels, Var};
use crate::ops::{Backward, Forward, MAX_BUFFERS, MAX_INPUTS, MAX_PARAMS, Operation, Real, Spec};
use crate::parallel::{Batch, Team};
use crate::params::Params;
use crate::tensor::Tensor;
use moue_kernels::{Grad, Isa, Mode, Shape};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a buffer is in its arena.
pub(crate) type Span = Range<usize>;

/// One operation with its places.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) op: Arc<dyn Operation>,
    pub(crate) spec: Spec,
    pub(crate) input_shape: Option<Shape>,
    pub(crate) x: [Span; MAX_INPUTS],
    pub(crate) y: Span,
    pub(crate) aux: Span,
    pub(crate) index: Span,
    pub(crate) forward_scratch: Span,
    pub(crate) backward_scratch: Span,
    /// Whether backward runs at all.
    pub(crate) differentiated: bool,
    pub(crate) dy: Span,
    pub(crate) dx: [Option<(Span, Mode)>; MAX_INPUTS],
    /// Whether this step is the last to write each of them.
    pub(crate) dx_last: [bool; MAX_INPUTS],
    pub(crate) w: [Span; MAX_PARAMS],
    pub(crate) dw: [Option<Mode>; MAX_PARAMS],
    /// Places in [`Plan::summed`] for gradients that other operations add to, where images are a part of a batch.
    pub(crate) dw_apart: [Span; MAX_PARAMS],
    pub(crate) buffers: [Span; MAX_BUFFERS],
    pub(crate) labels: Option<usize>,
}

impl Step {
    /// Products that backward computes, each as large as the forward one: for the gradient of every wanted input,
    /// and for those of the parameters together.
    fn products(&self) -> u64 {
        let inputs = self.dx.iter().flatten().count();
        inputs as u64 + u64::from(self.dw.iter().any(Option::is_some))
    }

    /// Bytes that forward and backward read and write at least, with every buffer touched whole and once; `number` is
    /// the size of an element. Running buffers and class indices are too small to count.
    fn bytes(&self, number: usize) -> (u64, u64) {
        let len = |spans: &[Span]| spans.iter().map(|span| span.len()).sum::<usize>();
        let kept = self.aux.len() * number + self.index.len();
        let forward = number * (len(&self.x) + len(&self.w) + self.y.len()) + kept;
        if !self.differentiated {
            return (forward as u64, 0);
        }
        // A gradient that is added to is read besides.
        let grad = |len: usize, mode: Mode| if mode == Mode::Add { 2 * len } else { len };
        let dx = self.dx.iter().flatten().map(|(span, mode)| grad(span.len(), *mode));
        let dw = self.w.iter().zip(&self.dw).filter_map(|(w, mode)| Some(grad(w.len(), (*mode)?)));
        let written: usize = dx.chain(dw).sum();
        let x = if self.spec.reads_x { len(&self.x) } else { 0 };
        let y = if self.spec.reads_y { self.y.len() } else { 0 };
        let backward = number * (x + y + self.dy.len() + len(&self.w) + written) + kept;
        (forward as u64, backward as u64)
    }
}

/// Cost of one operation; times are summed over the steps since [`Plan::start_profile`], all else is of one step.
#[derive(Clone, Debug)]
pub struct OpTime {
    /// Operation.
    pub op: &'static str,
    /// First input's shape and the result's, e.g. `32x48x48x32 -> 32x48x48x64`.
    pub shape: String,
    /// Multiply-adds of the forward pass.
    pub macs: u64,
    /// Multiply-adds of the backward pass: as many for the gradient of each input that somebody needs, and for the
    /// parameters'.
    pub backward_macs: u64,
    /// Bytes that the forward pass reads and writes at least: inputs, parameters, result, what backward needs. Whole
    /// buffers, also where a stride leaves pixels out.
    pub forward_bytes: u64,
    /// Bytes that the backward pass reads and writes at least: what it needs of those and all gradients.
    pub backward_bytes: u64,
    /// Forward time.
    pub forward: Duration,
    /// Backward time.
    pub backward: Duration,
}

/// An executable graph. Made by [`Graph::compile`](crate::Graph::compile).
#[derive(Debug)]
pub struct Plan<T> {
    pub(crate) steps: Vec<Step>,
    pub(crate) values: Vec<Span>,
    pub(crate) shapes: Vec<Shape>,
    /// Of the watched values alone.
    pub(crate) gradients: Vec<Span>,
    pub(crate) is_input: Vec<bool>,
    pub(crate) loss: Option<(Span, Span)>,
    pub(crate) arena: Arena<T>,
    pub(crate) index: Vec<u8>,
    pub(crate) labels: Vec<Vec<u32>>,
    /// Parameters that do not lead to the loss.
    pub(crate) unreached: Vec<Span>,
    /// Lengths of [`Params::values`] and of its running buffers.
    pub(crate) params: [usize; 2],
    pub(crate) unshared: usize,
    pub(crate) isa: Isa,
    pub(crate) times: Vec<(Duration, Duration)>,
    /// The ranks that share a batch of so many images.
    pub(crate) team: Option<(Arc<Team>, usize)>,
    /// Gradients on their way to the sum over ranks.
    pub(crate) summed: Vec<T>,
}

impl<T: Real> Plan<T> {
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

    /// Writes class indices, each less than the number of classes: [`Plan::forward`] panics at others.
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

    /// A value after the forward pass: the loss, or what [`Graph::keep`](crate::Graph::keep) named (others may be
    /// overwritten).
    pub fn value(&self, v: Var) -> &[T] {
        &self.arena.get(&self.values[v.0])[..self.shapes[v.0].len()]
    }

    /// The gradient of a value that [`Graph::watch`](crate::Graph::watch) named, after the backward pass.
    ///
    /// # Panics
    /// For other values, whose gradients are overwritten on the way, and for those that do not lead to the loss.
    pub fn gradient(&self, v: Var) -> &[T] {
        assert!(
            !self.gradients[v.0].is_empty(),
            "no gradient is kept of a value that was not watched, or leads nowhere"
        );
        &self.arena.get(&self.gradients[v.0])[..self.shapes[v.0].len()]
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

    /// How many roundings a gradient may have seen on its way: of every operation, one forward, one backward and the
    /// terms of its sums ([`Spec::terms`]). The loss itself is left out: no gradient passes through its value.
    pub fn roundings(&self) -> f64 {
        let loss = self.loss.as_ref().map(|(value, _)| value);
        let steps = self.steps.iter().filter(|step| Some(&step.y) != loss);
        steps.map(|step| (2 + step.spec.terms) as f64).sum()
    }

    /// Computes every value; running buffers in `params` are updated in training.
    ///
    /// # Panics
    /// If `params` are of another graph, or a label is none of the classes.
    pub fn forward(&mut self, params: &mut Params<T>) {
        self.expect(params);
        self.run(&params.values, &mut params.buffers);
    }

    /// [`Plan::forward`] of a graph without running buffers; `values` are the parameters in their layout in
    /// [`Params`]. Plans on several threads can share them.
    ///
    /// # Panics
    /// If an operation has running buffers.
    pub(crate) fn infer(&mut self, values: &[T]) {
        self.run(values, &mut []);
    }

    fn run(&mut self, values: &[T], buffers: &mut [T]) {
        for i in 0..self.steps.len() {
            let begin = self.clock();
            self.forward_step(i, values, buffers);
            if let Some(begin) = begin {
                self.times[i].0 += begin.elapsed();
            }
        }
    }

    fn expect(&self, params: &Params<T>) {
        let got = [params.values.len(), params.buffers.len()];
        assert_eq!(got, self.params, "parameters and running buffers of another graph");
    }

    /// Computes the gradients of all parameters, after [`Plan::forward`]; those of parameters that do not lead to the
    /// loss are 0.
    ///
    /// # Panics
    /// If `params` are of another graph.
    pub fn backward(&mut self, params: &mut Params<T>) {
        self.backward_with(params, |_, _| {});
    }

    /// The same; calls `after` with each step, once its backward has run, and the gradients so far.
    pub(crate) fn backward_with(&mut self, params: &mut Params<T>, mut after: impl FnMut(usize, &[T])) {
        self.expect(params);
        let Some((_, gradient)) = self.loss.clone() else { return };
        // Another plan of these parameters may have left its own.
        self.unreached.iter().for_each(|span| params.grads[span.clone()].fill(T::from_f64(0.0)));
        self.arena.all()[gradient].fill(T::from_f64(1.0));
        for i in (0..self.steps.len()).rev() {
            let begin = self.clock();
            self.backward_step(i, params);
            if let Some(begin) = begin {
                self.times[i].1 += begin.elapsed();
            }
            after(i, &params.grads);
        }
    }

    /// The first operation whose result is not finite: runs the forward pass again and looks after each one. In training
    /// this moves the running buffers once more, to NaN if there is one.
    ///
    /// # Panics
    /// As [`Plan::forward`].
    pub fn first_not_finite(&mut self, params: &mut Params<T>) -> Option<String> {
        self.expect(params);
        (0..self.steps.len()).find_map(|i| {
            self.forward_step(i, &params.values, &mut params.buffers);
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
        let op_time = |(step, &(forward, backward)): (&Step, &(Duration, Duration))| {
            let (forward_bytes, backward_bytes) = step.bytes(size_of::<T>());
            OpTime {
                op: step.spec.name,
                shape: match step.input_shape {
                    Some(x) => format!("{x} -> {}", step.spec.shape),
                    None => step.spec.shape.to_string(),
                },
                macs: step.spec.macs,
                backward_macs: step.products() * step.spec.macs,
                forward_bytes,
                backward_bytes,
                forward,
                backward,
            }
        };
        self.steps.iter().zip(&self.times).map(op_time).collect()
    }

    fn clock(&self) -> Option<Instant> {
        (!self.times.is_empty()).then(Instant::now)
    }

    fn forward_step(&mut self, i: usize, values: &[T], buffers: &mut [T]) {
        let step = &self.steps[i];
        let batch = Batch::of(&self.team);
        let [x0, x1, y, aux, scratch] = self.arena.borrow([
            step.x[0].clone(),
            step.x[1].clone(),
            step.y.clone(),
            step.aux.clone(),
            step.forward_scratch.clone(),
        ]);
        T::runner(&*step.op).forward(Forward {
            isa: self.isa,
            x: [x0, x1],
            w: step.w.each_ref().map(|w| &values[w.clone()]),
            buffers: disjoint(buffers, step.buffers.clone()),
            labels: step.labels.map_or(&[], |l| &self.labels[l]),
            batch,
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
        let batch = Batch::of(&self.team);
        let dw = {
            let places = disjoint(&mut params.grads, step.w.clone()).into_iter().zip(step.dw);
            let mut places = places.zip(disjoint(&mut self.summed, step.dw_apart.clone()));
            std::array::from_fn(|_| {
                let ((to, mode), apart) = places.next().expect("as many of each");
                mode.map(|mode| if apart.is_empty() { Grad { to, mode } } else { Grad::set(apart) })
            })
        };
        let values = &params.values;
        T::runner(&*step.op).backward(Backward {
            isa: self.isa,
            x: [x0, x1],
            w: step.w.each_ref().map(|w| &values[w.clone()]),
            buffers: [&params.buffers[step.buffers[0].clone()], &params.buffers[step.buffers[1].clone()]],
            labels: step.labels.map_or(&[], |l| &self.labels[l]),
            batch,
            y,
            aux,
            index: &self.index[step.index.clone()],
            dy,
            dx: [input(0, dx0), input(1, dx1)],
            dx_last: step.dx_last,
            dw,
            scratch,
        });
        for ((w, apart), mode) in step.w.iter().zip(&step.dw_apart).zip(step.dw) {
            if let (Some(mode), false) = (mode, apart.is_empty()) {
                let sum = &mut self.summed[apart.clone()];
                batch.sum(sum);
                T::add_backward(self.isa, sum, Grad { to: &mut params.grads[w.clone()], mode });
            }
        }
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
