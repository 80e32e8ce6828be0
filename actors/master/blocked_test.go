package master

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

func TestWritesThatWaitBehindASlowOneAreToldOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wire, gate := blocked(succeed)
		r := newRig(t, Config{}, wire)
		told := func() (got []string) {
			synctest.Wait()
			for _, e := range r.seen() {
				switch e := e.(type) {
				case messages.WritesBlocked:
					if e.Lane != 0 || e.For < time.Second || e.Waiting != 2 {
						t.Errorf("told %+v", e)
					}
					got = append(got, "blocked")
				case messages.WritesUnblocked:
					if e.After < 4*time.Second {
						t.Errorf("told %+v", e)
					}
					got = append(got, "unblocked")
				}
			}
			return got
		}
		first, _ := r.ask(insert(0))
		time.Sleep(2500 * time.Millisecond)
		if got := told(); len(got) != 0 {
			t.Errorf("told %v while none waits", got)
		}
		second, _ := r.ask(insert(1))
		third, _ := r.ask(insert(2))
		time.Sleep(2 * time.Second)
		if got := told(); !slices.Equal(got, []string{"blocked"}) {
			t.Errorf("told %v", got)
		}
		close(gate)
		for _, reply := range []chan *messages.WriteReply{first, second, third} {
			if rep := r.get(reply); rep.Outcome != messages.Applied {
				t.Errorf("%+v", rep)
			}
		}
		if got := told(); !slices.Equal(got, []string{"blocked", "unblocked"}) {
			t.Errorf("told %v", got)
		}
	})
}
