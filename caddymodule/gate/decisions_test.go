package gate

import (
	"slices"
	"testing"
)

func TestMetricLabelsAreOfClosedSets(t *testing.T) {
	t.Parallel()
	if slices.Contains(decisionNames[:], "") || slices.Contains(reasonNames[:], "") {
		t.Errorf("a label has no name: %v %v", decisionNames, reasonNames)
	}
	countDecision(decisions, reasons) // out of range: counted nowhere, and no panic
}
