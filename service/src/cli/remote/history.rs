//! `lapwing history`: all changes of a running service's catalog.

use serde_json::Value as Json;

use super::Api;
use crate::cli::{Exit, Format, refuse};

/// Arguments of `history`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    api: Api,
    /// For whom to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let history = match arguments.api.get("/v1/history") {
        Ok(history) => history,
        Err(message) => return refuse(message),
    };
    match arguments.format {
        Format::Json => outln!("{history:#}"),
        Format::Text => history.as_array().into_iter().flatten().for_each(tell),
    }
    Exit::Well
}

fn tell(change: &Json) {
    let text = |value: &Json| value.as_str().unwrap_or_default().to_owned();
    let message = &change["what"]["message"];
    let what = match message {
        Json::Null => "the service began".to_owned(),
        message => {
            let mut what = format!("{} {} {}", text(&message["op"]), text(&message["kind"]), text(&message["name"]));
            for (name, value) in [("version", &message["version"]), ("stage", &message["stage"])] {
                if !value.is_null() {
                    what += &format!(", {name} {}", value.as_str().map_or(value.to_string(), str::to_owned));
                }
            }
            what
        }
    };
    let by = message["author"].as_str().map_or(String::new(), |author| format!(" by {author}"));
    let why = message["reason"].as_str().map_or(String::new(), |reason| format!(": {reason}"));
    outln!("{} {} {what}{by}{why}", change["number"], text(&change["at"]));
}
