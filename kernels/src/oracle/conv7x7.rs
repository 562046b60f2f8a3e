use crate::*;

/// Calls `f(x index, y index, weight index)` for every product of the convolution.
fn products(Shape { n, h, w, .. }: Shape, mut f: impl FnMut(usize, usize, usize)) {
    for image in 0..n {
        for (row, col) in (0..h).flat_map(|row| (0..w).map(move |col| (row, col))) {
            for (i, j) in (0..7).flat_map(|i| (0..7).map(move |j| (i, j))) {
                let (x_row, x_col) = (row + i, col + j);
                if (3..h + 3).contains(&x_row) && (3..w + 3).contains(&x_col) {
                    let x = (image * h + x_row - 3) * w + x_col - 3;
                    let y = (image * h + row) * w + col;
                    (0..2).for_each(|channel| f(2 * x + channel, y, 2 * (i * 7 + j) + channel));
                }
            }
        }
    }
}

impl Conv7x7Kernels for f64 {
    fn conv7x7_backward_scratch(_: Shape) -> usize {
        0
    }
    fn conv7x7_forward(_: Isa, shape: Shape, x: &[Self], w: &[Self], y: &mut [Self]) {
        y.fill(0.0);
        products(shape, |ix, iy, iw| y[iy] += x[ix] * w[iw]);
    }
    fn conv7x7_backward(_: Isa, shape: Shape, args: ConvBackward<'_, Self>) {
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
