//go:build tools

// The stores that backups are tried with; nothing of the project is in them.
package tools

import (
	_ "github.com/versity/versitygw/cmd/versitygw"
)
