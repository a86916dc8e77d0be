package upstream

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/talos-edge/talos-edge/adminapi/client"
	"github.com/talos-edge/talos-edge/core"
)

// reportPause is for how long an upstream gets no reports after it has refused one: another implementation has no such
// call.
const reportPause = time.Hour

// ReportUse reports the last uses of keys to the upstream. To one that refuses the report, nothing is reported for an
// hour, and the uses are dropped without an error. After any other failure all of them may be reported again. It counts
// neither for the breaker nor against it, and is not logged above debug.
func (u *Remote) ReportUse(ctx context.Context, uses []core.Use) error {
	if time.Now().UnixNano() < u.reportsResume.Load() {
		return nil
	}
	reports := make(map[core.NetworkID][]client.Use)
	for _, use := range uses {
		reports[use.Network] = append(reports[use.Network], client.Use{KeyID: use.KeyID, Time: use.Time.UTC()})
	}
	for id, all := range reports {
		n := u.networks[id]
		if n == nil {
			continue
		}
		for part := range slices.Chunk(all, client.MaxUses) {
			if f := u.report(ctx, n, part); f != nil {
				return u.notReported(f)
			}
		}
	}
	return nil
}

// report makes one call.
func (u *Remote) report(ctx context.Context, n *network, uses []client.Use) *failure {
	ctx, cancel := u.bounded(ctx)
	defer cancel()
	return u.pool.do(ctx, probeCall, func(ctx context.Context, a *address) error {
		return a.client.ReportUse(ctx, u.config.EdgeID, uses, n.options()...)
	})
}

// notReported is the error of a report that failed.
func (u *Remote) notReported(f *failure) error {
	if f.result != ResultMisconfigured && f.result != ResultRejected {
		return f.asError()
	}
	u.reportsResume.Store(time.Now().Add(reportPause).UnixNano())
	u.config.Logger.Debug("the upstream takes no reports of the last uses of keys; the next one is in an hour",
		zap.Error(f))
	return nil
}
