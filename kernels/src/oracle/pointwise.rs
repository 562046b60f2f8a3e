use crate::*;

impl PointwiseKernels for f64 {
    fn pointwise_forward_scratch(_: &Conv) -> usize {
        0
    }
    fn pointwise_backward_scratch(_: &Conv) -> usize {
        0
    }

    fn pointwise_forward(_: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], _: &mut [Self]) {
        y.fill(0.0);
        each_product(conv, |x_at, w_at, y_at| y[y_at] += x[x_at] * w[w_at]);
    }

    fn pointwise_backward(_: Isa, conv: &Conv, args: ConvBackward<'_, Self>) {
        let ConvBackward { x, w, dy, dx, dw, .. } = args;
        if let Some(dx) = dx {
            if dx.mode == Mode::Set {
                dx.to.fill(0.0);
            }
            each_product(conv, |x_at, w_at, y_at| dx.to[x_at] += dy[y_at] * w[w_at]);
        }
        if dw.mode == Mode::Set {
            dw.to.fill(0.0);
        }
        each_product(conv, |x_at, w_at, y_at| dw.to[w_at] += dy[y_at] * x[x_at]);
    }
}

/// Calls `f` with the indices into x, w and y of every product.
fn each_product(conv: &Conv, mut f: impl FnMut(usize, usize, usize)) {
    let (x, y, s) = (conv.x, conv.y(), conv.stride);
    for n in 0..y.n {
        for h in 0..y.h {
            for w in 0..y.w {
                for c in 0..x.c {
                    for o in 0..y.c {
                        let x_at = ((n * x.h + s * h) * x.w + s * w) * x.c + c;
                        let y_at = ((n * y.h + h) * y.w + w) * y.c + o;
                        f(x_at, c * y.c + o, y_at);
                    }
                }
            }
        }
    }
}
