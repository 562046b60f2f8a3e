use crate::*;

/// Prepared weights are the weights as they are, then the bias.
impl FoldedKernels for f64 {
    fn folded_scratch(layer: &Folded) -> usize {
        match layer.kind {
            FoldedKind::DwPw => Self::dw_pw_forward_scratch(&layer.conv),
            _ => 0,
        }
    }

    fn folded_prepare(_: Isa, layer: &Folded, weights: [&[Self]; 2], bias: &[Self], prepared: &mut [Self]) {
        assert_eq!(prepared.len(), layer.prepared_len());
        let all = weights.into_iter().flatten().chain(bias);
        prepared.iter_mut().zip(all).for_each(|(to, from)| *to = *from);
    }

    fn folded_forward(
        isa: Isa,
        layer: &Folded,
        x: &[Self],
        prepared: &[Self],
        y: &mut [Self],
        scratch: &mut [Self],
    ) {
        let conv = &layer.conv;
        let (w, v, bias) = split(layer, prepared);
        match layer.kind {
            FoldedKind::Conv3x3 => Self::conv3x3_forward(isa, conv, x, w, y, scratch),
            FoldedKind::Winograd => Self::winograd_forward(isa, conv, x, w, y, scratch),
            FoldedKind::DwPw => Self::dw_pw_forward(isa, conv, x, w, v, y, scratch),
            FoldedKind::Pointwise => Self::pointwise_forward(isa, conv, x, w, y, scratch),
        }
        finish(layer, bias, y);
    }

    fn residual_end(isa: Isa, layer: &Folded, h: &[Self], x: &[Self], prepared: &[Self], y: &mut [Self]) {
        let (w, _, bias) = split(layer, prepared);
        Self::pointwise_forward(isa, &layer.conv, x, w, y, &mut []);
        let (map, out) = (layer.conv.x, layer.conv.y());
        for (p, y) in y.chunks_exact_mut(out.c).enumerate() {
            let (n, i, j) = (p / out.w / out.h, p / out.w % out.h, p % out.w);
            for (c, y) in y.iter_mut().enumerate() {
                let mut largest = f64::NEG_INFINITY;
                for row in (2 * i).saturating_sub(1)..(2 * i + 2).min(map.h) {
                    for column in (2 * j).saturating_sub(1)..(2 * j + 2).min(map.w) {
                        let pixel = (n * map.h + row) * map.w + column;
                        largest = largest.max(h[pixel * out.c + c]);
                    }
                }
                *y += largest;
            }
        }
        finish(layer, bias, y);
    }
}

fn split<'a>(layer: &Folded, prepared: &'a [f64]) -> (&'a [f64], &'a [f64], &'a [f64]) {
    let [w, v] = layer.weights();
    (&prepared[..w], &prepared[w..][..v], &prepared[w + v..][..layer.conv.cout])
}

fn finish(layer: &Folded, bias: &[f64], y: &mut [f64]) {
    for (i, y) in y.iter_mut().enumerate() {
        *y += bias[i % layer.conv.cout];
        if layer.relu {
            *y = y.max(0.0);
        }
    }
}
