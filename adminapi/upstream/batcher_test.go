package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/talos-edge/talos-edge/core"
)

var (
	networkA = uuid.MustParse("550e8400-e29b-41d4-a716-446655440001")
	networkB = uuid.MustParse("550e8400-e29b-41d4-a716-446655440002")
)

const roundTrip = 20 * time.Millisecond

// echo is a transport that answers each question with itself after a round trip, and writes down what it was asked.
type echo struct {
	mu    sync.Mutex
	calls [][]int
	trip  func(ctx context.Context, network core.NetworkID, questions []int) ([]int, error) // nil: a round trip
}

func (e *echo) call(ctx context.Context, network core.NetworkID, questions []int) ([]int, error) {
	e.mu.Lock()
	e.calls = append(e.calls, slices.Clone(questions))
	e.mu.Unlock()
	if e.trip != nil {
		return e.trip(ctx, network, questions)
	}
	time.Sleep(roundTrip)
	return questions, nil
}

// made are the calls so far.
func (e *echo) made() [][]int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.calls)
}

func (e *echo) sizes() []int {
	calls := e.made()
	sizes := make([]int, len(calls))
	for i, c := range calls {
		sizes[i] = len(c)
	}
	return sizes
}

var usual = limits{calls: 2, queue: 10_000, items: 100, bytes: 1000}

// bubble is a test on a clock of its own.
type bubble struct{ *testing.T }

// inBubble runs a test of a batcher of numbers, each of which is of size one, on a clock of its own.
func inBubble(t *testing.T, l limits, e *echo, test func(t bubble, b *batcher[int, int])) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := newBatcher(l, func(q int) int { return max(1, q/1000) }, e.call)
		defer b.close()
		test(bubble{t}, b)
	})
}

// asking asks in the background. The function it returns waits for the outcomes.
func asking(
	tb testing.TB, b *batcher[int, int], n core.NetworkID, patience time.Duration, questions ...int,
) func() ([]outcome[int], time.Duration) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	done := make(chan []outcome[int], 1)
	start := time.Now()
	var took time.Duration
	go func() {
		defer cancel()
		o := b.ask(ctx, n, questions)
		took = time.Since(start)
		done <- o
	}()
	synctest.Wait()
	return func() ([]outcome[int], time.Duration) { return <-done, took }
}

