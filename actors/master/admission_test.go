package master

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"

	"github.com/evenkeel/evenkeel/messages"
)

// keysOf returns a key of each lane.
func keysOf(m *Master) []string {
	keys := make([]string, len(m.lanes))
	for n, found := 0, 0; found < len(keys); n++ {
		if i := m.lane(fmt.Sprint(n)).index; keys[i] == "" {
			keys[i] = fmt.Sprint(n)
			found++
		}
	}
	return keys
}

func TestALaneThatIsStuckAndFloodedLeavesTheOthersRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, lanes = 80, 4
		gate := make(chan struct{})
		wire := &fakeWire{}
		wire.serve = func(ctx context.Context, b *batch, a *attempts) result {
			if b.first().Key == "stuck" {
				<-gate
			}
			return succeed(ctx, b, a)
		}
		r := newRig(t, Config{WriteLanes: lanes, WriteQueue: limit}, wire)
		send := func(key string, n int) chan *messages.WriteReply {
			w := insert(n)
			w.Key = key
			reply, _ := r.ask(w)
			return reply
		}
		stuck := r.lane("stuck").index
		var pending []chan *messages.WriteReply
		refused := 0
		for n := range 2 * limit {
			reply := send("stuck", n)
			select {
			case rep := <-reply:
				var over *messages.OverloadedError
				if !errors.As(rep.Err, &over) || over.Limit != "WriteQueue" || over.Max != limit {
					t.Fatalf("%+v", rep)
				}
				refused++
			default:
				pending = append(pending, reply)
			}
		}
		if most := limit/2 + limit/2/lanes; len(pending) != most {
			t.Errorf("a lane holds %d writes, want %d", len(pending), most)
		}
		for i, key := range keysOf(r.Master) {
			if i == stuck {
				continue
			}
			for n := range 100 {
				if rep := r.get(send(key, n)); rep.Outcome != messages.Applied {
					t.Fatalf("another lane: %+v", rep)
				}
			}
		}
		close(gate)
		for _, reply := range pending {
			r.get(reply)
		}
		if writes, bytes := r.admission.pending(); writes != 0 || bytes != 0 {
			t.Errorf("%d writes and %d bytes are left", writes, bytes)
		}
	})
}

func TestAQuotaIsNeverExceededAndNobodysOwnIsEverLent(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for _, lanes := range []int{1, 2, 3, 7} {
		const limit = 1000
		q := newQuota(limit, lanes)
		held := make([][]int64, lanes)
		for range 10_000 {
			lane := rng.IntN(lanes)
			if n := 1 + rng.Int64N(60); rng.IntN(2) == 0 {
				before := q.used[lane]
				switch ok := q.take(lane, n); {
				case ok:
					held[lane] = append(held[lane], n)
				case before+n <= q.own:
					t.Fatalf("%d lanes: a lane with %d of its own %d is refused %d", lanes, before, q.own, n)
				}
			} else if l := len(held[lane]); l > 0 {
				q.give(lane, held[lane][l-1])
				held[lane] = held[lane][:l-1]
			}
			if q.total > limit || q.lent < 0 || q.lent > q.common {
				t.Fatalf("%d lanes: %+v", lanes, q)
			}
		}
		for lane := range held {
			for _, n := range held[lane] {
				q.give(lane, n)
			}
		}
		if q.total != 0 || q.lent != 0 {
			t.Errorf("%d lanes: %+v when all is given back", lanes, q)
		}
		if lanes == 1 && (!q.take(0, limit) || q.take(0, 1)) {
			t.Error("one lane does not have all of it, and no more")
		}
	}
}
