package node

import (
	"reflect"
	"runtime"
	"slices"
	"sync"

	"github.com/caddyserver/caddy/v2"
)

// checks are the functions by which Caddy provisions a configuration that it does not start: `caddy validate`,
// `caddy adapt --validate`, and libraries. The compiler knows them, so that a Caddy without them does not build.
var checks = sync.OnceValue(func() (names []string) {
	for _, f := range []any{caddy.Validate, caddy.ProvisionContext} {
		names = append(names, runtime.FuncForPC(reflect.ValueOf(f).Pointer()).Name())
	}
	return names
})

// onlyChecked reports whether the configuration that is being provisioned is only checked, and will not be started.
//
// Caddy provisions modules in the same way for both, and shows a module no difference: the flag is an argument of an
// internal function, a first start has no active context either, and what it does for a start alone (its admin
// endpoint) may be switched off. But it provisions on the goroutine of its caller, and each way to a check goes through
// an exported function. So the stack tells. If a future Caddy had another way, its checks would open the node as a
// start does; no start would be taken for a check.
func onlyChecked() bool {
	pcs := make([]uintptr, 128)
	for {
		n := runtime.Callers(2, pcs)
		if n < len(pcs) {
			pcs = pcs[:n]
			break
		}
		pcs = make([]uintptr, 2*len(pcs))
	}
	for frames := runtime.CallersFrames(pcs); ; {
		frame, more := frames.Next()
		if slices.Contains(checks(), frame.Function) {
			return true
		}
		if !more {
			return false
		}
	}
}
