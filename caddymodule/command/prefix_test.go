package command

import (
	"strings"
	"syscall"
	"testing"
)

func TestKeysOfAnEarlierPrefixAreNamedAtTheStartAndKeptAsRetiredOnes(t *testing.T) {
	t.Parallel()
	_, env := home(t)
	s := serveBinary(t, append(env, envPrefix+"=acme"))
	secret, _ := s.issue(t)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}

	s = serveBinary(t, env)
	const remedy = envRetiredPrefixes + "=acme"
	if log := s.log(); !strings.Contains(log, `"keys_by_prefix":{"acme":1}`) || !strings.Contains(log, remedy) {
		t.Errorf("the log does not say which keys are refused, and how to keep them:\n%s", log)
	}
	s.wantVerdict(t, secret, false)
	if err := s.stop(t, syscall.SIGTERM); err != nil {
		t.Error(err)
	}

	s = serveBinary(t, append(env, remedy))
	if log := s.log(); strings.Contains(log, "keys_by_prefix") {
		t.Errorf("the prefix is configured:\n%s", log)
	}
	s.wantVerdict(t, secret, true)
	fresh, _ := s.issue(t)
	if !strings.HasPrefix(fresh, "ory_ak_v1_") {
		t.Error("a new key does not begin with the default prefix")
	}
}
