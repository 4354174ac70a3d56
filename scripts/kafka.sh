#!/usr/bin/env bash
# Brings the broker that the tests of Kafka run against, Apache Kafka with its tools, from Maven Central into ~/.cache/lapwing. Does nothing where it is there.
set -euo pipefail

VERSION=4.1.0
LOG4J=2.25.1
say() { printf 'kafka: %s\n' "$*" >&2; }

folder=${XDG_CACHE_HOME:-$HOME/.cache}/lapwing/kafka-$VERSION-tools

missing=()
command -v java >/dev/null || missing+=(default-jre-headless)
if [ ! -e "$folder/complete" ]; then
    command -v mvn >/dev/null || missing+=(maven)
fi
if [ ${#missing[@]} != 0 ]; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        say "installing ${missing[*]}"
        apt-get update -qq >&2 || true
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2 || true
    fi
    if ! command -v java >/dev/null || { [ ! -e "$folder/complete" ] && ! command -v mvn >/dev/null; }; then
        say "the tests of Kafka need Java 17 or later, and Maven to bring the broker; please install: ${missing[*]}"
        exit 1
    fi
fi
[ -e "$folder/complete" ] && exit 0

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/pom.xml" <<XML
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>lapwing</groupId>
  <artifactId>broker-for-tests</artifactId>
  <version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$VERSION</version></dependency>
    <dependency><groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$LOG4J</version></dependency>
  </dependencies>
</project>
XML
say "bringing Apache Kafka $VERSION from Maven Central into $folder"
mvn --batch-mode --quiet --file "$work/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/libs" >&2 || {
    say "it could not be brought; the tests of Kafka need it"
    exit 1
}
rm -rf "$folder"
mkdir -p "$folder"
mv "$work/libs" "$folder/libs"
touch "$folder/complete"
say "there it is: $folder"
