use super::super::{Bound, Case, Entry, Fill, Shapes};
use super::{MODES, grad, map_shapes, named, with_previous};
use crate::{BatchNorm, BatchNormBackward, Element, Isa, Mode, NormChannels};

#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Stats,
    Apply,
    Backward(Mode),
    /// Gradients of the parameters only.
    BackwardParameters,
}

struct Norm {
    pass: Pass,
    norm: BatchNorm,
}

pub(super) fn cases(shapes: Shapes) -> Vec<Box<dyn Case>> {
    let mut all: Vec<Box<dyn Case>> = Vec::new();
    for shape in map_shapes(shapes) {
        let norm = BatchNorm { shape, eps: 1e-2, relu: true, train: true };
        all.push(Box::new(Norm { pass: Pass::Stats, norm }));
        all.push(Box::new(Norm { pass: Pass::BackwardParameters, norm }));
        for relu in [true, false] {
            all.push(Box::new(Norm { pass: Pass::Apply, norm: BatchNorm { relu, ..norm } }));
            for train in [true, false] {
                for mode in MODES {
                    let norm = BatchNorm { relu, train, ..norm };
                    all.push(Box::new(Norm { pass: Pass::Backward(mode), norm }));
                }
            }
        }
    }
    all
}

impl Entry for Norm {
    fn name(&self) -> String {
        let relu = if self.norm.relu { "_relu" } else { "" };
        let train = if self.norm.train { "" } else { "_eval" };
        match self.pass {
            Pass::Stats => "batch_norm_stats".into(),
            Pass::Apply => format!("batch_norm{relu}_apply"),
            Pass::Backward(mode) => named(&format!("batch_norm{relu}{train}_backward"), mode),
            Pass::BackwardParameters => format!("batch_norm{relu}_backward_parameters"),
        }
    }

    fn shape(&self) -> String {
        self.norm.shape.to_string()
    }

    /// x, gamma, beta, stats, dy.
    fn inputs(&self) -> Vec<(usize, Fill)> {
        let (len, c) = (self.norm.shape.len(), self.norm.shape.c);
        let mut inputs = vec![(len, Fill::Signed)];
        if self.pass != Pass::Stats {
            inputs.extend([(c, Fill::Positive), (c, Fill::Signed), (2 * c, Fill::Positive)]);
        }
        match self.pass {
            Pass::Stats | Pass::Apply => inputs,
            Pass::BackwardParameters => [inputs, vec![(len, Fill::Signed)]].concat(),
            Pass::Backward(mode) => {
                inputs.push((len, Fill::Signed));
                with_previous(mode, inputs, &self.outputs())
            }
        }
    }

    /// dgamma, dbeta, dx.
    fn outputs(&self) -> Vec<usize> {
        let (len, c) = (self.norm.shape.len(), self.norm.shape.c);
        match self.pass {
            Pass::Stats => vec![2 * c],
            Pass::Apply => vec![len],
            Pass::BackwardParameters => vec![c, c],
            Pass::Backward(_) => vec![c, c, len],
        }
    }

    fn scratch<T: Element>(&self) -> usize {
        T::batch_norm_scratch(self.norm.shape)
    }

    fn bounds(&self) -> Vec<Bound> {
        // Everything is of size 1 to 4 (rstd is at most 3), each result a handful of rounded operations; sums
        // over the batch are blocked, their error grows far slower than their length.
        vec![Bound::Relative(32); self.outputs().len()]
    }

    /// Scales of both signs, and no x whose ReLU could go either way by rounding.
    fn prepare(&self, inputs: &mut [Vec<f64>]) {
        let [x, gamma, beta, stats, ..] = inputs else { return };
        let c = self.norm.shape.c;
        for gamma in gamma.iter_mut().step_by(2) {
            *gamma = -*gamma;
        }
        for (i, x) in x.iter_mut().enumerate() {
            let k = i % c;
            let scale = gamma[k] / (stats[c + k] + self.norm.eps).sqrt();
            let before_relu = (*x - stats[k]) * scale + beta[k];
            if before_relu.abs() < 1e-4 {
                *x += 1e-3 / scale;
            }
        }
    }

    fn call<T: Element>(&self, isa: Isa, i: &[&[T]], o: &mut [&mut [T]], scratch: &mut [T]) {
        let norm = &self.norm;
        let mode = match self.pass {
            Pass::Stats => return T::batch_norm_stats(isa, norm.shape, i[0], o[0], scratch),
            Pass::Apply => {
                let channels = NormChannels { gamma: i[1], beta: i[2], stats: i[3] };
                return T::batch_norm_apply(isa, norm, i[0], channels, o[0], scratch);
            }
            Pass::BackwardParameters => Mode::Set,
            Pass::Backward(mode) => mode,
        };
        let ([x, gamma, beta, stats, dy], previous) = i.split_first_chunk().expect("five inputs");
        let ([dgamma, dbeta], dx) = o.split_first_chunk_mut().expect("two outputs");
        let channels = NormChannels { gamma, beta, stats };
        let mut sums = vec![T::default(); 2 * norm.shape.c];
        T::batch_norm_sums(isa, norm, x, channels, dy, &mut sums, scratch);
        let args = BatchNormBackward {
            x,
            channels,
            dy,
            sums: &sums,
            pixels: norm.shape.pixels(),
            dgamma: grad(mode, dgamma, previous, 0),
            dbeta: grad(mode, dbeta, previous, 1),
            dx: dx.first_mut().map(|dx| grad(mode, dx, previous, 2)),
            scratch,
        };
        T::batch_norm_backward(isa, norm, args);
    }

    fn flops(&self) -> f64 {
        let per_element = match self.pass {
            Pass::Stats => 5.0,
            Pass::Apply => 3.0,
            Pass::BackwardParameters => 6.0,
            Pass::Backward(_) => 12.0,
        };
        per_element * self.norm.shape.len() as f64
    }
}
