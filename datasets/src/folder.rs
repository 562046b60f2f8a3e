//! Folders of images: `<split>/<class>/*` and `<class>/*`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::classes;
use crate::dataset::{Skipped, Split};
use crate::files::Files;
use crate::listing::{self, Listed, Listing, MAX_CLASSES};
use crate::message::shown;
use crate::{Error, Result};

/// Class name to its folder and the (path, name) of its images, in one split.
type ClassFolders = BTreeMap<String, (PathBuf, Vec<(PathBuf, String)>)>;

/// Lists a folder that has either split folders or class folders at its top.
pub(crate) fn list(files: &impl Files, root: &Path) -> Result<Listing> {
    let top = listing::folders(files, root)?;
    let mut skipped = Vec::new();
    let mut split_folders: [Option<PathBuf>; 3] = [None, None, None];
    for (path, name) in &top {
        let Ok(split) = name.parse::<Split>() else { continue };
        if let Some(first) = split_folders[split as usize].replace(path.clone()) {
            return Err(Error::Duplicate { what: format!("{split} split"), first, second: path.clone() });
        }
    }
    if split_folders.iter().all(Option::is_none) {
        // Classes at the top: one split.
        split_folders[Split::Train as usize] = Some(root.to_path_buf());
    } else {
        for (path, name) in top {
            if name.parse::<Split>().is_err() {
                let reason = "this folder is not used: beside the splits only train, validation and test are"
                    .to_owned();
                skipped.push(Skipped { path, reason });
            }
        }
    }

    let mut class_folders = [None, None, None];
    for (folders, split) in class_folders.iter_mut().zip(&split_folders) {
        if let Some(split) = split {
            *folders = Some(classes_of(files, split, &mut skipped)?);
        }
    }
    let mut classes: Vec<String> =
        class_folders.iter().flatten().flat_map(|folders: &ClassFolders| folders.keys().cloned()).collect();
    classes::sort(&mut classes);
    if classes.len() > MAX_CLASSES {
        let got = format!("{} in {}", classes.len(), shown(root));
        return Err(Error::invalid("classes", format!("at most {MAX_CLASSES} class folders"), got));
    }

    let mut splits = [None, None, None];
    for (listed, folders) in splits.iter_mut().zip(class_folders) {
        *listed = folders.map(|folders| list_split(root, &classes, folders));
    }
    // Classes that only validation or test have cannot be learnt.
    if let (Some(train), Some(split)) = (&splits[Split::Train as usize], &split_folders[0]) {
        for (label, class) in classes.iter().enumerate() {
            if !train.iter().any(|item: &Listed| usize::from(item.label) == label) {
                return Err(Error::EmptyClass { path: split.clone(), class: class.clone() });
            }
        }
    }
    Ok(Listing { classes, splits, skipped })
}

/// The class folders of one split; folders without any image are an error only if others have some,
/// so that a wrong path is reported as such.
fn classes_of(files: &impl Files, split: &Path, skipped: &mut Vec<Skipped>) -> Result<ClassFolders> {
    let mut folders = ClassFolders::new();
    let mut empty = None;
    let mut any = false;
    for (path, name) in listing::folders(files, split)? {
        let class = classes::class_name(&name);
        let images = listing::images(files, &path, skipped)?;
        if images.is_empty() {
            empty.get_or_insert((path.clone(), class.clone()));
        } else {
            any = true;
        }
        if let Some((first, _)) = folders.insert(class.clone(), (path.clone(), images)) {
            return Err(Error::Duplicate { what: format!("class `{class}`"), first, second: path });
        }
    }
    match empty {
        _ if !any => Err(Error::Empty {
            path: split.to_path_buf(),
            expected: "expected one folder of images per class (angry, happy, ...), or train and test \
                       folders of such, or fer2013.csv, or the CK+ folders cohn-kanade-images and Emotion"
                .to_owned(),
        }),
        Some((path, class)) => Err(Error::EmptyClass { path, class }),
        None => Ok(folders),
    }
}

