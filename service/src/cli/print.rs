//! Printing for whoever listens: the one place where commands write to the terminal.
//!
//! Who reads only the beginning (`lapwing check … | head -1`) has had what was asked for: what is printed into a closed pipe is
//! dropped, and the command goes on to its own exit code. Any other failure ends the process, for a report that is not whole must
//! not look like one.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

use super::Exit;

/// Prints to standard output, without a line end.
macro_rules! out {
    ($($argument:tt)*) => { $crate::cli::print::to_output(format_args!($($argument)*)) };
}

/// Prints a line to standard output.
macro_rules! outln {
    ($($argument:tt)*) => { $crate::cli::print::to_output(format_args!("{}\n", format_args!($($argument)*))) };
}

/// Prints to standard error, without a line end.
macro_rules! err {
    ($($argument:tt)*) => { $crate::cli::print::to_errors(format_args!($($argument)*)) };
}

/// Prints a line to standard error.
macro_rules! errln {
    ($($argument:tt)*) => { $crate::cli::print::to_errors(format_args!("{}\n", format_args!($($argument)*))) };
}

/// Writes to standard output.
pub fn to_output(text: Arguments<'_>) {
    if let Err(error) = write(&mut io::stdout().lock(), text) {
        errln!("error: cannot write to standard output: {error}");
        std::process::exit(Exit::Configuration as i32);
    }
}

/// Writes to standard error. Where that fails there is nobody left to tell.
pub fn to_errors(text: Arguments<'_>) {
    let _ = io::stderr().lock().write_fmt(text);
}

fn write(out: &mut dyn Write, text: Arguments<'_>) -> io::Result<()> {
    match out.write_fmt(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}
