# Shorthands. Each recipe is one command that works without `just`.

_list:
    @just --list --unsorted

# Check format and lints; writes nothing
check:
    .ci/run format lints

# Rewrite what format and lints can put right themselves
fix:
    cargo clippy --fix --workspace --allow-dirty --allow-staged --all-targets --locked
    cargo fmt

# Write the generated files anew: man pages, completions, OpenAPI, transcripts
gen:
    OMNIRELAY_GENERATE=1 TRYCMD=overwrite cargo test --workspace --locked

# Run every test, or some: just test --test rules
test *args:
    scripts/test {{args}}

# Run the tests with many more random cases than the default
cases *args:
    PROPTEST_CASES=10000 cargo test --workspace --locked {{args}}

# Simulate membership: figures, a day of loss, a partition of 25 hours, a week of churn; some minutes each
sim *args:
    cargo test --locked --release --package omnirelay-membership --test sim -- --include-ignored --nocapture --test-threads 1 {{args}}

# Run the benchmarks
bench *args:
    cargo bench --locked {{args}}

# Check what is known against the dependencies; licences, bans and sources are tested
deny:
    cargo deny --locked check

# Run what takes too long for every change, or some of it: just nightly loops netsplit
nightly *steps:
    scripts/nightly {{steps}}

# Run daemons of the last release beside those of this tree, ten minutes or so many seconds
skew *args:
    scripts/skew {{args}}

# Run what a change must pass
ci:
    .ci/run
