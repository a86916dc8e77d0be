package caddymodule_test

import (
	"strings"
	"testing"
)

// TestExamplesOfTheManualAdapt adapts every Caddyfile in the manual's pages.
func TestExamplesOfTheManualAdapt(t *testing.T) {
	t.Parallel()
	manual := readManual(t, "README.md") + readManual(t, "sidecar.md") + readManual(t, "operations.md") +
		readManual(t, "webhooks.md") + readManual(t, "nodes.md")
	examples := strings.Split(string(manual), "```caddyfile\n")[1:]
	if len(examples) < 10 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, example := range examples {
		text, _, closed := strings.Cut(example, "```")
		if got := adapted(t, text); !closed || !strings.HasPrefix(got, "{") {
			t.Errorf("%s\n%s", text, got)
		}
	}
}
