# The two commands are `make demo` and `make test`. Each sets the machine up as far as it needs.
.PHONY: demo test lint fmt random kill fuzz bench models guard help setup

CARGO := PATH="$$HOME/.cargo/bin:$$PATH" cargo

help:
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | sort

setup:
	@scripts/setup.sh
	@scripts/onnxruntime.sh

demo: setup ## alerts of the four seed rules from a generated stream
	$(CARGO) run --release --quiet --bin lapwing -- demo

test: setup ## all tests
	@scripts/setup.sh curl
	@scripts/kafka.sh
	@scripts/prometheus.sh
	$(CARGO) test --workspace

random: setup ## 100,000 random rule sets, engine against the naive matcher
	LAPWING_RANDOM_CASES=100000 $(CARGO) test -p lapwing-tests --test whole random

kill: setup ## 200 kills of `lapwing run --state`, 1,000 of `lapwing serve` and 200 over Kafka, where 200 faults of the network come too, the output compared with an undisturbed run's
	@scripts/kafka.sh
	LAPWING_KILLS=200 $(CARGO) test --release -p lapwing --test kill
	LAPWING_KILLS=1000 $(CARGO) test --release -p lapwing --test serve
	LAPWING_KILLS=200 $(CARGO) test --release -p lapwing --test uploads
	LAPWING_KILLS=200 LAPWING_FREEZES=50 LAPWING_CUTS=200 $(CARGO) test --release -p lapwing --test kafka

fuzz: setup ## each fuzz target for a minute
	scripts/fuzz.sh 60

bench: setup ## time each part of an event's path
	$(CARGO) bench -p lapwing-bench

models: setup ## how fast models score, and what a thousand changes of one leave in memory
	$(CARGO) run --release --quiet -p lapwing-bench --bin models

guard: ## count each part's instructions and compare with those accepted; LAPWING_REWRITE=1 accepts
	@scripts/setup.sh valgrind
	$(CARGO) build --release --quiet -p lapwing-bench
	$(CARGO) run --release --quiet -p lapwing-bench --bin guard

lint: ## format and clippy, without warnings
	@scripts/setup.sh fmt clippy
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fmt: ## lay all code out
	$(CARGO) fmt --all
