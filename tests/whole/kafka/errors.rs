//! What is said when Kafka is not there, does not let us in, or does not have what was asked for.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use lapwing::config::Config;
use lapwing::data::kafka::{Client, Error, Kind, Producer, Properties, Reader, TransactionalProducer};
use lapwing_broker::{Broker, PASSWORD, USER};

use super::WAIT;

/// The properties of a configuration with these settings, without a file.
fn configured(brokers: &str, sets: &[(&str, &str)], env: &[(&str, &str)]) -> Properties {
    let mut all = vec![format!("kafka.brokers={brokers}"), "kafka.source.0.topic=t".to_owned()];
    all.extend(sets.iter().map(|(key, value)| format!("kafka.properties.\"{key}\"={value}")));
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let loaded = Config::load(None, env, &all).expect("the configuration is well");
    Properties::of(&loaded.config.kafka.expect("it is given"))
}

fn reader(properties: &Properties) -> Reader {
    Reader::open(properties, "errors", &["t".to_owned()], false).expect("known properties")
}

fn asked(properties: &Properties, topic: &str, wait: Duration) -> Result<i32, Error> {
    let reader = reader(properties);
    let client: &Client = reader.client();
    client.partitions(topic, wait)
}

/// An address where nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("this machine has free ports");
    listener.local_addr().expect("it is bound to an address").to_string()
}

#[test]
fn no_broker() {
    let brokers = nobody();
    let error = asked(&configured(&brokers, &[], &[]), "t", Duration::from_secs(2)).expect_err("nobody is there");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.starts_with(&format!("no Kafka broker answers at {brokers}: ")), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    assert!(said.ends_with("; is `kafka.brokers` right, and do they run?"), "{said}");
    let mut producer = TransactionalProducer::open(&configured(&brokers, &[], &[]), "x", WAIT).expect("known");
    let error = producer.init(Duration::from_secs(1)).expect_err("nobody is there");
    assert_eq!(error.kind, Kind::Retriable, "{error}");
}

#[test]
fn a_name_that_is_none() {
    let properties = configured("nowhere.invalid:9092", &[], &[]);
    let error = asked(&properties, "t", Duration::from_secs(2)).expect_err("there is no such machine");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    assert!(error.to_string().contains("nowhere.invalid:9092"), "{error}");
}

#[test]
fn wrong_and_right_credentials() {
    let broker = Broker::shared();
    broker.topic("credentials", 3);
    let sets = [("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanisms", "PLAIN"), ("sasl.username", USER)];
    let with =
        |password| configured(&broker.sasl_address(), &sets, &[("LAPWING_KAFKA__PROPERTIES__SASL_PASSWORD", password)]);
    assert_eq!(asked(&with(PASSWORD), "credentials", WAIT), Ok(3));
    let begun = Instant::now();
    let error = asked(&with("wrong-password"), "credentials", WAIT).expect_err("the password is wrong");
    assert!(begun.elapsed() < WAIT / 2, "it was not told at once");
    assert!(matches!(error, Error::Credentials { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("refuse the credentials: ") && said.contains("mend `sasl.mechanisms`"), "{said}");
    assert!(!said.contains("wrong-password"), "{said}");
    let mut producer = TransactionalProducer::open(&with("wrong-password"), "x", WAIT).expect("known properties");
    let error = producer.init(Duration::from_secs(3)).expect_err("the password is wrong");
    assert!(matches!(error.error, Error::Credentials { .. }), "{error:?}");
}

#[test]
fn a_topic_that_does_not_exist() {
    let properties = configured(&Broker::shared().address(), &[], &[]);
    let error = asked(&properties, "nowhere", WAIT).expect_err("there is no such topic");
    assert_eq!(error, Error::NoTopic { topic: "nowhere".to_owned() });
    assert_eq!(
        error.to_string(),
        "the Kafka topic `nowhere` does not exist; create it, or mend its name in the configuration"
    );
}

#[test]
fn properties_that_the_client_does_not_take() {
    let open = |sets: &[(&str, &str)], env: &[(&str, &str)]| {
        let properties = configured("127.0.0.1:1", sets, env);
        Reader::open(&properties, "errors", &[], false).err().expect("it is not taken").to_string()
    };
    let said = open(&[("no.such.thing", "1")], &[]);
    assert!(said.starts_with("Kafka's client does not take the property `no.such.thing`: "), "{said}");
    let said = open(&[("socket.timeout.ms", "soon")], &[]);
    assert!(
        said.contains("`socket.timeout.ms`") && said.ends_with("mend it in `kafka.properties` or `kafka.secrets`"),
        "{said}"
    );
    let one = configured("127.0.0.1:1", &[("acks", "1")], &[]);
    let said = Producer::open(&one).err().expect("it is not taken").to_string();
    assert!(said.starts_with("Kafka's client does not take these properties: ") && said.contains("acks"), "{said}");
    let said = open(&[("security.protocol", "SSL")], &[("LAPWING_KAFKA__PROPERTIES__SSL_KEY_PEM", "hunter2")]);
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn an_encrypted_connection_to_who_does_not_encrypt() {
    let properties = configured(&Broker::shared().address(), &[("security.protocol", "SSL")], &[]);
    let error = asked(&properties, "t", Duration::from_secs(2)).expect_err("the broker does not encrypt");
    assert!(matches!(error, Error::Encryption { .. }), "{error:?}");
    assert!(error.to_string().contains("mend `security.protocol`"), "{error}");
}
