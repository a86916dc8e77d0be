package sqlite

import (
	"path/filepath"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// A node that only answers from its cache finds out by itself that another file is in the place of its database:
// whatever other processes revoke there, it would never hear of.
func TestAttack21_AReplacedFileIsNoticedWithoutAChangeOrALookUp(t *testing.T) {
	t.Parallel()
	logs, seen := observer.New(zap.ErrorLevel)
	path := filepath.Join(t.TempDir(), "talos.db")
	s := openAt(t, path, Options{Logger: zap.New(logs)})
	create(t, s, "k")
	eventually(t, "cached verdicts are used", func() bool { return current(s) })
	must(t, replace(path))
	eventually(t, "cached verdicts are not used", func() bool { return !current(s) })
	eventually(t, "the log says so", func() bool { return seen.FilterLevelExact(zapcore.ErrorLevel).Len() == 1 })
}
