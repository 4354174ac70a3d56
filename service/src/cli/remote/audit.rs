//! `lapwing audit`: who changed what, and whether the record of it is what was written.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use super::Api;
use crate::auth::audit;
use crate::cli::{Exit, Format, refuse};

/// Arguments of `audit`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Look whether the audit log is what was written; exit code 1 where it is not.
    Verify {
        /// The file `audit.jsonl` of a service's folder; else the running service looks.
        file: Option<PathBuf>,
        /// A last hash that was kept elsewhere: the log has to have it.
        #[arg(long)]
        head: Option<String>,
        #[command(flatten)]
        api: Api,
        /// For whom to print.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
    /// Show the lines of the audit log.
    Show {
        /// Those behind the line of this number.
        #[arg(long, default_value_t = 0)]
        after: u64,
        /// So many at most.
        #[arg(long, default_value_t = 100)]
        limit: u64,
        #[command(flatten)]
        api: Api,
        /// For whom to print.
        #[arg(long, value_enum, default_value_t)]
        format: Format,
    },
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    match &arguments.what {
        What::Verify { file, head, api, format } => {
            let verified = match file {
                Some(path) => Ok(match audit::verify(path, head.as_deref()) {
                    Ok(verified) => json!({"sound": true, "head": verified}),
                    Err(audit::Broken::Io(e)) => return refuse(format!("`{}`: {e}", path.display())),
                    Err(broken) => json!({"sound": false, "detail": broken.to_string()}),
                }),
                None => {
                    let asked = head.as_ref().map_or(String::new(), |head| format!("?head={head}"));
                    api.get(&format!("/v1/audit/verify{asked}"))
                }
            };
            match verified {
                Ok(verified) => tell(&verified, *format),
                Err(message) => refuse(message),
            }
        }
        What::Show { after, limit, api, format } => match api.get(&format!("/v1/audit?after={after}&limit={limit}")) {
            Ok(page) => {
                let lines = page["lines"].as_array().map(Vec::as_slice).unwrap_or_default();
                match format {
                    Format::Json => lines.iter().for_each(|line| outln!("{line}")),
                    Format::Text => lines.iter().for_each(|line| outln!("{}", words(line))),
                }
                Exit::Well
            }
            Err(message) => refuse(message),
        },
    }
}

fn tell(verified: &Json, format: Format) -> Exit {
    let sound = verified["sound"] == true;
    let (lines, hash) = (&verified["head"]["lines"], verified["head"]["hash"].as_str().unwrap_or_default());
    match format {
        Format::Json => outln!("{verified:#}"),
        Format::Text if sound => outln!("the audit log is sound: {lines} lines, the last has the hash {hash}"),
        Format::Text => outln!("{}", verified["detail"].as_str().unwrap_or_default()),
    }
    if sound { Exit::Well } else { Exit::Findings }
}

fn words(line: &Json) -> String {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    let what = match (&line["asked"], &line["denied"], &line["answered"]) {
        (Json::String(asked), ..) => format!("asked for {asked}"),
        (_, Json::String(denied), _) => format!("was denied {denied}"),
        (_, _, answered) => {
            let change = match &answered["change"] {
                Json::Null => String::new(),
                change => format!(": {change}"),
            };
            format!("line {}: answered {}{change}", answered["number"], answered["status"])
        }
    };
    format!("{} {} {} ({}) {what}", line["number"], text("at"), text("principal"), text("role"))
}
