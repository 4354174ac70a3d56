//! One binary for all tests of the whole, so that they link once.

mod conformance;
mod random;
mod docs;
mod explain;
mod recordings;
mod rules;
