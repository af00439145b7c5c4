#!/bin/bash
# Writes docs/proof.md from what the commands have printed: `make test` into target/make-test.log,
# `make matrix` into target/matrix.json, `make fuzz` into target/make-fuzz.log. It makes no figure of its own: what was not run says so.
set -euo pipefail

log=target/make-test.log
matrix=target/matrix.json
fuzz=target/make-fuzz.log
page=docs/proof.md

# What follows `key=` in the line of the log that begins with `sim:` and has the other word.
sim() {
	local line
	line=$(grep -h "^sim: .*$1=" "$log" | grep -- "$2" | tail -n 1) || { echo "not run"; return; }
	sed -E "s/.*\b$1=([^ ]*).*/\1/" <<<"$line"
}

# A figure of the matrix's own, which stands two spaces in.
struck() {
	[ -e "$matrix" ] || { echo "not run"; return; }
	sed -nE "s/^  \"$1\": ([0-9]+),?$/\1/p" "$matrix" | tail -n 1
}

# A figure in milliseconds of a live test, in seconds.
seconds() {
	local ms
	ms=$(grep -ho "$1: .*" "$log" | grep -o "$2=[0-9]*" | tail -n 1) || { echo "not run"; return; }
	awk -v ms="${ms#*=}" 'BEGIN { printf "%.1f s\n", ms / 1000 }'
}

# The states of a search of the machine's whole state space.
states() {
	grep -ho "search: of=$1 states=[0-9]*" "$log" | tail -n 1 | sed 's/.*=//' | grep . || echo "not run"
}

planted() {
	grep -h "^sim: planted=" "$log" |
		sed -E 's/^sim: planted=([A-Za-z]+) seeds=([0-9]+) by="([^:"]*).*/| `\1` | \2 | \3 |/'
}

fuzzed() {
	[ -e "$fuzz" ] || { echo "| not run | | | |"; return; }
	sed -nE 's/^fuzz: of=(.*) seconds=(.*) executions=(.*) crashes=(.*)/| `\1` | \2 | \3 | \4 |/p' "$fuzz"
}

[ -e "$log" ] || { echo "$log is not there: make test"; exit 1; }
commit=$(git rev-parse --short HEAD)
cat >"$page" <<PAGE
# What was tried, and what held

Written by \`make proof\` from what \`make test\`, \`make fuzz\` and \`make matrix\` have printed, at or before commit $commit. What is promised
stands in ARCHITECTURE.md; each promise is a file in \`tests/it/sim/checkers/\`.

## The simulated world

The real engine on a virtual clock, with up to three replicas, a simulated Vault, issuers and targets with
caches: requests refused, lost, done and denied, done twice, done late (by up to an hour), crashes at any request, replicas
cut off, stopped, upgraded, with clocks that differ; sealed Vaults, stale reads, deleted records, full disks, config changes,
leaks of any version at any moment, and people who ask for all there is to ask for. First everything goes wrong, and nothing
may ever be unsafe; then nothing goes wrong, and everything must come to rest.

| What | Figure | Command |
| --- | --- | --- |
| Seeds | $(sim seeds crashes) | \`make test\`; others: \`make sim SEEDS=10000\` |
| Requests at which something could go wrong | $(sim boundaries crashes) | the same |
| Crashes | $(sim crashes seeds) | the same |
| Seeds that broke a promise | $(sim failed seeds) | the same |
| Requests of a plain rotation, each with every fault | $(sim faults violations) cases, $(sim violations faults) broken | \`make test\` |
| Two crashes, at each pair of requests | $(sim pairs violations) cases, $(sim violations pairs) broken | \`make test\` |
| A leak of each version at each request, with and without a crash | $(sim leaks violations) cases, $(sim violations leaks) broken | \`make test\` |

## Every state

The two pure functions alone, with a toy world that is a value: two targets and an issuer of each of eight kinds. Every state that
can be reached is visited once, with every fault and every command in it, and looked at; from each the way without
further trouble leads to an end, or to a person who can resolve it. With two replicas what the former leader has sent may
still be carried out in any later state, and its last write may come in between.

| What may happen, anywhere and in any order | States | Command |
| --- | --- | --- |
| A fault and a command | $(states fault-and-command) | \`make test\` |
| A fault and a command, while a leak is contained | $(states fault-and-command-in-a-leak) | the same |
| Two commands | $(states two-commands) | the same |
| Two replicas: a takeover, a crash and a lost answer | $(states replicas) | the same |
| Two replicas: the same, while a leak is contained | $(states replicas-in-a-leak) | the same |

## Bytes from outside

libFuzzer at every reader of what others write: documents in Vault, answers of Vault, issuers and services, alerts, reports, and
the texts of people. Each entry asserts more than that nothing panics: what is read can be written and read again, no error
repeats a secret, no reply is believed without the right proof, a schedule's next run comes after. What is in \`tests/fuzz/corpus/\`
is read again by \`make test\`. Command: \`make fuzz SECONDS=60\`.

| Entry | Seconds | Executions | Crashes |
| --- | --- | --- | --- |
$(fuzzed)

## Rules broken on purpose

Each of these bugs is handed to the engine as another machine, or as another part, and has to be found within 1,000 seeds.

| Planted | Seeds until found | Found by |
| --- | --- | --- |
$(planted)

## Real processes

The binary on a real OpenBao with Raft storage on disk, with real receivers, senders and a key service as processes of their own;
a fault at every request of a rotation. What was signed, accepted and refused is counted by a program that shares no code with
rotord and reads only the others' logs. Command: \`make matrix\`.

| What | Figure |
| --- | --- |
| Rotations that were struck | $(struck runs) |
| Signed requests | $(struck requests) |
| Rejected | $(struck rejected) |
| Keys at the issuer that nothing names | $(struck orphans) |
| Values in use that OpenBao does not hold | $(struck sole_copies) |
| Receivers that were told something older | $(struck backwards) |

## Fail-over

| What was killed, while rotations were open | Figure | Command |
| --- | --- | --- |
| The replica that led (lease 5 s): until the other one led | $(seconds replicas leads_ms) | \`make test\` |
| The same: until the rotation that it had begun was done (overlap 2 s) | $(seconds replicas done_ms) | the same |
| The node of OpenBao that led, of three: until all 12 open rotations were done (overlap 2 s) | $(seconds raft all_done_ms) | the same |

## Known gaps

- Material whose write is held up for more than a minute stays in Vault, under a number that nothing uses, until rotord starts again.
- An issuer that ends the old key with the new one must not act on a request an hour late: nobody could rotate such a key.
PAGE
echo "proof: page=$page"
