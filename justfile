# What a person runs; CI runs .ci/run, which uses the same cargo commands.

default:
    @just --list

# everything that needs no Docker
test:
    cargo test

# real labs on a real Docker engine
test-lab:
    cargo test-lab

# formatting, lints, documentation
lint:
    cargo fmt --check
    cargo clippy --all-targets -- -D warnings
    RUSTDOCFLAGS='-D warnings' cargo doc --no-deps --document-private-items

# the node's NFS client: formatting, lints, and its own tests, without Docker
mount-nfs:
    .ci/mount-nfs

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

# from nothing to an executable, with the profile of the quick start and fully optimised, in turn
bench-compile:
    lab/bench/compile.sh

# the lab
up *ARGS:
    cargo run --release -- up --fix {{ARGS}}

down *ARGS:
    cargo run --release -- down {{ARGS}}
