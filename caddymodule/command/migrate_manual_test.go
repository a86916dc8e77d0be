package command

import (
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/storage/pgtest"
)

func TestMigrate_TheCommandsOfTheDatabasesManualRunOnAnEmptyPostgreSQLDatabase(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Shared(t).Database(t)
	dir, env := home(t)
	said := runManual(t, dir, append(env, envDSN+"="+dsn), "talos migrate ")
	if !strings.Contains(said, "00001_keys.sql") {
		t.Errorf("it says\n%s", said)
	}
}
