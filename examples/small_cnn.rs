//! Horizontal or vertical stripes, told apart by a small CNN: `cargo run --release --example small_cnn`.

use moue::ops::NormParams;
use moue::{Adam, Graph, Init, Isa, Phase, Result, Rng, nn};

const BATCH: usize = 64;
const SIDE: usize = 12;

/// Noisy stripes and whether they are vertical.
fn stripes(rng: &mut Rng) -> (Vec<f32>, Vec<u32>) {
    let (mut pixels, mut classes) = (Vec::new(), Vec::new());
    for _ in 0..BATCH {
        let (vertical, phase) = (rng.below(2), rng.range(0.0, 6.0));
        for i in 0..SIDE * SIDE {
            let at = [i / SIDE, i % SIDE][vertical] as f32;
            pixels.push((at * 1.5 + phase).sin() + rng.range(-1.0, 1.0));
        }
        classes.push(vertical as u32);
    }
    (pixels, classes)
}

fn main() -> Result<()> {
    let mut g = Graph::new(Phase::Train);
    let x = g.input([BATCH, SIDE, SIDE, 1]);
    let labels = g.labels(BATCH);
    let w = g.param("conv.weight", &[3, 3, 1, 8], Init::Uniform { fan_in: 9 });
    let h = g.conv3x3(x, w);
    let norm = NormParams::new(&mut g, "bn", 8);
    let h = g.batch_norm(h, norm, true);
    let h = nn::residual_block(&mut g, "block", h, 16);
    let h = g.global_avg(h);
    let w = g.param("head.weight", &[16, 2], Init::Uniform { fan_in: 16 });
    let b = g.param("head.bias", &[2], Init::Constant(0.0));
    let logits = g.linear(h, w, b);
    g.keep(logits);
    let loss = g.cross_entropy(logits, labels);

    let isa = Isa::fastest();
    let mut rng = Rng::new(1);
    let mut params = g.init_params(&mut rng);
    let mut plan = g.compile::<f32>(loss, isa)?;
    let mut adam = Adam::new(&params, 0.01, isa);
    for step in 0..60 {
        let (pixels, classes) = stripes(&mut rng);
        plan.set(x, &pixels);
        plan.set_labels(labels, &classes);
        plan.forward(&mut params);
        plan.backward(&mut params);
        adam.step(&mut params);
        if step % 20 == 19 {
            let tensor = plan.tensor(logits);
            let right =
                tensor.rows().zip(&classes).filter(|(row, class)| u32::from(row[1] > row[0]) == **class);
            println!("step {step}: loss {:.4}, accuracy {} of {BATCH}", plan.loss(), right.count());
        }
    }
    Ok(())
}
