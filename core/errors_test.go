package core_test

import (
	"errors"
	"testing"

	"github.com/talos-edge/talos-edge/core"
)

func TestError_KeepsItsCauseForTheLogAndItsReasonForTheCaller(t *testing.T) {
	t.Parallel()
	cause := errors.New("disk on fire")
	err := error(core.WrapError(core.Unavailable, "storage does not answer", cause))
	if !errors.Is(err, cause) || core.ReasonOf(err) != core.Unavailable ||
		err.Error() != "storage does not answer: disk on fire" {
		t.Errorf("%v", err)
	}
	if core.ReasonOf(cause) != core.Internal {
		t.Error("an error without a reason is not internal")
	}
}
