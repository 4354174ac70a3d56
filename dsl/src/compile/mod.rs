//! Compiling: typed rules to programs that the engine runs.

pub mod automaton;
