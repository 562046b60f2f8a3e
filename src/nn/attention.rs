//! Attention modules: the convolutional block attention module (Woo et al. 2018), and squeeze-and-excitation (Hu et al.
//! 2018), which is its first half without the maximum.

use crate::graph::{Graph, Var};
use crate::params::Init;
use serde::{Deserialize, Serialize};

/// Channels of the MLP's hidden layer are c / 16 (the papers' reduction ratio), at least one.
const REDUCTION: usize = 16;

/// Which attention module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Attention {
    /// Channels, then pixels.
    #[default]
    Cbam,
    /// Channels alone.
    Se,
}

/// The module of this kind, with parameters called `name.`.
pub(super) fn attend(g: &mut Graph, kind: Attention, name: &str, x: Var) -> Var {
    match kind {
        Attention::Cbam => cbam(g, name, x),
        Attention::Se => squeeze_excite(g, name, x),
    }
}

/// x' = x * sigmoid(MLP(avg(x)) + MLP(max(x))), avg and max over space (Woo et al. 2018, eq. 2), then
/// x' * sigmoid(conv7x7([mean(x'), max(x')])), mean and max over channels (eq. 3). `x` and the result are
/// `[n, h, w, c]`. Parameters are called `name.`.
pub fn cbam(g: &mut Graph, name: &str, x: Var) -> Var {
    let mlp = mlp(g, name, g.shape(x).c);
    let average = g.global_avg(x);
    let average = mlp(g, average);
    let maximum = g.global_max(x);
    let maximum = mlp(g, maximum);
    let sum = g.add(average, maximum);
    let channels = g.sigmoid(sum);
    let x = g.scale_channels(x, channels);

    let w = g.param(format!("{name}.spatial.weight"), &[7, 7, 2], Init::Uniform { fan_in: 98 });
    let pooled = g.channel_pool(x);
    let map = g.conv7x7(pooled, w);
    let map = g.sigmoid(map);
    g.name(format!("{name}.spatial"), map);
    g.scale_pixels(x, map)
}

/// x * sigmoid(MLP(avg(x))), avg over space (Hu et al. 2018, eq. 2 to 4). `x` and the result are `[n, h, w, c]`.
/// Parameters are called `name.`.
pub fn squeeze_excite(g: &mut Graph, name: &str, x: Var) -> Var {
    let mlp = mlp(g, name, g.shape(x).c);
    let average = g.global_avg(x);
    let average = mlp(g, average);
    let channels = g.sigmoid(average);
    g.scale_channels(x, channels)
}

/// Two dense layers over `c` channels with a ReLU between; its parameters are shared by all calls.
fn mlp(g: &mut Graph, name: &str, c: usize) -> impl Fn(&mut Graph, Var) -> Var + use<> {
    let hidden = (c / REDUCTION).max(1);
    let w1 = g.param(format!("{name}.fc1.weight"), &[c, hidden], Init::Uniform { fan_in: c });
    let b1 = g.param(format!("{name}.fc1.bias"), &[hidden], Init::Uniform { fan_in: c });
    let w2 = g.param(format!("{name}.fc2.weight"), &[hidden, c], Init::Uniform { fan_in: hidden });
    let b2 = g.param(format!("{name}.fc2.bias"), &[c], Init::Uniform { fan_in: hidden });
    move |g, pooled| {
        let h = g.linear(pooled, w1, b1);
        let h = g.relu(h);
        g.linear(h, w2, b2)
    }
}
