use super::put;
use crate::*;

/// Positions of x, in row-major order of the window, that output (n, i, j, k) sees, with their index.
fn window(shape: Shape, [n, i, j, k]: [usize; 4]) -> Vec<(usize, u8)> {
    let mut positions = Vec::new();
    for di in 0..3 {
        for dj in 0..3 {
            let (row, column) = (2 * i + di, 2 * j + dj);
            // Row 0 of the padded map is padding.
            if (1..=shape.h).contains(&row) && (1..=shape.w).contains(&column) {
                let pixel = (n * shape.h + row - 1) * shape.w + column - 1;
                positions.push((pixel * shape.c + k, (3 * di + dj) as u8));
            }
        }
    }
    positions
}

fn each_output(shape: Shape, mut f: impl FnMut(usize, [usize; 4])) {
    let out = shape.halved();
    let mut o = 0;
    for n in 0..out.n {
        for i in 0..out.h {
            for j in 0..out.w {
                for k in 0..out.c {
                    f(o, [n, i, j, k]);
                    o += 1;
                }
            }
        }
    }
}

/// Positions of channel k of image n.
fn channel(shape: Shape, n: usize, k: usize) -> impl Iterator<Item = usize> + Clone {
    (0..shape.h * shape.w).map(move |pixel| n * shape.image_len() + pixel * shape.c + k)
}

impl PoolKernels for f64 {
    fn max_pool_forward(_: Isa, shape: Shape, x: &[Self], y: &mut [Self], index: &mut [u8]) {
        each_output(shape, |o, at| {
            // The centre is always inside the map: what is left if nothing is above minus infinity.
            (y[o], index[o]) = (f64::NEG_INFINITY, 4);
            for (position, k) in window(shape, at) {
                if x[position] > y[o] {
                    y[o] = x[position];
                    index[o] = k;
                }
            }
        });
    }

    fn max_pool_backward(_: Isa, shape: Shape, index: &[u8], dy: &[Self], dx: Grad<'_, Self>) {
        if dx.mode == Mode::Set {
            dx.to.fill(0.0);
        }
        each_output(shape, |o, at| {
            for (position, k) in window(shape, at) {
                if k == index[o] {
                    dx.to[position] += dy[o];
                }
            }
        });
    }

    fn global_avg_forward(_: Isa, shape: Shape, x: &[Self], y: &mut [Self]) {
        for n in 0..shape.n {
            for k in 0..shape.c {
                let sum: f64 = channel(shape, n, k).map(|i| x[i]).sum();
                y[n * shape.c + k] = sum / (shape.h * shape.w) as f64;
            }
        }
    }

    fn global_avg_backward(_: Isa, shape: Shape, dy: &[Self], mut dx: Grad<'_, Self>) {
        for n in 0..shape.n {
            for k in 0..shape.c {
                for i in channel(shape, n, k) {
                    put(&mut dx, i, dy[n * shape.c + k] / (shape.h * shape.w) as f64);
                }
            }
        }
    }

    fn global_max_forward(_: Isa, shape: Shape, x: &[Self], y: &mut [Self]) {
        for n in 0..shape.n {
            for k in 0..shape.c {
                y[n * shape.c + k] = channel(shape, n, k).map(|i| x[i]).fold(f64::NEG_INFINITY, f64::max);
            }
        }
    }

    fn global_max_backward(
        _: Isa,
        shape: Shape,
        x: &[Self],
        y: &[Self],
        dy: &[Self],
        mut dx: Grad<'_, Self>,
    ) {
        for n in 0..shape.n {
            for k in 0..shape.c {
                let o = n * shape.c + k;
                let first = channel(shape, n, k).find(|&i| x[i] == y[o]);
                for i in channel(shape, n, k) {
                    put(&mut dx, i, if Some(i) == first { dy[o] } else { 0.0 });
                }
            }
        }
    }
}
