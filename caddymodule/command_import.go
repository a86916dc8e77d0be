package caddymodule

// The commands come with the module: `caddy talos …`.
import _ "github.com/talos-edge/talos-edge/caddymodule/command"
