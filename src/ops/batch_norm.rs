//! Batch normalisation (Ioffe and Szegedy 2015) with an optional ReLU behind it.

use super::{Backward, Forward, Gradient, MAX_PARAMS, Operands, Operation, Run, Scratch, Spec};
use crate::gradcheck::{Checked, Suite, sweep};
use crate::graph::{Buffer, Graph, Param, Phase, Var};
use crate::params::Init;
use moue_kernels::{BatchNorm as Geometry, BatchNormBackward, Element, NormChannels, Shape};

/// Added to the variance.
pub(crate) const EPS: f64 = 1e-5;
/// Weight of a batch's statistics in the running ones.
const MOMENTUM: f64 = 0.1;

#[derive(Debug)]
struct BatchNorm(Geometry);

/// Parameters and running buffers of a batch norm, all `[c]`.
#[derive(Clone, Copy, Debug)]
pub struct NormParams {
    /// Scale.
    pub gamma: Param,
    /// Shift.
    pub beta: Param,
    /// Running mean.
    pub mean: Buffer,
    /// Running unbiased variance.
    pub var: Buffer,
}

impl NormParams {
    /// Those of `c` channels, named `NAME.gamma` and so on: gamma 1, beta 0, running mean 0 and variance 1.
    pub fn new(g: &mut Graph, name: &str, c: usize) -> Self {
        Self {
            gamma: g.param(format!("{name}.gamma"), &[c], Init::Constant(1.0)),
            beta: g.param(format!("{name}.beta"), &[c], Init::Constant(0.0)),
            mean: g.buffer(format!("{name}.mean"), &[c], Init::Constant(0.0)),
            var: g.buffer(format!("{name}.var"), &[c], Init::Constant(1.0)),
        }
    }
}

impl Graph {
    /// y = (x - mean) / sqrt(var + 1e-5) * gamma + beta per channel, then max(y, 0) if `relu`.
    ///
    /// In [`Phase::Train`] mean and variance are the batch's, over n, h and w, and the running ones move towards
    /// them by a tenth (the variance unbiased, as in PyTorch); in [`Phase::Eval`] they are the running ones.
    ///
    /// `x` is `[n, h, w, c]`. To train on, n h w must be at least two: [`Graph::compile`] refuses one value a channel.
    pub fn batch_norm(&mut self, x: Var, norm: NormParams, relu: bool) -> Var {
        let shape = self.shape(x);
        self.check_norm(shape, &norm);
        let train = self.phase() == Phase::Train;
        let op = BatchNorm(Geometry { shape, eps: EPS, relu, train });
        let operands = Operands {
            params: vec![norm.gamma, norm.beta],
            buffers: vec![norm.mean, norm.var],
            ..Default::default()
        };
        self.push(op, &[x], operands)
    }

    /// Requires the parameters of a norm of values of this shape.
    pub(super) fn check_norm(&mut self, shape: Shape, norm: &NormParams) {
        let NormParams { gamma, beta, mean, var } = *norm;
        let dims = [self.dims(gamma), self.dims(beta), self.buffer_dims(mean), self.buffer_dims(var)];
        let dims = dims.map(<[usize]>::to_vec);
        let expected = format!("gamma, beta, mean and var of [{}]", shape.c);
        self.require(dims.iter().all(|d| *d == [shape.c]), "batch_norm", &expected, format!("{dims:?}"));
        let few = self.phase() == Phase::Train && shape.pixels() < 2;
        self.require(!few, "batch_norm", "at least two values a channel to train on", shape);
    }
}

impl Operation for BatchNorm {
    fn spec(&self) -> Spec {
        let shape = self.0.shape;
        let name = if self.0.relu { "batch_norm_relu" } else { "batch_norm" };
        let gradients = [Gradient::Measured; MAX_PARAMS];
        let terms = norm_terms(self.0.train, shape);
        Spec { reads_x: true, aux: 2 * shape.c, terms, gradients, ..Spec::new(name, shape) }
    }
}

/// [`Spec::terms`] of a norm of values of this shape: of the gradients of gamma and beta, which in training are in that
/// of x, too; and in training of the mean, and then of the variance around it.
pub(super) fn norm_terms(train: bool, shape: Shape) -> usize {
    if train { 3 * shape.pixels() } else { shape.pixels() }
}

/// In training moves the running mean and variance towards those of the batch, `stats`, `[2, c]`, over `pixels`
/// values (the variance unbiased); in evaluation `stats` become the running ones.
pub(super) fn run_on<T: Element>(train: bool, pixels: usize, stats: &mut [T], [mean, var]: [&mut [T]; 2]) {
    let (batch_mean, batch_var) = stats.split_at_mut(mean.len());
    if train {
        let m = pixels as f64;
        move_towards(mean, batch_mean, 1.0);
        move_towards(var, batch_var, m / (m - 1.0));
    } else {
        batch_mean.copy_from_slice(mean);
        batch_var.copy_from_slice(var);
    }
}

