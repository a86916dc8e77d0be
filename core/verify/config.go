package verify

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// Bounds of a [Config].
const (
	minTTL   = time.Second // a verdict with a shorter lifetime is not cached
	minBytes = 4 << 20
)

// Config says how long verdicts are cached and how much may be going on at once. The zero value is a good choice.
type Config struct {
	// Off caches no verdict and shares no look-up: each request asks the source.
	Off bool

	// TTL is the lifetime of a good verdict since its look-up, at least 1 s; each entry's is drawn within a
	// tenth of it. It ends with the key. Default 60 s.
	TTL time.Duration

	// TTLConnected is the lifetime of a good verdict while the table of positions is known to be complete, see
	// [feed.Positions.MarkComplete]: TTL then counts from the last moment at which it was. Not below TTL. Default
	// 10 min, or TTL if that is longer.
	TTLConnected time.Duration

	// NegativeTTL is the lifetime of any other verdict, at least 1 s. Negative: none is cached. Default 5 s.
	NegativeTTL time.Duration

	// StaleIfError is for how long after its lifetime a good verdict serves while the source fails. Negative: not at
	// all. Default 5 min.
	StaleIfError time.Duration

	// MaxBytes bounds the memory of all verdicts and of what it takes to find them, at least 4 MiB. Beyond it up to
	// 32,768 verdicts may be on their way into the cache for a moment. Default 100 MiB.
	MaxBytes int64

	// LookupTimeout bounds a look-up, the wait for a call of the source and the call together. At most half of it is
	// for the wait, but for a known key whose first call the source refused with [ErrThrottled]. Default 5 s.
	LookupTimeout time.Duration

	// MaxWaiting is how many look-ups may wait; one more fails at once. Default 10,000.
	MaxWaiting int

	// Used is called for the valid verdicts that callers get: for a hit about once in [core.UseInterval], for any
	// other each time. It must not block. nil: nobody is.
	Used func(core.Use)

	// Observer is notified of how the source answers. nil: nobody is.
	Observer Observer
}

// Validate says what [New] would refuse.
func (c Config) Validate() error {
	_, err := c.withDefaults()
	return err
}

// withDefaults fills in what is zero and checks the rest.
func (c Config) withDefaults() (Config, error) {
	c.TTL = cmp.Or(c.TTL, time.Minute)
	c.TTLConnected = cmp.Or(c.TTLConnected, max(10*time.Minute, c.TTL))
	c.NegativeTTL = cmp.Or(c.NegativeTTL, 5*time.Second)
	c.StaleIfError = max(cmp.Or(c.StaleIfError, 5*time.Minute), 0)
	c.MaxBytes = cmp.Or(c.MaxBytes, 100<<20)
	c.LookupTimeout = cmp.Or(c.LookupTimeout, 5*time.Second)
	c.MaxWaiting = cmp.Or(c.MaxWaiting, 10_000)
	switch {
	case c.TTL < minTTL:
		return c, fmt.Errorf("ttl must be at least %s; to cache nothing, turn the cache off", minTTL)
	case c.TTLConnected < c.TTL:
		return c, errors.New("ttl_connected must be at least ttl")
	case c.NegativeTTL > 0 && c.NegativeTTL < minTTL:
		return c, fmt.Errorf("negative_ttl must be at least %s, or 0 for none", minTTL)
	case c.MaxBytes < minBytes:
		return c, fmt.Errorf("max_size must be at least %dMiB", minBytes>>20)
	case c.LookupTimeout < 0:
		return c, fmt.Errorf("look-up timeout %s is negative", c.LookupTimeout)
	case c.MaxWaiting < 0:
		return c, fmt.Errorf("bound %d of look-ups that wait is negative", c.MaxWaiting)
	}
	return c, nil
}

// limitsOf are the limits of a source, with what is zero filled in.
func limitsOf(source Source) (Limits, error) {
	l := source.Limits()
	l.Calls = cmp.Or(l.Calls, min(max(2*runtime.GOMAXPROCS(0), 4), 32))
	l.Items = cmp.Or(l.Items, 100)
	l.Bytes = cmp.Or(l.Bytes, 512<<10)
	if min(l.Calls, l.Items, l.Bytes) < 0 {
		return l, fmt.Errorf("limits %+v of the source: one is negative", l)
	}
	return l, nil
}

// Mode says how a caller uses the cache.
type Mode uint8

// The modes. A gate uses Use only: the others let a caller reach the source at will.
const (
	Use     Mode = iota // read and write
	NoCache             // do not read: the look-up begins after the call did
	NoStore             // neither read nor write
)
