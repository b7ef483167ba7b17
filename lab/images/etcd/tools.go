//go:build tools

// Package tools keeps the programs that the Dockerfile builds in go.mod.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "go.etcd.io/etcd/etcdctl/v3"
)
