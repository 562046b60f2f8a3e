//! The network, written to be read beside the paper: blocks of layers, and models of blocks.

mod architecture;
mod attention;
mod blocks;
mod elementary;
mod folded;
mod layers;
mod model;

pub use architecture::Architecture;
use attention::attend;
pub use attention::{Attention, cbam, squeeze_excite};
pub use blocks::residual_block;
pub(crate) use elementary::Elementary;
pub use folded::FoldedNetwork;
pub use model::{CbamPosition, Depths, FEATURES, Loss, Model, Network, Targets, Widths};
pub(crate) use model::{MAX_IDENTITY_BLOCKS, MAX_WIDTH};
