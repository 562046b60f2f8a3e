//! A whole training step of DNN-CBAM at batch 32: `cargo bench --bench step`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moue::nn::{CbamPosition, Loss, Model};
use moue::{Adam, Graph, Isa, Phase, Rng};

const BATCH: usize = 32;

fn training_step(c: &mut Criterion) {
    let mut group = c.benchmark_group("step");
    group.throughput(Throughput::Elements(BATCH as u64)).sample_size(20);
    let model = Model::new(CbamPosition::Block4, Loss::AM_SOFTMAX, 7);
    for isa in Isa::available() {
        let mut g = Graph::new(Phase::Train);
        let net = model.record(&mut g, BATCH);
        let mut rng = Rng::new(0);
        let mut params = g.init_params(&mut rng);
        let mut plan = g.compile::<f32>(net.loss, isa).expect("the model compiles");
        let mut adam = Adam::new(&params, 1e-3, isa);
        plan.input_mut(net.input).iter_mut().for_each(|x| *x = rng.range(-1.7, 1.7));
        group.bench_function(isa.name(), |b| {
            b.iter(|| {
                plan.forward(&mut params);
                plan.backward(&mut params);
                adam.step(&mut params);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, training_step);
criterion_main!(benches);
