//! Times candle on the network of `../model.py` and prints one JSON object.
//!
//!     RAYON_NUM_THREADS=2 cargo run --release -- step --batch 32
//!     RAYON_NUM_THREADS=2 cargo run --release -- infer --batch 1

mod model;

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::loss::cross_entropy;
use candle_nn::{AdamW, Optimizer, ParamsAdamW, VarBuilder, VarMap};
use clap::{Parser, ValueEnum};
use model::{CLASSES, Network};
use serde_json::json;

const WARM_UP: usize = 3;
const AT_LEAST: usize = 5;
/// As `model.py` has.
const PARAMETERS: usize = 498_866;
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

fn median_ms(seconds: f64, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    let (mut times, start) = (Vec::new(), Instant::now());
    while times.len() < WARM_UP + AT_LEAST || start.elapsed().as_secs_f64() < seconds {
        let begin = Instant::now();
        f()?;
        times.push(begin.elapsed().as_secs_f64() * 1e3);
    }
    let mut times = times.split_off(WARM_UP);
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// AM-Softmax's margin at each face's true class, zero elsewhere.
fn margins(labels: &[u32]) -> Result<Tensor> {
    let margin = |label: u32, class: usize| if label as usize == class { MARGIN as f32 } else { 0.0 };
    let flat: Vec<f32> =
        labels.iter().flat_map(|&label| (0..CLASSES).map(move |class| margin(label, class))).collect();
    Tensor::from_vec(flat, (labels.len(), CLASSES), &Device::Cpu)
}

/// Elements of all variables but the running statistics.
fn parameters(vars: &VarMap) -> usize {
    let data = vars.data().lock().expect("no thread panics");
    data.iter().filter(|(name, _)| !name.contains("running")).map(|(_, var)| var.elem_count()).sum()
}

fn train(net: &Network, vars: &VarMap, x: &Tensor, seconds: f64) -> Result<f64> {
    assert_eq!(parameters(vars), PARAMETERS);
    let batch = x.dim(0)?;
    let labels: Vec<u32> = (0..batch).map(|i| ((3 * i + 1) % CLASSES) as u32).collect();
    let margins = margins(&labels)?;
    let labels = Tensor::from_vec(labels, batch, &Device::Cpu)?;
    // Without decay AdamW is Adam.
    let params = ParamsAdamW { weight_decay: 0.0, ..Default::default() };
    let mut adam = AdamW::new(vars.all_vars(), params)?;
    median_ms(seconds, || {
        let logits = ((net.forward(x)? - &margins)? * SCALE)?;
        adam.backward_step(&cross_entropy(&logits, &labels)?)
    })
}

fn main() -> Result<()> {
    let args = Args::parse();
    let vars = VarMap::new();
    let builder = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let net = Network::new(matches!(args.what, What::Step), builder)?;
    let x = Tensor::randn(0f32, 1f32, (args.batch, 1, 48, 48), &Device::Cpu)?;
    let ms = match args.what {
        What::Step => train(&net, &vars, &x, args.seconds)?,
        What::Infer => median_ms(args.seconds, || {
            std::hint::black_box(net.forward(&x)?);
            Ok(())
        })?,
    };
    let images_per_second = args.batch as f64 / ms * 1e3;
    println!(
        "{}",
        json!({ "images_per_second": images_per_second, "us_per_image": 1e6 / images_per_second })
    );
    Ok(())
}
