package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage"
)

// checkConfig says why a start would refuse the configuration.
func checkConfig(_ context.Context, s *subject) (found []Finding, skipped string) {
	refused := s.handlers
	if s.refused != nil {
		refused = []error{s.refused}
	}
	for _, err := range refused {
		found = append(found, Finding{
			Severity: Error,
			What:     err.Error(),
			Why:      "a start or a reload refuses this configuration",
			Fix:      "change what the message names; `talos validate --config FILE` checks the whole file",
		})
	}
	return found, ""
}

// checkDatabase reports whether a start can use the database.
func checkDatabase(_ context.Context, s *subject) (found []Finding, skipped string) {
	switch {
	case s.Node.Storage == "":
		return nil, isSidecar
	case s.unread != nil && core.ReasonOf(s.unread) == core.FailedPrecondition:
		return []Finding{{
			Severity: Note,
			What:     "there is no database yet: " + storage.Display(s.Node.Storage),
			Why:      "the first start makes it; if there were keys, this is another path",
			Fix:      "nothing, or name the database: option storage, TALOS_DB_DSN, --database",
		}}, ""
	case s.unread != nil:
		return []Finding{{
			Severity: Error,
			What:     s.unread.Error(),
			Why:      "a node with this database does not start, or answers 503",
			Fix:      "see the table of messages in storage/README.md",
		}}, ""
	}
	schema := s.state.Schema()
	if err := schema.Check(); err != nil {
		return []Finding{{
			Severity: Error,
			What:     err.Error(),
			Why:      "this build refuses the database",
			Fix:      "run the newer build, or restore a backup from before the upgrade",
		}}, ""
	}
	if schema.Version < schema.Newest && s.state.Keys > manyKeys {
		found = append(found, Finding{
			Severity: Warning,
			What: fmt.Sprintf("the schema has version %d and would be migrated to %d",
				schema.Version, schema.Newest),
			Why: fmt.Sprintf("a start breaks a migration off after 10 s; there are %d keys", s.state.Keys),
			Fix: "run `talos migrate up` before the start",
		})
	}
	return found, ""
}

// manyKeys is from how many keys on a migration may take longer than a start waits.
const manyKeys = 200_000

// sentence makes a list for people.
func sentence(list []string) string {
	if len(list) < 2 {
		return strings.Join(list, "")
	}
	return strings.Join(list[:len(list)-1], ", ") + " and " + list[len(list)-1]
}
