//! Folders of images: `<split>/<class>/*` and `<class>/*`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::classes;
use crate::dataset::{Skipped, Split};
use crate::listing::{self, Listed, Listing, MAX_CLASSES};
use crate::{Error, Result};

/// Class name to its folder and the (path, name) of its images, in one split.
type ClassFolders = BTreeMap<String, (PathBuf, Vec<(PathBuf, String)>)>;

/// Lists a folder that has either split folders or class folders at its top.
pub(crate) fn list(root: &Path) -> Result<Listing> {
    let top = listing::folders(root)?;
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
                let reason = "a folder beside the splits that is none itself".to_owned();
                skipped.push(Skipped { path, reason });
            }
        }
    }

    let mut class_folders = [None, None, None];
    for (folders, split) in class_folders.iter_mut().zip(&split_folders) {
        if let Some(split) = split {
            *folders = Some(classes_of(split)?);
        }
    }
    let mut classes: Vec<String> =
        class_folders.iter().flatten().flat_map(|folders: &ClassFolders| folders.keys().cloned()).collect();
    classes::sort(&mut classes);
    if classes.len() > MAX_CLASSES {
        return Err(Error::invalid("classes", format!("at most {MAX_CLASSES} class folders"), classes.len()));
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
fn classes_of(split: &Path) -> Result<ClassFolders> {
    let mut folders = ClassFolders::new();
    let mut empty = None;
    let mut any = false;
    for (path, name) in listing::folders(split)? {
        let class = classes::class_name(&name);
        let images = listing::images(&path)?;
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
