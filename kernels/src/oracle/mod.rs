//! The scalar `f64` twin of every kernel: loops that read like the formula.

mod adam;
mod attention;
mod conv3x3;
mod conv7x7;
mod dw_pw;
mod dwconv;
mod elementwise;
mod linear;
mod loss;
mod norm;
mod pointwise;
mod pool;
