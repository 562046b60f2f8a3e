use super::put;
use crate::*;

/// x * scale + shift after the ReLU, and whether the ReLU let it through.
fn affine_at(affine: &Affine<'_, f64>, x: &[f64], i: usize) -> (f64, bool) {
    let k = i % affine.scale.len();
    let z = x[i] * affine.scale[k] + affine.shift[k];
    let passed = !affine.relu || z > 0.0;
    (if passed { z } else { 0.0 }, passed)
}

impl AffineKernels for f64 {
    fn affine_backward_scratch(_: Shape) -> usize {
        0
    }

    fn affine_forward(_: Isa, _: Shape, x: &[Self], affine: Affine<'_, Self>, z: &mut [Self]) {
        z.iter_mut().enumerate().for_each(|(i, z)| *z = affine_at(&affine, x, i).0);
    }

    fn affine_backward(
        _: Isa,
        shape: Shape,
        x: &[Self],
        affine: Affine<'_, Self>,
        dy: &[Self],
        dx: AffineGrad<'_, Self>,
        _: &mut [Self],
    ) {
        let AffineGrad { mut dz, sums } = dx;
        dy.iter().enumerate().for_each(|(i, &dy)| put(&mut dz, i, dy));
        let Some(sums) = sums else { return };
        sums.fill(0.0);
        for i in (0..x.len()).filter(|&i| affine_at(&affine, x, i).1) {
            let k = i % shape.c;
            sums[k] += dz.to[i];
            sums[shape.c + k] += dz.to[i] * (x[i] - affine.mean[k]);
        }
    }
}

/// The input that the convolution sees.
fn read(isa: Isa, layer: &NormConv, x: &[f64], affine: Option<Affine<'_, f64>>) -> Vec<f64> {
    let mut z = x.to_vec();
    if let Some(affine) = affine {
        f64::affine_forward(isa, layer.conv.x, x, affine, &mut z);
    }
    z
}

impl NormConvKernels for f64 {
    fn norm_conv_scratch(layer: &NormConv) -> (usize, usize) {
        let conv = &layer.conv;
        match layer.layer {
            ConvLayer::DwPw => (Self::dw_pw_forward_scratch(conv), Self::dw_pw_backward_scratch(conv)),
            _ => (0, 0),
        }
    }

    fn norm_conv_forward(isa: Isa, layer: &NormConv, args: NormConvForward<'_, Self>) {
        let NormConvForward { x, affine, w, y, stats, scratch } = args;
        let (conv, x) = (&layer.conv, &read(isa, layer, x, affine));
        match layer.layer {
            ConvLayer::Conv3x3 => Self::conv3x3_forward(isa, conv, x, w[0], y, scratch),
            ConvLayer::DwPw => Self::dw_pw_forward(isa, conv, x, w[0], w[1], y, scratch),
            ConvLayer::Pointwise => Self::pointwise_forward(isa, conv, x, w[0], y, scratch),
        }
        if let Some(stats) = stats {
            Self::batch_norm_stats(isa, conv.y(), y, stats, &mut []);
        }
    }

    fn norm_conv_backward(isa: Isa, layer: &NormConv, args: NormConvBackward<'_, Self>) {
        let NormConvBackward { x, affine, w, y, dz, norm, dx, dw, scratch } = args;
        let conv = &layer.conv;
        let z = &read(isa, layer, x, affine);
        let own = |i: usize| {
            let k = i % conv.cout;
            let passed = !norm.relu || y[i] * norm.scale[k] + norm.shift[k] > 0.0;
            let dz = if passed { dz[i] } else { 0.0 };
            norm.scale[k] * dz + norm.by_y[k] * y[i] + norm.constant[k]
        };
        let dy: Vec<f64> = (0..y.len()).map(own).collect();
        let mut inner = vec![0.0; if dx.is_some() { x.len() } else { 0 }];
        let to = dx.is_some().then(|| Grad::set(&mut inner));
        let [first, second] = dw;
        match layer.layer {
            ConvLayer::DwPw => {
                let (dwd, dwp) = (first, second);
                let args = DwPwBackward { x: z, wd: w[0], wp: w[1], dy: &dy, dx: to, dwd, dwp, scratch };
                Self::dw_pw_backward(isa, conv, args);
            }
            simple => {
                let backward = match simple {
                    ConvLayer::Conv3x3 => Self::conv3x3_backward,
                    _ => Self::pointwise_backward,
                };
                backward(isa, conv, ConvBackward { x: z, w: w[0], dy: &dy, dx: to, dw: first, scratch });
            }
        }
        match (dx, affine) {
            (Some(InputGrad::Affine(dx)), Some(affine)) => {
                Self::affine_backward(isa, conv.x, x, affine, &inner, dx, &mut []);
            }
            (Some(InputGrad::Plain(mut dx)), _) => {
                inner.iter().enumerate().for_each(|(i, &d)| put(&mut dx, i, d));
            }
            _ => {}
        }
    }
}
