package slave

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/messages"
)

// goWrong lets the address of a live host lead elsewhere n times, a second apart.
func (w *world) goWrong(h *Host, n int) {
	w.t.Helper()
	for i := range n {
		if i > 0 {
			w.is(h, Live)
		}
		w.conn().strange("b:1")
		w.pass(time.Second)
	}
}

func TestThreeWrongSocketsKeepAHostOutUntilFiveSecondsOfRightOnes(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _, _ := w.live("a:1")
		w.goWrong(h, 3)
		last := time.Now().Add(-time.Second)
		w.is(h, Standby)
		if got := w.told(messages.KindHostStandby); len(got) != 1 {
			t.Errorf("told %v, want one HostStandby", got)
		}
		w.main().hello(mongoconn.Secondary) // Heartbeats do not end it.
		w.is(h, Standby)
		before := w.dials()
		w.pass(time.Until(last.Add(quarantineTime)) - time.Millisecond)
		w.is(h, Standby)
		if n := w.dials() - before; n < 6 || n > 8 {
			t.Errorf("%d new sockets were tried in the 4 s left, want one each half second", n)
		}
		w.pass(2 * quarantineEvery)
		w.is(h, Live)
		// It is over: the next wrong one starts from nothing.
		w.goWrong(h, 1)
		w.is(h, Live)
	})
}

func TestASocketThatAQuarantineTriesIsClosedWithTheSlave(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _, _ := w.live("a:1")
		w.goWrong(h, 3)
		w.is(h, Standby)
		w.opens(func(_ string, c *fakeConn) error { c.hangs(); return nil })
		w.pass(quarantineEvery + time.Millisecond)
		tried := w.conn()
		if _, ok := tried.obs.(*wrongOnly); !ok || tried.closed() {
			t.Fatal("no socket is being tried")
		}
		w.opens(answers(mongoconn.Secondary))
		w.main().obs.Lost(errReset)
		synctest.Wait()
		if !tried.closed() {
			t.Error("it is waited for")
		}
	})
}

func TestWrongSocketsFarApartAreNoQuarantine(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _, _ := w.live("a:1")
		for range 10 {
			w.goWrong(h, 2)
			w.is(h, Live)
			w.pass(quarantineWindow)
		}
	})
}

func TestAnAddressThatAlternatesStaysOutAndIsToldOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _, _ := w.live("a:1")
		w.goWrong(h, 3)
		w.is(h, Standby)
		w.told()
		until := time.Now()
		w.opens(func(_ string, c *fakeConn) error {
			if w.dials()%2 == 0 && time.Now().Before(until.Add(time.Minute)) {
				return c.strange("b:1")
			}
			c.hello(mongoconn.Secondary)
			return nil
		})
		for range 60 {
			w.pass(time.Second)
			if st := h.Stat().State; st == Live {
				t.Fatalf("it is live after %v", time.Since(until))
			}
		}
		for _, kind := range w.told() {
			if !slices.Contains([]string{"HostDialing a:1", "HostLost a:1"}, kind) {
				t.Errorf("told %s again", kind)
			}
		}
		w.pass(quarantineTime + 2*time.Second)
		w.is(h, Live)
	})
}

func TestAMemberThatStopsServingInQuarantineStandsByAfterIt(t *testing.T) {
	inWorld(t, func(w *world) {
		h, _, _ := w.live("a:1")
		w.goWrong(h, 3)
		w.is(h, Standby)
		w.main().hello(mongoconn.Recovering)
		w.pass(2 * quarantineTime)
		w.is(h, Standby)
		w.main().hello(mongoconn.Secondary)
		w.is(h, Live)
	})
}
