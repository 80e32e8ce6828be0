package supervisor

import (
	"slices"
	"sync"
	"testing"

	"github.com/evenkeel/evenkeel/messages"
)

func live(host string) messages.Event {
	return messages.HostLive{Header: messages.Header{Host: host}, Role: messages.RoleSecondary}
}
func lost(host string) messages.Event {
	return messages.HostLost{Header: messages.Header{Host: host}, Reason: "reset by peer"}
}
func restarting(host string) messages.Event {
	return messages.HostRestarting{Header: messages.Header{Host: host}}
}

// drain returns the kind and host of what a subscription holds.
func drain(s *Subscription) (got []string) {
	for {
		select {
		case e, ok := <-s.Events():
			if !ok {
				return append(got, "closed")
			}
			got = append(got, string(e.Kind())+" "+e.Head().Host)
		default:
			return got
		}
	}
}

func TestASubscriptionStartsWithThePresentState(t *testing.T) {
	h := NewHub(0)
	h.Publish(live("a:1"))
	h.Publish(live("b:1"))
	h.Publish(lost("a:1"))
	h.Publish(restarting("a:1"))
	h.Publish(live("c:1"))
	h.Publish(messages.MemberRemoved{Header: messages.Header{Host: "c:1"}})
	s := h.Subscribe()
	defer s.Cancel()
	if got, want := drain(s), []string{"HostLive b:1", "HostLost a:1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	h.Publish(live("a:1"))
	if got, want := drain(s), []string{"HostLive a:1"}; !slices.Equal(got, want) {
		t.Errorf("then got %q, want %q", got, want)
	}
}

func TestAHostThatWasEjectedIsToldOfWithItsRole(t *testing.T) {
	h := NewHub(0)
	at := messages.Header{Host: "a:1"}
	for _, step := range []struct {
		event messages.Event
		want  []string
	}{
		{live("a:1"), []string{"HostLive a:1"}},
		{messages.HostEjected{Header: at}, []string{"HostLive a:1", "HostEjected a:1"}},
		{messages.RoleChanged{Header: at}, []string{"HostLive a:1", "HostEjected a:1", "RoleChanged a:1"}},
		{messages.HostRestored{Header: at}, []string{"HostLive a:1", "RoleChanged a:1", "HostRestored a:1"}},
		{lost("a:1"), []string{"RoleChanged a:1", "HostLost a:1"}},
		{live("a:1"), []string{"HostLive a:1"}},
	} {
		h.Publish(step.event)
		s := h.Subscribe()
		if got := drain(s); !slices.Equal(got, step.want) {
			t.Errorf("after %s: got %q, want %q", step.event.Kind(), got, step.want)
		}
		s.Cancel()
	}
}

func TestAnOldRoleIsForgottenWhenTheHostIsLiveAnew(t *testing.T) {
	h := NewHub(0)
	h.Publish(live("a:1"))
	h.Publish(messages.RoleChanged{Header: messages.Header{Host: "a:1"}})
	h.Publish(live("a:1"))
	s := h.Subscribe()
	defer s.Cancel()
	if got, want := drain(s), []string{"HostLive a:1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAFullSubscriptionDropsAndCountsAndBlocksNobody(t *testing.T) {
	h := NewHub(4)
	s, other := h.Subscribe(), h.Subscribe(messages.KindHostLost)
	defer s.Cancel()
	defer other.Cancel()
	for range 10 {
		h.Publish(live("a:1"))
	}
	h.Publish(lost("a:1"))
	if got := len(drain(s)); got != 4 || s.Dropped() != 7 {
		t.Errorf("%d events and %d dropped, want 4 and 7", got, s.Dropped())
	}
	if got, want := drain(other), []string{"HostLost a:1"}; !slices.Equal(got, want) || other.Dropped() != 0 {
		t.Errorf("the other subscription has %q and dropped %d", got, other.Dropped())
	}
	if got, want := h.Stat(), (HubStat{Published: 11, Dropped: 7, Subscribers: 2}); got != want {
		t.Errorf("the hub says %+v, want %+v", got, want)
	}
}

func TestStoppedIsTheLastEventAndClosesEverySubscription(t *testing.T) {
	h := NewHub(0)
	s := h.Subscribe()
	h.Publish(messages.Stopped{})
	h.Publish(live("a:1"))
	if got, want := drain(s), []string{"Stopped ", "closed"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Cancel() // after the end: fine
	late := h.Subscribe()
	if got, want := drain(late), []string{"Stopped ", "closed"}; !slices.Equal(got, want) {
		t.Errorf("a late subscription got %q, want %q", got, want)
	}
}

func TestSequenceNumbersHaveNoGapUnderConcurrentPublishers(t *testing.T) {
	h := NewHub(1000)
	s := h.Subscribe()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				h.Publish(restarting("a:1"))
				h.Subscribe().Cancel()
			}
		})
	}
	wg.Wait()
	s.Cancel()
	var last uint64
	for e := range s.Events() {
		if e.Head().Seq != last+1 || e.Head().Time.IsZero() {
			t.Fatalf("event %d follows %d", e.Head().Seq, last)
		}
		last = e.Head().Seq
	}
	if last != 400 {
		t.Errorf("%d events, want 400", last)
	}
}
