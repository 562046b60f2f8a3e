//! `moue completions` and `moue man`: what shells and `man` know of the command line.

use super::{Context, command};
use crate::error::{Error, Result};
use crate::files::write_atomically;
use crate::output::{out, outln};
use clap_complete::Shell;
use clap_mangen::Man;
use moue_datasets::message::shown;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

/// Print a script that completes commands and options in a shell.
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Write man pages: moue.1, and one for each command.
#[derive(Debug, clap::Args)]
pub(super) struct ManArgs {
    /// Folder to write to; it is made if there is none.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn completions(args: CompletionsArgs, context: &Context) -> Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "moue", &mut script);
    let script = String::from_utf8(script).expect("scripts are text");
    context.print(&json!({ "shell": args.shell.to_string(), "script": script }), || out!("{script}"));
    Ok(())
}

pub(super) fn man(args: ManArgs, context: &Context) -> Result<()> {
    fs::create_dir_all(&args.out).map_err(Error::io(&args.out))?;
    let mut all = command().disable_help_subcommand(true);
    // Gives each command its whole name, such as moue-profile-step.
    all.build();
    let mut files = Vec::new();
    write_pages(&args.out, all, &mut files)?;
    files.sort();
    context.print(&json!({ "path": args.out.to_string_lossy(), "files": files }), || {
        outln!("{}: {} pages", shown(&args.out), files.len());
    });
    Ok(())
}

/// Writes the page of a command, and those of the commands below it.
fn write_pages(folder: &Path, command: clap::Command, files: &mut Vec<String>) -> Result<()> {
    for below in command.get_subcommands() {
        write_pages(folder, below.clone(), files)?;
    }
    let page = Man::new(command);
    let file = page.get_filename();
    let mut text = Vec::new();
    page.render(&mut text).map_err(Error::io(folder.join(&file)))?;
    write_atomically(&folder.join(&file), &text)?;
    files.push(file);
    Ok(())
}
