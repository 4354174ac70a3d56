//! The broker of these tests does what it is told.

use std::time::Duration;

use lapwing_broker::{Broker, until};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;

/// The partitions of a topic, as the broker tells.
fn partitions(broker: &Broker, topic: &str) -> KafkaResult<usize> {
    let consumer: BaseConsumer = ClientConfig::new().set("bootstrap.servers", broker.address()).create()?;
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(2))?;
    Ok(metadata.topics()[0].partitions().len())
}

#[test]
fn a_broker_is_stopped_killed_frozen_and_started_again() {
    let mut broker = Broker::start();
    broker.topic("kept", 3);
    assert_eq!(partitions(&broker, "kept"), Ok(3));
    broker.stop();
    assert!(partitions(&broker, "kept").is_err());
    broker.restart();
    assert!(until(|| partitions(&broker, "kept") == Ok(3)), "the topic is lost");
    broker.kill();
    broker.restart();
    assert!(until(|| partitions(&broker, "kept") == Ok(3)), "the topic is lost");
    broker.freeze();
    assert!(partitions(&broker, "kept").is_err());
    broker.thaw();
    assert!(until(|| partitions(&broker, "kept") == Ok(3)), "it does not go on");
    assert!(broker.log().contains("Kafka Server started"), "{}", broker.log());
}
