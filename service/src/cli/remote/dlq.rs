//! `lapwing dlq`: the dead letters of a running service.

use serde_json::{Value as Json, json};

use super::Api;
use crate::cli::{Exit, Format, refuse};

/// Arguments of `dlq`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// List the lines that were taken and gave no event, the newest last.
    List {
        /// Begin behind the one with this id; else with the oldest.
        #[arg(long)]
        after: Option<String>,
        /// End after so many.
        #[arg(long)]
        count: Option<u64>,
        /// Only those of a kind.
        #[arg(long, value_parser = ["bad", "late", "ahead"])]
        kind: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Show one with its line.
    Show {
        /// Which.
        id: String,
        #[command(flatten)]
        common: Common,
    },
    /// Put lines in again, each once however often this is done.
    Redrive {
        /// Which.
        ids: Vec<String>,
        /// All that there are now.
        #[arg(long, conflicts_with = "ids")]
        all: bool,
        /// Only those of a kind.
        #[arg(long, value_parser = ["bad", "late", "ahead"], requires = "all")]
        kind: Option<String>,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(clap::Args)]
struct Common {
    #[command(flatten)]
    api: Api,
    /// For whom to print.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// So many ids are sent at once.
const TOGETHER: usize = 1_000;

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let done = match &arguments.what {
        What::List { after, count, kind, common } => common.list(after.clone(), *count, kind.as_deref()),
        What::Show { id, common } => common.show(id),
        What::Redrive { ids, all: false, .. } if ids.is_empty() => {
            Err("name the dead letters that are to be put in again, or take all of them with --all".to_owned())
        }
        What::Redrive { ids, all: false, common, .. } => common.redrive(ids),
        What::Redrive { kind, common, .. } => common.redrive_all(kind.as_deref()),
    };
    done.unwrap_or_else(refuse)
}

impl Common {
    fn list(&self, mut after: Option<String>, count: Option<u64>, kind: Option<&str>) -> Result<Exit, String> {
        let mut left = count.unwrap_or(u64::MAX);
        while left > 0 {
            let mut query = format!("limit={}", left.min(TOGETHER as u64));
            for (name, value) in [("after", after.as_deref()), ("kind", kind)] {
                query += &value.map_or(String::new(), |value| format!("&{name}={value}"));
            }
            let page = self.api.get(&format!("/v1/dead-letters?{query}"))?;
            for letter in page["dead_letters"].as_array().into_iter().flatten() {
                match self.format {
                    Format::Json => outln!("{letter}"),
                    Format::Text => tell(letter),
                }
                left -= 1;
            }
            if page["more"] != true {
                break;
            }
            after = page["next"].as_str().map(str::to_owned);
        }
        Ok(Exit::Well)
    }

    fn show(&self, id: &str) -> Result<Exit, String> {
        let letter = self.api.get(&format!("/v1/dead-letters/{id}"))?;
        match self.format {
            Format::Json => outln!("{letter:#}"),
            Format::Text => {
                tell(&letter);
                match (letter["line"].as_str(), letter["line_base64"].as_str()) {
                    (Some(line), _) => outln!("{line}"),
                    (_, Some(line)) => outln!("in base64, for it is no text: {line}"),
                    _ if letter["topic"].is_string() => outln!("it has no value"),
                    _ => outln!("the line is gone: the log no longer has it"),
                }
            }
        }
        Ok(Exit::Well)
    }

    fn redrive(&self, ids: &[String]) -> Result<Exit, String> {
        let mut refused = false;
        for ids in ids.chunks(TOGETHER) {
            refused |= self.tell_all(&self.api.post("/v1/dead-letters/redrive", &json!({"ids": ids}))?);
        }
        Ok(if refused { Exit::Findings } else { Exit::Well })
    }

    fn redrive_all(&self, kind: Option<&str>) -> Result<Exit, String> {
        let mut message = json!({"all": true});
        if let Some(kind) = kind {
            message["kind"] = json!(kind);
        }
        let mut refused = false;
        loop {
            let done = self.api.post("/v1/dead-letters/redrive", &message)?;
            refused |= self.tell_all(&done);
            if done["more"] != true {
                return Ok(if refused { Exit::Findings } else { Exit::Well });
            }
            (message["after"], message["until"]) = (done["next"].clone(), done["until"].clone());
        }
    }

    /// Says what became of each; whether one is refused.
    fn tell_all(&self, done: &Json) -> bool {
        let results = done["results"].as_array().map(Vec::as_slice).unwrap_or_default();
        for result in results {
            let id = result["id"].as_str().unwrap_or_default();
            match (self.format, result["outcome"].as_str()) {
                (Format::Json, _) => outln!("{result}"),
                (_, Some("taken")) if result["topic"].is_string() => {
                    let topic = result["topic"].as_str().unwrap_or_default();
                    outln!("{id} is in partition {} of the topic {topic} again", result["partition"]);
                }
                (_, Some("already")) if result["offset"].is_null() => outln!("{id} was put in before"),
                (_, Some("taken")) => outln!("{id} is line {} now", result["offset"]),
                (_, Some("already")) => outln!("{id} was put in before, as line {}", result["offset"]),
                _ => outln!("{id} is refused: {}", result["reason"].as_str().unwrap_or_default()),
            }
        }
        results.iter().any(|result| result["outcome"] == "refused")
    }
}

fn tell(letter: &Json) {
    let text = |name: &str| letter[name].as_str().unwrap_or_default();
    let gone = if letter["gone"] == true { " (its line is gone)" } else { "" };
    let place = match letter["topic"].as_str() {
        Some(topic) => format!("{topic} {}:{}", letter["partition"], letter["offset"]),
        None => format!("line {}", letter["offset"]),
    };
    let cut = match letter["cut_from_bytes"].as_u64() {
        Some(bytes) => format!(" (only the first of its {bytes} bytes are kept)"),
        None => String::new(),
    };
    outln!("{} {} {:<5} {place}: {}{gone}{cut}", text("id"), text("at"), text("kind"), text("reason"));
}
