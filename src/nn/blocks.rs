//! Convolutions with batch norm, and the convolutional residual block of them.

use crate::graph::{Graph, Var};
use crate::ops::{NormParams, Operand};
use crate::params::Init;

/// Standard 3x3 convolution, batch norm, ReLU.
pub(super) fn conv_bn_relu(
    g: &mut Graph,
    name: &str,
    index: &str,
    x: impl Into<Operand>,
    cout: usize,
) -> Operand {
    let x = x.into();
    let cin = g.shape(x.var).c;
    let w =
        g.param(format!("{name}.conv{index}.weight"), &[3, 3, cin, cout], Init::Uniform { fan_in: 9 * cin });
    let norm = NormParams::new(g, &format!("{name}.bn{index}"), cout);
    g.conv3x3_norm(x, w, norm, true)
}

/// Depthwise 3x3 and pointwise to `cout` channels, with nothing between; batch norm, ReLU if asked for.
pub(super) fn ds_conv_bn(
    g: &mut Graph,
    name: &str,
    index: usize,
    x: Operand,
    cout: usize,
    relu: bool,
) -> Operand {
    let cin = g.shape(x.var).c;
    let wd = g.param(format!("{name}.dw{index}.weight"), &[3, 3, cin], Init::Uniform { fan_in: 9 });
    let wp = g.param(format!("{name}.pw{index}.weight"), &[cin, cout], Init::Uniform { fan_in: cin });
    let norm = NormParams::new(g, &format!("{name}.bn{index}"), cout);
    g.dw_pw_norm(x, wd, wp, norm, relu)
}

/// Convolutional residual block to `c` channels at half the map:
/// ReLU(max pool(BN(DS(ReLU(BN(DS(x)))))) + BN(1x1 stride 2 (x))), DS a depthwise-separable convolution. `x` is
/// `[n, h, w, cin]`, the result `[n, ceil(h/2), ceil(w/2), c]`.
pub fn residual_block(g: &mut Graph, name: &str, x: impl Into<Operand>, c: usize) -> Var {
    let x = x.into();
    let h = ds_conv_bn(g, name, 1, x, c, true);
    let main = ds_conv_bn(g, name, 2, h, c, false);
    let cin = g.shape(x.var).c;
    let w = g.param(format!("{name}.short.weight"), &[cin, c], Init::Uniform { fan_in: cin });
    let norm = NormParams::new(g, &format!("{name}.short_bn"), c);
    let short = g.pointwise_norm(x, w, 2, norm, false);
    g.residual(main, short)
}
