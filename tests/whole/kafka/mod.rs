//! What holds against a real Kafka.

mod broker;
