//! What defines a run.

use super::data::Sets;
use super::distillation::Distillation;
use crate::error::Error;
use crate::nn::{Loss, Model, Targets};
use crate::optim::Method;
use crate::parallel::Cooperation;
use moue_datasets::{Augment, Faces, MAX_CLASSES};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Most passes over the training images.
pub(crate) const MAX_EPOCHS: u64 = 1_000_000;

/// Most images a step.
pub(crate) const MAX_BATCH: usize = 4096;

/// Most fixed copies of each image: at 100, FER2013 takes 6.7 GB.
pub(crate) const MAX_COPIES: usize = 100;

/// Most steps of a run: the most epochs on as many images as can be numbered.
pub(crate) const MAX_STEPS: u64 = MAX_EPOCHS << u32::BITS;

/// Everything that decides a run's result; stored as `config.json` and in each checkpoint.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// `synthetic` or the path of a data set.
    pub data: String,
    /// At most this many images of each split.
    pub limit: Option<usize>,
    /// Cross-validation: which fold of the training split is tested.
    pub fold: Option<Fold>,
    /// Model with its loss.
    pub model: Model,
    /// Passes over the training images.
    pub epochs: u64,
    /// Images a step.
    pub batch: usize,
    /// Optimiser.
    #[serde(default)]
    pub optimizer: Method,
    /// Its learning rate at the start.
    pub lr: f64,
    /// How the learning rate changes.
    #[serde(default)]
    pub schedule: Schedule,
    /// Seed of the first weights, of the order of images and of their augmentation.
    pub seed: u64,
    /// Augmentation of the training images.
    pub augment: Augmentation,
    /// What the paper's recipe leaves out.
    #[serde(default)]
    pub refinements: Refinements,
    /// Weights to start from: a file, or `pretrained` for those that ship with moue; else from `seed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub init: Option<String>,
    /// Trained networks to learn from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distillation: Option<Distillation>,
    /// How ranks work together, where there are several.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cooperation: Cooperation,
}

/// What the paper's recipe leaves out; 0 everywhere is the paper's recipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, clap::Args)]
#[serde(deny_unknown_fields)]
pub struct Refinements {
    /// Weight decay, decoupled from the gradient (AdamW, SGDW): weights shrink by lr * DECAY a step; norms and biases do
    /// not.
    // Loshchilov and Hutter 2019, algorithm 2.
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, value_parser = fraction)]
    pub weight_decay: f64,
    /// Label smoothing: share of the target that is spread over all classes.
    // Szegedy et al. 2016, section 7.
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = fraction)]
    pub smoothing: f64,
    /// Random erasing: probability that a rectangle of a training image is overwritten with noise.
    // Zhong et al. 2020.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.0, value_parser = fraction)]
    pub erase: f64,
    /// Mixup: each training image is blended with another, by a share of a Beta distribution with this parameter (0.2).
    // Zhang et al. 2018.
    #[arg(long, value_name = "ALPHA", default_value_t = 0.0, value_parser = fraction)]
    #[serde(default)]
    pub mixup: f64,
    /// Moving average of the weights: what is evaluated and saved keeps DECAY of itself at every step (0.999); 0
    /// takes the weights as they are.
    // Polyak and Juditsky 1992, with exponential weights.
    #[arg(long, value_name = "DECAY", default_value_t = 0.0, value_parser = fraction)]
    pub average: f64,
    /// Class-balanced sampling: an epoch has as many images of each class, rare ones repeated and a random part of the
    /// frequent ones left out.
    #[arg(long)]
    #[serde(default)]
    pub balance: bool,
}

