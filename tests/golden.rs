//! Whole networks against PyTorch: loss, logits, gradients, running statistics and three steps of Adam or SGD, as
//! `tests/fixtures/golden.py` stored them from float64.

mod common;

use common::{AM_SOFTMAX, Training};
use moue::gradcheck::f32_tolerance;
use moue::nn::{Architecture, Attention, CbamPosition, Loss, Model, Targets};
use moue::ops::Real;
use moue::{Isa, Method, ParamSpec, Rng};
use safetensors::SafeTensors;

const FACES: usize = 4;
const LR: f64 = 1e-3;

/// Relative error of our f64 against PyTorch's float64: both round 1e-16 at a time, in different orders.
const F64_TOLERANCE: f64 = 1e-9;

/// One configuration of the fixture.
struct Case {
    prefix: &'static str,
    model: Model,
    targets: Targets,
    method: Method,
}

fn cases() -> Vec<Case> {
    let labels = Targets::Labels { smoothing: 0.0 };
    let case = |prefix, model| Case { prefix, model, targets: labels, method: Method::Adam };
    let model = |cbam, loss| Model::new(cbam, loss, 7);
    let softmax = model(CbamPosition::Block4, Loss::Softmax);
    let wider = Model { widths: Some([64, 128, 256, 256]), identity_blocks: [1, 1, 1, 0], ..softmax };
    let se = Model { attention: Attention::Se, ..model(CbamPosition::Block3, Loss::Softmax) };
    let cnn = Model { architecture: Architecture::Cnn, ..model(CbamPosition::None, Loss::Svm) };
    vec![
        case("block4/am-softmax", model(CbamPosition::Block4, AM_SOFTMAX)),
        case("block4/softmax", softmax),
        case("none/am-softmax", model(CbamPosition::None, AM_SOFTMAX)),
        case("block2/softmax", model(CbamPosition::Block2, Loss::Softmax)),
        // As the weights that ship were trained.
        Case { targets: Targets::Soft, method: Method::Sgd, ..case("wider", wider) },
        case("se", se),
        case("cnn-svm", cnn),
    ]
}

/// The stored values of one configuration.
struct Golden<'a> {
    file: SafeTensors<'a>,
    prefix: &'static str,
}

impl Golden<'_> {
    fn get(&self, name: &str) -> Vec<f64> {
        let name = format!("{}/{name}", self.prefix);
        let tensor = self.file.tensor(&name).unwrap_or_else(|e| panic!("{name}: {e}"));
        let (numbers, rest) = tensor.data().as_chunks::<8>();
        assert!(rest.is_empty());
        numbers.iter().map(|&x| f64::from_le_bytes(x)).collect()
    }
}

/// `uniform` of golden.py.
fn uniform(name: &str, count: usize) -> impl Iterator<Item = f32> {
    let hash = |state: u64, byte| (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let mut state = name.bytes().fold(0xcbf2_9ce4_8422_2325, hash);
    (0..count).map(move |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        (z >> 40) as f32 / (1 << 23) as f32 - 1.0
    })
}

/// `parameter` of golden.py.
fn parameter(spec: &ParamSpec) -> Vec<f32> {
    let uniform = uniform(&spec.name, spec.len());
    if spec.name.ends_with("gamma") {
        return uniform.map(|x| 1.0 + 0.25 * x).collect();
    }
    if spec.dims.len() == 1 {
        return uniform.map(|x| 0.125 * x).collect();
    }
    let fan_in = spec.len() / spec.dims[spec.dims.len() - 1];
    let scale = (3.0 / fan_in as f64).sqrt() as f32;
    uniform.map(|x| scale * x).collect()
}

fn training<T: Real>(case: &Case, isa: Isa) -> Training<T> {
    let mut t = Training::<T>::of(&case.model, FACES, case.targets, case.method, LR, isa);
    let specs = t.params.specs().to_vec();
    for spec in &specs {
        let to = t.params.get_mut(&spec.name).expect("a parameter");
        to.iter_mut().zip(parameter(spec)).for_each(|(to, x)| *to = T::from_f64(x.into()));
    }
    let faces = t.plan.input_mut(t.net.input);
    let golden = uniform("faces 8", faces.len()).map(|x| x * 1.75);
    faces.iter_mut().zip(golden).for_each(|(to, x)| *to = T::from_f64(x.into()));
    let labels: Vec<u32> = (0..FACES as u32).map(|i| (3 * i + 1) % 7).collect();
    t.plan.set_labels(t.net.labels, &labels);
    if let Some(targets) = t.net.targets {
        // `labels_of` of golden.py: so many sixteenths for the label and the classes behind it.
        for (row, label) in t.plan.input_mut(targets).chunks_mut(7).zip(&labels) {
            for (behind, share) in [9.0, 4.0, 2.0, 1.0, 0.0, 0.0, 0.0].into_iter().enumerate() {
                row[(*label as usize + behind) % 7] = T::from_f64(share / 16.0);
            }
        }
    }
    t
}

/// `summary` of golden.py: sum, L2 norm, samples.
fn summary<T: Real>(x: &[T], samples: usize) -> Vec<f64> {
    let x: Vec<f64> = x.iter().map(|x| x.to_f64()).collect();
    let norm = x.iter().map(|x| x * x).sum::<f64>().sqrt();
    let mut all = vec![x.iter().sum(), norm];
    all.extend(x.iter().step_by(x.len().div_ceil(samples)));
    all
}

