use super::put;
use crate::*;

/// Smallest norm that a row is divided by.
const FLOOR: f64 = 1e-12;

impl LinearKernels for f64 {
    fn matmul_nt_forward(_: Isa, k: usize, a: &[Self], b: &[Self], y: &mut [Self]) {
        let (m, p) = (a.len() / k, b.len() / k);
        for i in 0..m {
            for j in 0..p {
                y[i * p + j] = (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum();
            }
        }
    }

    fn matmul_nt_backward(
        _: Isa,
        k: usize,
        a: &[Self],
        b: &[Self],
        dy: &[Self],
        da: Option<Grad<'_, Self>>,
        db: Option<Grad<'_, Self>>,
    ) {
        let (m, p) = (a.len() / k, b.len() / k);
        if let Some(mut da) = da {
            for i in 0..m {
                for l in 0..k {
                    put(&mut da, i * k + l, (0..p).map(|j| dy[i * p + j] * b[j * k + l]).sum());
                }
            }
        }
        if let Some(mut db) = db {
            for j in 0..p {
                for l in 0..k {
                    put(&mut db, j * k + l, (0..m).map(|i| dy[i * p + j] * a[i * k + l]).sum());
                }
            }
        }
    }

    fn l2_normalize_forward(_: Isa, k: usize, x: &[Self], y: &mut [Self], norms: &mut [Self]) {
        for (r, norm) in norms.iter_mut().enumerate() {
            let row = r * k..(r + 1) * k;
            *norm = x[row.clone()].iter().map(|x| x * x).sum::<f64>().sqrt().max(FLOOR);
            for i in row {
                y[i] = x[i] / *norm;
            }
        }
    }

    fn l2_normalize_backward(
        _: Isa,
        k: usize,
        y: &[Self],
        norms: &[Self],
        dy: &[Self],
        mut dx: Grad<'_, Self>,
    ) {
        for (r, norm) in norms.iter().enumerate() {
            let row = r * k..(r + 1) * k;
            // Below the floor y is x by a constant.
            let along = if *norm > FLOOR { row.clone().map(|i| dy[i] * y[i]).sum() } else { 0.0 };
            for i in row {
                put(&mut dx, i, (dy[i] - y[i] * along) / norm);
            }
        }
    }
}
