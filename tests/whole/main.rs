//! One binary for all tests of the whole, so that they link once.

mod alerts;
mod cards;
mod changes;
mod conformance;
mod control;
mod docs;
mod explain;
mod formats;
mod freed;
mod kafka;
mod models;
mod outside;
mod processing;
mod random;
mod recordings;
mod rules;
mod scenarios;
mod silent;
mod store;
mod unused;
mod windows;
