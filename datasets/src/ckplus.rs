//! The original tree of the Extended Cohn-Kanade set (CK+).
//!
//! `cohn-kanade-images/S005/001/*.png` are sequences from a neutral face to the peak of an
//! expression; `Emotion/S005/001/*_emotion.txt` holds the code of the labelled ones (327 of 593), as
//! in `   3.0000000e+00`: 0 neutral, 1 anger, 2 contempt, 3 disgust, 4 fear, 5 happiness, 6 sadness,
//! 7 surprise. As is customary, the last three frames of each labelled sequence are taken.
//! P. Lucey et al., "The Extended Cohn-Kanade Dataset (CK+)", CVPR Workshops 2010.

use std::path::{Path, PathBuf};

use crate::classes;
use crate::dataset::Skipped;
use crate::files::Files;
use crate::listing::{self, Listed, Listing};
use crate::{Error, Result};

/// Frames taken from the end of a sequence.
const PEAK_FRAMES: usize = 3;

/// Bytes of an emotion file that are looked at; a code takes 16.
const MAX_CODE: u64 = 1024;

/// The two folders of the original tree.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    images: PathBuf,
    emotions: PathBuf,
}

impl Tree {
    /// Finds the tree within `root`, where its archives unpack to; `None` if this is no CK+ tree.
    pub(crate) fn find(files: &impl Files, root: &Path) -> Option<Self> {
        let find = |candidates: [&str; 2]| {
            candidates.map(|name| root.join(name)).into_iter().find(|path| files.is_folder(path))
        };
        Some(Self {
            images: find(["cohn-kanade-images", "extended-cohn-kanade-images/cohn-kanade-images"])?,
            emotions: find(["Emotion", "Emotion_labels/Emotion"])?,
        })
    }

