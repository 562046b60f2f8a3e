//! A graph under check, ready to run in one number type, and its finite differences.

use super::{Checked, Options, Probes, largest};
use crate::error::Result;
use crate::graph::{Graph, Phase, Var};
use crate::ops::Real;
use crate::params::Params;
use crate::plan::Plan;
use moue_datasets::Rng;

/// Steps of the differences; they are tried in turn, and the best agreement counts: a step that straddles a kink (of
/// a ReLU or a maximum) is wrong by the jump, a smaller one does not reach it, while a wrong gradient is wrong at
/// every step. The truncation error is of the order of the step squared, the rounding error of 1e-16 over the step.
const STEPS: [f64; 4] = [1e-5, 1e-6, 1e-4, 1e-7];

/// Steps when a whole block moves. A batch of two has 600,000 ReLU arguments, so that a step of 1e-5 takes a handful
/// over their kinks, each wrong by one part in the square root of their number; 1e-8 reaches hardly any.
const BLOCK_STEPS: [f64; 3] = [1e-7, 1e-8, 3e-9];

/// A graph under check in one number type, with its inputs, parameters and projection.
pub(super) struct Harness<T> {
    plan: Plan<T>,
    params: Params<T>,
    inputs: Vec<Var>,
    /// Elements of each input.
    lengths: Vec<usize>,
    pub(super) shape: String,
    pub(super) roundings: f64,
}

impl<T: Real> Harness<T> {
    pub(super) fn new(
        options: &Options,
        phase: Phase,
        build: &dyn Fn(&mut Graph) -> Checked,
    ) -> Result<Self> {
        let mut g = Graph::new(phase);
        let checked = build(&mut g);
        let out = g.shape(checked.out);
        let direction = g.input(out);
        let loss = g.dot(checked.out, direction);
        checked.inputs.iter().for_each(|&v| g.watch(v));
        let from = checked.inputs.first().map_or(String::new(), |&v| format!("{} -> ", g.shape(v)));
        let shape = format!("{from}{out}");

        let mut rng = Rng::stream(&[options.seed, 0]);
        let mut params = g.init_params(&mut rng);
        perturb(&mut params, &mut rng);
        let mut rng = Rng::stream(&[options.seed, 1]);
        let lengths: Vec<_> = checked.inputs.iter().map(|&v| g.shape(v).len()).collect();
        let mut plan = g.compile::<T>(loss, options.isa)?;
        // As a step finds it: what another one left must not show.
        plan.arena.all().fill(T::from_f64(f64::NAN));
        for (t, (&v, &len)) in checked.inputs.iter().zip(&lengths).enumerate() {
            let values: Vec<f32> = distinct(len, &mut rng).into_iter().map(|x| x * scale(t)).collect();
            plan.set(v, &convert(&values));
        }
        let toward: Vec<f32> = (0..out.len()).map(|_| rng.range(-1.0, 1.0)).collect();
        plan.set(direction, &convert(&toward));
        for (labels, classes) in &checked.labels {
            plan.set_labels(*labels, classes);
        }
        let roundings = plan.roundings();
        Ok(Self { plan, params: params.cast(), inputs: checked.inputs, lengths, shape, roundings })
    }

    pub(super) fn differentiate(&mut self) {
        self.params.grads.fill(T::from_f64(f64::NAN));
        self.plan.forward(&mut self.params);
        self.plan.backward(&mut self.params);
    }

    pub(super) fn tensors(&self) -> usize {
        self.inputs.len() + self.params.specs().len()
    }

    pub(super) fn name(&self, t: usize) -> String {
        match t.checked_sub(self.inputs.len()) {
            None => format!("input {t}"),
            Some(p) => self.params.specs()[p].name.clone(),
        }
    }

    pub(super) fn gradient(&self, t: usize) -> &[T] {
        match t.checked_sub(self.inputs.len()) {
            None => {
                let gradient = self.plan.gradient(self.inputs[t]);
                // Nothing to compare would pass.
                assert_eq!(gradient.len(), self.lengths[t], "the gradient of input {t}");
                gradient
            }
            Some(p) => &self.params.grads[self.params.spans().0[p].clone()],
        }
    }

    fn element(&mut self, t: usize, i: usize) -> &mut T {
        match t.checked_sub(self.inputs.len()) {
            None => &mut self.plan.input_mut(self.inputs[t])[i],
            Some(p) => {
                let span = self.params.spans().0[p].clone();
                &mut self.params.values[span][i]
            }
        }
    }
}

/// Elements that a difference moves together.
pub(super) struct Probe {
    /// Tensor or block.
    pub(super) name: String,
    /// Tensor, element, how far it moves for a step of 1.
    moves: Vec<(usize, usize, f64)>,
    /// The gradient along it.
    analytic: f64,
    /// Smallest magnitude that an error is relative to.
    floor: f64,
    steps: &'static [f64],
}

impl Probe {
    pub(super) fn draw(harness: &Harness<f64>, probes: Probes, rng: &mut Rng) -> Vec<Self> {
        match probes {
            Probes::Elements(most) => {
                (0..harness.tensors()).flat_map(|t| Self::elements(harness, t, most, rng)).collect()
            }
            Probes::Blocks => Self::blocks(harness, rng),
        }
    }

