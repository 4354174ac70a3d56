//! `lapwing explain`: what rules do, in words, as a plan, and as a picture of their automata.

use std::path::PathBuf;

use clap::ValueEnum;
use lapwing_dsl::explain::{dot, explain, svg};
use lapwing_engine::index::Index;
use lapwing_engine::limits::Limits;

use super::{Exit, compiled, refuse};

/// Arguments of `explain`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Rule files, or folders of them.
    #[arg(required = true)]
    rules: Vec<PathBuf>,
    /// Only this rule.
    #[arg(long)]
    rule: Option<String>,
    /// In which form.
    #[arg(long, value_enum, default_value_t)]
    format: Form,
}

/// In which form a rule is explained.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Words.
    #[default]
    Text,
    /// The same as an array of objects.
    Json,
    /// The automata in the language of Graphviz.
    Dot,
    /// The automaton of one rule as a drawing.
    Svg,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    let rules = match compiled(&arguments.rules) {
        Ok(rules) => rules,
        Err(exit) => return exit,
    };
    let wanted = |name: &str| arguments.rule.as_ref().is_none_or(|r| r == name);
    let programs: Vec<_> = rules.loaded.programs.iter().filter(|p| wanted(&p.rule.name)).collect();
    if let (Some(name), true) = (&arguments.rule, programs.is_empty()) {
        let names: Vec<_> = rules.loaded.programs.iter().map(|p| p.rule.name.as_str()).collect();
        return refuse(format_args!("there is no rule `{name}`; there is {}", names.join(", ")));
    }
    if arguments.format == Form::Svg && programs.len() != 1 {
        return refuse(format_args!("a drawing shows one rule and here are {}; name it with --rule", programs.len()));
    }
    let caps = Limits::default().explained();
    let schema = &rules.loaded.schema;
    let explained = programs.iter().map(|p| explain(p, schema, &caps, &Index::witness_of));
    match arguments.format {
        Form::Text => out!("{}", explained.map(|e| e.to_string()).collect::<Vec<_>>().join("\n")),
        Form::Json => {
            let all: Vec<_> = explained.collect();
            outln!("{}", serde_json::to_string_pretty(&all).expect("explanations are plain data"));
        }
        Form::Dot => programs.iter().for_each(|p| out!("{}", dot(p, schema))),
        Form::Svg => programs.iter().for_each(|p| out!("{}", svg(p, schema))),
    }
    Exit::Well
}
