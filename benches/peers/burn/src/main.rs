//! Times burn on the network of `../model.py` and prints one JSON object.
//!
//!     RAYON_NUM_THREADS=2 cargo run --release -- step --batch 32
//!     RAYON_NUM_THREADS=2 cargo run --release -- infer --batch 1

mod model;

use std::time::Instant;

use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::{Device, Distribution, Int, Tensor};
use clap::{Parser, ValueEnum};
use model::{CLASSES, Network};
use serde_json::json;

const WARM_UP: usize = 3;
const AT_LEAST: usize = 5;
/// As `model.py` has, and 3,264 running statistics, which burn counts too.
const PARAMETERS: usize = 498_866 + 3_264;
const SCALE: f64 = 30.0;
const MARGIN: f64 = 0.35;

#[derive(Clone, Copy, ValueEnum)]
enum What {
    /// forward, AM-Softmax, backward, Adam
    Step,
    /// forward with batch norm folded
    Infer,
}

#[derive(Parser)]
struct Args {
    what: What,
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// How long to repeat; five times at least
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
}

/// Median milliseconds of a call that ends with the device idle.
fn median_ms(device: &Device, seconds: f64, mut f: impl FnMut()) -> f64 {
    let (mut times, start) = (Vec::new(), Instant::now());
    while times.len() < WARM_UP + AT_LEAST || start.elapsed().as_secs_f64() < seconds {
        let begin = Instant::now();
        f();
        device.sync().expect("the device finishes its work");
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let mut times = times.split_off(WARM_UP);
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn faces(batch: usize, device: &Device) -> Tensor<4> {
    Tensor::random([batch, 1, 48, 48], Distribution::Normal(0.0, 1.0), device)
}

fn train(device: &Device, batch: usize, seconds: f64) -> f64 {
    let device = device.clone().autodiff();
    let mut net = Some(Network::new(&device));
    assert_eq!(net.as_ref().map(Module::num_params), Some(PARAMETERS));
    let mut adam = AdamConfig::new().with_epsilon(1e-8).init();
    let cross_entropy = CrossEntropyLossConfig::new().init(&device);
    let x = faces(batch, &device);
    let labels: Vec<i64> = (0..batch).map(|i| ((3 * i + 1) % CLASSES) as i64).collect();
    let labels = Tensor::<1, Int>::from_data(labels.as_slice(), &device);
    let margins = labels.clone().one_hot::<2>(CLASSES).float() * MARGIN;
    median_ms(&device, seconds, || {
        let model = net.take().expect("put back below");
        let logits = (model.forward(x.clone()) - margins.clone()) * SCALE;
        let loss = cross_entropy.forward(logits, labels.clone());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        net = Some(adam.step(1e-3, model, gradients));
    })
}

fn infer(device: &Device, batch: usize, seconds: f64) -> f64 {
    let (net, x) = (Network::new(device), faces(batch, device));
    median_ms(device, seconds, || {
        std::hint::black_box(net.forward(x.clone()));
    })
}

fn main() {
    let args = Args::parse();
    let device = Device::flex();
    let ms = match args.what {
        What::Step => train(&device, args.batch, args.seconds),
        What::Infer => infer(&device, args.batch, args.seconds),
    };
    let images_per_second = args.batch as f64 / ms * 1e3;
    println!(
        "{}",
        json!({ "images_per_second": images_per_second, "us_per_image": 1e6 / images_per_second })
    );
}