/// `to += weight * (from * factor - to)`.
fn move_towards<T: Element>(to: &mut [T], from: &[T], factor: f64) {
    for (to, from) in to.iter_mut().zip(from) {
        let old = to.to_f64();
        *to = T::from_f64(old + MOMENTUM * (from.to_f64() * factor - old));
    }
}

impl<T: Element> Run<T> for BatchNorm {
    fn scratch(&self) -> Scratch {
        let len = T::batch_norm_scratch(self.0.shape);
        // The two sums, then the kernel's own.
        Scratch { forward: len, backward: sums_len(self.0.shape.c) + len }
    }

    fn forward(&self, io: Forward<'_, T>) {
        if self.0.train {
            T::batch_norm_stats(io.isa, self.0.shape, io.x[0], io.aux, io.scratch);
            io.batch.measured().merge_statistics(io.isa, io.aux);
        }
        let pixels = io.batch.measured().count(self.0.shape.pixels());
        run_on(self.0.train, pixels, io.aux, io.buffers);
        let channels = NormChannels { gamma: io.w[0], beta: io.w[1], stats: io.aux };
        T::batch_norm_apply(io.isa, &self.0, io.x[0], channels, io.y, io.scratch);
    }

    fn backward(&self, io: Backward<'_, T>) {
        let [dx, _] = io.dx;
        let [Some(dgamma), Some(dbeta), ..] = io.dw else { unreachable!("two parameters") };
        let (x, dy) = (io.x[0], io.dy);
        let channels = NormChannels { gamma: io.w[0], beta: io.w[1], stats: io.aux };
        let (sums, scratch) = io.scratch.split_at_mut(sums_len(self.0.shape.c));
        let sums = &mut sums[..2 * self.0.shape.c];
        T::batch_norm_sums(io.isa, &self.0, x, channels, dy, sums, scratch);
        let measured = io.batch.measured();
        measured.sum(sums);
        let args = BatchNormBackward {
            x,
            channels,
            dy,
            sums,
            pixels: measured.count(self.0.shape.pixels()),
            dx,
            dgamma,
            dbeta,
            scratch,
        };
        T::batch_norm_backward(io.isa, &self.0, args);
    }
}

/// Elements of the two sums, whole cache lines.
const fn sums_len(c: usize) -> usize {
    (2 * c).next_multiple_of(crate::arena::ALIGN)
}

fn norm(g: &mut Graph, x: Var, relu: bool) -> Var {
    let norm = NormParams::new(g, "bn", g.shape(x).c);
    g.batch_norm(x, norm, relu)
}

/// The phase in which to check a norm over so many values: the norm of one value is 0 and that of two is 1 and -1,
/// whatever they are, so that in training their gradient is nothing but rounding.
pub(super) fn phase_for(values: usize) -> Phase {
    if values > 2 { Phase::Train } else { Phase::Eval }
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    for at in sweep() {
        for phase in [phase_for(at.n * at.h * at.w), Phase::Eval] {
            for relu in [false, true] {
                suite.add_in(phase, "batch_norm", move |g| {
                    let x = g.input(at.x());
                    Checked::new(norm(g, x, relu), [x])
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::{Graph, Phase};
    use crate::params::Params;
    use moue_datasets::Rng;
    use moue_kernels::Isa;

    use super::{NormParams, norm};

    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }

    #[test]
    fn parameters_and_statistics_that_do_not_fit_are_refused() {
        let refused = |change: fn(NormParams, NormParams) -> NormParams| {
            let mut g = Graph::new(Phase::Train);
            let x = g.input([4, 1, 1, 3]);
            let (right, other) = (NormParams::new(&mut g, "bn", 3), NormParams::new(&mut g, "other", 2));
            g.batch_norm(x, change(right, other), false);
            g.compile_forward::<f32>(Isa::fastest()).unwrap_err().to_string()
        };
        let twice = refused(|right, _| NormParams { beta: right.gamma, ..right });
        assert!(twice.contains("the same one twice"), "{twice}");
        let twice = refused(|right, _| NormParams { var: right.mean, ..right });
        assert!(twice.contains("the same one twice"), "{twice}");
        let short = refused(|right, other| NormParams { mean: other.mean, ..right });
        assert!(short.contains("gamma, beta, mean and var of [3]"), "{short}");
    }

    /// Channel values 1, 2, 3, 4: mean 2.5, unbiased variance 5/3; a tenth of the way from 0 and 1.
    #[test]
    fn running_statistics_move_a_tenth() {
        let mut g = Graph::new(Phase::Train);
        let x = g.input([4, 1, 1, 1]);
        let y = norm(&mut g, x, false);
        g.keep(y);
        let mut params: Params<f64> = g.init_params(&mut Rng::new(0)).cast();
        let mut plan = g.compile_forward::<f64>(Isa::fastest()).unwrap();
        plan.set(x, &[1.0, 2.0, 3.0, 4.0]);
        plan.forward(&mut params);
        let running: Vec<f64> = params.tensors().skip(2).map(|(_, v)| v[0]).collect();
        assert!((running[0] - 0.25).abs() < 1e-12 && (running[1] - (0.9 + 0.1 * 5.0 / 3.0)).abs() < 1e-12);
    }
}