impl Refinements {
    /// Checks that `model` can be trained so.
    pub(crate) fn check(&self, model: &Model) -> Result<(), String> {
        match model.loss {
            Loss::Svm if self.smoothing > 0.0 => {
                Err("the loss of an SVM has no targets to smooth".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What the loss compares answers with, if the network is or is not `taught` by others: teachers smooth the
    /// labels themselves.
    pub(super) fn targets(&self, taught: bool) -> Targets {
        if taught { Targets::Soft } else { Targets::Labels { smoothing: self.smoothing } }
    }
}

/// Whether `x` is from 0 to below 1: what each of the refinements is.
fn is_fraction(x: f64) -> bool {
    (0.0..1.0).contains(&x)
}

/// Parses an option's value.
fn fraction(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(x) if is_fraction(x) => Ok(x),
        _ => Err("not a number from 0 to below 1".to_owned()),
    }
}

impl Config {
    /// The paper's recipe on all of `data`: Adam at its usual rate, 32 images a step, the paper's augmentation; seed 0.
    pub fn paper(data: impl Into<String>, model: Model, epochs: u64) -> Self {
        Self {
            data: data.into(),
            limit: None,
            fold: None,
            model,
            epochs,
            batch: 32,
            optimizer: Method::Adam,
            lr: Method::Adam.lr(),
            schedule: Schedule::Constant,
            seed: 0,
            augment: Augmentation::Paper,
            refinements: Refinements::default(),
            init: None,
            distillation: None,
            cooperation: Cooperation::default(),
        }
    }

    /// Why the accuracy of its fold, if it has one, is not one of unseen faces and persons. `train` is what is trained
    /// on, or cut, where it is at hand.
    pub fn leaks(&self, train: Option<&Faces>) -> Vec<String> {
        let Some(fold) = self.fold else { return Vec::new() };
        let persons = train.is_some_and(|faces| faces.subjects.is_some());
        let cut = fold.leaks(persons).map(|leak| format!("the folds are {leak}"));
        let given = [("--init", self.init.is_some()), ("--teacher", self.distillation.is_some())];
        let known = given.into_iter().filter(|(_, given)| *given).map(|(option, _)| {
            format!(
                "{option}: weights that were trained on tested faces know them; this is then no accuracy of unseen faces"
            )
        });
        cut.chain(known).collect()
    }

    /// What a file cannot ask for, as the command line refuses it too.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.model.check()?;
        let fold = self.fold.unwrap_or(Fold::new(2, 0, Folding::Image));
        let Refinements { weight_decay, smoothing, erase, mixup, average, balance: _ } = self.refinements;
        let within = [
            ("epochs", (1..=MAX_EPOCHS).contains(&self.epochs), self.epochs.to_string()),
            ("batch", (1..=MAX_BATCH).contains(&self.batch), self.batch.to_string()),
            ("lr", self.lr.is_finite() && self.lr > 0.0, self.lr.to_string()),
            ("limit", self.limit != Some(0), "0".to_owned()),
            ("fold", fold.of >= 2 && fold.index < fold.of, format!("{} of {}", fold.index, fold.of)),
            ("copies", fold.copies <= MAX_COPIES, fold.copies.to_string()),
            ("classes", (1..=MAX_CLASSES).contains(&self.model.classes), self.model.classes.to_string()),
            ("weight_decay", is_fraction(weight_decay), weight_decay.to_string()),
            ("smoothing", is_fraction(smoothing), smoothing.to_string()),
            ("erase", is_fraction(erase), erase.to_string()),
            ("mixup", is_fraction(mixup), mixup.to_string()),
            ("average", is_fraction(average), average.to_string()),
        ];
        self.distillation.iter().try_for_each(|how| how.check(&self.model))?;
        self.refinements.check(&self.model)?;
        match within.into_iter().find(|(_, fits, _)| !fits) {
            Some((name, _, value)) => Err(format!("a run cannot have {name} {value}")),
            None => Ok(()),
        }
    }

    /// Checks that the model has the classes of `sets`.
    pub(super) fn check_classes(&self, sets: &Sets) -> Result<(), String> {
        match (self.model.classes, sets.classes.len()) {
            (ours, theirs) if ours == theirs => Ok(()),
            (ours, theirs) => Err(format!("a model of {ours} classes, but the data has {theirs}")),
        }
    }

    /// Whether both ask for the same run. The same data may have been elsewhere: their checksums tell.
    pub(crate) fn agrees_with(&self, other: &Self) -> bool {
        *self == Self { data: self.data.clone(), ..other.clone() }
    }

    /// Whether it can be stopped or extended at `epochs` with nothing changed before: a rate that follows a curve over
    /// the whole run was laid out for one length.
    pub(crate) fn is_laid_out_for(&self, epochs: u64) -> bool {
        self.epochs == epochs || !matches!(self.schedule, Schedule::Cosine | Schedule::Restarts)
    }

    /// What the loss compares answers with.
    pub(crate) fn targets(&self) -> Targets {
        self.refinements.targets(self.distillation.is_some())
    }

    /// How training images are turned, shifted and lit while they are trained on: not at all if there are fixed copies.
    /// Erasing and mixup come on top in either case.
    pub fn variation(&self) -> Augment {
        match self.fold {
            Some(Fold { copies: 1.., .. }) => Augment::none(),
            _ => self.augment.ranges(),
        }
    }

    /// Reads `text`, which came from `path`.
    pub(crate) fn parse(path: &Path, text: &[u8]) -> crate::Result<Self> {
        let wrong = |reason: String| Error::format(path, reason);
        let config: Self = serde_json::from_slice(text).map_err(|e| wrong(e.to_string()))?;
        config.check().map_err(wrong)?;
        Ok(config)
    }
}

/// One of the folds of a cross-validation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fold {
    /// Number of folds.
    pub of: usize,
    /// The fold that is tested, from 0.
    pub index: usize,
    /// What is dealt to the folds.
    #[serde(default)]
    pub by: Folding,
    /// Fixed augmented copies of each image, in place of new versions in every epoch.
    #[serde(default, skip_serializing_if = "is_default")]
    pub copies: usize,
    /// Cut with the copies already made, as the paper does it: copies of tested images are then trained on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub leaky: bool,
}

/// For fields that are only written where they say something.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl Fold {
    /// Fixed copies of each image where the paper's way of cutting is shown: our choice.
    pub(crate) const PAPER_COPIES: usize = 5;

