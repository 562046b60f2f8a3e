//! Standard 3x3 convolution against depthwise 3x3 + pointwise, at every layer shape of the network.
//!
//! The paper's claim is that the second costs 8 to 9 times less; in multiply-adds that is 9 N / (9 + N), which counts
//! nine taps at every pixel. How much of it arrives as time depends on both sides being near the machine's peak, and on
//! the taps outside the map, which on small ones are a fifth of the standard convolution's and few of the other's.

use super::{median, seconds};
use moue_datasets::Rng;
use moue_kernels::{
    Conv, Conv3x3Kernels, ConvBackward, DwPwBackward, DwPwKernels, Grad, Isa, Shape, WinogradKernels,
    winograd_pays,
};
use std::fmt;

/// A layer's channels and map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Input channels.
    pub cin: usize,
    /// Output channels.
    pub cout: usize,
    /// Height and width of the map.
    pub hw: usize,
}

impl Layer {
    /// Every depthwise-separable layer shape of the network.
    pub const ALL: [Self; 7] = [
        Self::new(32, 32, 48),
        Self::new(32, 64, 24),
        Self::new(64, 64, 24),
        Self::new(64, 128, 12),
        Self::new(128, 128, 12),
        Self::new(128, 256, 6),
        Self::new(256, 256, 6),
    ];

    const fn new(cin: usize, cout: usize, hw: usize) -> Self {
        Self { cin, cout, hw }
    }

    /// Multiply-adds of the standard over those of the depthwise-separable convolution.
    pub fn theory(&self) -> f64 {
        self.ratio_for(9.0)
    }

    /// The same of the multiply-adds inside the map, where a pixel at the border has four or six taps.
    pub fn theory_inside(&self) -> f64 {
        // All pixels of a row or column have so many taps along it.
        let along = (3 * self.hw - 2) as f64;
        self.ratio_for((along / self.hw as f64).powi(2))
    }

    /// With so many taps a pixel, on average.
    fn ratio_for(&self, taps: f64) -> f64 {
        let cout = self.cout as f64;
        taps * cout / (taps + cout)
    }
}

/// Such as `32->64 @ 24`.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}->{} @ {}", self.cin, self.cout, self.hw))
    }
}

/// Direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pass {
    /// The output.
    Forward,
    /// Gradients of input and weights.
    Backward,
}

/// Median times of the convolutions.
#[derive(Clone, Copy, Debug)]
pub struct Comparison {
    /// Layer.
    pub layer: Layer,
    /// Direction.
    pub pass: Pass,
    /// Seconds of the direct standard convolution.
    pub standard: f64,
    /// Seconds of the standard convolution by Winograd's algorithm, where the network would use it.
    pub winograd: Option<f64>,
    /// Seconds of the fused depthwise-separable one.
    pub separable: f64,
    /// Multiply-adds of the standard convolution in this pass.
    standard_macs: f64,
}

impl Comparison {
    /// How many times faster the depthwise-separable convolution is than the direct standard one: theory counts the
    /// multiply-adds of both definitions.
    pub fn ratio(&self) -> f64 {
        self.standard / self.separable
    }

    /// The part of the theoretical ratio that arrives.
    pub fn over_theory(&self) -> f64 {
        self.ratio() / self.layer.theory()
    }

    /// GFLOP/s of the standard and of the depthwise-separable convolution. What a kernel computes twice or saves by
    /// another algorithm does not count: both are rated by the multiply-adds of their definition, nine taps a pixel.
    pub fn gflops(&self) -> (f64, f64) {
        let flops = 2.0 * self.standard_macs;
        (flops / self.standard / 1e9, flops / self.layer.theory() / self.separable / 1e9)
    }
}

/// Geometric mean of the part of the theoretical ratio that arrives.
pub fn reached<'a>(comparisons: impl IntoIterator<Item = &'a Comparison>) -> f64 {
    let logs: Vec<f64> = comparisons.into_iter().map(|c| c.over_theory().ln()).collect();
    (logs.iter().sum::<f64>() / logs.len() as f64).exp()
}

/// Buffers of one layer, for all convolutions.
struct Bench {
    isa: Isa,
    conv: Conv,
    x: Vec<f32>,
    dy: Vec<f32>,
    /// Weights of the standard, the depthwise and the pointwise convolution.
    w: [Vec<f32>; 3],
    dw: [Vec<f32>; 3],
    y: Vec<f32>,
    dx: Vec<f32>,
    scratch: Vec<f32>,
}

