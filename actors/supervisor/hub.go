// Package supervisor keeps the slaves running and tells what happens to them.
package supervisor

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// DefaultEventBuffer is how many events a subscription holds for a subscriber
// that does not read; what comes then is dropped and counted.
const DefaultEventBuffer = 256

// Hub hands each event to every subscriber that wants its kind. It never blocks
// whoever publishes. A subscription starts with the present state: the latest event of
// each aspect of each host, so that no one has to have been there. Safe for
// concurrent use.
type Hub struct {
	Recorder // every event is noted there
	buffer   int

	mu     sync.Mutex
	seq    uint64           // mu
	subs   []*Subscription  // mu
	state  []messages.Event // mu; the latest event of each aspect, oldest first
	closed bool             // mu

	dropped atomic.Uint64 // by all subscriptions, those that are over too
}

// HubStat is a snapshot of a Hub.
type HubStat struct {
	// Published events were handed out since the start, to Subscribers at present.
	// Dropped counts each subscription that had no room for one.
	Published, Dropped uint64
	Subscribers        int
}

// Stat returns a snapshot.
func (h *Hub) Stat() HubStat {
	h.mu.Lock()
	defer h.mu.Unlock()
	return HubStat{Published: h.seq, Dropped: h.dropped.Load(), Subscribers: len(h.subs)}
}

// NewHub returns a Hub whose subscriptions hold buffer events, beside the present
// state they start with; DefaultEventBuffer for zero.
func NewHub(buffer int) *Hub {
	if buffer <= 0 {
		buffer = DefaultEventBuffer
	}
	return &Hub{buffer: buffer}
}

// Subscription is one subscriber's channel.
type Subscription struct {
	hub     *Hub
	events  chan messages.Event // sent to and closed under hub.mu only
	kinds   []messages.Kind     // nil for all
	dropped atomic.Uint64
}

// Events is the channel. It is closed by Cancel, and after the Hub's last event.
func (s *Subscription) Events() <-chan messages.Event { return s.events }

// Dropped is how many events found the channel full.
func (s *Subscription) Dropped() uint64 { return s.dropped.Load() }

// Cancel ends the subscription. Calling it twice is fine.
func (s *Subscription) Cancel() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if i := slices.Index(s.hub.subs, s); i >= 0 {
		s.hub.subs = slices.Delete(s.hub.subs, i, i+1)
		close(s.events)
	}
}

func (s *Subscription) wants(k messages.Kind) bool {
	return len(s.kinds) == 0 || slices.Contains(s.kinds, k)
}

// Subscribe returns a subscription to the given kinds, or to all. On a closed
// Hub it holds the last state and is closed already.
func (h *Hub) Subscribe(kinds ...messages.Kind) *Subscription {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := &Subscription{hub: h, kinds: slices.Clone(kinds), events: make(chan messages.Event, h.buffer+len(h.state))}
	for _, e := range h.state {
		if s.wants(e.Kind()) {
			s.events <- e // There is room: the buffer counts the state in.
		}
	}
	if h.closed {
		close(s.events)
		return s
	}
	h.subs = append(h.subs, s)
	return s
}

// Publish numbers and dates an event and hands it out. Of its header only the
// host counts.
func (h *Hub) Publish(e messages.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	h.seq++
	e = e.With(messages.Header{Seq: h.seq, Time: time.Now(), Host: e.Head().Host})
	h.Note(e.Head().Host, string(e.Kind())+": "+e.String())
	h.remember(e)
	for _, s := range h.subs {
		if !s.wants(e.Kind()) {
			continue
		}
		select {
		case s.events <- e:
		default:
			s.dropped.Add(1)
			h.dropped.Add(1)
		}
	}
	if e.Kind() == messages.KindStopped {
		h.closed = true
		for _, s := range h.subs {
			close(s.events)
		}
		h.subs = nil
	}
}

// aspect is what an event says the present state of; "" for one that only
// tells what happened.
func aspect(k messages.Kind) string {
	switch k {
	case messages.KindHostDialing, messages.KindHostLive, messages.KindHostStandby, messages.KindHostLost,
		messages.KindWrongHost, messages.KindDuplicateHost:
		return "host"
	case messages.KindHostEjected, messages.KindHostRestored:
		return "ejection"
	case messages.KindRoleChanged:
		return "role"
	case messages.KindPrimaryChanged:
		return "primary"
	case messages.KindReadsDegraded, messages.KindReadsRestored:
		return "reads"
	case messages.KindWritesHeld, messages.KindWritesResumed:
		return "writes"
	case messages.KindStopped:
		return "app"
	}
	return ""
}

// remember keeps the latest event of each aspect of each host, and forgets a
// host that is no member any more. A host that is live anew has said its role with
// that: an older change of role is forgotten. Who is live, or is not, is not ejected any more. h.mu must be held.
func (h *Hub) remember(e messages.Event) {
	if ejected, ok := e.(messages.HostEjected); ok && ejected.Floor {
		return // It was not: the host is still in the state it was in.
	}
	host, kind := e.Head().Host, e.Kind()
	a := aspect(kind)
	h.state = slices.DeleteFunc(h.state, func(old messages.Event) bool {
		if old.Head().Host != host {
			return false
		}
		was := aspect(old.Kind())
		return kind == messages.KindMemberRemoved && host != "" ||
			was == a && a != "" ||
			a == "host" && was == "ejection" ||
			kind == messages.KindHostLive && was == "role"
	})
	if a != "" {
		h.state = append(h.state, e)
	}
}
