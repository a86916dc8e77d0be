package upstream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/talos-edge/talos-edge/core"
)

// modelQuestion is a question that knows where it belongs.
type modelQuestion struct {
	network core.NetworkID
	number  int // in the order in which the network's questions were asked
	size    int
	poison  bool
}

var (
	errModel  = errors.New("the call failed")
	errPoison = errors.New("the call was poisoned")
)

// model is a transport with random behaviour that checks what it is asked.
type model struct {
	limits limits
	trust  bool // no random failures: every clean question has to be answered

	mu       sync.Mutex
	random   *rand.Rand
	inFlight int
	spans    map[core.NetworkID][][2]int // of the questions that came for the first time
	seen     map[modelQuestion]bool
	wrong    []string
}

func (m *model) complain(format string, args ...any) {
	m.wrong = append(m.wrong, fmt.Sprintf(format, args...))
}

// enter checks a call, and decides what becomes of it.
func (m *model) enter(network core.NetworkID, questions []modelQuestion) (trip time.Duration, fate int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inFlight++; m.inFlight > m.limits.calls {
		m.complain("%d calls at once", m.inFlight)
	}
	bytes := 0
	for i, q := range questions {
		bytes += q.size
		if q.network != network {
			m.complain("a call for %s holds a question of %s", network, q.network)
		}
		if i > 0 && q.number <= questions[i-1].number {
			m.complain("%d comes after %d", q.number, questions[i-1].number)
		}
	}
	if len(questions) == 0 || len(questions) > m.limits.items || bytes > m.limits.bytes && len(questions) > 1 {
		m.complain("a call holds %d questions and %d bytes", len(questions), bytes)
	}
	if !m.seen[questions[0]] {
		span := [2]int{questions[0].number, questions[len(questions)-1].number}
		for _, other := range m.spans[network] {
			if span[0] <= other[1] && other[0] <= span[1] {
				m.complain("%v and %v are not first in, first out", span, other)
			}
		}
		m.spans[network] = append(m.spans[network], span)
	}
	for _, q := range questions {
		m.seen[q] = true
	}
	return time.Duration(1+m.random.IntN(60)) * time.Millisecond, m.random.IntN(20)
}

func (m *model) call(
	ctx context.Context, network core.NetworkID, questions []modelQuestion,
) ([]modelQuestion, error) {
	trip, fate := m.enter(network, questions)
	defer func() {
		m.mu.Lock()
		m.inFlight--
		m.mu.Unlock()
	}()
	if !m.trust && fate == 0 {
		trip = time.Hour
	}
	select {
	case <-time.After(trip):
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", errModel, ctx.Err())
	}
	poisoned := slices.ContainsFunc(questions, func(q modelQuestion) bool { return q.poison })
	switch {
	case poisoned:
		return nil, fmt.Errorf("%w: %w", errPoison, errDivide)
	case m.trust:
	case fate == 1:
		return nil, errModel
	case fate == 2:
		return questions[1:], nil
	}
	return slices.Clone(questions), nil
}

// TestTheBatcherKeepsItsPromisesUnderRandomSchedules runs random callers against a random transport. What it finds
// wrong names the seed.
func TestTheBatcherKeepsItsPromisesUnderRandomSchedules(t *testing.T) {
	t.Parallel()
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	for seed := range rounds {
		synctest.Test(t, func(t *testing.T) {
			for _, wrong := range modelRound(t, uint64(seed)) {
				t.Errorf("seed %d: %s", seed, wrong)
			}
		})
		if t.Failed() {
			return
		}
	}
}

func modelRound(t *testing.T, seed uint64) []string {
	t.Helper()
	random := rand.New(rand.NewPCG(seed, 0))
	l := limits{calls: 1 + random.IntN(4), queue: 5 + random.IntN(200), items: 1 + random.IntN(20), bytes: 50}
	m := &model{
		limits: l, trust: seed%2 == 0, random: rand.New(rand.NewPCG(seed, 1)),
		spans: make(map[core.NetworkID][][2]int), seen: make(map[modelQuestion]bool),
	}
	b := newBatcher(l, func(q modelQuestion) int { return q.size }, m.call)
	numbers := make(map[core.NetworkID]int)
	var callers sync.WaitGroup
	for range 60 + random.IntN(60) {
		network := networkA
		if random.IntN(3) == 0 {
			network = networkB
		}
		questions := make([]modelQuestion, 1+random.IntN(6))
		for i := range questions {
			questions[i] = modelQuestion{network, numbers[network], 1 + random.IntN(60), random.IntN(30) == 0}
			numbers[network]++
		}
		patience := time.Duration(50+random.IntN(2000)) * time.Millisecond
		goes := random.IntN(8) == 0
		stays := time.Duration(random.IntN(40)) * time.Millisecond
		callers.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if goes {
				timer := time.AfterFunc(stays, cancel)
				defer timer.Stop()
			}
			start := time.Now()
			outcomes := b.ask(ctx, network, questions)
			m.mu.Lock()
			defer m.mu.Unlock()
			m.checkOutcomes(questions, outcomes, goes)
			if took := time.Since(start); took > patience {
				m.complain("a caller with patience for %s waited %s", patience, took)
			}
		})
		synctest.Wait()
		m.checkState(b)
		if random.IntN(3) > 0 {
			time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
		}
	}
	if seed%5 == 0 {
		b.close() // whatever is under way
	}
	callers.Wait()
	b.close()
	if waiting, inFlight := b.load(); waiting != 0 || inFlight != 0 {
		m.complain("in the end %d wait and %d calls are out", waiting, inFlight)
	}
	return m.wrong
}

// checkOutcomes checks what one caller got.
func (m *model) checkOutcomes(questions []modelQuestion, outcomes []outcome[modelQuestion], gone bool) {
	for i, o := range outcomes {
		q := questions[i]
		reason := core.ReasonOf(o.err)
		switch {
		case o.err == nil && o.answer != q:
			m.complain("question %v has the answer to %v", q, o.answer)
		case o.err == nil && q.poison:
			m.complain("poison was answered")
		case errors.Is(o.err, errPoison) && !q.poison:
			m.complain("question %v was poisoned by another", q)
		case reason == core.DeadlineExceeded && o.err != nil && !gone:
			m.complain("question %v was given up: %v", q, o.err)
		case m.trust && !q.poison && o.err != nil && reason == core.Internal && !overtime(o.err):
			m.complain("question %v failed: %v", q, o.err)
		}
	}
}

// overtime tells whether a call was cut short.
func overtime(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// checkState checks what must hold whenever nothing moves: nobody waits while a call could be made, and the count of
// those who wait is right and within its bound.
func (m *model) checkState(b *batcher[modelQuestion, modelQuestion]) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	count := 0
	for _, l := range b.turns {
		if l.first == nil || b.lanes[l.network] != l {
			m.complain("a lane has a turn and nothing to send")
		}
		for x := l.first; x != nil; x = x.next {
			count++
			if x.settled || x.lane != l {
				m.complain("question %v waits and is settled", x.question)
			}
		}
	}
	if count != b.waiting || len(b.turns) != len(b.lanes) || count > b.limits.queue {
		m.complain("%d wait, %d are counted, %d may", count, b.waiting, b.limits.queue)
	}
	if b.waiting > 0 && b.inFlight < b.limits.calls {
		m.complain("%d wait although only %d calls are out", b.waiting, b.inFlight)
	}
}
