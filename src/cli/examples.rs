//! Examples in the help of each command.

/// Commands and what stands below their options; remarks behind three spaces.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "train",
        &[
            "moue train                                   synthetic faces, under two minutes",
            "moue train --data fer2013.csv --epochs 120 --out runs/fer",
            "moue train --resume runs/fer                 goes on, to the same bits",
        ],
    ),
    ("crossval", &["moue crossval --data ck+ --epochs 300 --by subject   nobody is in both parts"]),
    (
        "eval",
        &[
            "moue eval --weights runs/fer/best.safetensors --data fer2013.csv --split test",
            "moue eval --data fer2013.csv --views flip    with the weights that ship",
        ],
    ),
    (
        "predict",
        &[
            "moue predict me.jpg                          with the weights that ship",
            "moue predict --annotate seen photos/",
            "moue predict --weights runs/fer/best.safetensors photos/ --json > expressions.json",
        ],
    ),
    (
        "export",
        &[
            "moue export --format onnx --out moue.onnx    the weights that ship",
            "moue export --weights runs/fer/best.safetensors --format safetensors --out torch.safetensors",
        ],
    ),
    (
        "import",
        &[
            "moue import --weights torch.safetensors --out moue.safetensors",
            "moue import --weights torch.safetensors --like runs/fer/best.safetensors --out moue.safetensors",
        ],
    ),
    ("gradcheck", &["moue gradcheck --op conv3x3"]),
    ("profile", &["moue profile step", "moue profile dsconv --json", "moue profile infer --batch 32"]),
    ("augment", &["moue augment --data fer2013.csv --out sheet.png"]),
    ("report", &["moue report runs/fer", "moue report runs/fer --data fer2013.csv --split test"]),
    (
        "reproduce",
        &[
            "moue reproduce --data synthetic --limit 70 --epochs 1    to try it",
            "moue reproduce --data fer2013-public.csv --ckplus ck+ --hours 8",
        ],
    ),
    (
        "calibrate",
        &[
            "moue calibrate --weights runs/fer/best.safetensors --data fer2013.csv --out calibrated.safetensors",
        ],
    ),
    (
        "completions",
        &[
            "moue completions bash > ~/.local/share/bash-completion/completions/moue",
            "moue completions zsh > ~/.zfunc/_moue",
            "moue completions fish > ~/.config/fish/completions/moue.fish",
        ],
    ),
    ("man", &["moue man --out ~/.local/share/man/man1"]),
    #[cfg(feature = "serve")]
    (
        "serve",
        &[
            "moue serve                                   then open http://127.0.0.1:8642/",
            "curl --data-binary @me.jpg http://127.0.0.1:8642/predict",
        ],
    ),
];

/// The command line with its examples.
pub(super) fn added(command: clap::Command) -> clap::Command {
    EXAMPLES.iter().fold(command, |command, (name, lines)| {
        let text: String = lines.iter().map(|line| format!("\n  {line}")).collect();
        command.mut_subcommand(name, |below| below.after_help(format!("Examples:{text}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, command, complaint_of};
    use clap::CommandFactory;

    /// Every command has an example, and each that begins with the program's name is right, up to a redirection or a
    /// remark.
    #[test]
    fn examples_parse() {
        let bare = Cli::command();
        let mut known: Vec<&str> = bare.get_subcommands().map(clap::Command::get_name).collect();
        let mut shown: Vec<&str> = EXAMPLES.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        shown.sort_unstable();
        assert_eq!(shown, known);
        for (name, lines) in EXAMPLES {
            assert!(lines[0].starts_with(&format!("moue {name}")), "{name}");
            for line in lines.iter().filter_map(|line| line.strip_prefix("moue ")) {
                let line = line.split("   ").next().unwrap().split(" > ").next().unwrap();
                let arguments = line.split_whitespace().map(Into::into);
                assert_eq!(complaint_of(&mut command(), arguments), None, "moue {line}");
            }
        }
    }
}
