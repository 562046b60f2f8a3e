//! The network of `../model.py`.
//!
//! candle's max pool has no padding, and no backward pass where windows overlap: training takes the largest of shifted
//! halves instead. Its grouped convolution is one convolution a channel; nine shifted products and their sum in its
//! place, and matrix products for pointwise convolutions, made a step no faster.

use candle_core::{Error, Result, Tensor};
use candle_nn::ops::sigmoid;
use candle_nn::{
    BatchNorm, Conv2d, Conv2dConfig, Init, Linear, Module, ModuleT, VarBuilder, batch_norm, conv2d_no_bias,
    linear,
};

pub const CLASSES: usize = 7;

fn conv(cin: usize, cout: usize, k: usize, stride: usize, groups: usize, vb: VarBuilder) -> Result<Conv2d> {
    let config = Conv2dConfig { padding: k / 2, stride, groups, ..Default::default() };
    conv2d_no_bias(cin, cout, k, config, vb)
}

/// The convolution with weights that no gradient is wanted of.
fn detached(conv: Conv2d) -> Conv2d {
    Conv2d::new(conv.weight().detach(), conv.bias().map(Tensor::detach), *conv.config())
}

/// A convolution with batch norm, which is folded into it for inference.
struct ConvBn {
    conv: Conv2d,
    bn: Option<BatchNorm>,
}

impl ConvBn {
    fn new(conv: Conv2d, train: bool, vb: VarBuilder) -> Result<Self> {
        let bn = batch_norm(conv.weight().dim(0)?, 1e-5, vb.pp("bn"))?;
        if train {
            return Ok(Self { conv, bn: Some(bn) });
        }
        Ok(Self { conv: detached(conv.absorb_bn(&bn)?), bn: None })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let x = self.conv.forward(x)?;
        match &self.bn {
            Some(bn) => bn.forward_t(&x, true),
            None => Ok(x),
        }
    }
}

/// Largest of elements 2i - 1, 2i and 2i + 1 along a dimension of even length.
fn halve(x: &Tensor, dim: usize) -> Result<Tensor> {
    let half = x.dim(dim)? / 2;
    let mut dims = x.dims().to_vec();
    dims.splice(dim..=dim, [half, 2]);
    let pairs = x.reshape(dims)?;
    let (even, odd) =
        (pairs.narrow(dim + 1, 0, 1)?.squeeze(dim + 1)?, pairs.narrow(dim + 1, 1, 1)?.squeeze(dim + 1)?);
    // The first window has no element before it; its second one stands in.
    let before = Tensor::cat(&[even.narrow(dim, 0, 1)?, odd.narrow(dim, 0, half - 1)?], dim)?;
    even.maximum(&odd)?.maximum(&before)
}

/// Max pool 3x3, stride 2, padding 1, of a map with even sides.
fn max_pool(x: &Tensor, train: bool) -> Result<Tensor> {
    if train {
        return halve(&halve(&x.contiguous()?, 2)?, 3);
    }
    // Repeating the border changes no maximum.
    x.pad_with_same(2, 1, 0)?.pad_with_same(3, 1, 0)?.max_pool2d_with_stride(3, 2)
}

/// Convolutional residual block.
struct Block {
    dw1: Conv2d,
    pw1: ConvBn,
    dw2: Conv2d,
    pw2: ConvBn,
    short: ConvBn,
    train: bool,
}

impl Block {
    fn new(cin: usize, c: usize, train: bool, vb: VarBuilder) -> Result<Self> {
        let pointwise =
            |cin, stride, vb: VarBuilder| ConvBn::new(conv(cin, c, 1, stride, 1, vb.clone())?, train, vb);
        let depthwise = |c, vb| {
            let conv = conv(c, c, 3, 1, c, vb)?;
            Ok::<_, Error>(if train { conv } else { detached(conv) })
        };
        Ok(Self {
            dw1: depthwise(cin, vb.pp("dw1"))?,
            pw1: pointwise(cin, 1, vb.pp("pw1"))?,
            dw2: depthwise(c, vb.pp("dw2"))?,
            pw2: pointwise(c, 1, vb.pp("pw2"))?,
            short: pointwise(cin, 2, vb.pp("short"))?,
            train,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let main = self.pw1.forward(&self.dw1.forward(x)?)?.relu()?;
        let main = self.pw2.forward(&self.dw2.forward(&main)?)?;
        (max_pool(&main, self.train)? + self.short.forward(x)?)?.relu()
    }
}

/// Channel attention, then spatial attention (Woo et al. 2018).
struct Cbam {
    fc1: Linear,
    fc2: Linear,
    spatial: Conv2d,
}

impl Cbam {
    fn new(c: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            fc1: linear(c, c / 16, vb.pp("fc1"))?,
            fc2: linear(c / 16, c, vb.pp("fc2"))?,
            spatial: conv(2, 1, 7, 1, 1, vb.pp("spatial"))?,
        })
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mlp = |pooled: Tensor| self.fc2.forward(&self.fc1.forward(&pooled)?.relu()?);
        let flat = x.flatten_from(2)?;
        let channels = sigmoid(&(mlp(flat.mean(2)?)? + mlp(flat.max(2)?)?)?)?;
        let x = x.broadcast_mul(&channels.unsqueeze(2)?.unsqueeze(3)?)?;
        let pooled = Tensor::cat(&[x.mean_keepdim(1)?, x.max_keepdim(1)?], 1)?;
        x.broadcast_mul(&sigmoid(&self.spatial.forward(&pooled)?)?)
    }
}

/// DNN-CBAM up to the cosines of AM-Softmax.
pub struct Network {
    stem1: ConvBn,
    stem2: ConvBn,
    blocks: Vec<Block>,
    cbam: Cbam,
    out: ConvBn,
    head: Tensor,
}

impl Network {
    /// Without `train`, batch norm is folded into the convolutions and no backward pass is possible.
    pub fn new(train: bool, vb: VarBuilder) -> Result<Self> {
        let widths = [32, 32, 64, 128, 256];
        let dense = |cin, cout, vb: VarBuilder| ConvBn::new(conv(cin, cout, 3, 1, 1, vb.clone())?, train, vb);
        let block =
            |(i, w): (usize, &[usize])| Block::new(w[0], w[1], train, vb.pp(format!("block{}", i + 1)));
        Ok(Self {
            stem1: dense(1, 32, vb.pp("stem1"))?,
            stem2: dense(32, 32, vb.pp("stem2"))?,
            blocks: widths.windows(2).enumerate().map(block).collect::<Result<_>>()?,
            cbam: Cbam::new(256, vb.pp("cbam"))?,
            out: dense(256, 128, vb.pp("out"))?,
            head: vb.get_with_hints((CLASSES, 128), "head", Init::Randn { mean: 0.0, stdev: 0.1 })?,
        })
    }

    /// [n, 1, 48, 48] -> cosines [n, CLASSES].
    pub fn forward(&self, faces: &Tensor) -> Result<Tensor> {
        let x = self.stem1.forward(faces)?.relu()?;
        let x = self.stem2.forward(&x)?.relu()?;
        let x = self.blocks.iter().try_fold(x, |x, block| block.forward(&x))?;
        let x = self.out.forward(&self.cbam.forward(&x)?)?.relu()?;
        unit_rows(&x.mean((2, 3))?)?.matmul(&unit_rows(&self.head)?.t()?)
    }
}

fn unit_rows(x: &Tensor) -> Result<Tensor> {
    x.broadcast_div(&x.sqr()?.sum_keepdim(1)?.sqrt()?)
}
