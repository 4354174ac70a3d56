//! `lapwing schema`: the JSON Schema of what leaves.

use super::Exit;
use crate::data::alert_schema;

/// Arguments of `schema`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Of an alert: a line of `run`, of `GET /v1/alerts/stream` or of a file of alerts, a message of the topic of alerts, what webhooks post.
    Alert,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    match arguments.what {
        What::Alert => outln!("{:#}", alert_schema::schema()),
    }
    Exit::Well
}
