use crate::*;

impl Conv3x3Kernels for f64 {
    fn conv3x3_forward_scratch(_: &Conv) -> usize {
        0
    }
    fn conv3x3_backward_scratch(_: &Conv) -> usize {
        0
    }

    fn conv3x3_forward(_: Isa, conv: &Conv, x: &[Self], w: &[Self], y: &mut [Self], _: &mut [Self]) {
        y.fill(0.0);
        each_product(conv, |x_at, w_at, y_at| y[y_at] += x[x_at] * w[w_at]);
    }

    fn conv3x3_backward(_: Isa, conv: &Conv, args: ConvBackward<'_, Self>) {
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

/// Calls `f` with the indices into x, w and y of every product inside the map.
fn each_product(conv: &Conv, mut f: impl FnMut(usize, usize, usize)) {
    let Shape { n: images, h: height, w: width, c: cin } = conv.x;
    for n in 0..images {
        for h in 0..height {
            for w in 0..width {
                for (i, j) in (0..3).flat_map(|i| (0..3).map(move |j| (i, j))) {
                    if (1..=height).contains(&(h + i)) && (1..=width).contains(&(w + j)) {
                        let x_pixel = (n * height + h + i - 1) * width + w + j - 1;
                        let y_pixel = (n * height + h) * width + w;
                        for c in 0..cin {
                            for o in 0..conv.cout {
                                let w_at = ((i * 3 + j) * cin + c) * conv.cout + o;
                                f(x_pixel * cin + c, w_at, y_pixel * conv.cout + o);
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_count_the_taps_inside_the_map() {
        let conv = Conv { x: Shape::new(1, 3, 3, 1), cout: 1, stride: 1 };
        let mut y = [0.0f64; 9];
        f64::conv3x3_forward(Isa::fastest(), &conv, &[1.0; 9], &[1.0; 9], &mut y, &mut []);
        assert_eq!(y, [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0]);
    }
}
