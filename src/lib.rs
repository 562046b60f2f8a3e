//! moue: facial-expression recognition trained on a plain CPU, on an engine written from scratch.
//!
//! The way of the data: a [`Graph`] records operations ([`ops`]) that blocks and models ([`nn`]) are made of;
//! [`Graph::compile`] turns it into a [`Plan`], which runs steps in one arena on the kernels of `moue-kernels`;
//! [`Params`] and [`Adam`] live beside it.

#![forbid(unsafe_code)]

mod archive;
mod arena;
mod chart;
pub mod cli;
mod error;
pub mod explain;
mod export;
pub mod faces;
mod files;
#[doc(hidden)]
pub mod fuzzing;
pub mod gradcheck;
mod graph;
mod infer;
pub mod nn;
pub mod ops;
mod optim;
mod output;
pub mod parallel;
mod params;
mod plan;
mod planner;
pub mod pretrained;
pub mod profile;
pub mod report;
mod tensor;
pub mod train;
mod views;
mod weights;

pub use error::{Error, Result};
pub use graph::{Buffer, Graph, Labels, Param, Phase, Var};
pub use infer::{Classifier, Forward};
pub use moue_datasets as datasets;
pub use moue_datasets::Rng;
pub use moue_kernels::{Isa, Shape};
pub use optim::{Adam, Method, Optimizer, Sgd};
pub use params::{Init, ParamSpec, Params};
pub use plan::{OpTime, Plan};
pub use tensor::Tensor;
pub use views::Views;
pub use weights::{Facts, Weights};
