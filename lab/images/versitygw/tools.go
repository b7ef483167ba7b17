//go:build tools

// Package tools keeps the programs that the Dockerfile builds in go.mod.
package tools

import (
	_ "github.com/versity/versitygw/cmd/versitygw"
)