fn list_split(root: &Path, classes: &[String], mut folders: ClassFolders) -> Vec<Listed> {
    let mut listed = Vec::new();
    for (label, class) in classes.iter().enumerate() {
        let Some((_, images)) = folders.remove(class) else { continue };
        for (path, file) in images {
            let stem = Path::new(&file).file_stem().unwrap_or_default().to_string_lossy();
            let ck_plus = listing::ck_plus_parts(&stem);
            let number = ck_plus.map(listing::ck_plus_number).or_else(|| listing::number_in(&stem));
            let relative = path.strip_prefix(root).unwrap_or(&path);
            let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
            listed.push(Listed {
                name: parts.join("/"),
                label: label as u8,
                // Files without a number are counted.
                number: number.unwrap_or(listed.len() as u32),
                subject: ck_plus.map(|(subject, ..)| subject),
                path,
            });
        }
    }
    listed
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::decode::tests::encode;
    use crate::{Dataset, OpenOptions, PIXELS};
    use image::{GrayImage, ImageFormat, Luma};
    use std::fs;

    /// Writes a PNG face of one grey, with the folders above it.
    pub(crate) fn write_face(path: &Path, value: u8) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, encode(GrayImage::from_pixel(48, 48, Luma([value])), ImageFormat::Png)).unwrap();
    }

    fn open(root: &Path) -> Result<Dataset> {
        Dataset::open(root.to_str().unwrap(), &OpenOptions::default())
    }

    /// A folder with the given faces, whose value is their position.
    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (value, file) in files.iter().enumerate() {
            write_face(&folder.path().join(file), value as u8);
        }
        folder
    }

    #[test]
    fn splits_and_classes_by_synonym() {
        let folder = tree(&[
            "Training/Happiness/Training_20.png",
            "Training/Happiness/Training_3.png",
            "Training/anger/Training_7.png",
            "PublicTest/joy/PublicTest_11.png",
            "val_notes/x.png",
            "privatetest/ANGRY/face.png",
        ]);
        fs::write(folder.path().join("Training/anger/Thumbs.db"), "no image").unwrap();
        fs::write(folder.path().join("Training/anger/.hidden.png"), "no image").unwrap();
        let data = open(folder.path()).unwrap();
        assert_eq!(data.classes, ["angry", "happy"]);
        assert_eq!(data.train.labels, [0, 1, 1]);
        assert_eq!(data.train.numbers, [7, 20, 3]);
        assert_eq!(data.train.names[1], "Training/Happiness/Training_20.png");
        assert_eq!(data.train.face(1), [0; PIXELS]);
        assert_eq!(data.train.subjects, None);
        let (validation, test) = (data.validation.unwrap(), data.test.unwrap());
        assert_eq!((validation.labels, validation.numbers), (vec![1], vec![11]));
        assert_eq!((test.labels, test.numbers), (vec![0], vec![0]));
        assert_eq!(data.skipped.len(), 2);
        assert!(data.skipped[0].path.ends_with("val_notes"));
        assert!(data.skipped[1].path.ends_with("Thumbs.db"));
    }

    #[test]
    fn classes_at_the_top_are_one_split() {
        let folder = tree(&[
            "sad/S010_002_00000014.png",
            "contempt/S011_001_00000009.png",
            "odd/S011_002_00000001.png",
        ]);
        let data = open(folder.path()).unwrap();
        assert_eq!(data.classes, ["sad", "contempt", "odd"]);
        assert_eq!(data.train.subjects, Some(vec![10, 11, 11]));
        assert_eq!(data.train.numbers, [10_002_014, 11_001_009, 11_002_001]);
        assert!(data.validation.is_none() && data.test.is_none());
    }

    #[test]
    fn what_is_no_image_of_a_class_is_counted() {
        let folder =
            tree(&["train/happy/1.png", "train/sad/alice/2.png", "train/sad/3.png", "valid/happy/4.png"]);
        fs::write(folder.path().join("train/happy/5.heic"), "not read").unwrap();
        let data = open(folder.path()).unwrap();
        assert_eq!(data.train.numbers, [1, 3]);
        assert_eq!(data.validation.unwrap().numbers, [4]);
        let left_out: Vec<String> =
            data.skipped.iter().map(|s| format!("{}: {}", s.path.display(), s.reason)).collect();
        assert_eq!(left_out.len(), 2, "{left_out:?}");
        assert!(left_out[0].contains("5.heic: not named as an image: expected jpg"), "{left_out:?}");
        assert!(left_out[1].ends_with("alice: a folder where images are expected; it is not searched"));
    }

    #[test]
    fn doubled_splits_and_classes_are_refused() {
        let folder = tree(&["train/happy/1.png", "Training/happy/2.png"]);
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("Training") && error.contains("both the train split"), "{error}");
        let folder = tree(&["train/happy/1.png", "train/Joy/2.png"]);
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("Joy") && error.contains("class `happy`"), "{error}");
    }

    #[test]
    fn empty_classes_are_named() {
        let folder = tree(&["train/happy/1.png"]);
        fs::create_dir(folder.path().join("train/sad")).unwrap();
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("sad: no image of class `sad`"), "{error}");
        let folder = tree(&["train/happy/1.png", "test/happy/1.png", "test/sad/2.png"]);
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("train: no image of class `sad`"), "{error}");
        let folder = tree(&["1.png", "2.png"]);
        assert!(matches!(open(folder.path()), Err(Error::Empty { .. })));
    }

    #[test]
    fn broken_images_are_left_out_up_to_one_in_ten() {
        let names: Vec<String> =
            (0..20).map(|i| format!("train/{}/{i}.png", ["happy", "sad"][i % 2])).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let folder = tree(&names);
        let damage = |i: usize| fs::write(folder.path().join(names[i]), b"\x89PNG broken").unwrap();
        damage(4);
        damage(5);
        let data = open(folder.path()).unwrap();
        assert_eq!(data.train.counts(2), [9, 9]);
        assert_eq!(data.skipped.len(), 2);
        assert!(data.skipped[0].path.ends_with("happy/4.png") && !data.skipped[0].reason.is_empty());
        damage(6);
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("3 of 20") && error.contains("4.png"), "{error}");
        (1..20).step_by(2).for_each(damage);
        let error = open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("none of the 10 images of class `sad`"), "{error}");
    }
}
