//! `lapwing serve`: takes events in, judges them, and lets alerts out, until it is told to end.

use lapwing_engine::Millis;

use super::config::Given;
use super::{Exit, compiled, refuse};
use crate::api::server::Limits;
use crate::config::Config;
use crate::config::Secret;
use crate::config::alerts::Webhook;
use crate::data::log::embedded;
use crate::data::matcher;
use crate::data::pipeline::Options;
use crate::data::webhook;
use crate::serve::{DRAIN, Prepared, Settings, clock};

/// Arguments of `serve`.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    given: Given,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Exit {
    // Where nobody listens any more the service goes on. Where somebody else has said who listens, that stays.
    let listening = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    let _ = listening.log_internal_errors(false).try_init();
    let config = match arguments.given.load() {
        Ok(loaded) => loaded.config,
        Err(exit) => return exit,
    };
    if let Some(kafka) = &config.kafka
        && (config.alerts.file.is_some() || !config.alerts.webhook.is_empty())
    {
        let topic = &kafka.alerts.topic;
        return refuse(format!(
            "`[alerts]`: with `[kafka]` alerts go to the topic `{topic}`; take `alerts.file` and `[[alerts.webhook]]` away"
        ));
    }
    let mut prepared = match Prepared::new(settings(&config)) {
        Ok(prepared) => prepared,
        Err(message) => return refuse(message),
    };
    if prepared.is_first() {
        let rules = match compiled(&config.service.rules) {
            Ok(rules) => rules,
            Err(exit) => return exit,
        };
        if let Err(message) = prepared.begin_with(&rules) {
            return refuse(message);
        }
    }
    match prepared.run() {
        Ok(()) => Exit::Well,
        Err(message) => refuse(message),
    }
}

fn settings(config: &Config) -> Settings {
    let millis = |duration: std::time::Duration| Millis::try_from(duration.as_millis()).unwrap_or(Millis::MAX);
    let Config { service, engine, log, epoch, save, http, auth, alerts, .. } = config;
    Settings {
        listen: service.listen.clone(),
        data: service.data.clone(),
        tables: service.tables.clone(),
        threads: engine.threads.into(),
        options: Options { order: engine.order, lateness: millis(engine.lateness), ..Options::default() },
        save_every: save.every,
        files: log.source.iter().map(|source| source.path.clone()).collect(),
        alert_file: alerts.file.clone(),
        webhooks: alerts.webhook.iter().map(webhook_settings).collect(),
        memory: engine.memory,
        log: embedded::Settings {
            segment_bytes: log.segment_bytes,
            retain_for: log.retain_for,
            retain_bytes: log.retain_bytes,
            sync_every: log.sync_every,
            clock,
        },
        kafka: config.kafka.clone(),
        matcher: matcher::Settings {
            epoch_every: epoch.every,
            epoch_bytes_max: epoch.bytes_max as usize,
            max_ahead: engine.max_ahead.map(millis),
            idle_after: millis(engine.idle_after),
            clock,
        },
        limits: Limits {
            connections_max: http.connections_max as usize,
            header_timeout: http.header_timeout,
            drain: DRAIN,
        },
        four_eyes: auth.four_eyes,
        body_bytes_max: http.body_bytes_max as usize,
        line_bytes_max: http.line_bytes_max as usize,
    }
}

fn webhook_settings(webhook: &Webhook) -> webhook::Settings {
    webhook::Settings {
        url: Secret::new(webhook.url.clone()),
        shown: webhook.shown().to_owned(),
        secret: webhook.signed_with().cloned(),
        rules: webhook.rules.clone(),
        severities: webhook.severities.iter().map(|severity| (*severity).to_owned()).collect(),
        timeout: webhook.timeout,
    }
}
