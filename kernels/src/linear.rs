//! Small dense pieces of the head: rows times rows, and L2 normalisation of rows.

use crate::{Grad, Isa};

/// Matrices are row-major; `k` is the length of a row.
pub trait LinearKernels: Sized {
    /// y[i, j] = sum over k of a[i, k] * b[j, k]: a `[m, k]`, b `[p, k]`, y `[m, p]`.
    fn matmul_nt_forward(isa: Isa, k: usize, a: &[Self], b: &[Self], y: &mut [Self]);
    /// da[i, k] = sum over j of dy[i, j] * b[j, k]; db[j, k] = sum over i of dy[i, j] * a[i, k].
    #[allow(clippy::too_many_arguments)]
    fn matmul_nt_backward(
        isa: Isa,
        k: usize,
        a: &[Self],
        b: &[Self],
        dy: &[Self],
        da: Option<Grad<'_, Self>>,
        db: Option<Grad<'_, Self>>,
    );
    /// y = x / max(|x|, 1e-12) row by row; `norms` gets max(|x|, 1e-12) of each row.
    fn l2_normalize_forward(isa: Isa, k: usize, x: &[Self], y: &mut [Self], norms: &mut [Self]);
    /// dx = (dy - y * sum(dy * y)) / norm, row by row.
    fn l2_normalize_backward(isa: Isa, k: usize, y: &[Self], norms: &[Self], dy: &[Self], dx: Grad<'_, Self>);
}

impl LinearKernels for f32 {
    fn matmul_nt_forward(isa: Isa, k: usize, a: &[Self], b: &[Self], y: &mut [Self]) {
        unimplemented!()
    }

    fn matmul_nt_backward(
        isa: Isa,
        k: usize,
        a: &[Self],
        b: &[Self],
        dy: &[Self],
        da: Option<Grad<'_, Self>>,
        db: Option<Grad<'_, Self>>,
    ) {
        unimplemented!()
    }
    fn l2_normalize_forward(isa: Isa, k: usize, x: &[Self], y: &mut [Self], norms: &mut [Self]) {
        unimplemented!()
    }
    fn l2_normalize_backward(
        isa: Isa,
        k: usize,
        y: &[Self],
        norms: &[Self],
        dy: &[Self],
        dx: Grad<'_, Self>,
    ) {
        unimplemented!()
    }
}
