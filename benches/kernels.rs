//! Every kernel of the registry at the network's shapes, on every instruction set; elements a second are
//! floating-point operations a second. `matrixmultiply` stands beside the pointwise shapes as a yardstick (on one
//! thread: compare it with RAYON_NUM_THREADS=1).
//!
//! Those that add to what is there, `folded_*`, `stem`, `residual`, `max_pool_forward` and the optimisers' steps are timed
//! with what their case does around the call: copies of what they change, or weights that a loaded network has prepared.
//!
//! `cargo bench --bench kernels -- conv3x3` runs a part.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moue::profile::Layer;
use moue::{Isa, Rng};
use moue_kernels::registry::{Shapes, cases};

fn kernels(c: &mut Criterion) {
    let mut rng = Rng::new(0);
    for case in cases(Shapes::TRAINING) {
        let info = case.entry();
        let mut group = c.benchmark_group(info.name());
        group.throughput(Throughput::Elements(info.flops() as u64)).sample_size(10);
        let inputs = case.inputs_f32(&mut || rng.range(0.0, 1.0).into());
        let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<Vec<f32>> = info.outputs().into_iter().map(|len| vec![0.0; len]).collect();
        let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
        let mut scratch = vec![0.0; case.scratch_f32()];
        for isa in Isa::available() {
            group.bench_function(BenchmarkId::new(isa.name(), info.shape()), |b| {
                b.iter(|| case.call_f32(isa, &inputs, &mut outputs, &mut scratch));
            });
        }
        group.finish();
    }
}

/// The pointwise products as a general matrix product.
fn yardstick(c: &mut Criterion) {
    let mut group = c.benchmark_group("matrixmultiply");
    let mut rng = Rng::new(0);
    for Layer { cin: k, cout: n, hw } in Layer::ALL {
        let m = 32 * hw * hw;
        let mut fill = |len: usize| -> Vec<f32> { (0..len).map(|_| rng.range(-1.0, 1.0)).collect() };
        let (a, b, mut y) = (fill(m * k), fill(k * n), fill(m * n));
        group.throughput(Throughput::Elements(2 * (m * k * n) as u64)).sample_size(10);
        group.bench_function(format!("32x{hw}x{hw}x{k}->{n}"), |bench| {
            bench.iter(|| {
                let (k_step, n_step) = (k as isize, n as isize);
                // SAFETY: a is [m, k], b [k, n] and y [m, n], all row-major.
                unsafe {
                    matrixmultiply::sgemm(
                        m,
                        k,
                        n,
                        1.0,
                        a.as_ptr(),
                        k_step,
                        1,
                        b.as_ptr(),
                        n_step,
                        1,
                        0.0,
                        y.as_mut_ptr(),
                        n_step,
                        1,
                    );
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, kernels, yardstick);
criterion_main!(benches);
