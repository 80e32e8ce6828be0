package replset

import (
	"fmt"
	"sync"
	"time"
)

// Link is what the network between a member and its clients does.
type Link int

// The states of a link. In each but LinkWhole, what is lost is lost as packets are: no
// connection is closed or reset, and what the kernels go on sending again gets through when
// the link is whole again, unless an end has given up meanwhile. A Kill while nothing gets
// out is heard of no sooner either.
//
// New connections are not even accepted. On Linux their SYN is left unanswered, so
// that a dial ends with the dialler's own time-out; elsewhere, and now and then on Linux for
// a connection that was under way, the kernel accepts them and nothing follows.
//
// What is different from a network: the member's kernel still acknowledges what
// clients send it, until its buffers are full, so that neither TCP keep-alive nor
// TCP_USER_TIMEOUT notices anything.
const (
	LinkWhole     Link = iota
	LinkBlackHole      // nothing gets in or out
	LinkMute           // requests get in and are executed; no reply gets out
	LinkDeaf           // nothing gets in; what is under way gets out, such as a streaming hello's news
)

func (l Link) String() string {
	switch l {
	case LinkWhole:
		return "whole"
	case LinkBlackHole:
		return "black hole"
	case LinkMute:
		return "mute"
	case LinkDeaf:
		return "deaf"
	}
	return fmt.Sprintf("Link(%d)", int(l))
}

// SetLink changes the link between the member and its clients, at all addresses that
// reach it, until it is changed again. The other members reach it all the same: what
// cuts it off from these is Partition.
func (m *Member) SetLink(l Link) error {
	if l < LinkWhole || l > LinkDeaf {
		panic(fmt.Sprintf("replset: Member.SetLink: there is no %v", l))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.link.set(l)
	return m.refresh()
}

// link is what all of a member's lines go through. A door's lock may be held while
// its own one is taken.
type link struct {
	wg *sync.WaitGroup // the set's

	mu      sync.Mutex
	state   Link
	changed chan struct{} // closed and replaced with each change of state
	lines   map[*line]struct{}
}

func newLink(wg *sync.WaitGroup) *link {
	return &link{wg: wg, changed: make(chan struct{}), lines: map[*line]struct{}{}}
}

func (k *link) deaf() bool { return k.state == LinkBlackHole || k.state == LinkDeaf }
func (k *link) mute() bool { return k.state == LinkBlackHole || k.state == LinkMute }

// whole says whether new connections come about.
func (k *link) whole() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.state == LinkWhole
}

func (k *link) set(to Link) {
	k.mu.Lock()
	defer k.mu.Unlock()
	wasDeaf, wasMute := k.deaf(), k.mute()
	k.state = to
	for l := range k.lines {
		if k.deaf() != wasDeaf {
			l.kernelDeadline()
		}
		// A flush that an earlier change has started may still be under way.
		if wasMute && !k.mute() && !l.flushing && (len(l.unsent) > 0 || l.closed) {
			l.flushing = true
			k.wg.Go(l.flush)
		}
		l.settle()
	}
	close(k.changed)
	k.changed = make(chan struct{})
}

// longGone is a deadline that has passed.
var longGone = time.Unix(1, 0)
