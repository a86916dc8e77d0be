package caddymodule_test

import (
	"cmp"
	"go/ast"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/caddymodule/admin"
	"github.com/talos-edge/talos-edge/caddymodule/gate"
	"github.com/talos-edge/talos-edge/caddymodule/node"
	"github.com/talos-edge/talos-edge/caddymodule/public"
	"github.com/talos-edge/talos-edge/core"
)

// same reports each member that one of two sets has and the other does not.
func same(t *testing.T, what string, documented, actual map[string]bool) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(actual)) {
		if !documented[name] {
			t.Errorf("%s: the documentation has no %s", what, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(documented)) {
		if !actual[name] {
			t.Errorf("%s: the documentation has %s, which does not exist", what, name)
		}
	}
}

func set(names ...string) map[string]bool {
	s := map[string]bool{}
	for _, name := range names {
		s[name] = true
	}
	return s
}

// The manual has each option of each directive, and no other: in the Caddyfile and in JSON.
func TestManual_HasTheOptionsThereAre(t *testing.T) {
	t.Parallel()
	page := readManual(t, "README.md") + readManual(t, "sidecar.md") + readManual(t, "webhooks.md") +
		readManual(t, "networks.md")
	for heading, want := range map[string]struct {
		folder, typ string
		json        []string
	}{
		"## The node: `talos`": {"node", "App", append(fields(node.App{}),
			"cache.off", "cache.ttl", "cache.ttl_connected", "cache.negative_ttl", "cache.stale_if_error",
			"cache.max_size")},
		"## The gate: `talos_gate`":             {"gate", "Gate", fields(gate.Gate{})},
		"## The public surface: `talos_public`": {"public", "Public", fields(public.Public{})},
		"## The private surface: `talos_admin`": {"admin", "Admin", fields(admin.Admin{})},
		"# A sidecar":                           {"node", "Upstream", fields(node.Upstream{})},
		"## Webhooks":                           {"node", "Webhook", fields(node.Webhook{})},
		"# Several networks":                    {"node", "Network", fields(node.Network{})},
	} {
		section := page.section(t, heading)
		actual := options(t, want.folder, want.typ)
		if want.typ == "App" || want.typ == "Network" {
			maps.Copy(actual, options(t, "node", "KeyOptions"))
		}
		if want.typ == "App" {
			delete(actual, "cache")
			for name := range options(t, "node", "Cache") {
				actual["cache."+name] = true
			}
			actual["cache.off"] = true
			if got := len(fields(node.Cache{})); got != 6 {
				t.Errorf("the cache has %d fields", got)
			}
			want.json = slices.DeleteFunc(want.json, func(s string) bool { return s == "cache" })
		}
		documented := map[string]bool{}
		for _, row := range section.rows("option") {
			for _, span := range code(row[0]) {
				words := strings.Fields(span)
				name := words[0]
				switch {
				case name == "cache" && words[1] == "{":
					name = "cache." + words[2]
				case name == "cache":
					name = "cache." + words[1]
				}
				documented[name] = true
			}
		}
		same(t, heading, documented, actual)
		for _, name := range want.json {
			named := func(span string) bool { return strings.Fields(span)[0] == name }
			if !slices.ContainsFunc(code(string(section)), named) {
				t.Errorf("%s: the documentation has no JSON name %s", heading, name)
			}
		}
	}
}

// The manual names each module of ours.
func TestManual_NamesTheModulesThereAre(t *testing.T) {
	t.Parallel()
	page := readManual(t, "README.md") + readManual(t, "operations.md")
	var found int
	for _, id := range caddy.Modules() {
		name := id[strings.LastIndex(id, ".")+1:]
		if !strings.HasPrefix(name, "talos") {
			continue
		}
		found++
		if !slices.Contains(code(string(page)), name) {
			t.Errorf("the documentation has no `%s` (%s)", name, id)
		}
	}
	if found < 6 {
		t.Errorf("%d modules were found", found)
	}
}

// gathered are our metrics in the registry of the running configuration: the values of each label of each name.
func gathered(t *testing.T) map[string]map[string]map[string]bool {
	t.Helper()
	ctx := caddy.ActiveContext()
	families, err := ctx.GetMetricsRegistry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]map[string]map[string]bool{}
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "talos_") {
			continue
		}
		labels := map[string]map[string]bool{}
		for _, m := range family.GetMetric() {
			for _, l := range m.GetLabel() {
				if labels[l.GetName()] == nil {
					labels[l.GetName()] = map[string]bool{}
				}
				labels[l.GetName()][l.GetValue()] = true
			}
		}
		all[family.GetName()] = labels
	}
	return all
}

// The manual has each metric with its labels and their values, and no other.
func TestManual_HasTheMetricsThereAre(t *testing.T) {
	actual := map[string]map[string]map[string]bool{}
	t.Run("of an embedded node", func(t *testing.T) {
		startEdge(t, edgeConfig{})
		maps.Copy(actual, gathered(t))
	})
	t.Run("of a webhook", func(t *testing.T) {
		newSolo(t).mustLoad("talos {\nstorage sqlite://FOLDER/a.db\nwebhook "+newHook(t).url+" {\nsecret "+
			hookSecret+"\n}\n}", "")
		maps.Copy(actual, gathered(t))
	})
	t.Run("of a sidecar", func(t *testing.T) {
		startSidecar(t, newFarNode(t).url(), "", "")
		maps.Copy(actual, gathered(t))
	})
	documented := map[string]bool{}
	for _, row := range readManual(t, "operations.md").section(t, "## Metrics").rows("metric") {
		for _, span := range code(row[0]) {
			name, labels, _ := strings.Cut(strings.TrimSuffix(span, "}"), "{")
			documented[name] = true
			want := map[string]bool{}
			for label := range actual[name] {
				want[label] = true
			}
			if labels == "" {
				same(t, name, map[string]bool{}, want)
				continue
			}
			same(t, name, set(strings.Split(labels, ",")...), want)
			for label, values := range actual[name] {
				if label == "webhook" || label == "network" {
					continue // its values are those of the configuration
				}
				for value := range values {
					if !regexp.MustCompile(`\b` + value + `\b`).MatchString(row[1]) {
						t.Errorf("%s: the documentation has no value %s of %s", name, value, label)
					}
				}
			}
		}
	}
	reasons := map[string]bool{}
	for _, row := range readManual(t, "operations.md").section(t, "## Why was this request refused?").rows("reason") {
		maps.Copy(reasons, set(code(row[0])...))
	}
	same(t, "reasons of decisions", reasons, actual["talos_gate_decisions_total"]["reason"])
	names := map[string]bool{}
	for name := range actual {
		names[name] = true
	}
	same(t, "metrics", documented, names)
}