func numbers(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

func wantEcho(tb testing.TB, got []outcome[int], want ...int) {
	tb.Helper()
	for i := range want {
		if got[i].err != nil || got[i].answer != want[i] {
			tb.Errorf("question %d: got %+v", want[i], got[i])
		}
	}
}

func TestALonelyQuestionGoesAtOnce(t *testing.T) {
	e := &echo{}
	inBubble(t, usual, e, func(t bubble, b *batcher[int, int]) {
		got, took := asking(t, b, networkA, time.Second, 7)()
		wantEcho(t, got, 7)
		if took != roundTrip {
			t.Errorf("it took %s", took)
		}
	})
}

func TestACallThatReturnsTakesUpToAHundredWithIt(t *testing.T) {
	e := &echo{}
	inBubble(t, usual, e, func(t bubble, b *batcher[int, int]) {
		var waits []func() ([]outcome[int], time.Duration)
		for i := range 252 {
			waits = append(waits, asking(t, b, networkA, time.Second, i))
		}
		for i, wait := range waits {
			got, took := wait()
			wantEcho(t, got, i)
			if took > 3*roundTrip {
				t.Errorf("question %d took %s", i, took)
			}
		}
		if got, want := e.sizes(), []int{1, 1, 100, 100, 50}; !slices.Equal(got, want) {
			t.Errorf("the calls held %v, want %v", got, want)
		}
	})
}

func TestQuestionsThatAreAskedTogetherGoTogetherAsFarAsACallHolds(t *testing.T) {
	e := &echo{}
	inBubble(t, usual, e, func(t bubble, b *batcher[int, int]) {
		got, _ := asking(t, b, networkA, time.Second, numbers(230)...)()
		wantEcho(t, got, numbers(230)...)
		if got, want := e.sizes(), []int{100, 100, 30}; !slices.Equal(got, want) {
			t.Errorf("the calls held %v, want %v", got, want)
		}
	})
}

func TestACallHoldsNoMoreBytesThanItMayAndALargerQuestionGoesAlone(t *testing.T) {
	e := &echo{}
	l := usual
	l.calls = 1
	inBubble(t, l, e, func(t bubble, b *batcher[int, int]) {
		questions := []int{400_000, 500_000, 200_000, 5_000_000, 1}
		got, _ := asking(t, b, networkA, time.Second, questions...)()
		wantEcho(t, got, questions...)
		if want := [][]int{{400_000, 500_000}, {200_000}, {5_000_000}, {1}}; !slices.EqualFunc(e.made(), want, slices.Equal) {
			t.Errorf("the calls were %v, want %v", e.made(), want)
		}
	})
}

func TestACallerWhoGoesAwayFreesItsPlaceAndHarmsNobody(t *testing.T) {
	e := &echo{}
	l := usual
	l.calls, l.queue = 1, 2
	inBubble(t, l, e, func(t bubble, b *batcher[int, int]) {
		out := asking(t, b, networkA, 5*time.Millisecond, 1) // in the call
		gone := asking(t, b, networkA, 5*time.Millisecond, 2)
		stays := asking(t, b, networkA, time.Second, 3)
		full := asking(t, b, networkA, time.Second, 4)
		if got, took := full(); core.ReasonOf(got[0].err) != core.Unavailable || took != 0 {
			t.Errorf("got %v after %s", got[0].err, took)
		}
		for _, wait := range []func() ([]outcome[int], time.Duration){out, gone} {
			if got, took := wait(); core.ReasonOf(got[0].err) != core.Unavailable || took != 5*time.Millisecond {
				t.Errorf("got %v after %s", got[0].err, took)
			}
		}
		if waiting, inFlight := b.load(); waiting != 1 || inFlight != 1 {
			t.Errorf("%d wait, %d in flight", waiting, inFlight)
		}
		late := asking(t, b, networkA, time.Second, 5)
		for i, wait := range []func() ([]outcome[int], time.Duration){stays, late} {
			got, _ := wait()
			wantEcho(t, got, []int{3, 5}[i])
		}
		if want := [][]int{{1}, {3, 5}}; !slices.EqualFunc(e.made(), want, slices.Equal) {
			t.Errorf("the calls were %v, want %v", e.made(), want)
		}
	})
}

func TestACancelledCallerIsToldSo(t *testing.T) {
	inBubble(t, usual, &echo{}, func(t bubble, b *batcher[int, int]) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		cancel()
		if got := b.ask(ctx, networkA, []int{1}); got[0].err == nil && got[0].answer != 1 ||
			got[0].err != nil && core.ReasonOf(got[0].err) != core.DeadlineExceeded {
			t.Errorf("got %+v", got)
		}
	})
}

