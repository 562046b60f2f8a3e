//! Names of the expression classes, their synonyms and their order.
//!
//! Data sets spell the same expression in many ways (`happy`, `Happiness`, `joy`). Every folder name
//! is mapped to one canonical name, and class lists are put in one canonical order, so that weights
//! trained on the FER2013 CSV fit a folder of the same images.

/// The seven classes of FER2013 in the order of its CSV codes 0 to 6.
pub const FER2013: [&str; 7] = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"];

/// The canonical class names in canonical order: FER2013's seven, then contempt (CK+).
pub const CANONICAL: [&str; 8] =
    ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral", "contempt"];

/// The classes of CK+ by the code in its `*_emotion.txt` files, 0 to 7.
pub const CK_PLUS: [&str; 8] =
    ["neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise"];

/// The canonical name for a spelling, without regard to case and surrounding blanks; `None` for a
/// word that names no expression.
pub fn canonical(name: &str) -> Option<&'static str> {
    Some(match name.trim().to_lowercase().as_str() {
        "angry" | "anger" => "angry",
        "disgust" | "disgusted" => "disgust",
        "fear" | "fearful" | "afraid" => "fear",
        "happy" | "happiness" | "joy" => "happy",
        "sad" | "sadness" => "sad",
        "surprise" | "surprised" => "surprise",
        "neutral" | "calm" => "neutral",
        "contempt" => "contempt",
        _ => return None,
    })
}

/// The class name used for a folder: canonical if it is a known spelling, else its own, lower-cased.
pub fn class_name(folder: &str) -> String {
    canonical(folder).map_or_else(|| folder.trim().to_lowercase(), str::to_owned)
}

/// Sorts class names: the canonical ones first in canonical order, then the others alphabetically;
/// duplicates are removed.
pub fn sort(names: &mut Vec<String>) {
    let rank = |name: &str| CANONICAL.iter().position(|c| *c == name).unwrap_or(CANONICAL.len());
    names.sort_by(|a, b| (rank(a), a).cmp(&(rank(b), b)));
    names.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synonyms_without_case() {
        for (spelling, name) in [
            ("Happiness", "happy"),
            ("JOY", "happy"),
            ("anger", "angry"),
            ("Sadness", "sad"),
            ("calm", "neutral"),
            (" afraid ", "fear"),
            ("fearful", "fear"),
            ("Disgusted", "disgust"),
            ("surprised", "surprise"),
            ("Contempt", "contempt"),
        ] {
            assert_eq!(canonical(spelling), Some(name));
        }
        assert_eq!(canonical("sleepy"), None);
        assert_eq!(class_name("Sleepy"), "sleepy");
        assert!(CANONICAL.iter().chain(&CK_PLUS).all(|name| canonical(name) == Some(name)));
    }

    #[test]
    fn folder_order_is_the_order_of_the_csv() {
        let mut names: Vec<String> =
            ["surprise", "sad", "neutral", "happy", "fear", "disgust", "angry"].map(str::to_owned).to_vec();
        sort(&mut names);
        assert_eq!(names, FER2013);
    }

    #[test]
    fn unknown_classes_follow_alphabetically() {
        let mut names: Vec<String> =
            ["zen", "contempt", "bored", "happy", "bored"].map(str::to_owned).to_vec();
        sort(&mut names);
        assert_eq!(names, ["happy", "contempt", "bored", "zen"]);
    }
}
