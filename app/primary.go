package app

import (
	"sync"
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// primaryLull is for how long there must be no primary before that is told. With each connection that
// breaks the driver takes the primary for lost, until a heartbeat shows milliseconds later
// that it is not.
const primaryLull = 100 * time.Millisecond

// primaryTeller knows the primary, and tells when it is another one.
type primaryTeller struct {
	publish func(messages.Event)

	mu        sync.Mutex
	now, told string      // mu; "" for none
	lull      *time.Timer // mu; nil while now is not "", or as told
	stopped   bool        // mu
}

// is hears who is the primary.
func (p *primaryTeller) is(host string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = host
	switch {
	case p.stopped:
	case host != "" || p.told == "":
		if p.lull != nil {
			p.lull.Stop()
			p.lull = nil
		}
		p.tell()
	case p.lull == nil:
		var lull *time.Timer
		lull = time.AfterFunc(primaryLull, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.lull == lull {
				p.lull = nil
				p.tell()
			}
		})
		p.lull = lull
	}
}

// tell publishes what is news. p.mu must be held.
func (p *primaryTeller) tell() {
	if p.told != p.now {
		p.publish(messages.PrimaryChanged{From: p.told, To: p.now})
		p.told = p.now
	}
}

// known is the primary, "" while there is none.
func (p *primaryTeller) known() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

// stop ends it: nothing is told any more.
func (p *primaryTeller) stop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopped = true
	if p.lull != nil {
		p.lull.Stop()
		p.lull = nil
	}
}
