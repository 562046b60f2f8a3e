use crate::*;

/// Calls `f(x index, y index, weight index)` for every product of the convolution.
fn products(Shape { n, h, w, c }: Shape, mut f: impl FnMut(usize, usize, usize)) {
    for image in 0..n {
        for (row, col) in (0..h).flat_map(|row| (0..w).map(move |col| (row, col))) {
            for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
                let (x_row, x_col) = (row + i, col + j);
                if (1..=h).contains(&x_row) && (1..=w).contains(&x_col) {
                    let x = ((image * h + x_row - 1) * w + x_col - 1) * c;
                    let y = ((image * h + row) * w + col) * c;
                    (0..c).for_each(|channel| f(x + channel, y + channel, (i * 3 + j) * c + channel));
                }
            }
        }
    }
}

impl DwConvKernels for f64 {
    fn dwconv_backward_scratch(_: Shape) -> usize {
        0
    }
    fn dwconv_forward(_: Isa, shape: Shape, x: &[Self], w: &[Self], y: &mut [Self]) {
        y.fill(0.0);
        products(shape, |ix, iy, iw| y[iy] += x[ix] * w[iw]);
    }
    fn dwconv_backward(_: Isa, shape: Shape, args: ConvBackward<'_, Self>) {
        let ConvBackward { x, w, dy, dx, dw, .. } = args;
        if let Some(dx) = dx {
            if dx.mode == Mode::Set {
                dx.to.fill(0.0);
            }
            products(shape, |ix, iy, iw| dx.to[ix] += dy[iy] * w[iw]);
        }
        if dw.mode == Mode::Set {
            dw.to.fill(0.0);
        }
        products(shape, |ix, iy, iw| dw.to[iw] += dy[iy] * x[ix]);
    }
}
