//! Ranks that are threads train to the bits of one process.

use super::threads;
use super::{Cooperation, Reduce, Statistics, Team};
use crate::nn::{Architecture, CbamPosition, Loss, Model};
use crate::train::{
    Config, Distillation, Helpers, Options, Recipe, Refinements, Resume, RunFolder, Schedule, Session, Sets,
    Teachers, Trainer,
};
use crate::weights::Weights;
use crate::{Error, Isa};
use moue_datasets::{Augment, Dataset, Faces, Normalisation, OpenOptions, Split, synthetic};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// What a training leaves: loss and correct answers of each step, bits of parameters and running statistics.
#[derive(Clone, Debug, PartialEq)]
struct Trained {
    steps: Vec<(u64, usize)>,
    values: Vec<u32>,
    buffers: Vec<u32>,
}

fn dnn_cbam() -> Model {
    Model::new(CbamPosition::Block4, Loss::AM_SOFTMAX, 7)
}

/// Trains on `ranks` ranks of `threads` threads each; all of them come to the same.
fn train(model: Model, faces: &Faces, steps: usize, shape: (usize, usize), how: Cooperation) -> Trained {
    train_by(model, faces, steps, shape, how, None)
}

/// The same with teachers.
fn train_by(
    model: Model,
    faces: &Faces,
    steps: usize,
    (ranks, threads): (usize, usize),
    how: Cooperation,
    distillation: Option<&Distillation>,
) -> Trained {
    let bits = |x: &[f32]| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let mut all = threads::run(ranks, |link| {
        // A pool of its own for each: a rank that waits for another must not keep that one from its threads.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let names = moue_datasets::classes::FER2013.map(str::to_owned).to_vec();
            let normalisation = Normalisation { mean: 0.5, std: 0.25 };
            let weights = Weights::new(model, names, normalisation, 1, Isa::fastest()).unwrap();
            let recipe = Recipe {
                batch: 32,
                optimizer: crate::optim::Method::Adam,
                lr: 1e-3,
                schedule: Schedule::Constant,
                epochs: 2,
                seed: 1,
                augment: Augment::paper(),
                refinements: Refinements::default(),
            };
            let team = (ranks > 1).then(|| Arc::new(Team::new(link.clone(), how)));
            let isa = Isa::fastest();
            let teachers = distillation.map(|how| Teachers::load(how, &weights, 0.1, isa).unwrap());
            let helpers = Helpers { team, teachers };
            let mut trainer = Trainer::with_helpers(weights, faces, &recipe, (0, 0), isa, helpers).unwrap();
            let steps = (0..steps).map(|_| trainer.step().unwrap());
            let steps = steps.map(|step| (step.loss.to_bits(), step.correct)).collect();
            let params = &trainer.weights().params;
            Trained { steps, values: bits(&params.values), buffers: bits(&params.buffers) }
        })
    });
    let first = all.remove(0);
    assert!(all.iter().all(|other| *other == first), "ranks differ");
    first
}

/// 42 faces: a batch of 32, which four ranks share, then one of 10, which two share and four do not.
#[test]
fn ranks_train_to_the_bits_of_one_process() {
    let faces = synthetic::faces(0, Split::Train, 6).unwrap();
    let how = Cooperation::default();
    let one = train(dnn_cbam(), &faces, 3, (1, 1), how);
    for shape in [(1, 2), (2, 1), (2, 2), (4, 1)] {
        let many = train(dnn_cbam(), &faces, 3, shape, how);
        assert_eq!(many.steps, one.steps, "{shape:?} ranks and threads");
        assert!(many == one, "{shape:?} ranks and threads");
    }
}

