//! One binary for all tests of the whole, so that they link once.

mod conformance;
mod recordings;
mod rules;
