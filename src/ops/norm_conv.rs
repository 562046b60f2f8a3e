//! A convolution with its batch norm. The norm is applied by whoever reads the result ([`Operand`]), so that the
//! normalised value is never written to memory.

use super::batch_norm::{EPS, norm_terms, phase_for, run_on};
use super::{Backward, Forward, Gradient, MAX_PARAMS, Operands, Operation, Run, Scratch, Spec};
use crate::gradcheck::{Checked, Suite, sweep};
use crate::graph::{Graph, Param, Phase, Var};
use crate::ops::NormParams;
use crate::params::Init;
use moue_kernels::{
    Affine, AffineGrad, ConvLayer, Element, Grad, InputGrad, Mode, NormConv as Geometry, NormConvBackward,
    NormConvForward, NormGrad, Shape,
};

/// What an operation reads: a value, or one that still owes a batch norm.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    pub(crate) var: Var,
    /// `Some` if a norm is owed: whether ReLU follows it.
    pub(crate) norm: Option<bool>,
}

impl From<Var> for Operand {
    fn from(var: Var) -> Self {
        Self { var, norm: None }
    }
}

/// Elements behind a value that owes a norm: scale, shift and mean. Its gradient has as many, of which the first
/// two thirds are the sums of [`AffineGrad`].
pub(crate) const fn extra(shape: Shape) -> usize {
    3 * shape.c
}

/// The value and the norm that it owes.
pub(crate) fn split<T>(buffer: &[T], shape: Shape, norm: Option<bool>) -> (&[T], Option<Affine<'_, T>>) {
    let Some(relu) = norm else { return (buffer, None) };
    let (x, tail) = buffer.split_at(shape.len());
    let (scale, rest) = tail.split_at(shape.c);
    let (shift, mean) = rest.split_at(shape.c);
    (x, Some(Affine { scale, shift, mean, relu }))
}

/// The gradient of such a value; with `last`, nobody adds to it any more.
pub(crate) fn split_grad<'a, T>(grad: Grad<'a, T>, shape: Shape, last: bool) -> AffineGrad<'a, T> {
    let (to, tail) = grad.to.split_at_mut(shape.len());
    AffineGrad { dz: Grad { to, mode: grad.mode }, sums: last.then_some(&mut tail[..2 * shape.c]) }
}

#[derive(Debug)]
struct NormConv {
    geometry: Geometry,
    /// The norm that the input owes.
    norm: Option<bool>,
    /// Whether ReLU follows the result's own norm.
    relu: bool,
    train: bool,
}

impl Graph {
    /// Batch norm (and ReLU) of a standard 3x3 convolution; `w` is `[3, 3, cin, cout]`. See [`Graph::conv3x3`] and
    /// [`Graph::batch_norm`].
    pub fn conv3x3_norm(&mut self, x: impl Into<Operand>, w: Param, norm: NormParams, relu: bool) -> Operand {
        let x = x.into();
        let conv = self.conv3x3_geometry("conv3x3_norm", x.var, w);
        let geometry = Geometry { layer: ConvLayer::Conv3x3, conv, affine: x.norm.is_some() };
        if !geometry.pays() {
            let x = self.normed(x);
            let y = self.conv3x3(x, w);
            return self.batch_norm(y, norm, relu).into();
        }
        self.norm_conv(geometry, x, vec![w], norm, relu)
    }

    /// Batch norm (and ReLU) of [`Graph::dw_pw`].
    pub fn dw_pw_norm(
        &mut self,
        x: impl Into<Operand>,
        wd: Param,
        wp: Param,
        norm: NormParams,
        relu: bool,
    ) -> Operand {
        let x = x.into();
        let conv = self.dw_pw_geometry("dw_pw_norm", x.var, wd, wp);
        let geometry = Geometry { layer: ConvLayer::DwPw, conv, affine: x.norm.is_some() };
        if !geometry.pays() {
            let x = self.normed(x);
            let y = self.dw_pw(x, wd, wp);
            return self.batch_norm(y, norm, relu).into();
        }
        self.norm_conv(geometry, x, vec![wd, wp], norm, relu)
    }

    /// Batch norm (and ReLU) of [`Graph::pointwise`].
    pub fn pointwise_norm(
        &mut self,
        x: impl Into<Operand>,
        w: Param,
        stride: usize,
        norm: NormParams,
        relu: bool,
    ) -> Operand {
        let x = x.into();
        let conv = self.pointwise_geometry("pointwise_norm", x.var, w, stride);
        let geometry = Geometry { layer: ConvLayer::Pointwise, conv, affine: x.norm.is_some() };
        if !geometry.pays() {
            let x = self.normed(x);
            let y = self.pointwise(x, w, stride);
            return self.batch_norm(y, norm, relu).into();
        }
        self.norm_conv(geometry, x, vec![w], norm, relu)
    }

