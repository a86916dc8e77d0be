package redis_test

import (
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/talos-edge/talos-edge/core"
	"github.com/talos-edge/talos-edge/storage/redis/redistest"
)

// load uses keys from several goroutines until it is stopped. No use fails, whatever becomes of Redis: take checks it.
type load struct {
	uses atomic.Int64
	stop func()
}

func startLoad(t *testing.T, l *limiter) *load {
	t.Helper()
	done := make(chan struct{})
	var all sync.WaitGroup
	loaded := &load{}
	for _, key := range []string{"a", "b", "c", "d"} {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					l.take(t, key, core.RateLimitPolicy{Quota: 1 << 40, Window: time.Hour})
					loaded.uses.Add(1)
				}
			}
		})
	}
	loaded.stop = sync.OnceFunc(func() {
		close(done)
		all.Wait()
	})
	t.Cleanup(loaded.stop)
	return loaded
}

// goesOn waits until more uses have been counted.
func (l *load) goesOn(t *testing.T) {
	t.Helper()
	before := l.uses.Load()
	redistest.Await(t, "uses go on", func() bool { return l.uses.Load() > before+100 })
}

// Whatever happens to Redis under load, no caller sees an error, and uses are counted there again by themselves.
func TestTake_GoesOnWhateverHappensToRedis(t *testing.T) {
	t.Parallel()
	for name, happens := range map[string]func(*testing.T, *redistest.Server, *load){
		"killed and restarted": func(t *testing.T, s *redistest.Server, l *load) {
			t.Helper()
			s.Kill(t)
			l.goesOn(t)
			s.Restart(t)
		},
		"flushed": func(t *testing.T, s *redistest.Server, _ *load) { t.Helper(); s.Do(t, "FLUSHALL") },
		"script flushed": func(t *testing.T, s *redistest.Server, _ *load) {
			t.Helper()
			s.Do(t, "SCRIPT", "FLUSH")
		},
		"connections closed": func(t *testing.T, s *redistest.Server, _ *load) { t.Helper(); killClients(t, s) },
		"paused": func(t *testing.T, s *redistest.Server, l *load) {
			t.Helper()
			s.Do(t, "CLIENT", "PAUSE", "300", "ALL")
			l.goesOn(t)
		},
		"made a replica and a master again": func(t *testing.T, s *redistest.Server, l *load) {
			t.Helper()
			s.Do(t, "REPLICAOF", "127.0.0.1", "1")
			l.goesOn(t)
			s.Do(t, "REPLICAOF", "NO", "ONE")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := redistest.Start(t)
			l := open(t, "redis://"+s.Addr())
			l.awaitShared(t, "uses are counted in Redis")
			load := startLoad(t, l)
			for range 3 {
				load.goesOn(t)
				happens(t, s, load)
				l.awaitShared(t, "uses are counted in Redis again")
			}
			load.stop()
			if n := s.Client.Exists(t.Context(), entry("awaited")).Val(); n != 1 {
				t.Error("Redis has no entry of a key that was used")
			}
		})
	}
}

// A script that is gone, and a connection that is closed, cost no count: the call is made again.
func TestTake_LosesNoCountWithTheScriptOrTheConnection(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, patient(s))
	const uses = 20
	for i := range uses {
		switch i % 4 {
		case 1:
			s.Do(t, "SCRIPT", "FLUSH")
		case 3:
			killClients(t, s)
		}
		l.take(t, "key", seldom(100))
	}
	if r := l.take(t, "key", seldom(100)); r.Remaining != 100-uses-1 || l.local.Load() != 0 {
		t.Errorf("after %d uses: %+v, and %d were not counted in Redis", uses+1, r, l.local.Load())
	}
}

// A connection that breaks under a call costs no count either.
func TestTake_IsMadeAgainWhenItsConnectionBreaks(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, patient(s))
	l.take(t, "key", seldom(100))
	s.Do(t, "CLIENT", "PAUSE", "60000", "WRITE") // holds the script back
	var taken sync.WaitGroup
	taken.Go(func() { l.take(t, "key", seldom(100)) })
	redistest.Await(t, "the call is under way", func() bool {
		return strings.Contains(s.Client.Info(t.Context(), "clients").Val(), "blocked_clients:1\r")
	})
	killClients(t, s)
	s.Do(t, "CLIENT", "UNPAUSE")
	taken.Wait()
	if n := l.local.Load(); n != 0 {
		t.Errorf("the use was not counted in Redis: %s", l.cause())
	}
}

// killClients closes all connections but the test's own.
func killClients(t *testing.T, s *redistest.Server) {
	t.Helper()
	s.Do(t, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
}

func TestTake_WhileRedisIsAwayAKeyHasItsQuotaInThisProcess(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	l := open(t, patient(s))
	for range 5 {
		l.take(t, "key", seldom(5))
	}
	s.Kill(t)
	redistest.Await(t, "a call fails", func() bool {
		l.take(t, "noticed", seldom(1))
		return len(l.away) > 0
	})
	before := l.local.Load()
	for _, key := range []string{"key", "other"} {
		for i := range 7 {
			if r := l.take(t, key, seldom(5)); r.Allowed != (i < 5) || r.Allowed && r.Remaining != int64(4-i) {
				t.Errorf("%s, use %d: %+v", key, i+1, r)
			}
		}
	}
	if got := l.local.Load() - before; got != 14 {
		t.Errorf("%d uses were counted in this process, want 14", got)
	}
	s.Restart(t)
	l.awaitShared(t, "uses are counted in Redis again")
}

func TestOpen_RedisMayBeAway(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill(t)
	l := open(t, patient(s))
	if cause := <-l.away; !strings.Contains(cause, s.Addr()) {
		t.Errorf("got %q, which does not say what was dialed", cause)
	}
	if r := l.take(t, "key", seldom(1)); !r.Allowed {
		t.Errorf("got %+v", r)
	}
	s.Restart(t)
	l.awaitShared(t, "uses are counted in Redis")
}

// A Redis that takes connections and answers nothing: uses wait for it until it is known to be away, and then not at
// all. With this timeout a wait of each use would last for hours.
func TestTake_NoUseWaitsForARedisThatIsAway(t *testing.T) {
	t.Parallel()
	silent, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted sync.WaitGroup
	accepted.Go(func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	})
	t.Cleanup(accepted.Wait)
	t.Cleanup(func() { _ = silent.Close() })
	l := open(t, "redis://"+silent.Addr().String()+"?timeout=10s")
	if r := l.take(t, "key", seldom(1)); !r.Allowed {
		t.Errorf("got %+v", r)
	}
	<-l.away
	for range 10_000 {
		l.take(t, "key", seldom(1))
	}
	if got := l.local.Load(); got != 10_001 {
		t.Errorf("%d uses were counted in this process, want 10001", got)
	}
}

// The first uses wait for the first connection, so that a node that is started under load shares its counts at once.
func TestTake_TheFirstUseIsCountedInRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	for range 10 {
		l := open(t, patient(s))
		l.take(t, "key", seldom(100))
		if n := l.local.Load(); n != 0 {
			t.Fatal("the first use was counted in this process")
		}
	}
}
