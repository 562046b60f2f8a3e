use super::super::{Bound, Case, Entry, Fill, Shapes};
use super::{MODES, grad, named, with_previous};
use crate::{
    Adam, Element, Isa, LinearKernels, LossKernels, MarginSoftmax, Mode, Sgd, SoftCrossEntropyKernels,
};

#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Relu,
    ReluBackward,
    Sigmoid,
    SigmoidBackward,
    Add,
    AddBackward,
    AddRelu,
    Bias,
    BiasBackward,
    MatmulNt,
    MatmulNtBackward,
    L2Normalize,
    L2NormalizeBackward,
    MarginSoftmax,
    MarginSoftmaxBackward,
    L2Svm,
    L2SvmBackward,
    SoftCrossEntropy,
    SoftCrossEntropyBackward,
    Adam,
    Sgd,
}
use Pass::*;

const FORWARD: [Pass; 12] = [
    Relu,
    Sigmoid,
    Add,
    AddRelu,
    Bias,
    MatmulNt,
    L2Normalize,
    Pass::MarginSoftmax,
    L2Svm,
    SoftCrossEntropy,
    Pass::Adam,
    Pass::Sgd,
];
const BACKWARD: [Pass; 9] = [
    ReluBackward,
    SigmoidBackward,
    AddBackward,
    BiasBackward,
    MatmulNtBackward,
    L2NormalizeBackward,
    MarginSoftmaxBackward,
    L2SvmBackward,
    SoftCrossEntropyBackward,
];

/// Kernels on matrices `[m, k]`, with a second one `[p, k]` in products.
struct Flat {
    pass: Pass,
    m: usize,
    k: usize,
    p: usize,
    mode: Mode,
}

pub(super) fn cases(shapes: Shapes) -> Vec<Box<dyn Case>> {
    let mut all: Vec<Box<dyn Case>> = Vec::new();
    let mut add = |passes: &[Pass], modes: &[Mode], [m, k, p]: [usize; 3]| {
        for &pass in passes {
            for &mode in modes {
                all.push(Box::new(Flat { pass, m, k, p, mode }));
            }
        }
    };
    if let Shapes::Network { batch } = shapes {
        // The residual sums, CBAM's maps and MLP, the head, the parameters.
        let maps = [Relu, Add, AddRelu];
        for [m, k] in [[576, 32], [144, 64], [36, 128], [9, 256]].map(|[m, k]| [batch * m, k]) {
            add(&maps, &MODES[..1], [m, k, 1]);
            add(&[ReluBackward, AddBackward], &MODES, [m, k, 1]);
        }
        for [k, p] in [[256, 16], [16, 256], [128, 7]] {
            add(&[MatmulNt, Bias, Sigmoid, L2Normalize], &MODES[..1], [batch, k, p]);
            add(
                &[MatmulNtBackward, BiasBackward, SigmoidBackward, L2NormalizeBackward],
                &MODES,
                [batch, k, p],
            );
        }
        add(&[Pass::MarginSoftmax, SoftCrossEntropy], &MODES[..1], [batch, 7, 1]);
        add(&[MarginSoftmaxBackward, SoftCrossEntropyBackward], &MODES, [batch, 7, 1]);
        add(&[Pass::Adam, Pass::Sgd], &MODES[..1], [1, 498_866, 1]);
        return all;
    }
    let widths = (1..=17).chain(31..=33).map(|k| [3, k, 5]);
    // The last two are long enough for several threads.
    let special = [[1, 1, 1], [5, 70, 33], [17, 128, 7], [700, 33, 1], [40, 401, 9]];
    for size in widths.chain(special) {
        add(&FORWARD, &MODES[..1], size);
        add(&BACKWARD, &MODES, size);
    }
    all
}

impl Flat {
    /// The paper's scale of 30 and margin of 0.35, on cosines; a smoothing, so that no target is 0.
    fn loss(&self) -> MarginSoftmax {
        MarginSoftmax { classes: self.k, scale: 30.0, margin: 0.35, smoothing: 0.1 }
    }

    fn labels(&self) -> Vec<u32> {
        (0..self.m).map(|row| ((row * 5 + 3) % self.k) as u32).collect()
    }
}

/// Coarse steps, so that an error in the update is not hidden behind w.
const ADAM: Adam = Adam { lr: 0.5, beta1: 0.9, beta2: 0.999, eps: 1e-2, step: 3 };
const SGD: Sgd = Sgd { lr: 0.5, momentum: 0.9 };

