#!/usr/bin/env bash
# Writes go.mod and go.sum for one version of Kubernetes; needs Go of the version that it asks for.
# usage: update.sh v1.36.3
#
# Everything is compiled from one set of versions, and that set is Kubernetes's own: what k8s.io/kubernetes requires is
# pinned for all programs. Its staging modules (k8s.io/api, client-go, ...) it replaces with folders of its own tree, which
# a consumer cannot see; they are published as modules too: v1.MINOR.PATCH of the whole is v0.MINOR.PATCH of them.
# When another program does not compile any more: `newer` has the pins that it needs otherwise.
set -euo pipefail
version=$1
staging=v0.${version#v1.}
cd "$(dirname "$0")"
programs=(
  "k8s.io/kubernetes $version"
  'github.com/containerd/containerd/v2 v2.3.4'
  'github.com/containernetworking/plugins v1.9.1'
  'github.com/coredns/coredns v1.14.2'
  'github.com/rancher/local-path-provisioner v0.0.30'
  'go.etcd.io/etcd/etcdctl/v3 v3.6.8'
  'go.etcd.io/etcd/server/v3 v3.6.8'
  'sigs.k8s.io/metrics-server v0.9.0'
)
newer=(
  # of containerd itself
  'github.com/containerd/containerd/api v1.11.1'
  # goes with the other exporters
  'go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp v1.40.0'
  'go.opentelemetry.io/otel/sdk/metric v1.40.0'
)

source=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
pins() {
  printf '%s\n' "${newer[@]}"
  grep -oE '^\s+k8s.io/[a-z0-9-]+ (v0.0.0 )?=> ' "$source" | awk -v v="$staging" '{print $1, v}'
  sed -n '/^require (/,/^)/p' "$source" | awk '$2 ~ /^v/ && $2 != "v0.0.0" {print $1, $2}'
}
{
  echo '// Written by update.sh.'
  echo 'module wplab/images/programs'
  echo
  grep -E '^go ' "$source"
  echo
  sed -n '/^godebug [^(]/p; /^godebug (/,/^)/p' "$source"
  echo
  echo 'require ('
  printf '\t%s\n' "${programs[@]}"
  echo ')'
  echo
  echo 'replace ('
  # the first pin of a module counts
  pins | awk '!seen[$1]++ {print "\t" $1 " => " $1 " " $2}' | sort
  echo ')'
} > go.mod
rm -f go.sum
go mod tidy