/// Each rank asks its own teachers about its share; 33 faces: the last batch is one face, which no ranks share and all
/// threads work on together.
#[test]
fn so_they_do_with_teachers() {
    let faces = synthetic::faces(0, Split::Train, 5).unwrap().subset(&Vec::from_iter(0..33));
    let student = Model { cbam: CbamPosition::None, loss: Loss::Softmax, ..dnn_cbam() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("teacher.safetensors");
    let names = moue_datasets::classes::FER2013.map(str::to_owned).to_vec();
    let normalisation = Normalisation { mean: 0.4, std: 0.3 };
    Weights::new(dnn_cbam(), names, normalisation, 2, Isa::fastest()).unwrap().save(&path).unwrap();
    let taught = Distillation { teachers: vec![path.to_str().unwrap().to_owned()], share: 0.7 };
    let train = |shape| train_by(student, &faces, 3, shape, Cooperation::default(), Some(&taught));
    let one = train((1, 1));
    for shape in [(1, 2), (2, 1), (2, 2)] {
        assert!(train(shape) == one, "{shape:?} ranks and threads");
    }
}

/// Every layer of every network: large weights, biases, other losses.
#[test]
fn other_networks_too() {
    let faces = synthetic::faces(0, Split::Train, 3).unwrap();
    let cnn =
        Model { architecture: Architecture::Cnn, cbam: CbamPosition::None, loss: Loss::Svm, ..dnn_cbam() };
    let dnn = Model { cbam: CbamPosition::Input, loss: Loss::Softmax, identity_blocks: [1; 4], ..dnn_cbam() };
    for model in [cnn, dnn] {
        let one = train(model, &faces, 1, (1, 1), Cooperation::default());
        assert!(train(model, &faces, 1, (2, 1), Cooperation::default()) == one, "{model:?}");
    }
}

/// Fast sums and local statistics are other roundings and another network; ranks still agree among themselves.
#[test]
fn other_ways_to_cooperate_differ_as_they_should() {
    let faces = synthetic::faces(0, Split::Train, 5).unwrap();
    let value = |trained: &Trained| trained.values.iter().map(|x| f32::from_bits(*x)).collect::<Vec<_>>();
    let one = train(dnn_cbam(), &faces, 1, (1, 1), Cooperation::default());
    let fast = Cooperation { reduce: Reduce::Fast, ..Cooperation::default() };
    let fast = train(dnn_cbam(), &faces, 1, (4, 1), fast);
    assert_eq!(fast.steps, one.steps);
    assert!(fast != one, "sums in another order give the same bits");
    // The first step of Adam is nearly the gradients' signs: only tiny ones can turn.
    let far = value(&fast).iter().zip(value(&one)).filter(|(a, b)| (*a - b).abs() > 1e-4).count();
    assert!(far < one.values.len() / 1000, "{far} weights differ");
    let local = Cooperation { batch_norm: Statistics::Local, ..Cooperation::default() };
    let local = train(dnn_cbam(), &faces, 2, (2, 1), local);
    assert_ne!(local.steps[0].0, one.steps[0].0);
    assert!(local.buffers.iter().all(|x| f32::from_bits(*x).is_finite()));
}

#[test]
fn batches_too_small_for_the_ranks_are_refused() {
    let errors = threads::run(4, |link| {
        let team = Team::new(link, Cooperation::default());
        assert!(team.check(32).is_ok() && team.check(25).is_ok());
        team.check(24).unwrap_err().to_string()
    });
    assert!(errors[0].contains("--batch 24: 4 processes cannot share it, at most 2 can"), "{}", errors[0]);
}

#[test]
fn ranks_that_differ_are_found_by_all() {
    let agreed = threads::run(4, |link| {
        let team = Team::new(link, Cooperation::default());
        (team.agree(7), team.agree((team.rank() / 3) as u64), team.any(team.rank() == 2), team.any(false))
    });
    assert_eq!(agreed, [(true, false, true, false); 4]);
}

fn sets(config: &Config) -> Sets {
    let options = OpenOptions { synthetic_per_class: 7, ..OpenOptions::default() };
    Sets::new(Dataset::open("synthetic", &options).unwrap(), config).unwrap()
}

fn config() -> Config {
    Config {
        schedule: Schedule::Cosine,
        seed: 3,
        refinements: Refinements { average: 0.9, ..Refinements::default() },
        ..Config::paper("synthetic", dnn_cbam(), 2)
    }
}

/// Starts (or resumes) a run on so many ranks and stops after `steps` steps, or goes to the end.
fn work(folder: &Path, ranks: usize, steps: Option<u64>) {
    threads::run(ranks, |link| {
        let team = (ranks > 1).then(|| Arc::new(Team::new(link.clone(), Cooperation::default())));
        let leads = team.as_ref().is_none_or(|team| team.leads());
        let checkpoint_every = Duration::from_secs(60);
        // The second rank is interrupted, and all stop.
        let stop_after = steps.filter(|_| link.rank() == ranks - 1);
        let isa = Isa::fastest();
        let options =
            Options { isa, quiet: true, stop_after, stop_at: None, checkpoint_every, team: team.clone() };
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        pool.install(|| {
            let config = config();
            let sets = sets(&config);
            let resumed = folder.join("config.json").exists();
            if let Some(team) = &team {
                team.any(false);
            }
            let mut session = if resumed {
                Resume::open(folder, None, leads).unwrap().session(&sets, &options).unwrap()
            } else {
                let folder = || leads.then(|| RunFolder::create(folder)).transpose();
                Session::begin(config, &sets, folder, &options).unwrap()
            };
            match session.run(&AtomicBool::new(false)) {
                Ok(report) => assert!(steps.is_none() && report.epochs == 2),
                Err(Error::Interrupted(_)) => assert!(steps.is_some()),
                Err(error) => panic!("{error}"),
            }
        });
    });
}

#[test]
fn a_run_goes_on_with_other_ranks_to_the_same_files() {
    let base = tempfile::tempdir().unwrap();
    let (one, many) = (base.path().join("one"), base.path().join("many"));
    work(&one, 1, None);
    work(&many, 2, Some(1));
    work(&many, 1, Some(1));
    work(&many, 4, None);
    let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).unwrap();
    for name in ["last.safetensors", "best.safetensors"] {
        assert!(read(&one, name) == read(&many, name), "{name}");
    }
}
