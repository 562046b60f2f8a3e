//! Named checks: what `moue gradcheck` and the tests run.

use super::{Checked, Options, Probes, Report, Swept, check_at_points, models, sweep};
use crate::error::Result;
use crate::graph::{Graph, Phase};
use std::borrow::Cow;

/// Records a graph under check.
type Build = Box<dyn Fn(&mut Graph) -> Checked + Send + Sync>;

/// Points at which an operation is tried: see [`check_at_points`].
const POINTS: u64 = 4;

/// Points at which a whole model is tried. At every third or so f32 finds itself on the other side of some kink: of the
/// models at eight seeds, one passed at none of four points.
const MODEL_POINTS: u64 = 12;

/// A named graph.
struct Case {
    name: Cow<'static, str>,
    phase: Phase,
    /// A whole model: checked block by block.
    whole: bool,
    build: Build,
}

/// Named checks.
#[derive(Default)]
pub struct Suite {
    cases: Vec<Case>,
}

impl Suite {
    /// Differences for a suite of operations: each is checked at so many shapes that a few elements of each tensor
    /// are enough.
    pub const PROBES: Probes = Probes::Elements(8);

    /// Every operation, at every shape of the [`sweep`].
    pub fn operations() -> Self {
        let mut suite = Self::default();
        crate::ops::checks(&mut suite);
        suite
    }

    /// Whole models: every position of the CBAM with AM-Softmax and with softmax, and the other networks, of which one
    /// has the L2-SVM and one learns from soft targets.
    pub fn models() -> Self {
        let mut suite = Self::default();
        models::checks(&mut suite);
        suite
    }

    /// Adds checks of a graph in training at every shape of the [`sweep`].
    pub fn sweep(
        &mut self,
        name: &'static str,
        build: impl Fn(&mut Graph, Swept) -> Checked + Copy + Send + Sync + 'static,
    ) {
        sweep().for_each(|at| self.add(name, move |g| build(g, at)));
    }

    /// Adds a check of a graph in training.
    pub fn add(&mut self, name: &'static str, build: impl Fn(&mut Graph) -> Checked + Send + Sync + 'static) {
        self.add_in(Phase::Train, name, build);
    }

    /// Adds a check of a graph in `phase`.
    pub fn add_in(
        &mut self,
        phase: Phase,
        name: &'static str,
        build: impl Fn(&mut Graph) -> Checked + Send + Sync + 'static,
    ) {
        self.cases.push(Case { name: name.into(), phase, whole: false, build: Box::new(build) });
    }

    /// Adds a check of a whole model in training.
    pub fn add_model(&mut self, name: String, build: impl Fn(&mut Graph) -> Checked + Send + Sync + 'static) {
        self.cases.push(Case { name: name.into(), phase: Phase::Train, whole: true, build: Box::new(build) });
    }

    /// Names, each once, in order.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.cases.iter().map(|c| &*c.name).collect();
        names.dedup();
        names
    }

    /// Runs the checks called `only` (all, without a name), one report at a time.
    pub fn run<'a>(
        &'a self,
        options: &'a Options,
        only: Option<&'a str>,
    ) -> impl Iterator<Item = Result<(&'a str, Report)>> + 'a {
        let wanted = self.cases.iter().filter(move |c| only.is_none_or(|name| name == c.name));
        wanted.map(move |case| {
            let (mut options, mut points) = (options.clone(), POINTS);
            if case.whole {
                points = MODEL_POINTS;
                // The forward pass of a whole model sums a thousand times more terms than an operation's.
                options.tolerance *= 10.0;
                options.probes = Probes::Blocks;
            }
            Ok((&*case.name, check_at_points(&options, points, case.phase, &case.build)?))
        })
    }
}

#[cfg(test)]
pub(crate) fn assert_suite(add: fn(&mut Suite)) {
    use moue_kernels::Isa;

    let mut suite = Suite::default();
    add(&mut suite);
    assert!(!suite.cases.is_empty());
    for (i, isa) in Isa::available().into_iter().enumerate() {
        // f64 has no instruction set: differences once.
        let probes = if i == 0 { Suite::PROBES } else { Probes::Elements(0) };
        for result in suite.run(&Options { isa, probes, ..Options::default() }, None) {
            let (name, report) = result.unwrap();
            assert!(report.ok(), "{name} on {isa:?}: {report:#?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bounds hold whatever is drawn: at some point of each of these seeds a sum of some operation cancels.
    #[test]
    fn other_seeds_pass_as_well() {
        let suite = Suite::operations();
        for seed in 4..=6 {
            let options = Options { seed, probes: Probes::Elements(1), ..Options::default() };
            for result in suite.run(&options, None) {
                let (name, report) = result.unwrap();
                assert!(report.ok(), "{name}, seed {seed}: {report:#?}");
            }
        }
    }
}
