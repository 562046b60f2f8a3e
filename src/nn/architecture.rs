//! The networks from face to embedding.

use super::layers::Layers;
use super::model::STEM;
use super::{CbamPosition, FEATURES, Model, attend};
use crate::graph::Var;
use crate::params::Init;
use serde::{Deserialize, Serialize};

/// Which network, without attention and head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Architecture {
    /// The paper's: depthwise-separable residual blocks.
    #[default]
    Dnn,
    /// Four stacks of two standard 3x3 convolutions with batch norm, each with maximum pooling behind it, and a dense
    /// head (Simonyan and Zisserman 2015): layers of 512 and 128.
    Vgg,
    /// Three convolutions, each with maximum pooling, and a dense layer of 3072, as Tang 2013 puts an SVM on; with 3x3
    /// windows and batch norm where that network has 4x4 and 5x5 ones and none.
    Cnn,
}

/// VGG's dense layers.
const VGG_DENSE: [usize; 2] = [512, FEATURES];
/// The CNN's dense layer.
const CNN_DENSE: usize = 3072;

impl Architecture {
    /// Length of the embedding.
    pub fn features(self) -> usize {
        match self {
            Self::Dnn | Self::Vgg => FEATURES,
            Self::Cnn => CNN_DENSE,
        }
    }

    /// Channels of its blocks, unless others are asked for.
    pub(crate) fn widths(self) -> &'static [usize] {
        match self {
            Self::Dnn => &[32, 64, 128, 256],
            Self::Vgg => &[64, 128, 256, 512],
            Self::Cnn => &[32, 32, 64],
        }
    }

    /// Whether a CBAM can sit here.
    pub fn takes(self, position: CbamPosition) -> bool {
        match position {
            CbamPosition::None => true,
            CbamPosition::Pools => self != Self::Dnn,
            _ => self == Self::Dnn,
        }
    }
}

impl Model {
    /// The embedding `[n, 1, 1, features]` of faces.
    pub(super) fn embed<L: Layers>(&self, layers: &mut L, faces: Var) -> Var {
        match self.architecture {
            Architecture::Dnn => self.dnn(layers, faces),
            Architecture::Vgg => {
                let h = self.stacks(layers, faces, 2);
                VGG_DENSE.iter().enumerate().fold(h, |h, (i, &c)| dense(layers, i + 1, h, c))
            }
            Architecture::Cnn => {
                let h = self.stacks(layers, faces, 1);
                dense(layers, 1, h, CNN_DENSE)
            }
        }
    }

    fn dnn<L: Layers>(&self, layers: &mut L, faces: Var) -> Var {
        use CbamPosition::{Block1, Block2, Block3, Block4, Input};
        let attend_here = |layers: &mut L, x: L::Value, here: CbamPosition| {
            if self.cbam != here {
                return x;
            }
            let x = layers.plain(x);
            attend(layers.graph(), self.attention, "cbam", x).into()
        };
        let h = layers.stem(faces, STEM);
        let mut h = attend_here(layers, h, Input);
        for (i, (&width, here)) in self.widths().iter().zip([Block1, Block2, Block3, Block4]).enumerate() {
            let name = format!("block{}", i + 1);
            h = layers.residual_block(&name, h, width).into();
            for k in 0..self.identity_blocks[i] {
                h = identity_block(layers, &format!("{name}.identity{}", k + 1), h, width);
            }
            h = attend_here(layers, h, here);
            let map = layers.plain(h);
            layers.graph().name(name, map);
        }
        let h = layers.plain(h);
        layers.output_module(h, FEATURES)
    }

    /// `convs` convolutions of each width and a pooling behind them, with an attention module behind each pooling if
    /// the model wants that; flattened.
    fn stacks<L: Layers>(&self, layers: &mut L, faces: Var, convs: usize) -> Var {
        let mut x = faces;
        for (i, &width) in self.widths().iter().enumerate() {
            let name = format!("stack{}", i + 1);
            let h = (1..=convs).fold(x.into(), |h, index| layers.conv(&name, &index.to_string(), h, width));
            let h = layers.plain(h);
            x = layers.graph().max_pool(h);
            if self.cbam == CbamPosition::Pools {
                x = attend(layers.graph(), self.attention, &format!("cbam{}", i + 1), x);
            }
            layers.graph().name(name, x);
        }
        layers.graph().flatten(x)
    }
}

/// Identity residual block (He et al. 2016) of depthwise-separable convolutions: ReLU(BN(DS(ReLU(BN(DS(x))))) + x).
fn identity_block<L: Layers>(layers: &mut L, name: &str, x: L::Value, c: usize) -> L::Value {
    let x = layers.plain(x);
    let h = layers.ds_conv(name, 1, x.into(), c, true);
    let h = layers.ds_conv(name, 2, h, c, false);
    let h = layers.plain(h);
    layers.graph().add_relu(h, x).into()
}

/// Dense layer to `cout` channels with ReLU.
fn dense<L: Layers>(layers: &mut L, index: usize, x: Var, cout: usize) -> Var {
    let g = layers.graph();
    let cin = g.shape(x).c;
    let init = Init::Uniform { fan_in: cin };
    let w = g.param(format!("dense{index}.weight"), &[cin, cout], init);
    let b = g.param(format!("dense{index}.bias"), &[cout], init);
    let h = g.linear(x, w, b);
    g.relu(h)
}
