//! Recording: user code reads as if it ran at once, but only appends nodes; [`Graph::compile`] makes a plan.

use crate::error::{Error, Result};
use crate::ops::{MAX_BUFFERS, MAX_INPUTS, MAX_PARAMS, Operation, Real};
use crate::params::{Init, ParamSpec, Params, layout};
use crate::plan::Plan;
use crate::planner::Planner;
use moue_datasets::Rng;
use moue_kernels::{Isa, Shape};
use std::sync::Arc;

/// A value in a [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Var(pub(crate) usize);

/// A trained parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Param(pub(crate) usize);

/// A buffer that the forward pass updates and no gradient reaches (running statistics).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buffer(pub(crate) usize);

/// Class indices, one an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Labels(pub(crate) usize);

/// Whether batch norm uses the batch's statistics or the running ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The batch's, and the running ones are updated.
    Train,
    /// The running ones.
    Eval,
}

/// One recorded operation with its operands.
#[derive(Debug)]
pub(crate) struct Node {
    /// `None` for an input, which the user sets.
    pub(crate) op: Option<Arc<dyn Operation>>,
    pub(crate) shape: Shape,
    pub(crate) inputs: Vec<Var>,
    pub(crate) params: Vec<Param>,
    pub(crate) buffers: Vec<Buffer>,
    pub(crate) labels: Option<Labels>,
}

/// What an operation is recorded with, besides its input variables.
#[derive(Debug, Default)]
pub struct Operands {
    /// Parameters, in the order in which the operation reads them.
    pub params: Vec<Param>,
    /// Running buffers.
    pub buffers: Vec<Buffer>,
    /// Labels.
    pub labels: Option<Labels>,
}

/// A recorded computation. Operations are methods, each defined in its own file under `ops`.
///
/// A mistake in the operands is remembered and reported by [`Graph::compile`], so that recording needs no `?`.
#[derive(Debug)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) labels: Vec<usize>,
    pub(crate) kept: Vec<Var>,
    pub(crate) watched: Vec<Var>,
    named: Vec<(String, Var)>,
    specs: Vec<ParamSpec>,
    buffers: Vec<ParamSpec>,
    error: Option<Error>,
    phase: Phase,
}

impl Graph {
    /// An empty graph.
    pub fn new(phase: Phase) -> Self {
        Self {
            nodes: Vec::new(),
            labels: Vec::new(),
            kept: Vec::new(),
            watched: Vec::new(),
            named: Vec::new(),
            specs: Vec::new(),
            buffers: Vec::new(),
            error: None,
            phase,
        }
    }

    /// Training or evaluation.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// A value that [`Plan::set`] fills, `[n, h, w, c]`.
    pub fn input(&mut self, shape: impl Into<Shape>) -> Var {
        let shape = shape.into();
        self.require_elements("input", shape);
        self.nodes.push(Node {
            op: None,
            shape,
            inputs: Vec::new(),
            params: Vec::new(),
            buffers: Vec::new(),
            labels: None,
        });
        Var(self.nodes.len() - 1)
    }

    /// `n` class indices that [`Plan::set_labels`] fills.
    pub fn labels(&mut self, n: usize) -> Labels {
        self.labels.push(n);
        Labels(self.labels.len() - 1)
    }

    /// A trained parameter; graphs that record the same parameters in the same order share one [`Params`].
    pub fn param(&mut self, name: impl Into<String>, dims: &[usize], init: Init) -> Param {
        self.specs.push(ParamSpec { name: name.into(), dims: dims.to_vec(), init });
        Param(self.specs.len() - 1)
    }

    /// A running buffer, stored with the parameters.
    pub fn buffer(&mut self, name: impl Into<String>, dims: &[usize], init: Init) -> Buffer {
        self.buffers.push(ParamSpec { name: name.into(), dims: dims.to_vec(), init });
        Buffer(self.buffers.len() - 1)
    }

    /// Shape of a value.
    ///
    /// # Panics
    /// May panic if `v` is of another graph.
    pub fn shape(&self, v: Var) -> Shape {
        self.nodes[v.0].shape
    }

    /// Dimensions of a parameter.
    ///
    /// # Panics
    /// May panic if `p` is of another graph.
    pub fn dims(&self, p: Param) -> &[usize] {
        &self.specs[p.0].dims
    }

    /// Dimensions of a buffer.
    pub(crate) fn buffer_dims(&self, b: Buffer) -> &[usize] {
        &self.buffers[b.0].dims
    }

    /// Keeps a value to the end of the step, so that [`Plan::value`] can read it.
    pub fn keep(&mut self, v: Var) {
        self.kept.push(v);
    }

    /// Computes the loss's gradient of a value even where no parameter needs it (an input), and keeps it for
    /// [`Plan::gradient`].
    pub fn watch(&mut self, v: Var) {
        self.watched.push(v);
    }