impl Bench {
    fn new(isa: Isa, layer: Layer, batch: usize) -> Self {
        let Layer { cin, cout, hw } = layer;
        let conv = Conv { x: Shape::new(batch, hw, hw, cin), cout, stride: 1 };
        let mut rng = Rng::new(1);
        let mut random = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.range(-1.0, 1.0)).collect() };
        let weights = [9 * cin * cout, 9 * cin, cin * cout];
        let scratch = [
            f32::conv3x3_forward_scratch(&conv),
            f32::conv3x3_backward_scratch(&conv),
            f32::dw_pw_forward_scratch(&conv),
            f32::dw_pw_backward_scratch(&conv),
            f32::winograd_forward_scratch(&conv),
            f32::winograd_backward_scratch(&conv),
        ];
        Self {
            isa,
            conv,
            x: random(conv.x.len()),
            dy: random(conv.y().len()),
            w: weights.map(&mut random),
            dw: weights.map(&mut random),
            y: random(conv.y().len()),
            dx: random(conv.x.len()),
            scratch: random(scratch.into_iter().max().unwrap_or(0)),
        }
    }

    fn standard(&mut self, pass: Pass, winograd: bool) {
        let Self { isa, conv, x, dy, w: [w, ..], dw: [dw, ..], y, dx, scratch } = self;
        match pass {
            Pass::Forward => {
                let forward = if winograd { f32::winograd_forward } else { f32::conv3x3_forward };
                forward(*isa, conv, x, w, y, scratch);
            }
            Pass::Backward => {
                let (dx, dw) = (Some(Grad::set(dx)), Grad::set(dw));
                let backward = if winograd { f32::winograd_backward } else { f32::conv3x3_backward };
                backward(*isa, conv, ConvBackward { x, w, dy, dx, dw, scratch });
            }
        }
    }

    fn separable(&mut self, pass: Pass) {
        let Self { isa, conv, x, dy, w: [_, wd, wp], dw: [_, dwd, dwp], y, dx, scratch } = self;
        match pass {
            Pass::Forward => f32::dw_pw_forward(*isa, conv, x, wd, wp, y, scratch),
            Pass::Backward => {
                let (dx, dwd, dwp) = (Some(Grad::set(dx)), Grad::set(dwd), Grad::set(dwp));
                f32::dw_pw_backward(*isa, conv, DwPwBackward { x, wd, wp, dy, dx, dwd, dwp, scratch });
            }
        }
    }
}

/// Times the convolutions of one layer, taking turns so that a slow moment of the machine meets all.
pub fn compare(isa: Isa, layer: Layer, pass: Pass, batch: usize, reps: usize) -> Comparison {
    let mut bench = Bench::new(isa, layer, batch);
    let pays = winograd_pays(&bench.conv);
    let (mut standard, mut separable, mut winograd) = (Vec::new(), Vec::new(), Vec::new());
    for rep in 0..reps + WARM_UP {
        let times = (seconds(|| bench.standard(pass, false)), seconds(|| bench.separable(pass)));
        let by_winograd = pays.then(|| seconds(|| bench.standard(pass, true)));
        if rep >= WARM_UP {
            standard.push(times.0);
            separable.push(times.1);
            winograd.extend(by_winograd);
        }
    }
    let Layer { cin, cout, hw } = layer;
    let gradients = if pass == Pass::Backward { 2 } else { 1 };
    let standard_macs = (gradients * batch * hw * hw * 9 * cin * cout) as f64;
    let winograd = pays.then(|| median(winograd));
    let (standard, separable) = (median(standard), median(separable));
    Comparison { layer, pass, standard, winograd, separable, standard_macs }
}

const WARM_UP: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn theory_is_the_papers_eight_to_nine() {
        let ratios = Layer::ALL.map(|layer| (layer.theory() * 100.0).round() / 100.0);
        assert_eq!(ratios, [7.02, 7.89, 7.89, 8.41, 8.41, 8.69, 8.69]);
    }

    /// On 6x6, 256 of 324 taps are inside; on one pixel, one of nine.
    #[test]
    fn border_taps_are_counted_by_hand() {
        let layer = |cout, hw| Layer { cin: 32, cout, hw }.theory_inside();
        let six = 256.0 / 36.0;
        assert!((layer(128, 6) - six * 128.0 / (six + 128.0)).abs() < 1e-12);
        assert!((layer(7, 1) - 7.0 / 8.0).abs() < 1e-12);
        let ratios = Layer::ALL.map(|layer| (layer.theory_inside() * 100.0).round() / 100.0);
        assert_eq!(ratios, [6.87, 7.51, 7.51, 7.55, 7.55, 6.92, 6.92]);
    }

    #[test]
    fn winograd_runs_where_it_pays() {
        for (hw, pays) in [(8, true), (6, false)] {
            for pass in [Pass::Forward, Pass::Backward] {
                let c = compare(Isa::fastest(), Layer { cin: 16, cout: 16, hw }, pass, 1, 1);
                assert_eq!(c.winograd.is_some(), pays);
            }
        }
    }

    #[test]
    fn the_mean_is_geometric() {
        let layer = Layer { cin: 1, cout: 9, hw: 1 };
        let half = |standard| Comparison {
            layer,
            pass: Pass::Forward,
            standard,
            winograd: None,
            separable: 1.0,
            standard_macs: 1.0,
        };
        // Theory says 4.5.
        assert!((reached(&[half(4.5), half(4.5 / 4.0)]) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn rates_count_the_definitions_multiply_adds() {
        // Two images of 36 pixels, to 24 channels from 16; backward, both gradients.
        let layer = Layer { cin: 16, cout: 24, hw: 6 };
        for (pass, passes) in [(Pass::Forward, 1.0), (Pass::Backward, 2.0)] {
            let c = compare(Isa::fastest(), layer, pass, 2, 3);
            let (standard, separable) = c.gflops();
            let pixels = passes * 2.0 * 36.0;
            for (rate, seconds, macs) in
                [(standard, c.standard, 9.0 * 16.0 * 24.0), (separable, c.separable, (9.0 + 24.0) * 16.0)]
            {
                let flops = rate * 1e9 * seconds;
                assert!((flops / (2.0 * pixels * macs) - 1.0).abs() < 1e-12, "{flops}");
            }
        }
    }
}
