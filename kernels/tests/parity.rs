//! Every kernel of the registry, on every instruction set of this CPU, against its f64 oracle: with remainder
//! shapes, garbage in outputs and scratch, and canaries around every buffer that is written.

use moue_kernels::Isa;
use moue_kernels::registry::{Bound, Case, Shapes, cases};

const CANARY: f32 = 1.234_567_8e30;
const MARGIN: usize = 24;

/// SplitMix64: the tests need nothing better.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / (1u64 << 24) as f64
    }
}

/// A buffer between canaries.
struct Guarded(Vec<f32>);

impl Guarded {
    fn garbage(len: usize, random: &mut Random) -> Self {
        let mut all = vec![CANARY; len + 2 * MARGIN];
        for x in &mut all[MARGIN..MARGIN + len] {
            // NaN would show a read of garbage, but also survive in lanes that are thrown away: both kinds.
            *x = if random.uniform() < 0.5 { f32::NAN } else { 1e20 };
        }
        Self(all)
    }

    fn inner(&mut self) -> &mut [f32] {
        let end = self.0.len() - MARGIN;
        &mut self.0[MARGIN..end]
    }

    fn intact(&self) -> bool {
        let (head, tail) = (&self.0[..MARGIN], &self.0[self.0.len() - MARGIN..]);
        head.iter().chain(tail).all(|x| x.to_bits() == CANARY.to_bits())
    }
}

/// The cases of one list; with `MOUE_KERNELS=max_pool,relu` those whose name contains one of the words.
fn wanted(shapes: Shapes) -> Vec<Box<dyn Case>> {
    let words = std::env::var("MOUE_KERNELS").unwrap_or_default();
    let mut all = cases(shapes);
    all.retain(|case| words.split(',').any(|word| case.entry().name().contains(word)));
    all
}

/// What `MOUE_ISA` names, or the fastest.
fn fastest() -> Isa {
    Isa::selected().unwrap()[0]
}

fn refs<T>(buffers: &[Vec<T>]) -> Vec<&[T]> {
    buffers.iter().map(Vec::as_slice).collect()
}

fn oracle(case: &dyn Case, inputs: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let mut outputs: Vec<Vec<f64>> = case.entry().outputs().iter().map(|&n| vec![f64::NAN; n]).collect();
    let mut scratch = vec![f64::NAN; case.scratch_f64()];
    let mut out: Vec<&mut [f64]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
    case.call_f64(&refs(inputs), &mut out, &mut scratch);
    outputs
}

fn check(case: &dyn Case, isa: Isa, seed: u64) -> Result<(), String> {
    let info = case.entry();
    let name = format!("{} {} on {}", info.name(), info.shape(), isa.name());
    let mut random = Random(seed);
    let narrow = case.inputs_f32(&mut || random.uniform());
    // Both sides must see the same numbers, rounded to f32.
    let wide: Vec<Vec<f64>> = narrow.iter().map(|b| b.iter().map(|&x| f64::from(x)).collect()).collect();
    let truth = oracle(case, &wide);

    let mut outputs: Vec<Guarded> =
        info.outputs().iter().map(|&n| Guarded::garbage(n, &mut random)).collect();
    let mut scratch = Guarded::garbage(case.scratch_f32(), &mut random);
    let mut out: Vec<&mut [f32]> = outputs.iter_mut().map(Guarded::inner).collect();
    case.call_f32(isa, &refs(&narrow), &mut out, scratch.inner());
    if !scratch.intact() || !outputs.iter().all(Guarded::intact) {
        return Err(format!("{name}: wrote outside its buffers"));
    }

    let magnitude = || {
        let absolute: Vec<Vec<f64>> = wide.iter().map(|b| b.iter().map(|x| x.abs()).collect()).collect();
        oracle(case, &absolute)
    };
    let bounds = info.bounds();
    assert_eq!(bounds.len(), truth.len(), "{name}: a bound for every output");
    let eps = f64::from(f32::EPSILON);
    for (o, (truth_o, bound)) in truth.iter().zip(&bounds).enumerate() {
        let got = outputs[o].inner();
        let allowed: Vec<f64> = match *bound {
            Bound::Products(k) => magnitude()[o].iter().map(|m| roundings(k) * eps * m.abs()).collect(),
            Bound::Relative(k) => {
                let largest = truth_o.iter().fold(1.0f64, |m, x| m.max(x.abs()));
                vec![k as f64 * eps * largest; truth_o.len()]
            }
            Bound::Norms(k) => vec![k * eps; truth_o.len()],
            Bound::Exact => vec![0.0; truth_o.len()],
        };
        for (i, ((&g, &t), &a)) in got.iter().zip(truth_o).zip(&allowed).enumerate() {
            let error = (f64::from(g) - t).abs();
            // NaN must fail too.
            if error.is_nan() || error > a {
                return Err(format!(
                    "{name}: output {o}[{i}] is {g}, oracle {t}: off by {error:e}, allowed {a:e}"
                ));
            }
        }
    }
    Ok(())
}

