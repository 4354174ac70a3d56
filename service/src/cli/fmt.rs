//! `lapwing fmt`: lays rule files out in the one canonical way.

use std::fs;
use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use lapwing_dsl::diagnostics::{Diagnostic, render};
use lapwing_dsl::syntax::{Sources, parse, print};

use super::{Exit, refuse};
use crate::control::files::rule_files;

/// Arguments of `fmt`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rule files, or folders of them; `-` reads standard input and writes standard output.
    #[arg(required = true)]
    rules: Vec<PathBuf>,
    /// Change nothing; exit with 1 and name the files that are not formatted.
    #[arg(long)]
    check: bool,
}

/// Runs the command.
pub fn fmt(arguments: &Arguments) -> Exit {
    if arguments.rules == [PathBuf::from("-")] {
        return standard_input();
    }
    let files = match rule_files(&arguments.rules) {
        Ok(files) => files,
        Err(error) => return refuse(error),
    };
    let mut exit = Exit::Well;
    for path in files {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return refuse(format_args!("cannot read `{}`: {error}", path.display())),
        };
        match formatted(&path.display().to_string(), &text) {
            Err(()) => exit = Exit::DoesNotCompile,
            Ok(new) if new == text => {}
            Ok(_) if arguments.check => {
                outln!("{}", path.display());
                if exit == Exit::Well {
                    exit = Exit::Findings;
                }
            }
            Ok(new) => {
                if let Err(error) = fs::write(&path, new) {
                    return refuse(format_args!("cannot write `{}`: {error}", path.display()));
                }
            }
        }
    }
    exit
}

fn standard_input() -> Exit {
    let mut text = String::new();
    if let Err(error) = std::io::stdin().read_to_string(&mut text) {
        return refuse(format_args!("cannot read standard input: {error}"));
    }
    match formatted("standard input", &text) {
        Ok(new) => {
            out!("{new}");
            Exit::Well
        }
        Err(()) => Exit::DoesNotCompile,
    }
}

/// The text in canonical layout; prints what keeps it from being parsed.
fn formatted(name: &str, text: &str) -> Result<String, ()> {
    let mut sources = Sources::default();
    let file = sources.add(name.to_owned(), text.to_owned());
    let parsed = parse(file, text);
    for finding in &parsed.diagnostics {
        errln!("{}", render(finding, &sources, std::io::stderr().is_terminal()));
    }
    match parsed.file {
        Some(file) if !parsed.diagnostics.iter().any(Diagnostic::is_error) => Ok(print(&file, text)),
        _ => Err(()),
    }
}
