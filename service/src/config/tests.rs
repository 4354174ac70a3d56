//! What is read, which origin wins, and what is refused.

use std::time::Duration;

use lapwing_engine::order::Order;

use super::kafka::{Delivery, From, TopicBy};
use super::*;

fn variables(variables: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
    let owned: Vec<_> = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    owned.into_iter()
}

/// A file that goes when the test ends.
struct File(std::path::PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("lapwing-config-{}-{name}", std::process::id()));
        std::fs::write(&path, text).expect("the folder for temporary files can be written");
        File(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Loads a file of this text, variables and flags.
fn load(name: &str, text: &str, env: &[(&str, &str)], sets: &[&str]) -> Result<Loaded, Vec<Fault>> {
    let file = File::new(name, text);
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::load(Some(&file.0), variables(env), &sets)
}

/// All that is wrong, a line each, the file's name shortened to `F`.
#[track_caller]
fn refused(name: &str, text: &str, env: &[(&str, &str)], sets: &[&str], expected: &[&str]) {
    let faults = load(name, text, env, sets).expect_err("something is wrong with it");
    let shorten = |fault: &Fault| {
        let text = fault.to_string();
        match (&fault.origin, text.find(':')) {
            (Origin::File { .. }, Some(colon)) => format!("F{}", &text[colon..]),
            _ => text,
        }
    };
    assert_eq!(faults.iter().map(shorten).collect::<Vec<_>>(), expected);
}

#[test]
fn nothing_given_is_the_defaults() {
    let loaded = Config::load(None, variables(&[]), &[]).expect("the defaults are well");
    let config = loaded.config;
    assert_eq!(config.service.listen, "127.0.0.1:7878");
    assert_eq!(config.service.rules, [Path::new("rules")]);
    assert_eq!((config.engine.threads, config.engine.order), (1, Order::EventTime));
    assert_eq!((config.engine.max_ahead, config.engine.memory), (None, 1 << 30));
    assert_eq!(config.log.retain_for, Duration::from_secs(7 * 86_400));
    assert_eq!((config.kafka, config.alerts.webhook.len()), (None, 0));
    assert!(loaded.settings.iter().all(|setting| setting.origin == Origin::Default));
}

#[test]
fn every_key_can_be_given() {
    let secret = File::new("every-secret", "swordfish\n");
    let text = format!(
        r#"
        [service]
        listen = "[::1]:80"
        data = "/var/lib/lapwing"
        rules = ["a.lap", "b"]
        tables = "tables"
        [engine]
        threads = 8
        order = "arrival"
        lateness = "5m"
        max_ahead = "1d"
        idle_after = "1m"
        memory = "4GiB"
        [alerts]
        file = "alerts.ndjson"
        [[alerts.webhook]]
        url = "https://hooks.example/x"
        secret_file = "{secret}"
        rules = ["failed_logins"]
        severities = ["high", "critical"]
        timeout = "3s"
        [kafka]
        brokers = "kafka-1:9092,kafka-2:9092"
        delivery = "at-least-once"
        properties = {{ "security.protocol" = "SASL_SSL", "socket.keepalive.enable" = true, "linger.ms" = 5 }}
        secrets = {{ "sasl.password" = "{secret}" }}
        alerts = {{ topic = "out", topic_by = "rule" }}
        late.topic = "late"
        [[kafka.source]]
        topic = "logins"
        from = {{ 0 = 17, 3 = 4 }}
        type_header = "type"
        history = "old"
        [[kafka.source]]
        topic = "payments"
        from = 2026-01-05T10:00:00Z
        [[kafka.source]]
        topic = "shares"
        from = "2026-01-05T10:00:00"
        "#,
        secret = secret.0.display(),
    );
    let config = load("every", &text, &[], &[]).expect("it is well").config;
    assert_eq!((config.engine.threads, config.engine.order), (8, Order::Arrival));
    assert_eq!(config.engine.max_ahead, Some(Duration::from_secs(86_400)));
    let webhook = &config.alerts.webhook[0];
    assert_eq!(webhook.signed_with().map(Secret::expose), Some("swordfish"));
    assert_eq!(webhook.severities, ["high", "critical"]);
    let kafka = config.kafka.expect("it is given");
    assert_eq!((kafka.delivery, kafka.alerts.topic_by), (Delivery::AtLeastOnce, TopicBy::Rule));
    assert_eq!((kafka.late.topic.as_deref(), kafka.dead_letters.topic), (Some("late"), None));
    assert_eq!(kafka.properties["linger.ms"].text, "5");
    assert_eq!(kafka.properties["socket.keepalive.enable"].text, "true");
    assert_eq!(kafka.secrets["sasl.password"].expose(), "swordfish");
    assert_eq!(kafka.source[0].from, From::Offsets([(0, 17), (3, 4)].into()));
    // Without a zone a time is UTC.
    assert_eq!(kafka.source[1].from, kafka.source[2].from);
}

#[test]
fn the_later_origin_wins() {
    let text = "[engine]\nthreads = 2\nlateness = \"1s\"\norder = \"arrival\"\n";
    let env = [("LAPWING_ENGINE__THREADS", "3"), ("LAPWING_ENGINE__LATENESS", "2s"), ("LAPWING_KILLS", "x")];
    let loaded = load("wins", text, &env, &["engine.threads=4", "service.rules=a, b"]).expect("it is well");
    let origin = |key: &str| loaded.settings.iter().find(|s| s.key == key).expect("a key").origin.to_string();
    assert_eq!(loaded.config.engine.threads, 4);
    assert_eq!(loaded.config.engine.lateness, Duration::from_secs(2));
    assert_eq!(loaded.config.service.rules, [Path::new("a"), Path::new("b")]);
    assert_eq!(origin("engine.threads"), "--set");
    assert_eq!(origin("engine.lateness"), "LAPWING_ENGINE__LATENESS");
    assert!(origin("engine.order").ends_with("-wins:4"));
    assert_eq!(origin("engine.memory"), "default");
}

#[test]
fn lists_of_tables_are_reached_by_number() {
    let text = "[kafka]\nbrokers = \"k:1\"\n[[kafka.source]]\ntopic = \"a\"\n";
    let env = [("LAPWING_KAFKA__SOURCE__1__TOPIC", "b"), ("LAPWING_KAFKA__PROPERTIES__CLIENT_ID", "me")];
    let sets = ["kafka.source.0.from=latest", "kafka.source.1.from={ 0 = 5 }", "kafka.properties.\"linger.ms\"=7"];
    let kafka = load("numbers", text, &env, &sets).expect("it is well").config.kafka.expect("it is given");
    assert_eq!((kafka.source[0].from.clone(), kafka.source[1].topic.as_str()), (From::Latest, "b"));
    assert_eq!(kafka.source[1].from, From::Offsets([(0, 5)].into()));
    assert_eq!((kafka.properties["client.id"].text.as_str(), kafka.properties["linger.ms"].text.as_str()), ("me", "7"));
}

#[test]
fn the_environment_alone_is_enough() {
    let env = [("LAPWING_KAFKA__BROKERS", "k:1"), ("LAPWING_KAFKA__SOURCE__0__TOPIC", "a")];
    let kafka = Config::load(None, variables(&env), &[]).expect("it is well").config.kafka.expect("it is given");
    assert_eq!(kafka.source[0].topic, "a");
}

#[test]
fn an_empty_text_takes_away_what_may_be_left_out() {
    let loaded = load("empty", "[engine]\nmax_ahead = \"1d\"\n", &[], &["engine.max_ahead="]).expect("it is well");
    assert_eq!(loaded.config.engine.max_ahead, None);
}

#[test]
fn all_that_is_wrong_is_told_with_its_place() {
    let text = "listn = 3\n[service]\nrules = \"rules\"\n[engine]\nthread = 2\nthreads = 300\norder = \"arival\"\n\
                lateness = 5\nmemory = \"1gb\"\n[htpp]\n[[alerts.webhook]]\n[epoch]\nevery = \"1ms\"\n";
    let env = [("LAPWING_SAVE__EVRY", "1s"), ("LAPWING_HTTP__CONNECTIONS_MAX", "many")];
    refused(
        "all",
        text,
        &env,
        &["engine.idle_after", "log=1", "save.every=1x"],
        &[
            "F:1:1: there is no key `listn`: known here: service, engine, log, epoch, save, http, auth, alerts, kafka",
            "F:3:9: `service.rules` is a string, and must be a list: write [\"…\", \"…\"]",
            "F:5:1: there is no key `engine.thread`: did you mean `threads`?",
            "F:6:11: `engine.threads`: `300` is out of range; write a whole number from 1 to 256",
            "F:7:9: `engine.order`: there is no `arival`: did you mean \"arrival\"?",
            "F:8:12: `engine.lateness`: this is a whole number; write a length of time in quotes: \"30s\"",
            "F:9:10: `engine.memory`: `1gb` is no size; write a whole number and a unit: 4096B, 64KiB, 512MiB, 1GiB, 2TiB, \
             or kB, MB, GB, TB",
            "F:10:2: there is no section `htpp`: did you mean `http`?",
            "F:11:1: `alerts.webhook.0.url` is missing, and there is no default: give it",
            "F:13:9: `epoch.every`: `1ms` is out of range; write a length of time from 10ms to 10m",
            "LAPWING_SAVE__EVRY: there is no key `save.evry`: did you mean `every`?",
            "LAPWING_HTTP__CONNECTIONS_MAX: `http.connections_max`: `many` is out of range; write a whole number from 1 to 1000000",
            "--set engine.idle_after: write KEY=VALUE: engine.threads=2",
            "--set log: `log` is a string, and must be a table: [log]",
            "--set save.every: `save.every`: `1x` is no length of time; write a whole number and a unit: 500ms, 10s, 5m, 2h, \
             1d, 1w",
        ],
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    refused(
        "syntax",
        "[service\n[engine]\nthreads = 1\nthreads = 2\n",
        &[],
        &[],
        &["F:1:9: this is not TOML: unclosed table, expected `]`", "F:4:1: this is not TOML: duplicate key"],
    );
    let faults = Config::load(Some(Path::new("/nowhere.toml")), variables(&[]), &[]).expect_err("there is no file");
    assert!(faults[0].to_string().starts_with("/nowhere.toml: cannot read the configuration: "), "{}", faults[0]);
}

#[test]
fn secrets_stand_in_no_file_and_no_message() {
    let text = "[[alerts.webhook]]\nurl = \"https://me:hunter2@hooks.example\"\nsecret = \"hunter2\"\n[kafka]\n\
                brokers = \"k:1\"\nproperties = { \"sasl.password\" = \"hunter2\", \"group.id\" = \"x\" }\n\
                secrets = { \"ssl.key.password\" = \"/nowhere\" }\n";
    let set = ["kafka.properties.\"ssl.keystore.password\"=hunter2"];
    let faults = load("secrets", text, &[], &set).expect_err("secrets do not stand here");
    let told: Vec<_> = faults.iter().map(ToString::to_string).collect();
    assert!(told.iter().all(|fault| !fault.contains("hunter2")), "{told:#?}");
    for (at, words) in [
        (0, "2:7: `alerts.webhook.0.url`: this is no address of the web"),
        (1, "set the environment variable LAPWING_ALERTS__WEBHOOK__0__SECRET"),
        (2, "`kafka.properties.group.id`: this property is not yours to set: set `kafka.group`"),
        (3, "set the environment variable LAPWING_KAFKA__PROPERTIES__SASL_PASSWORD"),
        (4, "`kafka.secrets.ssl.key.password`: cannot read the secret in `/nowhere`"),
        (5, "`kafka.properties.ssl.keystore.password`: this is a secret"),
    ] {
        let mut told = told.iter();
        assert!(told.any(|fault| fault.contains(words)), "{at}: {words}");
    }
    let env =
        [("LAPWING_ALERTS__WEBHOOK__0__SECRET", "hunter2"), ("LAPWING_KAFKA__PROPERTIES__SASL_PASSWORD", "hunter2")];
    let text = "[[alerts.webhook]]\nurl = \"https://hooks.example/hunter2\"\n[kafka]\nbrokers = \"k:1\"\n\
                [[kafka.source]]\ntopic = \"a\"\n";
    let loaded = load("secret-env", text, &env, &[]).expect("it is well");
    assert_eq!(loaded.config.alerts.webhook[0].signed_with().map(Secret::expose), Some("hunter2"));
    let shown = format!("{:?}", loaded.settings);
    assert!(!shown.contains("hunter2") && shown.contains("https://hooks.example/***"), "{shown}");
    let kafka = format!("{:?}", loaded.config.kafka);
    assert!(!kafka.contains("hunter2"), "{kafka}");
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    let text = "[log]\nretain_bytes = \"1MiB\"\n[http]\nline_bytes_max = \"32MiB\"\n[kafka]\nbrokers = \"k:1\"\n\
                [[kafka.source]]\ntopic = \"lapwing-alerts\"\n";
    refused(
        "together",
        text,
        &[],
        &[],
        &[
            "F:2:16: `log.retain_bytes`: less than one `log.segment_bytes`; give it at least as much",
            "F:4:18: `http.line_bytes_max`: more than `http.body_bytes_max`; give it at most as much",
            "`kafka.alerts.topic`: `lapwing-alerts` is also `kafka.source.0.topic`; give each a topic of its own",
        ],
    );
    refused(
        "no-source",
        "[kafka]\nbrokers = \"k:1\"\n",
        &[],
        &[],
        &["F:2:11: `kafka.brokers`: there is no topic to read: write [[kafka.source]] and its `topic`"],
    );
}