func TestOneSlowCallHoldsNobodyElseUp(t *testing.T) {
	e := &echo{trip: func(ctx context.Context, _ core.NetworkID, q []int) ([]int, error) {
		if q[0] == 0 {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		time.Sleep(roundTrip)
		return q, nil
	}}
	inBubble(t, usual, e, func(t bubble, b *batcher[int, int]) {
		slow := asking(t, b, networkA, 2*time.Second, 0)
		for i := 1; i < 50; i++ {
			got, took := asking(t, b, networkA, 2*time.Second, i)()
			wantEcho(t, got, i)
			if took != roundTrip {
				t.Fatalf("question %d took %s", i, took)
			}
		}
		if got, took := slow(); got[0].err == nil || took != 2*time.Second {
			t.Errorf("got %+v after %s", got, took)
		}
	})
}

func TestNetworksTakeTurnsAndNeverShareACall(t *testing.T) {
	var order []core.NetworkID
	e := &echo{trip: func(_ context.Context, n core.NetworkID, q []int) ([]int, error) {
		order = append(order, n) // one call at a time
		time.Sleep(roundTrip)
		return q, nil
	}}
	l := usual
	l.calls = 1
	inBubble(t, l, e, func(t bubble, b *batcher[int, int]) {
		flood := asking(t, b, networkA, time.Second, numbers(1000)...)
		other := asking(t, b, networkB, time.Second, numbers(150)...)
		got, took := other()
		wantEcho(t, got, numbers(150)...)
		if took > 4*roundTrip {
			t.Errorf("the smaller network waited %s", took)
		}
		got, _ = flood()
		wantEcho(t, got, numbers(1000)...)
		want := []core.NetworkID{networkA, networkB, networkA, networkB, networkA}
		if len(order) != 12 || !slices.Equal(order[:5], want) {
			t.Errorf("the calls were for %v", order)
		}
	})
}

func TestAFullQueueRefusesWhatIsTooMuchAtOnce(t *testing.T) {
	l := usual
	l.queue = 10
	inBubble(t, l, &echo{}, func(t bubble, b *batcher[int, int]) {
		first := asking(t, b, networkA, time.Second, numbers(200)...) // both calls
		got, took := asking(t, b, networkA, time.Second, numbers(15)...)()
		wantEcho(t, got, numbers(10)...)
		for _, o := range got[10:] {
			e, ok := errors.AsType[*core.Error](o.err)
			if !ok || e.Reason != core.Unavailable || e.RetryAfter <= 0 {
				t.Errorf("got %+v", o)
			}
		}
		if took != 2*roundTrip {
			t.Errorf("the rest took %s", took)
		}
		got, _ = first()
		wantEcho(t, got, numbers(200)...)
	})
}

func TestOneDeadlineCoversTheQueueAndTheCall(t *testing.T) {
	e := &echo{trip: func(ctx context.Context, _ core.NetworkID, _ []int) ([]int, error) {
		deadline, ok := ctx.Deadline()
		if !ok || time.Until(deadline) > 2*time.Second {
			return nil, fmt.Errorf("the call has until %s", deadline)
		}
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	l := usual
	l.calls = 1
	inBubble(t, l, e, func(t bubble, b *batcher[int, int]) {
		first := asking(t, b, networkA, 2*time.Second, 1)
		time.Sleep(time.Second)
		second := asking(t, b, networkA, 2*time.Second, 2)
		third := asking(t, b, networkA, 500*time.Millisecond, 3)
		for i, wait := range []func() ([]outcome[int], time.Duration){first, second, third} {
			want := []time.Duration{2 * time.Second, 2 * time.Second, 500 * time.Millisecond}[i]
			if got, took := wait(); got[0].err == nil || took != want {
				t.Errorf("question %d: got %+v after %s", i+1, got, took)
			}
		}
		if want := [][]int{{1}, {2}}; !slices.EqualFunc(e.made(), want, slices.Equal) {
			t.Errorf("the calls were %v, want %v", e.made(), want)
		}
	})
}

func TestAttack08_OnePoisonedQuestionFailsAloneAndInItsOwnPlace(t *testing.T) {
	poison := errors.New("poison")
	e := &echo{trip: func(_ context.Context, _ core.NetworkID, q []int) ([]int, error) {
		time.Sleep(roundTrip)
		if slices.Contains(q, 66) {
			return nil, errors.Join(poison, errDivide)
		}
		return q, nil
	}}
	inBubble(t, usual, e, func(t bubble, b *batcher[int, int]) {
		poisoned := asking(t, b, networkA, time.Second, numbers(100)...)
		other := asking(t, b, networkA, time.Second, 1000)
		if got, took := other(); got[0].err != nil || took != roundTrip {
			t.Errorf("another batch: got %+v after %s", got, took)
		}
		got, _ := poisoned()
		for i, o := range got {
			if i == 66 != errors.Is(o.err, poison) || i != 66 && (o.err != nil || o.answer != i) {
				t.Errorf("question %d: got %+v", i, o)
			}
		}
		if n := len(e.made()) - 1; n > 15 {
			t.Errorf("%d calls", n)
		}
	})
}

func TestAttack04_AReplyOfAnotherLengthIsAnErrorForAll(t *testing.T) {
	t.Parallel()
	for _, change := range []func([]int) []int{
		func(q []int) []int { return q[1:] },
		func(q []int) []int { return append(q, 0) },
		func([]int) []int { return nil },
	} {
		t.Run("", func(t *testing.T) {
			e := &echo{trip: func(_ context.Context, _ core.NetworkID, q []int) ([]int, error) {
				return change(slices.Clone(q)), nil
			}}
			inBubble(t, usual, e, func(t bubble, b *batcher[int, int]) {
				got, _ := asking(t, b, networkA, time.Second, 1, 2, 3)()
				for _, o := range got {
					if o.err == nil {
						t.Errorf("got %+v", o)
					}
				}
			})
		})
	}
}

func TestAPanicInACallIsAnErrorWithoutItsText(t *testing.T) {
	e := &echo{trip: func(context.Context, core.NetworkID, []int) ([]int, error) { panic("ory_ak_v1_secret") }}
	inBubble(t, usual, e, func(t bubble, b *batcher[int, int]) {
		got, _ := asking(t, b, networkA, time.Second, 1)()
		if err := got[0].err; err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("got %v", err)
		}
		if _, inFlight := b.load(); inFlight != 0 {
			t.Error("its place is not free")
		}
	})
}

func TestAfterTheEndNothingWaitsAndNothingIsTaken(t *testing.T) {
	e := &echo{trip: func(ctx context.Context, _ core.NetworkID, _ []int) ([]int, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	l := usual
	l.calls = 1
	inBubble(t, l, e, func(t bubble, b *batcher[int, int]) {
		out := asking(t, b, networkA, time.Second, 1)
		waits := asking(t, b, networkB, time.Second, 2)
		b.close()
		for _, wait := range []func() ([]outcome[int], time.Duration){out, waits} {
			if got, took := wait(); got[0].err == nil || took != 0 {
				t.Errorf("got %+v after %s", got, took)
			}
		}
		if got, _ := asking(t, b, networkA, time.Second, 3)(); !errors.Is(got[0].err, errClosed) {
			t.Errorf("got %+v", got)
		}
	})
}

// The goal of the design for 10,000 keys that the edge does not know, 256 at once: at most 160 calls, and the 99th
// percentile within three round trips. The clock is the bubble's, so this is a count and no measurement.
func TestTenThousandKeysTakeAHundredAndSixtyCalls(t *testing.T) {
	e := &echo{}
	inBubble(t, usual, e, func(t bubble, b *batcher[int, int]) {
		const keys, atOnce = 10_000, 256
		todo := make(chan int, keys)
		for i := range keys {
			todo <- i
		}
		close(todo)
		var mu sync.Mutex
		var took []time.Duration
		var workers sync.WaitGroup
		for range atOnce {
			workers.Go(func() {
				for i := range todo {
					ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
					start := time.Now()
					got := b.ask(ctx, networkA, []int{i})
					cancel()
					wantEcho(t, got, i)
					mu.Lock()
					took = append(took, time.Since(start))
					mu.Unlock()
				}
			})
		}
		workers.Wait()
		slices.Sort(took)
		p99 := took[len(took)*99/100]
		t.Logf("%d calls, %.1f keys a call, p50 %s, p99 %s", len(e.made()), float64(keys)/float64(len(e.made())),
			took[len(took)/2], p99)
		if len(e.made()) > 160 || p99 > 3*roundTrip {
			t.Errorf("%d calls, p99 %s", len(e.made()), p99)
		}
	})
}
