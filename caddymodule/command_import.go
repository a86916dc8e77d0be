package caddymodule

import (
	// A Caddy with this module has its command line: `caddy talos …`.
	_ "github.com/talos-edge/talos-edge/caddymodule/command"
)
