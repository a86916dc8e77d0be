package upstream

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/talos-edge/talos-edge/storage/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main{M: m}) }
