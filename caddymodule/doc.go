// Package caddymodule puts Talos Edge into Caddy. It is the only package tree of the project that imports Caddy.
//
// # Modules
//
//   - The app `talos` ([App]) is one node: its storage, its secrets and its cache of verdicts. With an [Upstream] it is
//     a sidecar, which has a cache only; the gate does not know the difference.
//   - `talos_gate` ([Gate]) decides whether the credential on a request is good, and tells the app behind it who calls.
//   - `talos_admin` ([Admin]) is the private surface, on which keys are managed.
//   - `talos_public` ([Public]) is what anyone may call: a holder revokes a key by showing it.
//   - The log format `talos_redact` ([RedactEncoder]) keeps out of logs what gates take credentials from.
//   - `talos_plain_path` ([PlainPath]) matches paths that have one reading, for what is exempt from the gate.
//
// Each has a Caddyfile form (the caddyfile*.go files state the grammar) and the same in JSON. README.md is the manual.
//
// # Reloads
//
// Caddy runs an old and a new configuration side by side for a while, and cleans the old one up while its last requests
// are still on their way. So nothing here belongs to a configuration: stores, limiters and nodes live in pools
// ([caddy.UsagePool]) under the settings that make them what they are. An app has a use of its node from Provision
// until Cleanup and the last of its requests; a request that comes later opens the node again for as long as it needs
// it. A reload that does not change the settings of a node keeps the node, and with it the cache.
//
// Provision opens the node, so that a configuration whose node cannot be opened is refused before it listens; but not
// when the configuration is only checked: `caddy validate` opens and creates nothing.
package caddymodule
