package main

import (
	"sync"

	"github.com/evenkeel/evenkeel/messages"
)

// ledger is the players' own record of what they have saved and what they were
// told about it. Each save has a number; those of one player rise. Safe for
// concurrent use.
type ledger struct {
	mu    sync.Mutex
	saves map[string][]save // mu; by player, in the order in which they were sent
}

// save is one numbered save.
type save struct {
	number   int64
	answered bool
	outcome  messages.Outcome
}

func newLedger() *ledger { return &ledger{saves: map[string][]save{}} }

// sent notes that a player's save with the next number was sent, and returns the
// number.
func (l *ledger) sent(player string) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := int64(len(l.saves[player])) + 1
	l.saves[player] = append(l.saves[player], save{number: n})
	return n
}

// answered notes what the player was told. It reports false for a reply to what was
// never sent, or was answered before.
func (l *ledger) answered(player string, number int64, outcome messages.Outcome) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	saves := l.saves[player]
	if number < 1 || number > int64(len(saves)) || saves[number-1].answered {
		return false
	}
	saves[number-1].answered, saves[number-1].outcome = true, outcome
	return true
}

// all returns the record.
func (l *ledger) all() map[string][]save {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[string][]save, len(l.saves))
	for player, saves := range l.saves {
		out[player] = append([]save(nil), saves...)
	}
	return out
}
