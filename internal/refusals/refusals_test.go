package refusals

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/evenkeel/evenkeel/messages"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// told collects the counts of events.
type told struct {
	mu     sync.Mutex
	counts []int64
	last   messages.Overloaded
}

func (c *told) emit(e messages.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = e.(messages.Overloaded)
	c.counts = append(c.counts, c.last.Refused)
}

// told returns the counts so far, and the latest event.
func (c *told) told() ([]int64, messages.Overloaded) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.counts), c.last
}

func TestTheFirstRefusalIsToldAtOnceAndTheRestOnceASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got told
		r := New(got.emit, "a:1", "HostQueue", 7)
		for range 100 {
			r.Refused()
		}
		check := func(want ...int64) {
			t.Helper()
			if counts, _ := got.told(); !slices.Equal(counts, want) {
				t.Errorf("told %v, want %v", counts, want)
			}
		}
		check(1)
		if _, last := got.told(); last.Host != "a:1" || last.Limit != "HostQueue" || last.Max != 7 {
			t.Errorf("the event is %+v", last)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		r.Refused()
		time.Sleep(time.Second)
		synctest.Wait()
		check(1, 99, 1)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		check(1, 99, 1) // nothing to tell
		r.Refused()
		check(1, 99, 1, 1) // after a quiet time at once again
		r.Stop()
	})
}

func TestEveryRefusalIsToldOnceAlsoThoseBeforeStopAndNoneAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got told
		r := New(got.emit, "", "ReadQueue", 1)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					r.Refused()
				}
			})
		}
		wg.Wait()
		r.Stop()
		r.Stop()
		counts, _ := got.told()
		var sum int64
		for _, n := range counts {
			sum += n
		}
		if sum != 400 {
			t.Errorf("%d refusals were told in %v, want 400", sum, counts)
		}
		r.Refused()
		time.Sleep(time.Minute)
		synctest.Wait()
		if after, _ := got.told(); len(after) != len(counts) {
			t.Error("an event came after Stop")
		}
	})
}
