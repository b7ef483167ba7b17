# What a person runs. What CI runs too is a stage of .ci/run and written there only; here it builds into target/.

export CARGO_TARGET_DIR := env("CARGO_TARGET_DIR", justfile_directory() / "target")

default:
    @just --list

# everything that must hold before a change lands, or these stages of it
ci *STAGES:
    .ci/run {{STAGES}}

# everything that needs no Docker
test:
    .ci/run test

# real labs on a real Docker engine
test-lab:
    .ci/run test-lab

# the same with everything repeated that CI does less often
test-lab-thoroughly:
    DRILLS=1 .ci/run test-lab

# every built-in scenario on both topologies, five rounds of those that end a writer; writes the table of docs/drills.md; goes on where it was ended
drills OUT="":
    OUT={{OUT}} cargo test --test lab -- --ignored --nocapture --exact chaos::every_drill

# formatting, lints, documentation
lint:
    .ci/run formatting clippy documentation

# licences, banned crates, sources
deny:
    .ci/run deny

# the node's NFS client: formatting, lints, and its own tests, without Docker
mount-nfs:
    .ci/run mount-nfs

# the shared folder as a node mounts it: two nodes and a dying server, and the POSIX suite
storage:
    cargo test --test storage -- --include-ignored --test-threads=1 --nocapture

# the pod network: vet and its tests, in the image that has Go
podnet:
    cargo test --test podnet -- --ignored --nocapture

# write the golden files anew; look at the difference before committing it
golden:
    GOLDEN=update cargo test --test cli

# the small, fully optimised executable
release:
    cargo build --profile dist

# the two topologies side by side, three labs each
bench-topologies:
    cargo test --test bench -- --ignored --nocapture --exact topologies

# scripts and `up` side by side, the lower bound beside them; ARMS=strict,good,up chooses; a run that was ended goes on
bench-up ROUNDS="5" OUT="":
    ROUNDS={{ROUNDS}} OUT={{OUT}} cargo test --release --test bench -- --ignored --nocapture --exact up

# how time, processor time, memory and disk grow with workers and members, and what a lab at rest uses; CASES="3x3 9x3" chooses
bench-growth OUT="":
    OUT={{OUT}} cargo test --release --test bench -- --ignored --nocapture --exact growth

# a page of a lab and the same page on a local disk without TLS, in turn
bench-page PAIRS="300":
    PAIRS={{PAIRS}} cargo test --release --test bench -- --ignored --nocapture --exact page

# a page read at the readers and at the writer of one lab, in turn, and while the writer is away
bench-reads PAIRS="300":
    PAIRS={{PAIRS}} cargo test --release --test bench -- --ignored --nocapture --exact reads

# dumping and loading a database as a backup does it and by hand, in turn (DOUBLINGS 15: 300 MB), and the runner's memory at a gigabyte
bench-backup ROUNDS="5" DOUBLINGS="15":
    ROUNDS={{ROUNDS}} DOUBLINGS={{DOUBLINGS}} cargo test --release --test bench -- --ignored --nocapture --exact backup

# from nothing to an executable, with the profile of the quick start and fully optimised, in turn
bench-compile:
    lab/bench/compile.sh

# the lab
up *ARGS:
    cargo run --release -- up --fix {{ARGS}}

down *ARGS:
    cargo run --release -- down {{ARGS}}
