//! `lapwing token`: who may use a running service.

use serde_json::{Value as Json, json};

use super::Api;
use crate::auth::Role;
use crate::cli::{Exit, Format, refuse};

/// Arguments of `token`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Make a token; it is shown this once.
    Create {
        /// Who has it: a person or a program.
        name: String,
        /// What that may do.
        #[arg(long, value_enum)]
        role: Role,
        /// How long it counts, as 30d; else until it is revoked.
        #[arg(long)]
        expires_in: Option<String>,
        #[command(flatten)]
        to: To,
    },
    /// List all tokens, without their secrets.
    List {
        #[command(flatten)]
        to: To,
    },
    /// Give a token a new secret, which is shown this once.
    Rotate {
        /// Its number.
        id: u64,
        /// How long the one before counts still, as 1h; else no longer.
        #[arg(long)]
        keep_for: Option<String>,
        #[command(flatten)]
        to: To,
    },
    /// Take a token back: it does not count any more.
    Revoke {
        /// Its number.
        id: u64,
        #[command(flatten)]
        to: To,
    },
}

#[derive(clap::Args)]
struct To {
    #[command(flatten)]
    api: Api,
    /// For whom to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let done = match &arguments.what {
        What::Create { name, role, expires_in, to } => {
            let message = json!({"name": name, "role": role, "expires_in": expires_in});
            to.api.post("/v1/tokens", &message).map(|made| to.show(&made, |made| text(&made["token"])))
        }
        What::List { to } => to.api.get("/v1/tokens").map(|all| to.show(&all, listed)),
        What::Rotate { id, keep_for, to } => {
            let message = json!({"keep_for": keep_for});
            let rotated = to.api.post(&format!("/v1/tokens/{id}/rotate"), &message);
            rotated.map(|made| to.show(&made, |made| text(&made["token"])))
        }
        What::Revoke { id, to } => to.api.delete(&format!("/v1/tokens/{id}")).map(|_| ()),
    };
    done.map_or_else(refuse, |()| Exit::Well)
}

impl To {
    fn show(&self, answer: &Json, words: impl Fn(&Json) -> String) {
        match self.format {
            Format::Json => outln!("{answer:#}"),
            Format::Text => outln!("{}", words(answer)),
        }
    }
}

fn text(value: &Json) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn listed(all: &Json) -> String {
    let line = |token: &Json| {
        let ends =
            token["expires"].as_i64().map(|at| format!(", until {}", lapwing_dsl::functions::timestamp_text(at)));
        format!(
            "{} {} ({}), made by {}{}",
            token["id"],
            text(&token["name"]),
            text(&token["role"]),
            text(&token["made_by"]),
            ends.unwrap_or_default()
        )
    };
    all.as_array().into_iter().flatten().map(line).collect::<Vec<_>>().join("\n")
}
