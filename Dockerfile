# syntax=docker/dockerfile:1
# Lapwing in a container: docs/install.md. Built with BuildKit, whose caches make the second build short; the first compiles RocksDB.

FROM rust:1.95-slim-bookworm AS build
# What scripts/setup.sh and scripts/onnxruntime.sh would install, in a layer of its own.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake g++ libclang1 libssl-dev make pkg-config python3-pip zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /lapwing
COPY Cargo.toml Cargo.lock ./
COPY scripts scripts
COPY rules rules
COPY dsl dsl
COPY engine engine
COPY service service
COPY tests tests
COPY bench bench
# The library for models goes beside the binary, where that looks for it. Without it everything but models works.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/root/.cache/lapwing \
    --mount=type=cache,target=/lapwing/target \
    scripts/setup.sh \
    && scripts/onnxruntime.sh \
    && cargo build --release --locked --package lapwing \
    && mkdir /out \
    && cp target/release/lapwing /out/ \
    && if [ -e /root/.cache/lapwing/libonnxruntime.so ]; then cp /root/.cache/lapwing/libonnxruntime.so /out/; fi

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 libstdc++6 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin lapwing \
    && install -d -o lapwing -g lapwing -m 0750 /var/lib/lapwing
COPY --from=build /out/ /usr/local/bin/
COPY packaging/lapwing.toml /etc/lapwing/lapwing.toml
# By number, so that who runs it can see that it is not root.
USER 10001
# The network of a container is its own: who may reach it is said where its port is published.
ENV LAPWING_SERVICE__LISTEN=0.0.0.0:7878
EXPOSE 7878
VOLUME /var/lib/lapwing
# There is no curl in it, and none is needed.
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/7878 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && grep -q '\"live\":true' <&3"]
ENTRYPOINT ["lapwing"]
CMD ["serve", "--config", "/etc/lapwing/lapwing.toml"]
