//! The scalar `f64` twin of every kernel: loops that read like the formula.

mod adam;
mod attention;
mod conv3x3;
mod conv7x7;
mod dw_pw;
mod dwconv;
mod elementwise;
mod folded;
mod linear;
mod loss;
mod norm;
mod norm_conv;
mod pointwise;
mod pool;
mod residual;
mod sgd;
mod soft_cross_entropy;
mod stem;
mod svm;
mod winograd;

use crate::Grad;

/// Overwrites element `i` of a gradient or adds to it.
fn put(to: &mut Grad<'_, f64>, i: usize, value: f64) {
    to.mode.put(&mut to.to[i], value);
}