    /// Gives a value a name, for those who look inside a model.
    pub(crate) fn name(&mut self, name: impl Into<String>, v: Var) {
        self.named.push((name.into(), v));
    }

    /// The named values, in the order in which they were recorded.
    pub(crate) fn named(&self) -> &[(String, Var)] {
        &self.named
    }

    /// Records an operation: how `ops` (and users with operations of their own) extend the graph.
    pub fn push(&mut self, op: impl Operation + 'static, inputs: &[Var], operands: Operands) -> Var {
        let spec = op.spec();
        self.require(is_distinct(inputs), spec.name, "two different values", "the same value twice");
        let Operands { params, buffers, .. } = &operands;
        let numbers = (inputs.len(), params.len(), buffers.len());
        let fits = numbers.0 <= MAX_INPUTS && numbers.1 <= MAX_PARAMS && numbers.2 <= MAX_BUFFERS;
        let distinct = is_distinct(params) && is_distinct(buffers);
        self.require(fits, spec.name, "fewer values, parameters or buffers", format!("{numbers:?}"));
        self.require(distinct, spec.name, "different parameters and buffers", "the same one twice");
        self.require_elements(spec.name, spec.shape);
        self.nodes.push(Node {
            op: Some(Arc::new(op)),
            shape: spec.shape,
            inputs: inputs.to_vec(),
            params: operands.params,
            buffers: operands.buffers,
            labels: operands.labels,
        });
        Var(self.nodes.len() - 1)
    }

    /// Remembers the first mistake for [`Graph::compile`].
    pub fn fail(&mut self, op: &'static str, expected: impl Into<String>, got: impl ToString) {
        let error = Error::Operand { op, expected: expected.into(), got: got.to_string() };
        self.error.get_or_insert(error);
    }

    /// Remembers a mistake unless `ok`.
    pub(crate) fn require(&mut self, ok: bool, op: &'static str, expected: &str, got: impl ToString) {
        if !ok {
            self.fail(op, expected, got);
        }
    }

    /// Requires a shape that can be stored, and is not empty: kernels divide by its parts.
    fn require_elements(&mut self, op: &'static str, shape: Shape) {
        let some = shape.checked_len().is_some_and(|len| len > 0);
        self.require(some, op, "a shape without a zero whose elements can be counted", shape);
    }

    /// Requires a label for each row of `logits`; returns how many there are.
    pub(crate) fn require_labels(&mut self, op: &'static str, logits: Var, labels: Labels) -> usize {
        let (rows, got) = (self.shape(logits).pixels(), self.labels[labels.0]);
        self.require(rows == got, op, &format!("a label for each of {rows} rows"), format!("{got} labels"));
        got
    }

    /// Fresh parameters, drawn in the order in which they were recorded.
    pub fn init_params(&self, rng: &mut Rng) -> Params<f32> {
        Params::new(self.specs.clone(), self.buffers.clone(), rng)
    }

    /// A plan for a training step on `loss`, which must be one number.
    ///
    /// # Errors
    /// The first mistake made while recording, an operation of inference, which has no backward pass, a loss that is
    /// not one number, or no memory for the arena.
    pub fn compile<T: Real>(mut self, loss: Var, isa: Isa) -> Result<Plan<T>> {
        let mut specs = self.nodes.iter().filter_map(|node| node.op.as_ref()).map(|op| op.spec());
        if let Some(spec) = specs.find(|spec| spec.forward_only) {
            self.fail(spec.name, "operations to train", "one of inference, without a backward pass");
        }
        self.check()?;
        match self.shape(loss) {
            shape if shape.len() == 1 => Planner::new(&self, Some(loss)).plan(isa),
            shape => Err(Error::LossShape(shape)),
        }
    }

    /// A plan for the forward pass alone: what [`Graph::keep`] names can be read after it.
    ///
    /// # Errors
    /// The first mistake made while recording, or no memory for the arena.
    pub fn compile_forward<T: Real>(mut self, isa: Isa) -> Result<Plan<T>> {
        self.check()?;
        Planner::new(&self, None).plan(isa)
    }

    /// Elements of all parameters and of all running buffers, as [`Params`] lays them out.
    pub(crate) fn param_lengths(&self) -> [usize; 2] {
        [&self.specs, &self.buffers].map(|specs| layout(specs).1)
    }

    pub(crate) fn param_specs(&self) -> (&[ParamSpec], &[ParamSpec]) {
        (&self.specs, &self.buffers)
    }

    /// The first mistake made while recording.
    pub(crate) fn check(&mut self) -> Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        let mut names: Vec<_> = self.specs.iter().chain(&self.buffers).map(|s| s.name.as_str()).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(Error::DuplicateName(pair[0].to_owned())),
            None => Ok(()),
        }
    }
}

/// Whether no two are the same.
fn is_distinct<T: PartialEq>(values: &[T]) -> bool {
    values.iter().enumerate().all(|(i, value)| !values[..i].contains(value))
}
