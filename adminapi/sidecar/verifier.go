package sidecar

import (
	"context"
	"sync"
	"time"

	"github.com/talos-edge/talos-edge/adminapi"
	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/core/verify"
)

// Bounds of what is asked again for a caller, of one batch.
const (
	maxAgain     = 16               // at once
	againTimeout = 10 * time.Second // for all of it
)

// verifier answers from the sidecar's verifier. What the upstream has judged by the sidecar's own address it is asked
// about again, for the address of the caller.
type verifier struct {
	adminapi.Verifier
	upstream Remote
}

// Verify verifies one credential.
func (v verifier) Verify(
	ctx context.Context, network core.NetworkID, credential string, mode verify.Mode,
) (verify.Result, error) {
	result, err := v.Verifier.Verify(ctx, network, credential, mode)
	if err != nil {
		return result, err
	}
	results := []verify.Result{result}
	v.askAgain(ctx, network, []string{credential}, results)
	return results[0], results[0].Err
}

// VerifyMany verifies a batch.
func (v verifier) VerifyMany(
	ctx context.Context, network core.NetworkID, credentials []string, mode verify.Mode,
) []verify.Result {
	results := v.Verifier.VerifyMany(ctx, network, credentials, mode)
	if len(results) == len(credentials) {
		v.askAgain(ctx, network, credentials, results)
	}
	return results
}

// askAgain asks the upstream, for the caller's address, about what it has judged by the sidecar's: side by side, under
// one deadline.
func (v verifier) askAgain(
	ctx context.Context, network core.NetworkID, credentials []string, results []verify.Result,
) {
	ctx, cancel := context.WithTimeout(ctx, againTimeout)
	defer cancel()
	var asking sync.WaitGroup
	turns := make(chan struct{}, maxAgain)
	for i := range results {
		r := &results[i]
		if r.Err != nil || r.Verdict == nil || r.Verdict.Code != core.CodeIPNotAllowed {
			continue
		}
		turns <- struct{}{}
		asking.Go(func() {
			defer func() { <-turns }()
			v.again(ctx, network, credentials[i], r)
		})
	}
	asking.Wait()
}

// again asks the upstream about one credential.
func (v verifier) again(ctx context.Context, network core.NetworkID, credential string, result *verify.Result) {
	verdict, err := v.upstream.VerifyFor(ctx, network, credential, verify.ClientOf(ctx))
	if err != nil {
		*result = verify.Result{Err: err}
		return
	}
	result.Verdict, result.Now = verdict, time.Now()
}
