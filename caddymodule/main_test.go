package caddymodule_test

import (
	"testing"

	"go.uber.org/goleak"

	_ "github.com/talos-edge/talos-edge/caddymodule"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The file storage's keeper of a lock, which looks every five seconds whether the lock has been released.
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"),
		// Caddy's rotating log files keep their compressor until the process ends.
		goleak.IgnoreAnyFunction("github.com/DeRuina/timberjack.(*Logger).millRun"))
}
