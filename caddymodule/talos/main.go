// Command talos is Caddy with Talos Edge built in: a gate for API keys, the API that manages them, and a client for it.
//
// It has Caddy's commands and standard modules, and beside them `talos serve`, `proxy`, `keys`, `jwk`, `migrate`,
// `health`, `backup` and `doctor`. The commands that have Caddy's build service make another binary say what to do
// instead.
package main

import (
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/talos-edge/talos-edge/caddymodule"
	"github.com/talos-edge/talos-edge/caddymodule/command"
)

const long = `Talos Edge is a gate for API keys, built into Caddy. It decides at the boundary
whether the credential on a request is good, and tells the app behind it who
calls.

To try it:

	$ talos serve
	$ talos keys issue my-key --actor me
	$ talos keys verify CREDENTIAL

To put the gate in front of an app, write a Caddyfile:

	:8080 {
		talos_gate
		reverse_proxy localhost:9000
	}

and run it with 'talos run'. Caddy's commands and modules are here; see
https://caddyserver.com/docs/.

Memory: unless GOGC is set, the garbage collector lets the heap grow to a
quarter of the memory limit, at most 256 MiB, before it starts to work; above
that it works as usual. The limit is GOMEMLIMIT, or nine tenths of what the
container or the machine has. With it, requests cost less CPU time.
`

func main() {
	caddy.CustomBinaryName = command.BinaryName
	caddy.CustomLongDescription = long
	tuneMemory()
	command.RegisterTopLevel()
	caddycmd.Main()
}