// The manual has each placeholder of an identity, and each reason of a refusal, as the gate's code has them.
func TestManual_HasThePlaceholdersAndReasonsOfGates(t *testing.T) {
	t.Parallel()
	section := readManual(t, "README.md").section(t, "## The gate: `talos_gate`")
	documented, actual := map[string]bool{}, map[string]bool{}
	for _, row := range section.rows("placeholder") {
		if name, ok := strings.CutPrefix(code(row[0])[0], "{http.auth.user."); ok {
			documented[strings.TrimSuffix(strings.Replace(name, "<field>", "", 1), "}")] = true
		}
	}
	inFunction(t, "gate", "placeholder", func(n ast.Node) {
		if e, ok := n.(ast.Expr); ok {
			if name, ok := literal(e); ok {
				actual[name] = true
			}
		}
	})
	same(t, "placeholders", documented, actual)

	documented, actual = map[string]bool{}, map[string]bool{}
	for _, row := range section.rows("status") {
		maps.Copy(documented, set(code(row[1])...))
	}
	values := map[string]string{
		"BadRequest": "BAD_REQUEST", "CredentialRequired": "CREDENTIAL_REQUIRED",
		"UnknownCredential": "UNKNOWN_CREDENTIAL",
		"NotFound":          "NOT_FOUND", "Forbidden": "FORBIDDEN", "IPNotAllowed": "IP_NOT_ALLOWED",
		"TooManyRequests": "TOO_MANY_REQUESTS",
		"Unavailable":     "SERVICE_UNAVAILABLE",
	}
	inFunction(t, "gate", "makeDenials", func(n ast.Node) {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return
		}
		if id, ok := s.X.(*ast.Ident); ok && id.Name == "core" && s.Sel.Name != "Reason" {
			actual[cmp.Or(values[s.Sel.Name], s.Sel.Name)] = true
		}
	})
	same(t, "reasons of gates", documented, actual)
}

// The pages have each field that a gate adds to an access log, and each field of the audit log.
func TestManual_HasTheFieldsOfLogs(t *testing.T) {
	t.Parallel()
	fields := func(page manual, heading string) map[string]bool {
		documented := map[string]bool{}
		for _, row := range page.section(t, heading).rows("field") {
			maps.Copy(documented, set(code(row[0])...))
		}
		return documented
	}
	actual := map[string]bool{}
	inFunction(t, "gate", "field", func(n ast.Node) {
		if clause, ok := n.(*ast.CaseClause); ok {
			for _, e := range clause.List {
				if name, ok := literal(e); ok {
					actual[name] = true
				}
			}
		}
	})
	same(t, "fields of access logs", fields(readManual(t, "operations.md"), "## Why was this request refused?"), actual)

	actual = map[string]bool{}
	inFunction(t, "../adminapi", "Record", func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) != 2 {
			return
		}
		if name, ok := literal(call.Args[0]); ok {
			actual[name] = true
		}
	})
	same(t, "fields of the audit log", fields(readManual(t, "../adminapi/README.md"), "## What the log says"), actual)
}

// The API's page has each reason of an error, with the status that it is answered with, and no other.
func TestAPIPage_HasTheReasonsThereAre(t *testing.T) {
	t.Parallel()
	actual := constants(t, "../core", "Reason")
	actual[string(adminapi.MethodNotAllowed)] = true
	delete(actual, string(core.UnknownCredential)) // of the gate alone, see the other page
	documented := map[string]bool{}
	for _, row := range readManual(t, "../adminapi/README.md").section(t, "## Errors").rows("status") {
		for _, reason := range code(row[1]) {
			documented[reason] = true
			status := strconv.Itoa(adminapi.StatusOf(core.Reason(reason)))
			tooLong := row[0] == "413" && reason == string(core.BadRequest)
			if !strings.Contains(row[0], status) && !tooLong {
				t.Errorf("%s is answered with %s, and the documentation says %s", reason, status, row[0])
			}
		}
	}
	same(t, "reasons", documented, actual)
}

// The API's page has each code of a verification.
func TestAPIPage_HasTheCodesOfVerificationsThereAre(t *testing.T) {
	t.Parallel()
	const prefix = "VERIFICATION_ERROR_"
	actual := map[string]bool{}
	for name := range constants(t, "../adminapi/client", "VerificationErrorCode") {
		if name = strings.TrimPrefix(name, prefix); name != "UNSPECIFIED" {
			actual[name] = true
		}
	}
	documented := map[string]bool{}
	section := readManual(t, "../adminapi/README.md").section(t, "## Verify a credential")
	for _, row := range section.rows("`error_code`") {
		maps.Copy(documented, set(code(row[0])...))
	}
	same(t, "codes", documented, actual)
}