impl Entry for Flat {
    fn name(&self) -> String {
        let name = match self.pass {
            Relu => "relu_forward",
            ReluBackward => "relu_backward",
            Sigmoid => "sigmoid_forward",
            SigmoidBackward => "sigmoid_backward",
            Add => "add_forward",
            AddBackward => "add_backward",
            AddRelu => "add_relu_forward",
            Bias => "bias_forward",
            BiasBackward => "bias_backward",
            MatmulNt => "matmul_nt_forward",
            MatmulNtBackward => "matmul_nt_backward",
            L2Normalize => "l2_normalize_forward",
            L2NormalizeBackward => "l2_normalize_backward",
            Pass::MarginSoftmax => "margin_softmax_forward",
            MarginSoftmaxBackward => "margin_softmax_backward",
            L2Svm => "l2_svm_forward",
            L2SvmBackward => "l2_svm_backward",
            SoftCrossEntropy => "soft_cross_entropy_forward",
            SoftCrossEntropyBackward => "soft_cross_entropy_backward",
            Pass::Adam => "adam_step",
            Pass::Sgd => "sgd_step",
        };
        named(name, self.mode)
    }

    fn shape(&self) -> String {
        match self.pass {
            MatmulNt | MatmulNtBackward => format!("{}x{}x{}", self.m, self.k, self.p),
            _ => format!("{}x{}", self.m, self.k),
        }
    }

    fn inputs(&self) -> Vec<(usize, Fill)> {
        let Self { m, k, p, .. } = *self;
        let signed = |len| (len, Fill::Signed);
        let prepared = |len| (len, Fill::Prepared);
        let x = signed(m * k);
        let inputs = match self.pass {
            Relu | Sigmoid | AddBackward | BiasBackward | L2Normalize | Pass::MarginSoftmax | L2Svm => {
                vec![x]
            }
            ReluBackward | Add | AddRelu => vec![x, x],
            SoftCrossEntropy => vec![x, (m * k, Fill::Positive)],
            SigmoidBackward => vec![(m * k, Fill::Positive), x],
            Bias => vec![x, signed(k)],
            MatmulNt => vec![x, signed(p * k)],
            MatmulNtBackward => vec![x, signed(p * k), signed(m * p)],
            // x, dy, and what the forward pass makes of x.
            L2NormalizeBackward => vec![x, x, prepared(m * k), prepared(m)],
            MarginSoftmaxBackward => vec![x, signed(1), prepared(m * k)],
            L2SvmBackward => vec![x, signed(1)],
            SoftCrossEntropyBackward => {
                vec![x, (m * k, Fill::Positive), signed(1), prepared(m * k)]
            }
            // g, w, m, v.
            Pass::Adam => vec![x, x, x, (m * k, Fill::Positive)],
            // g, w, m.
            Pass::Sgd => vec![x, x, x],
        };
        with_previous(self.mode, inputs, &self.outputs())
    }

    fn outputs(&self) -> Vec<usize> {
        let Self { m, k, p, .. } = *self;
        match self.pass {
            BiasBackward => vec![k],
            MatmulNt => vec![m * p],
            MatmulNtBackward => vec![m * k, p * k],
            L2Normalize => vec![m * k, m],
            Pass::MarginSoftmax | SoftCrossEntropy => vec![1, m * k],
            SoftCrossEntropyBackward => vec![m * k; 2],
            L2Svm => vec![1],
            Pass::Adam => vec![m * k; 3],
            Pass::Sgd => vec![m * k; 2],
            _ => vec![m * k],
        }
    }

    fn scratch<T: Element>(&self) -> usize {
        0
    }

    fn bounds(&self) -> Vec<Bound> {
        let Self { m, k, p, .. } = *self;
        match self.pass {
            Relu => vec![Bound::Exact],
            ReluBackward | AddBackward if self.mode == Mode::Set => vec![Bound::Exact],
            ReluBackward | AddBackward => vec![Bound::Relative(1)],
            Add | Bias => vec![Bound::Products(1)],
            AddRelu => vec![Bound::Products(1)],
            BiasBackward => vec![Bound::Products(m + 1)],
            MatmulNt => vec![Bound::Products(k)],
            MatmulNtBackward => vec![Bound::Products(p + 1), Bound::Products(m + 1)],
            // An exp good to an ulp and two roundings; y and its factor are at most 1.1.
            Sigmoid | SigmoidBackward => vec![Bound::Relative(4)],
            // Positive squares: the sum has a relative error of k/8 + 4 halves of eps, its root half of that.
            L2Normalize => vec![Bound::Relative(k / 16 + 4); 2],
            // A dot of k products against the largest result.
            L2NormalizeBackward => vec![Bound::Relative(k + 8)],
            // f64 inside: only the results are rounded, and the sums of positive terms along a tree of up to 7 levels.
            Pass::MarginSoftmax => vec![Bound::Relative(8), Bound::Relative(1)],
            MarginSoftmaxBackward => vec![Bound::Relative(3)],
            L2Svm => vec![Bound::Relative(8)],
            L2SvmBackward => vec![Bound::Relative(2)],
            // As above; log probabilities round once.
            SoftCrossEntropy => vec![Bound::Relative(8), Bound::Relative(1)],
            // exp of a logarithm of up to 8, which was rounded, times a row's sum of targets.
            SoftCrossEntropyBackward => vec![Bound::Relative(8); 2],
            Pass::Adam => vec![Bound::Relative(8); 3],
            // Each of the four products and sums rounds once, of values up to 2.9 times the largest result.
            Pass::Sgd => vec![Bound::Relative(4); 2],
        }
    }

