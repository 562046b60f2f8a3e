//! Two spirals, told apart by a small MLP: `cargo run --release --example mlp`.

use moue::{Adam, Graph, Init, Isa, Phase, Result, Rng, Var};

const POINTS: usize = 256;

fn layer(g: &mut Graph, name: &str, x: Var, cout: usize) -> Var {
    let cin = g.shape(x).c;
    let w = g.param(format!("{name}.weight"), &[cin, cout], Init::Uniform { fan_in: cin });
    let b = g.param(format!("{name}.bias"), &[cout], Init::Uniform { fan_in: cin });
    g.linear(x, w, b)
}

/// Points of two spirals, one and a half turns each, and which spiral each is on.
fn spirals(rng: &mut Rng) -> (Vec<f32>, Vec<u32>) {
    let (mut points, mut classes) = (Vec::new(), Vec::new());
    for i in 0..POINTS {
        let (class, t) = (i % 2, rng.range(0.1, 1.0));
        let angle = (3.0 * t + class as f32) * std::f32::consts::PI;
        points.extend([t * angle.cos() * 2.0, t * angle.sin() * 2.0]);
        classes.push(class as u32);
    }
    (points, classes)
}

fn main() -> Result<()> {
    let mut g = Graph::new(Phase::Train);
    let x = g.input([POINTS, 1, 1, 2]);
    let labels = g.labels(POINTS);
    let mut h = x;
    for name in ["hidden1", "hidden2"] {
        h = layer(&mut g, name, h, 32);
        h = g.relu(h);
    }
    let logits = layer(&mut g, "out", h, 2);
    g.keep(logits);
    let loss = g.cross_entropy(logits, labels);

    let isa = Isa::fastest();
    let mut rng = Rng::new(1);
    let mut params = g.init_params(&mut rng);
    let mut plan = g.compile::<f32>(loss, isa)?;
    let mut adam = Adam::new(&params, 0.01, isa);
    let (points, classes) = spirals(&mut rng);
    plan.set(x, &points);
    plan.set_labels(labels, &classes);
    for _ in 0..600 {
        plan.forward(&mut params);
        plan.backward(&mut params);
        adam.step(&mut params);
    }
    let logits = plan.tensor(logits);
    let right = logits.rows().zip(&classes).filter(|(row, class)| u32::from(row[1] > row[0]) == **class);
    println!("loss {:.4}, accuracy {:.1} %", plan.loss(), 100.0 * right.count() as f64 / POINTS as f64);
    Ok(())
}
