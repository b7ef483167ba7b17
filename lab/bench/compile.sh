#!/usr/bin/env bash
# How long a newcomer waits for the compiler: the quick start's profile against the fully optimised one, each from an empty
# target folder, in turn (A B A B …). Prints wall and processor seconds, their ratios, and the crates that take longest with
# the quick start's profile. What has to be downloaded is downloaded before.
# usage: compile.sh [ROUNDS]        (default 1; a round of both is about 15 minutes on 2 cores)
set -euo pipefail
cd "$(dirname "$0")/../.."
rounds=${1:-1}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cargo fetch --locked --quiet

once() { # once PROFILE: wall and processor seconds of a whole build
  rm -rf "$work/target"
  TIMEFORMAT='%R %U %S'
  { time CARGO_TARGET_DIR="$work/target" cargo build --locked --quiet --profile "$1" --timings 2> "$work/log" >&2 || { cat "$work/log" >&2; exit 1; }; } 2> "$work/time"
  tail -n 1 "$work/time" | awk -v profile="$1" '{print profile, $1, $2 + $3}' | tee -a "$work/all"
  cp "$work"/target/cargo-timings/cargo-timing.html "$work/$1.html"
  ls -l "$work"/target/*/"$1"/wplab | awk -v profile="$1" '{printf "%s %.1f MB\n", profile, $5 / 1e6}'
}
for _ in $(seq "$rounds"); do once release; once dist; done

awk '{n[$1]++; wall[$1] += $2; cpu[$1] += $3}
  END {for (p in n) printf "%s: %.0f s, %.0f processor seconds (mean of %d)\n", p, wall[p] / n[p], cpu[p] / n[p], n[p]
       printf "dist / release: %.1f in time, %.1f in processor time\n", wall["dist"] / wall["release"], cpu["dist"] / cpu["release"]}' "$work/all"
echo 'the twenty crates that take longest (seconds, release):'
sed -n 's/^    "\(name\|duration\)": "\{0,1\}\([^",]*\)"\{0,1\},$/\2/p' "$work/release.html" |
  paste -d' ' - - | awk '{print $2, $1}' | sort -rn | head -n 20
