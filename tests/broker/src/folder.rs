//! The folder of a broker: its settings, its log, its data.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::{PASSWORD, Ports, USER, jars};

/// Says what the broker does, and keeps quiet about what it does all the time.
const LOG4J: &str = "\
rootLogger.level = INFO
rootLogger.appenderRef.out.ref = OUT
appender.out.type = Console
appender.out.name = OUT
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{HH:mm:ss.SSS} %p %m (%c{1})%n%throwable{short.message}
logger.configs.name = org.apache.kafka.common.config
logger.configs.level = WARN
logger.server.name = kafka.server.KafkaConfig
logger.server.level = WARN
";

/// Kafka's own tools, with the class that each is.
const TOOLS: [(&str, &str); 3] = [
    ("kafka-topics.sh", "org.apache.kafka.tools.TopicCommand"),
    ("kafka-console-producer.sh", "org.apache.kafka.tools.ConsoleProducer"),
    ("kafka-console-consumer.sh", "org.apache.kafka.tools.consumer.ConsoleConsumer"),
];

/// A folder that goes when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// A new one, formatted for an empty log.
    pub fn formatted(ports: Ports) -> Folder {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("lapwing-kafka-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        let folder = Folder(path);
        fs::write(folder.settings(), folder.properties(ports)).expect("the folder can be written");
        fs::write(folder.0.join("log4j2.properties"), LOG4J).expect("the folder can be written");
        let mut format = folder.java("kafka.tools.StorageTool");
        // Any 16 bytes are the name of a cluster.
        format.args(["format", "--cluster-id", "TGFwd2luZ0ZvclRlc3RzMQ", "--config"]).arg(folder.settings());
        let done = format.output().expect("java starts");
        assert!(
            done.status.success(),
            "the broker's folder was not formatted:\n{}{}",
            String::from_utf8_lossy(&done.stdout),
            String::from_utf8_lossy(&done.stderr)
        );
        folder
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file with its settings.
    pub fn settings(&self) -> PathBuf {
        self.0.join("server.properties")
    }

    /// The file that the broker writes what it does to.
    pub fn log(&self) -> PathBuf {
        self.0.join("broker.log")
    }

    /// A program of Kafka's, small and quick to start.
    pub fn java(&self, class: &str) -> Command {
        let mut java = Command::new("java");
        java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .arg(format!("-Dlog4j2.configurationFile={}", self.0.join("log4j2.properties").display()))
            .arg("-cp")
            .arg(jars().join("*"))
            .arg(class);
        java
    }

    /// A folder with Kafka's own tools under the names that they have in its archive.
    pub fn tools(&self) -> PathBuf {
        let bin = self.0.join("bin");
        let log4j = self.0.join("tools-log4j2.properties");
        let quiet = LOG4J.replace("rootLogger.level = INFO", "rootLogger.level = OFF");
        fs::create_dir_all(&bin).expect("the folder can be written");
        fs::write(&log4j, quiet).expect("the folder can be written");
        for (name, class) in TOOLS {
            let text = format!(
                "#!/bin/sh\nexec java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.configurationFile={} -cp '{}' {class} \"$@\"\n",
                log4j.display(),
                jars().join("*").display(),
            );
            let path = bin.join(name);
            fs::write(&path, text).expect("the folder can be written");
            fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("the folder can be written");
        }
        bin
    }

    fn properties(&self, Ports { plain, sasl, controller, behind, proxy }: Ports) -> String {
        format!(
            "\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},BEHIND://127.0.0.1:{behind},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SASL://127.0.0.1:{sasl},BEHIND://127.0.0.1:{proxy}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SASL:SASL_PLAINTEXT,BEHIND:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
sasl.enabled.mechanisms=PLAIN
listener.name.sasl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \\
  user_{USER}=\"{PASSWORD}\";
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=5
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=5
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
message.max.bytes=33554432
",
            data = self.0.join("data").display(),
        )
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
