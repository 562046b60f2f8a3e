//! Every kernel with shapes to run it at: the one list behind the parity tests (every instruction set against
//! the oracle) and the benches.
//!
//! To add a kernel, implement [`Entry`] for a small struct that holds its geometry and list it in [`cases`].

mod dense;
mod depthwise;
mod folded;
mod fused;
mod other;

use crate::{Element, Isa};

/// What an input buffer is filled with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fill {
    /// Uniform in -1..1.
    Signed,
    /// Uniform in 0.1..1.1: variances, norms, scales.
    Positive,
    /// Products of an earlier kernel, computed by the entry itself in `prepare`.
    Prepared,
}

impl Fill {
    /// An element, `uniform` giving numbers from 0 to 1.
    fn draw(self, uniform: &mut dyn FnMut() -> f64) -> f64 {
        match self {
            Self::Signed => 2.0 * uniform() - 1.0,
            Self::Positive => 0.1 + uniform(),
            Self::Prepared => f64::NAN,
        }
    }
}

/// How far an f32 result may be from the f64 oracle's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// |error| <= min(k, 4 sqrt(k)) * eps * M, where M is the oracle's result for the absolute values of all inputs:
    /// k bounds sums of k products, whatever the order (Higham 2002, section 3.1), and 4 sqrt(k) does where there
    /// are many, but by chances below 1e-13 (Higham and Mary 2019, theorem 2.4). Only for kernels that are sums of
    /// products of their inputs.
    Products(usize),
    /// |error| <= k * eps * max(1, largest |result| of the buffer): for the smooth, non-linear kernels.
    Relative(usize),
    /// |error| <= k * eps where all inputs are [`Fill::Signed`]: for algorithms that spread an input's rounding
    /// error over outputs that do not depend on it, so that k holds the norms of their matrices.
    Norms(f64),
    /// The same value.
    Exact,
}

/// A kernel at one shape.
pub trait Entry: Send + Sync {
    /// Kernel and pass, e.g. `conv3x3_forward`.
    fn name(&self) -> String;
    /// Shape, e.g. `32x48x48x32->32`.
    fn shape(&self) -> String;
    /// Lengths and contents of the inputs.
    fn inputs(&self) -> Vec<(usize, Fill)>;
    /// Lengths of the outputs; they hold garbage before the call.
    fn outputs(&self) -> Vec<usize>;
    /// Scratch elements; they hold garbage before the call.
    fn scratch<T: Element>(&self) -> usize
    where
        Self: Sized;
    /// Error allowed in each output.
    fn bounds(&self) -> Vec<Bound>;
    /// Fills the inputs marked [`Fill::Prepared`] from the others, in f64.
    fn prepare(&self, _inputs: &mut [Vec<f64>]) {}
    /// Calls the kernel. `i` are the inputs, `o` the outputs.
    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T])
    where
        Self: Sized;
    /// Floating-point operations of one call (a multiply-add is two).
    fn flops(&self) -> f64;
}

/// [`Entry`] with its generic methods instantiated, so that cases of all kernels stand in one list.
pub trait Case: Send + Sync {
    /// See [`Entry`].
    fn entry(&self) -> &dyn Entry;
    /// Inputs of the SIMD kernel, filled with what `uniform`, numbers from 0 to 1, is made to, and prepared.
    fn inputs_f32(&self, uniform: &mut dyn FnMut() -> f64) -> Vec<Vec<f32>>;
    /// Scratch elements of the f32 kernel.
    fn scratch_f32(&self) -> usize;
    /// Scratch elements of the oracle.
    fn scratch_f64(&self) -> usize;
    /// Calls the SIMD kernel.
    fn call_f32(&self, isa: Isa, i: &[&[f32]], o: &mut [&mut [f32]], scratch: &mut [f32]);
    /// Calls the oracle.
    fn call_f64(&self, i: &[&[f64]], o: &mut [&mut [f64]], scratch: &mut [f64]);
}

impl<E: Entry> Case for E {
    fn entry(&self) -> &dyn Entry {
        self
    }
    fn inputs_f32(&self, uniform: &mut dyn FnMut() -> f64) -> Vec<Vec<f32>> {
        let buffers = self.inputs().into_iter();
        let mut wide: Vec<Vec<f64>> =
            buffers.map(|(len, fill)| (0..len).map(|_| fill.draw(uniform)).collect()).collect();
        self.prepare(&mut wide);
        wide.into_iter().map(|buffer| buffer.into_iter().map(|x| x as f32).collect()).collect()
    }
    fn scratch_f32(&self) -> usize {
        self.scratch::<f32>()
    }
    fn scratch_f64(&self) -> usize {
        self.scratch::<f64>()
    }
    fn call_f32(&self, isa: Isa, i: &[&[f32]], o: &mut [&mut [f32]], scratch: &mut [f32]) {
        self.call(isa, i, o, scratch);
    }
    fn call_f64(&self, i: &[&[f64]], o: &mut [&mut [f64]], scratch: &mut [f64]) {
        self.call(Isa::fastest(), i, o, scratch);
    }
}

/// Which list of shapes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shapes {
    /// Small and awkward: channels around the lane and tile widths, 1x1 to odd maps. For parity.
    Remainders,
    /// The network's own; layers of inference are always of four images. For benches.
    Network {
        /// Images.
        batch: usize,
    },
}

impl Shapes {
    /// The network's own as it is trained.
    pub const TRAINING: Self = Self::Network { batch: 32 };
}

/// Every kernel at the shapes of one list.
pub fn cases(shapes: Shapes) -> Vec<Box<dyn Case>> {
    let mut all = dense::cases(shapes);
    all.extend(depthwise::cases(shapes));
    all.extend(fused::cases(shapes));
    all.extend(folded::cases(shapes));
    all.extend(other::cases(shapes));
    all
}
