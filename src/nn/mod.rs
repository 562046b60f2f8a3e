//! The network, written to be read beside the paper: blocks of layers, and models of blocks.

mod blocks;
mod cbam;
mod folded;
mod model;

pub use blocks::{norm_params, output_module, residual_block, stem};
pub use cbam::cbam;
pub use folded::FoldedNetwork;
pub use model::{CbamPosition, FEATURES, Loss, Model, Network};
