package master

import (
	"time"

	"github.com/evenkeel/evenkeel/messages"
)

// blockedAfter is how long something is on the wire before it is told that writes wait
// behind it.
const blockedAfter = time.Second

// watch tells when writes wait behind this batch for long. The caller must hold mu.
func (l *lane) watch(b *batch) {
	b.watch = time.AfterFunc(blockedAfter, func() { l.look(b) })
}

// look runs while a batch is on the wire, until it was told once that others wait.
func (l *lane) look(b *batch) {
	l.mu.Lock()
	waiting := l.queue.Len()
	if l.batch != b {
		l.mu.Unlock()
		return
	}
	if b.blocks = waiting > 0; !b.blocks {
		b.watch.Reset(blockedAfter)
	}
	// With mu held: the event of its end must not come before this one.
	if b.blocks {
		l.m.cfg.Emit(messages.WritesBlocked{Lane: l.index, For: time.Since(b.began), Waiting: waiting})
	}
	l.mu.Unlock()
}

// unwatch ends it. The caller must hold mu.
func (l *lane) unwatch(b *batch) {
	b.watch.Stop()
	if b.blocks {
		l.m.cfg.Emit(messages.WritesUnblocked{Lane: l.index, After: time.Since(b.began)})
	}
}
