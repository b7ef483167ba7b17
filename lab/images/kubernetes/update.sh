#!/usr/bin/env bash
# Writes go.mod, go.sum and tools.go for one Kubernetes version.
# usage: update.sh v1.36.3        (needs Go of the version Kubernetes asks for)
#
# k8s.io/kubernetes itself replaces its staging modules (k8s.io/api, client-go,
# ...) with folders of its own tree, which a consumer cannot see. They are
# published as modules too: v1.MINOR.PATCH of the whole is v0.MINOR.PATCH of them.
set -euo pipefail
version=$1
staging=v0.${version#v1.}
cd "$(dirname "$0")"
programs=(kubeadm kubelet kubectl kube-apiserver kube-controller-manager kube-scheduler kube-proxy)

source=$(go mod download -json "k8s.io/kubernetes@$version" | sed -n 's/.*"GoMod": "\(.*\)",/\1/p')
{
  echo 'module wplab/images/kubernetes'
  echo
  grep -E '^go ' "$source"
  echo
  sed -n '/^godebug [^(]/p; /^godebug (/,/^)/p' "$source"
  echo
  echo "require k8s.io/kubernetes $version"
  echo
  sed -n '/^require (/,/^)/p' "$source" |
    sed -E "s#^(\tk8s.io/[a-z0-9-]+) v0\.0\.0(\$| //)#\1 $staging\2#"
  echo
  echo 'replace ('
  grep -oE '^\s+k8s.io/[a-z0-9-]+ (v0.0.0 )?=> ' "$source" | awk '{print $1}' | sort -u |
    while read -r module; do echo "	$module => $module $staging"; done
  echo ')'
} > go.mod
{
  echo '//go:build tools'
  echo
  echo '// Package tools keeps the programs that the Dockerfile builds in go.mod.'
  echo 'package tools'
  echo
  echo 'import ('
  for program in "${programs[@]}"; do echo "	_ \"k8s.io/kubernetes/cmd/$program\""; done
  echo ')'
} > tools.go
rm -f go.sum
go mod tidy
