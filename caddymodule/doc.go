// Package caddymodule puts Talos Edge into Caddy: it imports, and so registers, the modules of the packages below it.
// The tree is the only one of the project that imports Caddy.
//
//   - The app `talos` ([node.App]) is one node. With an upstream it is a sidecar, which has a cache only; the gate does
//     not know the difference.
//   - `talos_gate` ([gate.Gate]) decides whether the credential on a request is good, and tells the app behind it who
//     calls. `talos_plain_path` ([gate.PlainPath]) matches paths that have one reading, for what is exempt from it.
//   - `talos_admin` ([admin.Admin]) is the private surface, on which keys are managed.
//   - `talos_public` ([public.Public]) is what anyone may call: a holder revokes a key by showing it.
//   - The log format `talos_redact` ([redact.Encoder]) keeps out of logs what gates take credentials from.
//
// Each has a Caddyfile form (the caddyfile*.go files state the grammar) and the same in JSON. README.md is the manual.
package caddymodule
