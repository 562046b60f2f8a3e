//! GFLOP/s of the registry's kernels at the network's shapes, against the FMA peak measured beside them:
//! `cargo run --release -p moue-kernels --example gflops -- [NAME PART] [THREADS] [BATCH]`.

use moue_kernels::registry::{Case, Shapes, cases};
use moue_kernels::{Isa, peak};
use std::hint::black_box;
use std::time::{Duration, Instant};

const ROUNDS: usize = 100_000;

fn best(seconds: f64, mut f: impl FnMut()) -> f64 {
    let start = Instant::now();
    let mut best = f64::MAX;
    let mut runs = 0;
    while runs < 3 || start.elapsed() < Duration::from_secs_f64(seconds) {
        let t = Instant::now();
        f();
        best = best.min(t.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

fn time(case: &dyn Case, isa: Isa) -> f64 {
    let mut state = 1u32;
    let inputs = case.inputs_f32(&mut || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    });
    let mut outputs: Vec<Vec<f32>> = case.entry().outputs().into_iter().map(|n| vec![0.0; n]).collect();
    let mut scratch = vec![0.0; case.scratch_f32()];
    let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    best(0.4, || case.call_f32(isa, &inputs, &mut outputs, &mut scratch))
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let name = args.first().map_or("", String::as_str);
    let threads = args.get(1).map_or(1, |n| n.parse().expect("threads"));
    let shapes = match args.get(2) {
        Some(batch) => Shapes::Network { batch: batch.parse().expect("batch") },
        None => Shapes::TRAINING,
    };
    let isa = Isa::from_env().expect("MOUE_ISA");
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("thread pool");
    pool.install(|| {
        let rounds = || _ = black_box(peak::multiply_adds(isa, ROUNDS));
        let peak = || (peak::FLOPS_PER_ROUND * ROUNDS) as f64 / best(0.05, rounds) / 1e9;
        println!("{} on {threads} threads, peak of one {:.0} GFLOP/s", isa.name(), peak());
        for case in cases(shapes) {
            let info = case.entry();
            let label = format!("{} {}", info.name(), info.shape());
            if label.contains(name) {
                let top = peak();
                let t = time(case.as_ref(), isa);
                let rate = info.flops() / t / 1e9;
                let part = 100.0 * rate / (top.max(peak()) * threads as f64);
                println!("{label:44} {:8.3} ms {rate:6.1} GFLOP/s {part:4.0} %", t * 1e3);
            }
        }
    });
}
