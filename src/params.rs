//! Parameters, their gradients and running buffers: outside the arena, so that plans of several batch sizes and
//! phases share them, and flat, so that the optimiser makes one pass.

use crate::arena::ALIGN;
use crate::error::{Error, Result};
use moue_datasets::Rng;
use moue_kernels::Element;
use std::ops::Range;

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// Every element the same.
    Constant(f32),
    /// Uniform in +-1/sqrt(fan_in): He et al. 2015 with gain 1/sqrt(3), what PyTorch's layers start with.
    Uniform {
        /// Inputs that one output sums over.
        fan_in: usize,
    },
}

/// Name, dimensions and start of a parameter or buffer.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// Unique in the model, e.g. `block1.bn2.gamma`.
    pub name: String,
    /// Dimensions, row-major, e.g. `[3, 3, cin, cout]`.
    pub dims: Vec<usize>,
    /// How it starts.
    pub init: Init,
}

impl ParamSpec {
    /// Elements.
    pub fn len(&self) -> usize {
        self.dims.iter().product()
    }

    /// Whether it has no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Where each of them is, and where the last one ends.
pub(crate) fn layout(specs: &[ParamSpec]) -> (Vec<Range<usize>>, usize) {
    let mut end = 0;
    let spans = specs
        .iter()
        .map(|spec| {
            let span = end..end + spec.len();
            end = span.end.next_multiple_of(ALIGN);
            span
        })
        .collect();
    (spans, end)
}

/// All parameters of a model in `T`, with gradients and running buffers.
#[derive(Clone, Debug)]
pub struct Params<T> {
    specs: Vec<ParamSpec>,
    spans: Vec<Range<usize>>,
    buffer_specs: Vec<ParamSpec>,
    buffer_spans: Vec<Range<usize>>,
    pub(crate) values: Vec<T>,
    pub(crate) grads: Vec<T>,
    pub(crate) buffers: Vec<T>,
}

impl Params<f32> {
    pub(crate) fn new(specs: Vec<ParamSpec>, buffer_specs: Vec<ParamSpec>, rng: &mut Rng) -> Self {
        let mut params = Self::zeros(specs, buffer_specs);
        let Self { specs, spans, buffer_specs, buffer_spans, values, buffers, .. } = &mut params;
        let mut fill = |to: &mut [f32], init| match init {
            Init::Constant(x) => to.fill(x),
            Init::Uniform { fan_in } => {
                let bound = 1.0 / (fan_in as f32).sqrt();
                to.iter_mut().for_each(|x| *x = rng.range(-bound, bound));
            }
        };
        for (spec, span) in specs.iter().zip(spans) {
            fill(&mut values[span.clone()], spec.init);
        }
        for (spec, span) in buffer_specs.iter().zip(buffer_spans) {
            fill(&mut buffers[span.clone()], spec.init);
        }
        params
    }

    /// Parameters that are still to be read.
    pub(crate) fn zeros(specs: Vec<ParamSpec>, buffer_specs: Vec<ParamSpec>) -> Self {
        let (spans, len) = layout(&specs);
        let (buffer_spans, buffer_len) = layout(&buffer_specs);
        let (values, grads, buffers) = (vec![0.0; len], vec![0.0; len], vec![0.0; buffer_len]);
        Self { specs, spans, buffer_specs, buffer_spans, values, grads, buffers }
    }
}

impl<T: Element> Params<T> {
    /// The same parameters in another number type (gradients too).
    pub fn cast<U: Element>(&self) -> Params<U> {
        let cast = |v: &[T]| v.iter().map(|&x| U::from_f64(x.to_f64())).collect();
        Params {
            specs: self.specs.clone(),
            spans: self.spans.clone(),
            buffer_specs: self.buffer_specs.clone(),
            buffer_spans: self.buffer_spans.clone(),
            values: cast(&self.values),
            grads: cast(&self.grads),
            buffers: cast(&self.buffers),
        }
    }

    /// Trained elements.
    pub fn count(&self) -> usize {
        self.specs.iter().map(ParamSpec::len).sum()
    }

    /// Specs of the trained parameters.
    pub fn specs(&self) -> &[ParamSpec] {
        &self.specs
    }

    /// Specs of the running buffers.
    pub fn buffer_specs(&self) -> &[ParamSpec] {
        &self.buffer_specs
    }

    /// Every parameter and then every buffer, with its values.
    pub fn tensors(&self) -> impl Iterator<Item = (&ParamSpec, &[T])> {
        let params = self.specs.iter().zip(&self.spans).map(|(s, r)| (s, &self.values[r.clone()]));
        let buffers =
            self.buffer_specs.iter().zip(&self.buffer_spans).map(|(s, r)| (s, &self.buffers[r.clone()]));
        params.chain(buffers)
    }

    /// Every trained parameter with its gradient.
    pub fn gradients(&self) -> impl Iterator<Item = (&ParamSpec, &[T])> {
        self.specs.iter().zip(&self.spans).map(|(s, r)| (s, &self.grads[r.clone()]))
    }

    /// The values of the parameter or buffer called `name`.
    pub fn get(&self, name: &str) -> Option<&[T]> {
        self.tensors().find(|(spec, _)| spec.name == name).map(|(_, values)| values)
    }

    /// The values of the parameter or buffer called `name`, to write to.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut [T]> {
        if let Some(i) = self.specs.iter().position(|s| s.name == name) {
            return Some(&mut self.values[self.spans[i].clone()]);
        }
        let i = self.buffer_specs.iter().position(|s| s.name == name)?;
        Some(&mut self.buffers[self.buffer_spans[i].clone()])
    }

    /// Multiplies weights by `keep`. Biases, scales and shifts, which have one dimension, stay: they do not overfit,
    /// and a norm behind a convolution would undo a smaller scale of the two.
    pub(crate) fn shrink_weights(&mut self, keep: f64) {
        let weights = self.specs.iter().zip(&self.spans).filter(|(spec, _)| spec.dims.len() > 1);
        for (_, span) in weights {
            self.values[span.clone()].iter_mut().for_each(|x| *x = T::from_f64(x.to_f64() * keep));
        }
    }

    /// Checks that these are the parameters that a graph records.
    ///
    /// # Errors
    /// Names the first parameter that differs.
    pub fn check(&self, specs: &[ParamSpec], buffers: &[ParamSpec]) -> Result<()> {
        let ours = self.specs.iter().chain(&self.buffer_specs);
        let theirs = specs.iter().chain(buffers);
        let counts = (ours.clone().count(), theirs.clone().count());
        for (a, b) in ours.zip(theirs) {
            if (&a.name, &a.dims) != (&b.name, &b.dims) {
                let text = format!("{} {:?} in place of {} {:?}", a.name, a.dims, b.name, b.dims);
                return Err(Error::OtherModel(text));
            }
        }
        if counts.0 != counts.1 {
            return Err(Error::OtherModel(format!("{} tensors in place of {}", counts.0, counts.1)));
        }
        Ok(())
    }

    pub(crate) fn spans(&self) -> (&[Range<usize>], &[Range<usize>]) {
        (&self.spans, &self.buffer_spans)
    }
}

pub(crate) fn spans(specs: &[ParamSpec]) -> Vec<Range<usize>> {
    layout(specs).0
}
