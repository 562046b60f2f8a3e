use crate::*;

impl ResidualKernels for f64 {
    fn residual_backward_scratch(_: Shape) -> usize {
        0
    }

    fn residual_forward(
        isa: Isa,
        shape: Shape,
        main: Branch<'_, Self>,
        short: Branch<'_, Self>,
        y: &mut [Self],
        index: &mut [u8],
    ) {
        let (mut z, mut added) = (vec![0.0; main.x.len()], vec![0.0; y.len()]);
        Self::affine_forward(isa, shape, main.x, main.affine, &mut z);
        Self::affine_forward(isa, shape.halved(), short.x, short.affine, &mut added);
        Self::max_pool_forward(isa, shape, &z, y, index);
        y.iter_mut().zip(added).for_each(|(y, a)| *y = (*y + a).max(0.0));
    }

    fn residual_backward(isa: Isa, shape: Shape, args: ResidualBackward<'_, Self>) {
        let ResidualBackward { main, short, y, index, dy, dmain, dshort, .. } = args;
        let passed: Vec<f64> = y.iter().zip(dy).map(|(&y, &dy)| if y > 0.0 { dy } else { 0.0 }).collect();
        Self::affine_backward(isa, shape.halved(), short.x, short.affine, &passed, dshort, &mut []);
        let mut scattered = vec![0.0; main.x.len()];
        Self::max_pool_backward(isa, shape, index, &passed, Grad::set(&mut scattered));
        Self::affine_backward(isa, shape, main.x, main.affine, &scattered, dmain, &mut []);
    }
}
