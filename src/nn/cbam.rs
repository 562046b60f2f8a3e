//! Convolutional block attention module (Woo et al. 2018).

use crate::graph::{Graph, Var};
use crate::params::Init;

/// Channels of the MLP's hidden layer are c / 16 (the paper's reduction ratio), at least one.
const REDUCTION: usize = 16;

/// x' = x * sigmoid(MLP(avg(x)) + MLP(max(x))), avg and max over space (eq. 2), then
/// x' * sigmoid(conv7x7([mean(x'), max(x')])), mean and max over channels (eq. 3).
pub fn cbam(g: &mut Graph, x: Var) -> Var {
    let c = g.shape(x).c;
    let hidden = (c / REDUCTION).max(1);
    let w1 = g.param("cbam.fc1.weight", &[c, hidden], Init::Uniform { fan_in: c });
    let b1 = g.param("cbam.fc1.bias", &[hidden], Init::Uniform { fan_in: c });
    let w2 = g.param("cbam.fc2.weight", &[hidden, c], Init::Uniform { fan_in: hidden });
    let b2 = g.param("cbam.fc2.bias", &[c], Init::Uniform { fan_in: hidden });
    let mlp = |g: &mut Graph, pooled: Var| {
        let h = g.linear(pooled, w1, b1);
        let h = g.relu(h);
        g.linear(h, w2, b2)
    };
    let average = g.global_avg(x);
    let average = mlp(g, average);
    let maximum = g.global_max(x);
    let maximum = mlp(g, maximum);
    let sum = g.add(average, maximum);
    let channels = g.sigmoid(sum);
    let x = g.scale_channels(x, channels);

    let w = g.param("cbam.spatial.weight", &[7, 7, 2], Init::Uniform { fan_in: 98 });
    let pooled = g.channel_pool(x);
    let map = g.conv7x7(pooled, w);
    let map = g.sigmoid(map);
    g.scale_pixels(x, map)
}
