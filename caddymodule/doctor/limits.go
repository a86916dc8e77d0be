package doctor

import (
	"context"
	"fmt"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// fewFiles is the number of files below which a busy node runs out of them: a request through a proxy takes two.
const fewFiles = 4096

// checkLimits compares the limits of a process with what a node needs. They are those of this command: a service may
// have others.
func checkLimits(_ context.Context, s *subject) (found []Finding, skipped string) {
	if limit, ok := openFiles(); ok {
		found = append(found, judgeFiles(limit)...)
	}
	limit, err := memlimit.ApplyFallback(memlimit.FromCgroup, memlimit.FromSystem)()
	if err == nil && s.Node.CacheSize > 0 {
		found = append(found, judgeMemory(limit, uint64(s.Node.CacheSize))...)
	}
	return found, ""
}

func judgeFiles(limit uint64) []Finding {
	if limit >= fewFiles {
		return nil
	}
	return []Finding{{
		Severity: Warning,
		What:     fmt.Sprintf("a process may have %d files open", limit),
		Why:      fmt.Sprintf("a request through the proxy takes two connections: about %d fit at once", limit/2),
		Fix:      "raise the limit: LimitNOFILE=1048576 in the unit, --ulimit nofile, ulimit -n",
	}}
}

// judgeMemory judges the size of the cache, in bytes, with the memory that there is.
func judgeMemory(limit, cache uint64) []Finding {
	severity := Warning
	switch {
	case cache <= limit/2:
		return nil
	case cache >= limit:
		severity = Error
	}
	return []Finding{{
		Severity: severity,
		What:     fmt.Sprintf("the cache may take %s of %s of memory", bytes(cache), bytes(limit)),
		Why:      "the node runs out of memory and is killed when the cache is full",
		Fix:      "lower cache { max_size }, or give the node more memory",
	}}
}