    /// Lists the peak frames of the labelled sequences, and their first frames as neutral faces if
    /// `neutral_first_frame`.
    pub(crate) fn list(&self, files: &impl Files, root: &Path, neutral_first_frame: bool) -> Result<Listing> {
        let mut found: Vec<(PathBuf, &'static str)> = Vec::new();
        let mut skipped = Vec::new();
        for (subject_path, subject) in listing::folders(files, &self.emotions)? {
            for (label_path, sequence) in listing::folders(files, &subject_path)? {
                let Some(emotion) = emotion_in(files, &label_path)? else { continue };
                let frames_path = self.images.join(&subject).join(&sequence);
                let frames = match files.is_folder(&frames_path) {
                    true => listing::images(files, &frames_path, &mut skipped)?,
                    false => Vec::new(),
                };
                if frames.is_empty() {
                    let reason = "a labelled sequence without images".to_owned();
                    skipped.push(Skipped { path: frames_path, reason });
                    continue;
                }
                let peak = frames.len().saturating_sub(PEAK_FRAMES);
                if neutral_first_frame && peak > 0 {
                    found.push((frames[0].0.clone(), "neutral"));
                }
                found.extend(frames.into_iter().skip(peak).map(|(path, _)| (path, emotion)));
            }
        }
        if found.is_empty() {
            return Err(Error::Empty {
                path: root.to_path_buf(),
                expected: "expected labelled sequences: cohn-kanade-images/S005/001/*.png with \
                           Emotion/S005/001/*_emotion.txt"
                    .to_owned(),
            });
        }

        let mut names: Vec<String> = found.iter().map(|(_, class)| (*class).to_owned()).collect();
        classes::sort(&mut names);
        let label = |class: &str| names.iter().position(|name| name == class).unwrap_or_default() as u8;
        let mut listed: Vec<Listed> =
            found.into_iter().map(|(path, class)| frame(root, path, label(class))).collect();
        listed.sort_by(|a, b| (a.label, &a.name).cmp(&(b.label, &b.name)));
        Ok(Listing { classes: names, splits: [Some(listed), None, None], skipped })
    }
}

/// The listing entry of one frame; subject and number come from its name, or from its folders if
/// someone renamed the files.
fn frame(root: &Path, path: PathBuf, label: u8) -> Listed {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let folder = |level| {
        let name = path.ancestors().nth(level).and_then(Path::file_name).unwrap_or_default();
        listing::number_in(&name.to_string_lossy()).unwrap_or_default() % 1000
    };
    let parts = listing::ck_plus_parts(&stem)
        .unwrap_or_else(|| (folder(2), folder(1), listing::number_in(&stem).unwrap_or_default()));
    let relative = path.strip_prefix(root).unwrap_or(&path);
    let names: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    Listed {
        name: names.join("/"),
        label,
        number: listing::ck_plus_number(parts),
        subject: Some(parts.0),
        path,
    }
}

/// The class in the emotion file of a sequence's folder, `None` without such a file.
fn emotion_in(files: &impl Files, folder: &Path) -> Result<Option<&'static str>> {
    let mut codes = listing::entries(files, folder)?
        .into_iter()
        .filter(|(_, name, is_folder)| !is_folder && name.to_lowercase().ends_with("_emotion.txt"));
    let Some((path, ..)) = codes.next() else { return Ok(None) };
    let text = files.read(&path, MAX_CODE)?;
    let text = String::from_utf8_lossy(&text);
    let code = text.trim().parse::<f64>().ok().filter(|code| code.fract() == 0.0 && *code >= 0.0);
    match code.and_then(|code| classes::CK_PLUS.get(code as usize)) {
        Some(class) => Ok(Some(class)),
        None => Err(Error::EmotionCode { path, found: text.trim().chars().take(24).collect() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::tests::write_face;
    use crate::{Dataset, OpenOptions};
    use std::fs;

    /// A tree of sequences (folder, frames, text of the emotion file).
    fn tree(sequences: &[(&str, u32, Option<&str>)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (sequence, frames, emotion) in sequences {
            let stem = sequence.replace('/', "_");
            for frame in 1..=*frames {
                let file = format!("cohn-kanade-images/{sequence}/{stem}_{frame:08}.png");
                write_face(&root.path().join(file), frame as u8);
            }
            let folder = root.path().join("Emotion").join(sequence);
            fs::create_dir_all(&folder).unwrap();
            if let Some(text) = emotion {
                fs::write(folder.join(format!("{stem}_{frames:08}_emotion.txt")), text).unwrap();
            }
        }
        root
    }

    fn open(root: &Path, neutral_first_frame: bool) -> Result<Dataset> {
        let options = OpenOptions { neutral_first_frame, ..OpenOptions::default() };
        Dataset::open(root.to_str().unwrap(), &options)
    }

    #[test]
    fn peak_frames_of_labelled_sequences() {
        let root = tree(&[
            ("S005/001", 11, Some("   3.0000000e+00\n")),
            ("S010/002", 5, Some("   7.0000000e+00\n")),
            ("S010/004", 9, None),
            ("S011/001", 2, Some("2")),
            ("S012/001", 0, Some("5")),
        ]);
        let data = open(root.path(), false).unwrap();
        assert_eq!(data.classes, ["disgust", "surprise", "contempt"]);
        assert_eq!(data.train.labels, [0, 0, 0, 1, 1, 1, 2, 2]);
        assert_eq!(data.train.subjects, Some(vec![5, 5, 5, 10, 10, 10, 11, 11]));
        assert_eq!(data.train.numbers[..3], [5_001_009, 5_001_010, 5_001_011]);
        assert_eq!(data.train.face(2)[0], 11);
        assert_eq!(data.train.names[0], "cohn-kanade-images/S005/001/S005_001_00000009.png");
        assert!(data.skipped.len() == 1 && data.skipped[0].path.ends_with("S012/001"));

        let with_neutral = open(root.path(), true).unwrap();
        assert_eq!(with_neutral.classes, ["disgust", "surprise", "neutral", "contempt"]);
        // The sequence of two frames has none to spare.
        assert_eq!(with_neutral.train.counts(4), [3, 3, 2, 2]);
        assert_eq!(with_neutral.train.face(6)[0], 1);
    }

    #[test]
    fn wrong_codes_and_trees_without_labels() {
        for text in ["8.0", "1.5", "-1", "NaN", "happy", ""] {
            let root = tree(&[("S005/001", 4, Some(text))]);
            let error = open(root.path(), false).unwrap_err().to_string();
            assert!(error.contains("S005_001_00000004_emotion.txt") && error.contains("0 to 7"), "{error}");
        }
        let root = tree(&[("S005/001", 4, None)]);
        assert!(matches!(open(root.path(), false), Err(Error::Empty { .. })));
    }
}