    /// Fold `index` of `of`, of images or persons as they are.
    pub fn new(of: usize, index: usize, by: Folding) -> Self {
        Self { of, index, by, copies: 0, leaky: false }
    }

    /// How folds are cut such that what is tested was seen in training, in words that follow "the folds are"; `persons`:
    /// whether the images show some persons more than once.
    pub(crate) fn leaks(&self, persons: bool) -> impl Iterator<Item = &'static str> + use<> {
        let persons = (persons && self.by == Folding::Image).then_some(
            "cut by image: a person may be in both parts, and is recognised again (--by subject keeps persons apart)",
        );
        let copies = self.leaky.then_some(
            "cut after augmentation, as in the paper: copies of tested faces are trained on, and the accuracy is not \
             one of unseen faces",
        );
        persons.into_iter().chain(copies)
    }
}

/// What is dealt to folds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Folding {
    /// Images, by class and then by their number: every fold has its share of each class.
    #[default]
    Image,
    /// Persons, with all of their images: nobody is in both parts.
    Subject,
}

/// How the learning rate changes over a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Not at all, as in the paper.
    #[default]
    Constant,
    /// Down to 0 along half a cosine (Loshchilov and Hutter 2017, eq. 5, without restarts).
    Cosine,
    /// Three such cosines, each twice as long as the one before (the same paper's warm restarts).
    Restarts,
    /// Halved whenever five epochs have brought no better accuracy on the split that is watched.
    Plateau,
}

/// Epochs without a better one that [`Schedule::Plateau`] waits for.
pub(super) const PATIENCE: u64 = 5;

impl Schedule {
    /// What the learning rate is multiplied with when `done` of the run's steps, 0 to 1, are made, and it was cut
    /// `cuts` times.
    pub fn factor(self, done: f64, cuts: u32) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Cosine => cosine(done),
            // Of seven parts the first, two and four.
            Self::Restarts => match 7.0 * done {
                part if part < 1.0 => cosine(part),
                part if part < 3.0 => cosine((part - 1.0) / 2.0),
                part => cosine((part - 3.0) / 4.0),
            },
            Self::Plateau => 0.5f64.powi(cuts.min(1000) as i32),
        }
    }
}

/// Half a cosine from 1 at 0 to 0 at 1.
fn cosine(done: f64) -> f64 {
    0.5 * (1.0 + (std::f64::consts::PI * done.clamp(0.0, 1.0)).cos())
}

/// How training images are varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Augmentation {
    /// Rotation by 10 degrees, zoom, shear and shift of 0.1, mirroring.
    Paper,
    /// The same in wider ranges: rotation by 15 degrees, zoom and shear of 0.2, shift of 0.1.
    Wide,
    /// Rotation by 15 degrees, zoom of 0.2; contrast of 0.3 and brightness of 0.2 besides.
    Strong,
    /// Images as they are.
    None,
}

