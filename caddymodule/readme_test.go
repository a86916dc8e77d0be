package caddymodule_test

import (
	"os"
	"strings"
	"testing"
)

// TestExamplesOfTheManualAdapt adapts every Caddyfile in README.md.
func TestExamplesOfTheManualAdapt(t *testing.T) {
	t.Parallel()
	manual, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.Split(string(manual), "```caddyfile\n")[1:]
	if len(examples) < 5 {
		t.Fatalf("%d examples", len(examples))
	}
	for _, example := range examples {
		text, _, closed := strings.Cut(example, "```")
		if got := adapted(t, text); !closed || !strings.HasPrefix(got, "{") {
			t.Errorf("%s\n%s", text, got)
		}
	}
}