    fn norm_conv(
        &mut self,
        geometry: Geometry,
        x: Operand,
        mut params: Vec<Param>,
        norm: NormParams,
        relu: bool,
    ) -> Operand {
        let train = self.phase() == Phase::Train;
        let y = geometry.conv.y();
        self.check_norm(y, &norm);
        params.extend([norm.gamma, norm.beta]);
        let operands = Operands { params, buffers: vec![norm.mean, norm.var], ..Default::default() };
        let var = self.push(NormConv { geometry, norm: x.norm, relu, train }, &[x.var], operands);
        Operand { var, norm: Some(relu) }
    }
}

impl Operation for NormConv {
    fn spec(&self) -> Spec {
        let (y, weights) = (self.geometry.conv.y(), self.geometry.weights());
        let channels = self.geometry.conv.x.c + y.c;
        let (name, terms) = match self.geometry.layer {
            ConvLayer::Conv3x3 => ("conv3x3_norm", 9 * channels),
            ConvLayer::DwPw => ("dw_pw_norm", 9 + channels + 9),
            ConvLayer::Pointwise => ("pointwise_norm", channels),
        };
        let terms = terms + y.pixels() + norm_terms(self.train, y);
        let macs = (y.pixels() * weights.iter().sum::<usize>()) as u64;
        let mut gradients = [Gradient::Measured; MAX_PARAMS];
        gradients[..weights.iter().filter(|len| **len > 0).count()].fill(Gradient::Images);
        let new = Spec::new(name, y);
        Spec { reads_x: true, reads_y: true, extra: extra(y), aux: 2 * y.c, macs, terms, gradients, ..new }
    }
}

impl NormConv {
    /// Weights, gamma, beta.
    fn params<'a, T>(&self, w: [&'a [T]; 4]) -> ([&'a [T]; 2], &'a [T], &'a [T]) {
        match self.geometry.layer {
            ConvLayer::DwPw => ([w[0], w[1]], w[2], w[3]),
            _ => ([w[0], &[]], w[1], w[2]),
        }
    }
}

impl<T: Element> Run<T> for NormConv {
    fn scratch(&self) -> Scratch {
        let (forward, backward) = T::norm_conv_scratch(&self.geometry);
        // The kernel's own starts on a cache line, behind the coefficients of the norm's gradient.
        Scratch { forward, backward: coefficients(self.geometry.conv.cout) + backward }
    }

    fn forward(&self, io: Forward<'_, T>) {
        let (shape, c) = (self.geometry.conv.y(), self.geometry.conv.cout);
        let (x, affine) = split(io.x[0], self.geometry.conv.x, self.norm);
        let (w, gamma, beta) = self.params(io.w);
        let (y, tail) = io.y.split_at_mut(shape.len());
        let stats = self.train.then_some(&mut *io.aux);
        let args = NormConvForward { x, affine, w, y, stats, scratch: io.scratch };
        T::norm_conv_forward(io.isa, &self.geometry, args);
        let measured = io.batch.measured();
        if self.train {
            measured.merge_statistics(io.isa, io.aux);
        }
        run_on(self.train, measured.count(shape.pixels()), io.aux, io.buffers);
        for k in 0..c {
            let scale = gamma[k].to_f64() * rstd(io.aux, c, k);
            tail[k] = T::from_f64(scale);
            // With the rounded scale, so that a constant channel normalises to beta.
            tail[c + k] = T::from_f64(beta[k].to_f64() - io.aux[k].to_f64() * tail[k].to_f64());
            tail[2 * c + k] = io.aux[k];
        }
    }

    fn backward(&self, io: Backward<'_, T>) {
        let (shape, c) = (self.geometry.conv.y(), self.geometry.conv.cout);
        let (x, affine) = split(io.x[0], self.geometry.conv.x, self.norm);
        let (w, gamma, _) = self.params(io.w);
        let (y, own) = split(io.y, shape, Some(self.relu));
        let Affine { scale, shift, relu, .. } = own.expect("a norm is owed");
        let (dz, tail) = io.dy.split_at(shape.len());
        let [dw, dw2, dgamma, dbeta] = match (self.geometry.layer, io.dw) {
            (ConvLayer::DwPw, dw) => dw,
            (_, [dw, dgamma, dbeta, _]) => [dw, None, dgamma, dbeta],
        };
        let (coefficients, scratch) = io.scratch.split_at_mut(coefficients(c));
        let (by_y, rest) = coefficients.split_at_mut(c);
        let (constant, rest) = rest.split_at_mut(c);
        let sums = &mut rest[..2 * c];
        sums.copy_from_slice(&tail[..2 * c]);
        let measured = io.batch.measured();
        measured.sum(sums);
        let (sum, around_mean) = sums.split_at(c);
        let (mut dgamma, mut dbeta) = (dgamma.expect("gamma"), dbeta.expect("beta"));
        let m = measured.count(shape.pixels()) as f64;
        for k in 0..c {
            let rstd = rstd(io.aux, c, k);
            let (sum, sum_xhat) = (sum[k].to_f64(), around_mean[k].to_f64() * rstd);
            put(&mut dbeta, k, sum);
            put(&mut dgamma, k, sum_xhat);
            let scale = gamma[k].to_f64() * rstd;
            let by_xhat = if self.train { -scale * rstd * sum_xhat / m } else { 0.0 };
            let rest = if self.train { -scale * sum / m - by_xhat * io.aux[k].to_f64() } else { 0.0 };
            (by_y[k], constant[k]) = (T::from_f64(by_xhat), T::from_f64(rest));
        }
        let [dx, _] = io.dx;
        let dx = dx.map(|dx| match self.norm {
            Some(_) => InputGrad::Affine(split_grad(dx, self.geometry.conv.x, io.dx_last[0])),
            None => InputGrad::Plain(dx),
        });
        let args = NormConvBackward {
            x,
            affine,
            w,
            y,
            dz,
            norm: NormGrad { scale, shift, by_y, constant, relu },
            dx,
            dw: [dw.expect("a weight"), dw2.unwrap_or(Grad::set(&mut []))],
            scratch,
        };
        T::norm_conv_backward(io.isa, &self.geometry, args);
    }
}