    fn elements(harness: &Harness<f64>, t: usize, most: usize, rng: &mut Rng) -> Vec<Self> {
        let gradient = harness.gradient(t);
        let largest = largest(gradient);
        let mut picks: Vec<usize> = (0..gradient.len()).collect();
        rng.shuffle(&mut picks);
        picks.truncate(most);
        let probe = |i| Self {
            name: harness.name(t),
            moves: vec![(t, i, 1.0)],
            analytic: gradient[i],
            // Gradients that are exactly zero leave only the rounding of the difference itself.
            floor: if largest > 1e-12 { 1e-3 * largest } else { 1.0 },
            steps: &STEPS,
        };
        picks.into_iter().map(probe).collect()
    }

    fn blocks(harness: &Harness<f64>, rng: &mut Rng) -> Vec<Self> {
        let mut probes: Vec<Self> = Vec::new();
        for t in 0..harness.tensors() {
            let name = harness.name(t);
            let block = name.split('.').next().unwrap_or(&name);
            if probes.last().is_none_or(|p| p.name != block) {
                probes.push(Self {
                    name: block.to_owned(),
                    moves: Vec::new(),
                    analytic: 0.0,
                    floor: 0.0,
                    steps: &BLOCK_STEPS,
                });
            }
            let Some(probe) = probes.last_mut() else { continue };
            for (i, g) in harness.gradient(t).iter().enumerate() {
                let toward = f64::from(rng.range(-1.0, 1.0));
                probe.moves.push((t, i, toward));
                probe.analytic += g * toward;
                // Sum of squares for now: the size that a sum of random signs has.
                probe.floor += (g * toward).powi(2);
            }
        }
        for probe in &mut probes {
            probe.floor = 1e-3 * probe.floor.sqrt();
        }
        probes
    }
}

impl Harness<f64> {
    /// Relative disagreement of the analytic gradient along `probe` with central differences.
    pub(super) fn disagreement(&mut self, probe: &Probe, tolerance: f64) -> f64 {
        let start: Vec<f64> = probe.moves.iter().map(|&(t, i, _)| *self.element(t, i)).collect();
        let mut best = f64::INFINITY;
        for &step in probe.steps {
            let [up, down] = [step, -step].map(|step| {
                for (&(t, i, toward), x) in probe.moves.iter().zip(&start) {
                    *self.element(t, i) = x + step * toward;
                }
                self.plan.forward(&mut self.params);
                self.plan.loss()
            });
            let numerical = (up - down) / (2.0 * step);
            let scale = probe.analytic.abs().max(numerical.abs()).max(probe.floor);
            best = best.min((probe.analytic - numerical).abs() / scale);
            if best <= tolerance {
                break;
            }
        }
        for (&(t, i, _), x) in probe.moves.iter().zip(&start) {
            *self.element(t, i) = *x;
        }
        if probe.analytic.is_finite() { best } else { f64::NAN }
    }
}

/// Scale of input `t`.
///
/// Each input is on a grid of its own. Elements of the first two are odd multiples of 1/n and of 8/7 n, n even: their
/// sum is an odd multiple of 1/7 n and never 0.
fn scale(t: usize) -> f32 {
    1.0 + t as f32 / 7.0
}

/// Odd multiples of 1/n between -1 and 1 in random order, n the even one of len and len + 1: no two closer than 2/n,
/// none nearer to 0 than 1/n, so that ReLUs and maxima of inputs are far from their kinks.
fn distinct(len: usize, rng: &mut Rng) -> Vec<f32> {
    let n = len.next_multiple_of(2) as f32;
    let mut values: Vec<f32> = (0..len).map(|i| (2.0 * i as f32 + 1.0) / n - 1.0).collect();
    rng.shuffle(&mut values);
    values
}

/// Constants (gamma 1, beta 0, running variance 1) would hide mistakes: a quarter up or down.
fn perturb(params: &mut Params<f32>, rng: &mut Rng) {
    params.values.iter_mut().for_each(|x| *x += rng.range(-0.25, 0.25) * x.abs().max(0.1));
    params.buffers.iter_mut().for_each(|x| *x += rng.range(-0.25, 0.25));
}

fn convert<T: Real>(x: &[f32]) -> Vec<T> {
    x.iter().map(|&x| T::from_f64(x.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gradcheck::sweep;

    /// At the sizes of the sweep, kinks of an input (ReLU, maxima) and of the sum of two are further away than the
    /// first step of the differences goes.
    #[test]
    fn inputs_keep_their_distance_from_kinks() {
        let mut rng = Rng::new(1);
        for at in sweep() {
            let len = at.x().into_iter().product();
            let [mut a, b] = [0, 1].map(|t| {
                let values = distinct(len, &mut rng).into_iter().map(|x| f64::from(x * scale(t)));
                values.collect::<Vec<f64>>()
            });
            let zero = a.iter().zip(&b).flat_map(|(a, b)| [a.abs(), b.abs(), (a + b).abs()]);
            assert!(zero.fold(f64::INFINITY, f64::min) > 1.5 * STEPS[0], "{at:?}");
            a.sort_by(f64::total_cmp);
            assert!(a.windows(2).all(|pair| pair[1] - pair[0] > 10.0 * STEPS[0]), "{at:?}");
        }
    }
}