/// See [`Bound::Products`]. k alone is blind where a weight gradient sums over all pixels of a batch: with 73,728 of them
/// it allows more than the gradient.
fn roundings(k: usize) -> f64 {
    (k as f64).min(4.0 * (k as f64).sqrt())
}

#[test]
fn every_kernel_matches_its_oracle() {
    let mut failures = Vec::new();
    let mut checked = 0;
    for isa in Isa::selected().unwrap() {
        for (i, case) in wanted(Shapes::Remainders).iter().enumerate() {
            checked += 1;
            failures.extend(check(case.as_ref(), isa, i as u64).err());
        }
    }
    assert!(failures.is_empty(), "{} of {checked} failed:\n{}", failures.len(), failures.join("\n"));
    assert!(checked > 0, "no such kernel");
}

/// The network's own shapes reach code that small ones do not: several parts, blocks and strips.
#[test]
fn network_shapes_match_the_oracle() {
    let failures: Vec<_> = wanted(Shapes::TRAINING)
        .iter()
        .filter(|case| case.entry().flops() < 4e8)
        .filter_map(|case| check(case.as_ref(), fastest(), 7).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// `MOUE_REQUIRE_ISA=avx2,portable` says what detection must find, no less and no more: a green run cannot mean
/// "skipped", nor one on a CPU without AVX2 "not detected properly".
#[test]
fn required_instruction_sets_are_here() {
    let Ok(required) = std::env::var("MOUE_REQUIRE_ISA") else { return };
    let found: Vec<&str> = Isa::available().into_iter().map(Isa::name).collect();
    assert_eq!(found.join(","), required);
}

#[test]
fn results_are_the_same_bits_at_any_thread_count() {
    let isa = fastest();
    let pools =
        [1, 2, 3].map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap());
    for case in wanted(Shapes::Remainders) {
        let info = case.entry();
        let mut random = Random(3);
        let narrow = case.inputs_f32(&mut || random.uniform());
        let run = |pool: &rayon::ThreadPool| {
            let mut outputs: Vec<Vec<f32>> = info.outputs().iter().map(|&n| vec![0.5; n]).collect();
            let mut out: Vec<&mut [f32]> = outputs.iter_mut().map(Vec::as_mut_slice).collect();
            pool.install(|| {
                // As much as so many threads want.
                let mut scratch = vec![f32::NAN; case.scratch_f32()];
                case.call_f32(isa, &refs(&narrow), &mut out, &mut scratch);
            });
            outputs.iter().map(|o| o.iter().map(|x| x.to_bits()).collect()).collect::<Vec<Vec<u32>>>()
        };
        let one = run(&pools[0]);
        for pool in &pools[1..] {
            let threads = pool.current_num_threads();
            assert_eq!(one, run(pool), "{} {} at {threads} threads", info.name(), info.shape());
        }
    }
}
