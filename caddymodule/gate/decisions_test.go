package gate

import (
	"slices"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/talos-edge/talos-edge/core"
)

func TestMetricLabelsAreOfClosedSets(t *testing.T) {
	t.Parallel()
	if slices.Contains(decisionNames[:], "") || slices.Contains(reasonNames[:], "") {
		t.Errorf("a label has no name: %v %v", decisionNames, reasonNames)
	}
	countDecision(core.NetworkID{}, decisions, reasons) // out of range: counted nowhere, and no panic
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

func TestTheDecisionsOfEachNetworkAreCountedApart(t *testing.T) {
	t.Parallel()
	networks := []core.NetworkID{{0xa1}, {0xa2}}
	var wg sync.WaitGroup
	for range 100 {
		for i, id := range networks {
			wg.Go(func() {
				for range i + 1 {
					countDecision(id, decisionRefused, reasonScope)
				}
			})
		}
	}
	wg.Wait()
	for i, id := range networks {
		got := testutil.ToFloat64(decisionsTotal.WithLabelValues("refused", "scope", id.String()))
		if want := float64(100 * (i + 1)); got != want {
			t.Errorf("network %s: %v were counted, want %v", id, got, want)
		}
	}
}

func TestToCountADecisionOfANetworkCostsNoAllocation(t *testing.T) {
	network := core.NetworkID{0xa3}
	if n := testing.AllocsPerRun(100, func() { countDecision(network, decisionAdmitted, reasonOK) }); n > 0 {
		t.Errorf("it costs %v allocations", n)
	}
}
