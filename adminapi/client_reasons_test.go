package adminapi

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/talos-edge/talos-edge/core"
)

// The client names each reason that the server may give, and no other.
func TestTheClientNamesEachReason(t *testing.T) {
	t.Parallel()
	file, err := parser.ParseFile(token.NewFileSet(), "client/reason.go", nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var named []core.Reason
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		if !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			t.Errorf("%s is not named as a reason", spec.Names[0].Name)
		}
		if literal, ok := spec.Values[0].(*ast.BasicLit); ok {
			text, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Error(err)
			}
			named = append(named, core.Reason(text))
		}
		return true
	})
	slices.Sort(named)
	if given := slices.Sorted(maps.Keys(table)); !slices.Equal(named, given) {
		t.Errorf("the client names\n%v\nthe server gives\n%v", named, given)
	}
}