/// 1 / sqrt(var + eps) of channel k; `stats` are mean and variance.
fn rstd<T: Element>(stats: &[T], c: usize, k: usize) -> f64 {
    1.0 / (stats[c + k].to_f64() + EPS).sqrt()
}

/// Elements of the coefficients of the norm's gradient and of the sums that they come of, whole cache lines.
const fn coefficients(c: usize) -> usize {
    (4 * c).next_multiple_of(crate::arena::ALIGN)
}

fn put<T: Element>(to: &mut Grad<'_, T>, k: usize, value: f64) {
    let old = if to.mode == Mode::Add { to.to[k].to_f64() } else { 0.0 };
    to.to[k] = T::from_f64(old + value);
}

/// Two convolutions in a row: the second reads what owes a norm.
fn pair(g: &mut Graph, layer: ConvLayer, x: Var, middle: usize, cout: usize, relu: bool) -> Operand {
    let mut h = Operand::from(x);
    for (name, c) in [("a", middle), ("b", cout)] {
        let cin = g.shape(h.var).c;
        let norm = NormParams::new(g, &format!("{name}.bn"), c);
        let init = Init::Uniform { fan_in: cin };
        h = match layer {
            ConvLayer::Conv3x3 => {
                let w = g.param(format!("{name}.w"), &[3, 3, cin, c], init);
                g.conv3x3_norm(h, w, norm, relu)
            }
            ConvLayer::DwPw => {
                let wd = g.param(format!("{name}.wd"), &[3, 3, cin], Init::Uniform { fan_in: 9 });
                let wp = g.param(format!("{name}.wp"), &[cin, c], init);
                g.dw_pw_norm(h, wd, wp, norm, relu)
            }
            ConvLayer::Pointwise => {
                let w = g.param(format!("{name}.w"), &[cin, c], init);
                let stride = if name == "b" { 2 } else { 1 };
                g.pointwise_norm(h, w, stride, norm, relu)
            }
        };
    }
    h
}

/// Gradient checks of this operation.
pub(super) fn checks(suite: &mut Suite) {
    for (i, at) in sweep().enumerate() {
        for layer in [ConvLayer::Conv3x3, ConvLayer::DwPw, ConvLayer::Pointwise] {
            let stride = if layer == ConvLayer::Pointwise { 2 } else { 1 };
            // A norm in training undoes any scale: the gradient of a weight alone in its channel is only rounding.
            let one_tap = layer != ConvLayer::Conv3x3 || at.h * at.w == 1;
            let alone = one_tap && at.c.min(at.cout) == 1;
            let phase = match alone || i % 4 == 0 {
                true => Phase::Eval,
                false => phase_for(at.n * at.h.div_ceil(stride) * at.w.div_ceil(stride)),
            };
            suite.add_in(phase, "norm_conv", move |g| {
                let x = g.input(at.x());
                let y = pair(g, layer, x, at.cout, at.c, i % 2 == 0);
                Checked::new(g.normed(y), [x])
            });
        }
    }
    // One layer twice: the gradients of its parameters are added to.
    suite.add("norm_conv", |g| {
        let x = g.input([2, 5, 3, 6]);
        let w = g.param("w", &[6, 6], Init::Uniform { fan_in: 6 });
        let norm = NormParams::new(g, "bn", 6);
        let once = g.pointwise_norm(x, w, 1, norm, true);
        let twice = g.pointwise_norm(once, w, 1, norm, true);
        Checked::new(g.normed(twice), [x])
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn gradients() {
        crate::gradcheck::assert_suite(super::checks);
    }
}
