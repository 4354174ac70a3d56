//! The service: everything that touches the outside world. Files, terminals, threads and time live here; matching does not.
//!
//! `data` is the way of an event (decode → order → shards → alerts), `control` the way of a rule (files and control messages → rule
//! sets), `tables` the way of lists and tables, `models` that of models, `geoip` knows where addresses are,
//! `config` what the service was told, `cli` the commands.

pub mod api;
pub mod auth;
pub mod cli;
pub mod config;
pub mod control;
pub mod data;
pub mod faults;
pub mod geoip;
pub mod metrics;
pub mod models;
pub mod serve;
pub mod tables;
pub mod testing;
