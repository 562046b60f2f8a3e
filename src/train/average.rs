//! A moving average of the weights.

use crate::params::Params;

/// An exponential moving average of parameters and running statistics (Polyak and Juditsky 1992 with exponential
/// weights): noise of single steps averages out, so that it classifies better than the weights that it follows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Average {
    decay: f64,
    pub(crate) values: Vec<f32>,
    pub(crate) buffers: Vec<f32>,
}

impl Average {
    /// Starts at `params`.
    pub(crate) fn new(decay: f64, params: &Params<f32>) -> Self {
        Self { decay, values: params.values.clone(), buffers: params.buffers.clone() }
    }

    /// Takes in the parameters after step `step`, counted from 1.
    pub(crate) fn follow(&mut self, params: &Params<f32>, step: u64) {
        // Young averages forget faster, or the random start would stay in them for long.
        let t = step as f64;
        let decay = self.decay.min((1.0 + t) / (10.0 + t));
        let towards = (1.0 - decay) as f32;
        let pairs = [(&mut self.values, &params.values), (&mut self.buffers, &params.buffers)];
        for (average, now) in pairs {
            average.iter_mut().zip(now).for_each(|(a, x)| *a += towards * (x - *a));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Graph, Phase};
    use crate::params::Init;
    use moue_datasets::Rng;

    #[test]
    fn it_moves_by_what_the_decay_leaves() {
        let mut g = Graph::new(Phase::Train);
        g.param("w", &[1], Init::Constant(1.0));
        g.buffer("mean", &[1], Init::Constant(8.0));
        let mut params = g.init_params(&mut Rng::new(0));
        let mut average = Average::new(0.75, &params);
        (params.values[0], params.buffers[0]) = (3.0, 0.0);
        average.follow(&params, 100);
        assert_eq!((average.values[0], average.buffers[0]), (1.5, 6.0));
        // The first step of a training keeps 2/11.
        params.values[0] = 12.5;
        average.follow(&params, 1);
        assert!((average.values[0] - 10.5).abs() < 1e-6);
    }
}