    fn prepare(&self, inputs: &mut [Vec<f64>]) {
        let isa = Isa::fastest();
        match (self.pass, inputs) {
            // From where it is flat to where it is steep.
            (Sigmoid, [x]) => x.iter_mut().for_each(|x| *x *= 30.0),
            // To both sides of the margin.
            (L2Svm | L2SvmBackward, [x, ..]) => x.iter_mut().for_each(|x| *x *= 3.0),
            (L2NormalizeBackward, [x, _, y, norms, ..]) => {
                // One row of a single small number would have a gradient of rounding errors only.
                x.iter_mut().for_each(|x| *x += x.signum() * 0.2);
                f64::l2_normalize_forward(isa, self.k, x, y, norms);
            }
            (MarginSoftmaxBackward, [x, _, p, ..]) => {
                f64::margin_softmax_forward(isa, &self.loss(), x, &self.labels(), &mut [0.0], p);
            }
            (SoftCrossEntropyBackward, [x, targets, _, log_p, ..]) => {
                f64::soft_cross_entropy_forward(isa, self.k, x, targets, &mut [0.0], log_p);
            }
            _ => {}
        }
    }

    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], _: &mut [T]) {
        let (k, mode) = (self.k, self.mode);
        let previous = &i[i.len() - if mode == Mode::Add { o.len() } else { 0 }..];
        let (first, rest) = o.split_first_mut().expect("an output");
        match self.pass {
            Relu => T::relu_forward(isa, i[0], first),
            Sigmoid => T::sigmoid_forward(isa, i[0], first),
            Add => T::add_forward(isa, i[0], i[1], first),
            AddRelu => T::add_relu_forward(isa, i[0], i[1], first),
            Bias => T::bias_forward(isa, i[0], i[1], first),
            MatmulNt => T::matmul_nt_forward(isa, k, i[0], i[1], first),
            L2Normalize => T::l2_normalize_forward(isa, k, i[0], first, rest[0]),
            Pass::MarginSoftmax => {
                T::margin_softmax_forward(isa, &self.loss(), i[0], &self.labels(), first, rest[0]);
            }
            L2Svm => T::l2_svm_forward(isa, k, i[0], &self.labels(), first),
            SoftCrossEntropy => T::soft_cross_entropy_forward(isa, k, i[0], i[1], first, rest[0]),
            Pass::Adam => {
                first.copy_from_slice(i[1]);
                rest[0].copy_from_slice(i[2]);
                rest[1].copy_from_slice(i[3]);
                let (m, v) = rest.split_at_mut(1);
                T::adam_step(isa, &ADAM, i[0], first, m[0], v[0]);
            }
            Pass::Sgd => {
                first.copy_from_slice(i[1]);
                rest[0].copy_from_slice(i[2]);
                T::sgd_step(isa, &SGD, i[0], first, rest[0]);
            }
            pass => {
                let dx = grad(mode, first, previous, 0);
                match pass {
                    ReluBackward => T::relu_backward(isa, i[0], i[1], dx),
                    SigmoidBackward => T::sigmoid_backward(isa, i[0], i[1], dx),
                    AddBackward => T::add_backward(isa, i[0], dx),
                    BiasBackward => T::bias_backward(isa, i[0], dx),
                    MatmulNtBackward => {
                        let db = grad(mode, &mut *rest[0], previous, 1);
                        T::matmul_nt_backward(isa, k, i[0], i[1], i[2], Some(dx), Some(db));
                    }
                    L2SvmBackward => T::l2_svm_backward(isa, k, i[0], &self.labels(), i[1], dx),
                    L2NormalizeBackward => T::l2_normalize_backward(isa, k, i[2], i[3], i[1], dx),
                    SoftCrossEntropyBackward => {
                        T::soft_cross_entropy_backward(isa, k, i[3], i[1], i[2], dx);
                        let dtargets = grad(mode, &mut *rest[0], previous, 1);
                        T::soft_cross_entropy_targets(isa, i[3], i[2], dtargets);
                    }
                    _ => {
                        T::margin_softmax_backward(isa, &self.loss(), i[2], &self.labels(), i[1], dx);
                    }
                }
            }
        }
    }

    fn flops(&self) -> f64 {
        let per_element = match self.pass {
            MatmulNt => 2.0 * self.p as f64,
            MatmulNtBackward => 4.0 * self.p as f64,
            L2Normalize => 3.0,
            L2NormalizeBackward => 5.0,
            Sigmoid | SigmoidBackward | Pass::MarginSoftmax | SoftCrossEntropy => 3.0,
            Pass::Adam => 12.0,
            Pass::Sgd => 5.0,
            _ => 1.0,
        };
        per_element * (self.m * self.k) as f64
    }
}