/// Largest error of a summary: of elements relative to the tensor's largest, of the norm to itself, of the sum to
/// what a sum of random signs would be.
fn error_of<T: Real>(x: &[T], golden: &[f64], samples: usize) -> f64 {
    let got = summary(x, samples);
    assert_eq!(got.len(), golden.len());
    let largest = x.iter().fold(1e-12f64, |m, x| m.max(x.to_f64().abs()));
    let scale = |i| match i {
        0 => largest * (x.len() as f64).sqrt(),
        1 => golden[1].max(1e-12),
        _ => largest,
    };
    let errors = got.iter().zip(golden).enumerate().map(|(i, (got, want))| (got - want).abs() / scale(i));
    // `max` would drop a NaN.
    errors.fold(0.0, |m, e| if e.is_nan() || m.is_nan() { f64::NAN } else { m.max(e) })
}

fn each(check: impl Fn(&Case, &Golden<'_>)) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/golden.safetensors");
    let bytes = std::fs::read(path).expect(path);
    for case in cases() {
        let file = SafeTensors::deserialize(&bytes).expect(path);
        check(&case, &Golden { file, prefix: case.prefix });
    }
}

/// Error of each gradient.
fn gradient_errors<T: Real>(t: &Training<T>, golden: &Golden<'_>) -> Vec<(String, f64)> {
    let error = |(spec, gradient): (&ParamSpec, &[T])| {
        (spec.name.clone(), error_of(gradient, &golden.get(&format!("gradient/{}", spec.name)), 32))
    };
    t.params.gradients().map(error).collect()
}

/// Asserts the running statistics and the logits.
fn check_forward<T: Real>(t: &Training<T>, golden: &Golden<'_>, tolerance: f64) {
    for (spec, value) in t.params.tensors().skip(t.params.specs().len()) {
        let error = error_of(value, &golden.get(&format!("buffer/{}", spec.name)), 32);
        assert!(error <= tolerance, "{}: {} is off by {error:e}", golden.prefix, spec.name);
    }
    let logits = t.plan.value(t.net.logits);
    let want = golden.get("logits");
    let largest = want.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    for (got, want) in logits.iter().zip(&want) {
        let error = (got.to_f64() - want).abs() / largest;
        assert!(error <= tolerance, "{}: a logit is off by {error:e}", golden.prefix);
    }
}

/// The oracle kernels and the engine are PyTorch's networks to the last digits, gradients and optimisers included.
#[test]
fn f64_is_pytorch() {
    each(|case, golden| {
        let mut t = training::<f64>(case, Isa::fastest());
        for (step, want) in golden.get("losses").iter().enumerate() {
            let loss = t.differentiate();
            let error = (loss - want).abs() / want;
            assert!(error <= F64_TOLERANCE, "{} step {step}: loss {loss} for {want}", case.prefix);
            if step == 0 {
                check_forward(&t, golden, F64_TOLERANCE);
                for (name, error) in gradient_errors(&t, golden) {
                    assert!(error <= F64_TOLERANCE, "{}: gradient of {name} off by {error:e}", case.prefix);
                }
            }
            t.optimizer.step(&mut t.params);
        }
        for (spec, value) in t.params.tensors().take(t.params.specs().len()) {
            let error = error_of(value, &golden.get(&format!("trained/{}", spec.name)), 16);
            assert!(error <= F64_TOLERANCE, "{}: {} after steps off by {error:e}", case.prefix, spec.name);
        }
    });
}

/// How far an f32 activation may be from the f64 one: Winograd's largest error, 1.3e-6 of the largest output, at
/// outputs of up to 8.
const NUDGE: f64 = 1e-5;

/// How far each gradient jumps, at most, when the faces move by [`NUDGE`]: among a million arguments of ReLUs and
/// maxima some lie so near a kink that f32 falls on its other side, and the gradient jumps there. Measured in f64,
/// where nothing else moves a gradient by more than the nudge itself.
fn jumps(case: &Case, golden: &Golden<'_>) -> Vec<f64> {
    let mut worst: Vec<f64> = Vec::new();
    for nudge in 0..6 {
        let mut t = training::<f64>(case, Isa::fastest());
        let mut rng = Rng::new(nudge);
        let faces = t.plan.input_mut(t.net.input);
        faces.iter_mut().for_each(|x| *x += NUDGE * f64::from(rng.range(-1.0, 1.0)));
        t.differentiate();
        let errors = gradient_errors(&t, golden).into_iter().map(|(_, error)| error);
        worst = match worst.is_empty() {
            true => errors.collect(),
            false => worst.into_iter().zip(errors).map(|(a, b)| a.max(b)).collect(),
        };
    }
    worst
}

/// The SIMD kernels on every instruction set, at the bound of f32 roundings and of the kinks within their reach.
#[test]
fn f32_is_pytorch_to_rounding() {
    each(|case, golden| {
        let jumps = jumps(case, golden);
        for isa in Isa::available() {
            let mut t = training::<f32>(case, isa);
            let tolerance = f32_tolerance(t.plan.roundings());
            let (loss, want) = (t.differentiate(), golden.get("losses")[0]);
            let what = format!("{} on {isa:?}", case.prefix);
            assert!((loss - want).abs() / want <= tolerance, "{what}: loss {loss} for {want}");
            check_forward(&t, golden, tolerance);
            for ((name, error), jump) in gradient_errors(&t, golden).into_iter().zip(&jumps) {
                let allowed = tolerance + jump;
                assert!(error <= allowed, "{what}: gradient of {name} off by {error:e}, allowed {allowed:e}");
                // A wrong sign, a missing term or tap is off by tenths: kinks must not hide it.
                assert!(*jump < 0.1, "{what}: gradient of {name} jumps by {jump:e}: choose other faces");
            }
        }
    });
}