impl Augmentation {
    /// Its ranges.
    pub fn ranges(self) -> Augment {
        match self {
            Self::Paper => Augment::paper(),
            Self::Wide => Augment::wide(),
            Self::Strong => Augment::strong(),
            Self::None => Augment::none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_tell_what_leaks() {
        let by_image = Fold::new(5, 0, Folding::Image);
        let leaky = Fold { copies: 5, leaky: true, ..by_image };
        let count = |fold: Fold, persons| fold.leaks(persons).count();
        assert_eq!((count(by_image, false), count(by_image, true)), (0, 1));
        assert_eq!((count(leaky, false), count(leaky, true)), (1, 2));
        assert_eq!(count(Fold::new(5, 0, Folding::Subject), true), 0);
    }

    #[test]
    fn absurd_values_are_refused_by_name() {
        let good = r#"{"data": "synthetic", "limit": null, "fold": {"of": 5, "index": 4}, "model": {"cbam": "none",
            "loss": "softmax", "classes": 7}, "epochs": 3, "batch": 32, "lr": 0.001, "seed": 0, "augment": "paper"}"#;
        let parse = |text: &str| Config::parse(Path::new("config.json"), text.as_bytes());
        assert_eq!(parse(good).unwrap().batch, 32);
        let refined = |name: &str, value: &str| {
            let of = |n: &str| if n == name { value.to_owned() } else { "0".to_owned() };
            let fields =
                ["weight_decay", "smoothing", "erase", "average"].map(|n| format!("\"{n}\": {}", of(n)));
            format!("\"limit\": null, \"refinements\": {{{}}}", fields.join(", "))
        };
        let taught = |share: &str, teachers: &str| {
            format!(
                "\"limit\": null, \"distillation\": {{\"teachers\": [\"{teachers}\"], \"share\": {share}}}"
            )
        };
        assert!(parse(&good.replace("\"limit\": null", &taught("1", "t"))).unwrap().distillation.is_some());
        assert_eq!(
            parse(&good.replace("\"limit\": null", &refined("erase", "0.5"))).unwrap().refinements.erase,
            0.5
        );
        for (old, new, named) in [
            (r#""batch": 32"#, r#""batch": 0"#, "batch 0"),
            (r#""batch": 32"#, r#""batch": 18446744073709551615"#, "batch 18446744073709551615"),
            (r#""epochs": 3"#, r#""epochs": 18446744073709551615"#, "epochs 18446744073709551615"),
            (r#""epochs": 3"#, r#""epochs": -1"#, "invalid value"),
            (r#""lr": 0.001"#, r#""lr": -1"#, "lr -1"),
            (r#""lr": 0.001"#, r#""lr": NaN"#, "line 2"),
            (r#""lr": 0.001"#, r#""lr": 1e999"#, "number out of range"),
            (r#""limit": null"#, r#""limit": 0"#, "limit 0"),
            (r#""limit": null"#, &refined("smoothing", "1"), "smoothing 1"),
            (r#""limit": null"#, &refined("average", "-0.5"), "average -0.5"),
            (r#""index": 4"#, r#""index": 5"#, "fold 5 of 5"),
            (r#""classes": 7"#, r#""classes": 7, "widths": [32, 64, 128, 513]"#, "513 channels"),
            (r#""classes": 7"#, r#""classes": 7, "widths": [0, 64, 128, 256]"#, "0 channels"),
            (r#""classes": 7"#, r#""classes": 7, "widths": [32, 64, 128]"#, "invalid length 3"),
            (r#""limit": null"#, &taught("1.5", "t"), "a share of 1.5"),
            (r#""limit": null"#, &taught("0", "t"), "a share of 0"),
            (r#""limit": null"#, &taught("0.5", &["t"; 17].join("\", \"")), "17 teachers"),
            (r#""classes": 7"#, r#""classes": 1000000000000"#, "classes 1000000000000"),
            (r#""softmax""#, r#""soft\nmax""#, r"soft\nmax"),
        ] {
            let error = parse(&good.replace(old, new)).unwrap_err().to_string();
            assert!(error.starts_with("config.json: ") && error.contains(named), "{error}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }

    #[test]
    fn cosine_goes_from_one_through_a_half_to_nothing() {
        let at = |done| Schedule::Cosine.factor(done, 0);
        assert_eq!(at(0.0), 1.0);
        assert!((at(0.5) - 0.5).abs() < 1e-15 && at(1.0).abs() < 1e-15 && at(1.5).abs() < 1e-15);
        assert!((at(1.0 / 3.0) - 0.75).abs() < 1e-15);
        assert_eq!(Schedule::Constant.factor(0.7, 0), 1.0);
    }

    #[test]
    fn restarts_begin_anew_after_one_and_three_of_seven_parts() {
        let at = |part: f64| Schedule::Restarts.factor(part / 7.0, 0);
        for start in [0.0, 1.0, 3.0] {
            assert!(at(start + 1e-9) > 0.999_999 && (start == 0.0 || at(start - 1e-9) < 1e-6));
        }
        for middle in [0.5, 2.0, 5.0] {
            assert!((at(middle) - 0.5).abs() < 1e-12);
        }
        assert!(at(7.0) < 1e-12);
    }

    #[test]
    fn a_plateau_halves() {
        assert_eq!([0, 1, 3].map(|cuts| Schedule::Plateau.factor(0.5, cuts)), [1.0, 0.5, 0.125]);
    }
}
