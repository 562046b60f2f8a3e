//! The network of `../model.py`.

use burn::module::{Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Initializer, Linear, LinearConfig, PaddingConfig2d};
use burn::tensor::activation::{relu, sigmoid};
use burn::tensor::{Device, Tensor};

pub const CLASSES: usize = 7;

fn around(n: usize) -> PaddingConfig2d {
    PaddingConfig2d::Explicit(n, n, n, n)
}

fn conv(cin: usize, cout: usize, k: usize) -> Conv2dConfig {
    Conv2dConfig::new([cin, cout], [k, k]).with_padding(around(k / 2)).with_bias(false)
}

/// A convolution with batch norm. On a device without autodiff the batch norm is folded: the convolution's bias.
#[derive(Module, Debug)]
struct ConvBn {
    conv: Conv2d,
    bn: Option<BatchNorm>,
}

impl ConvBn {
    fn new(conv: Conv2dConfig, device: &Device) -> Self {
        let train = device.is_autodiff();
        let bn = train.then(|| BatchNormConfig::new(conv.channels[1]).init(device));
        Self { conv: conv.with_bias(!train).init(device), bn }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.conv.forward(x);
        match &self.bn {
            Some(bn) => bn.forward(x),
            None => x,
        }
    }
}

/// Convolutional residual block.
#[derive(Module, Debug)]
struct Block {
    dw1: Conv2d,
    pw1: ConvBn,
    dw2: Conv2d,
    pw2: ConvBn,
    pool: MaxPool2d,
    short: ConvBn,
}

impl Block {
    fn new(cin: usize, c: usize, device: &Device) -> Self {
        Self {
            dw1: conv(cin, cin, 3).with_groups(cin).init(device),
            pw1: ConvBn::new(conv(cin, c, 1), device),
            dw2: conv(c, c, 3).with_groups(c).init(device),
            pw2: ConvBn::new(conv(c, c, 1), device),
            pool: MaxPool2dConfig::new([3, 3]).with_strides([2, 2]).with_padding(around(1)).init(),
            short: ConvBn::new(conv(cin, c, 1).with_stride([2, 2]), device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let main = relu(self.pw1.forward(self.dw1.forward(x.clone())));
        let main = self.pool.forward(self.pw2.forward(self.dw2.forward(main)));
        relu(main + self.short.forward(x))
    }
}

/// Channel attention, then spatial attention (Woo et al. 2018).
#[derive(Module, Debug)]
struct Cbam {
    fc1: Linear,
    fc2: Linear,
    spatial: Conv2d,
}

impl Cbam {
    fn new(c: usize, device: &Device) -> Self {
        Self {
            fc1: LinearConfig::new(c, c / 16).init(device),
            fc2: LinearConfig::new(c / 16, c).init(device),
            spatial: conv(2, 1, 7).init(device),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [n, c, h, w] = x.dims();
        let flat = x.clone().reshape([n, c, h * w]);
        let mlp = |pooled: Tensor<3>| self.fc2.forward(relu(self.fc1.forward(pooled.reshape([n, c]))));
        let channels = sigmoid(mlp(flat.clone().mean_dim(2)) + mlp(flat.max_dim(2)));
        let x = x * channels.reshape([n, c, 1, 1]);
        let pooled = Tensor::cat(vec![x.clone().mean_dim(1), x.clone().max_dim(1)], 1);
        x * sigmoid(self.spatial.forward(pooled))
    }
}

/// DNN-CBAM up to the cosines of AM-Softmax.
#[derive(Module, Debug)]
pub struct Network {
    stem1: ConvBn,
    stem2: ConvBn,
    blocks: Vec<Block>,
    cbam: Cbam,
    out: ConvBn,
    head: Param<Tensor<2>>,
}

impl Network {
    pub fn new(device: &Device) -> Self {
        let widths = [32, 32, 64, 128, 256];
        Self {
            stem1: ConvBn::new(conv(1, 32, 3), device),
            stem2: ConvBn::new(conv(32, 32, 3), device),
            blocks: widths.windows(2).map(|w| Block::new(w[0], w[1], device)).collect(),
            cbam: Cbam::new(256, device),
            out: ConvBn::new(conv(256, 128, 3), device),
            head: Initializer::Normal { mean: 0.0, std: 0.1 }.init([CLASSES, 128], device),
        }
    }

    /// [n, 1, 48, 48] -> cosines [n, CLASSES].
    pub fn forward(&self, faces: Tensor<4>) -> Tensor<2> {
        let x = relu(self.stem1.forward(faces));
        let x = relu(self.stem2.forward(x));
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let x = relu(self.out.forward(self.cbam.forward(x)));
        let [n, c, h, w] = x.dims();
        let embedding = x.reshape([n, c, h * w]).mean_dim(2).reshape([n, c]);
        unit_rows(embedding).matmul(unit_rows(self.head.val()).transpose())
    }
}

fn unit_rows(x: Tensor<2>) -> Tensor<2> {
    let norms = x.clone().square().sum_dim(1).sqrt().clamp_min(1e-12);
    x / norms
}
