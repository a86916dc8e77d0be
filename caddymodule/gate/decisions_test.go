package gate

import (
	"slices"
	"testing"

	"github.com/talos-edge/talos-edge/core"
)

func TestMetricLabelsAreOfClosedSets(t *testing.T) {
	t.Parallel()
	if slices.Contains(decisionNames[:], "") || slices.Contains(reasonNames[:], "") {
		t.Errorf("a label has no name: %v %v", decisionNames, reasonNames)
	}
	countDecision(decisions, reasons) // out of range: counted nowhere, and no panic
}

func TestEveryReasonToRefuseHasAnAnswer(t *testing.T) {
	t.Parallel()
	denials := new(Gate).makeDenials()
	for r := reasonOK + 1; r < reasons; r++ {
		if d := denials[r]; d.status < 400 || d.message == "" {
			t.Errorf("%s: the answer is %d %q", reasonNames[r], d.status, d.message)
		}
	}
}

func TestEveryCodeOfAVerdictHasAReason(t *testing.T) {
	t.Parallel()
	for code := range core.Codes {
		want := code == core.CodeInternal
		if got := reasonOf(code) == reasonUnavailable; got != want {
			t.Errorf("code %d: the gate says that it cannot tell: %t, want %t", code, got, want)
		}
	}
	if reasonOf(core.Codes) != reasonUnavailable {
		t.Error("a code that this build does not know is something else than a failure")
	}
}
