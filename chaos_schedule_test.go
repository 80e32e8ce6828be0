package evenkeel_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// strike is one fault of the schedule.
type strike struct {
	at, lasts time.Duration
	kind      *kind
	member    int    // whom it strikes
	other     int    // who is in it too, for a fault of two
	seed      uint64 // of what else there is to draw
}

func (s strike) String() string {
	return fmt.Sprintf("%8.3f s, for %6.3f s: %s, member %d (%d)", s.at.Seconds(), s.lasts.Seconds(), s.kind.name, s.member, s.other)
}

// rand draws what the schedule does not say in words, the same each time.
func (s strike) rand() *rand.Rand { return rand.New(rand.NewPCG(s.seed, 1)) }

func upTo(r *rand.Rand, d time.Duration) time.Duration { return time.Duration(r.Int64N(int64(d))) }

// claim is what a fault needs for itself while it lasts. Several may share
// something.
type claim struct {
	what   string
	shared bool
}

// kind is a sort of fault. Strike returns what ends it, nil for nothing; its
// error says why it could not be brought about, which with other faults at work is no failure.
type kind struct {
	name   string
	weight int
	most   time.Duration // it lasts this long at most; 0 for those that are over at once
	claims func(member, other int) []claim
	strike func(x *storm, s strike) (heal func() error, err error)
}

// The shared claim of all that may keep a member from having, or getting, what others
// have. A resync is the only one that needs the rest to be quiet: what a majority
// has is lost, in a server's set too, if its directory is emptied while another of the
// majority is out.
var replication = claim{"replication", true}

func process(m, _ int) []claim {
	return []claim{replication, {fmt.Sprintf("process of %d", m), false}}
}

func own(what string) func(m, other int) []claim {
	return func(m, _ int) []claim { return []claim{{fmt.Sprintf("%s of %d", what, m), false}} }
}

func only(what string) func(m, other int) []claim {
	return func(int, int) []claim { return []claim{{what, false}} }
}

func whole(what string) func(m, other int) []claim {
	return func(int, int) []claim { return []claim{replication, {what, false}} }
}

// lull is how far apart faults are that claim the same, so that the end of one
// is not the beginning of the next.
const lull = 100 * time.Millisecond

// drawSchedule makes the list of faults of a storm.
func drawSchedule(r *rand.Rand, members int, lasts time.Duration) []strike {
	var all []strike
	weights := 0
	for _, k := range kinds {
		weights += k.weight
	}
	// Adding members has an end: those that vote are seven at most.
	added := 0
	for at := 200 * time.Millisecond; at < lasts; at += time.Duration(r.ExpFloat64() * float64(220*time.Millisecond)) {
		w := r.IntN(weights)
		i := slices.IndexFunc(kinds, func(k *kind) bool { w -= k.weight; return w < 0 })
		s := strike{at: at, kind: kinds[i], member: r.IntN(members), seed: r.Uint64()}
		s.other = (s.member + 1 + r.IntN(members-1)) % members
		// As many short ones as long ones.
		if most := float64(s.kind.most); most > 0 {
			const least = float64(20 * time.Millisecond)
			s.lasts = min(time.Duration(least*math.Pow(most/least, r.Float64())), lasts-at)
		}
		if s.kind.name == "add" {
			if added++; added > min(2, 7-members) {
				continue
			}
		}
		if !slices.ContainsFunc(all, s.clashes) {
			all = append(all, s)
		}
	}
	return all
}

// clashes says that two faults claim the same at the same time.
func (s strike) clashes(with strike) bool {
	if s.at >= with.at+with.lasts+lull || with.at >= s.at+s.lasts+lull {
		return false
	}
	for _, a := range s.kind.claims(s.member, s.other) {
		for _, b := range with.kind.claims(with.member, with.other) {
			if a.what == b.what && !(a.shared && b.shared) {
				return true
			}
		}
	}
	return false
}

func TestAChaosScheduleIsMadeFromItsSeedAlone(t *testing.T) {
	draw := func(seed uint64) []strike { return drawSchedule(rand.New(rand.NewPCG(seed, 0)), 5, time.Minute) }
	same := func(a, b strike) bool { return a == b }
	first := draw(7)
	if !slices.EqualFunc(first, draw(7), same) {
		t.Error("one seed makes two schedules")
	}
	if slices.EqualFunc(first, draw(8), same) {
		t.Error("two seeds make one schedule")
	}
	seen := map[string]bool{}
	for seed := range uint64(20) {
		for _, s := range draw(seed) {
			seen[s.kind.name] = true
			if s.at+s.lasts > time.Minute {
				t.Errorf("seed %d: %v ends after the storm", seed, s)
			}
		}
	}
	for _, k := range kinds {
		if !seen[k.name] {
			t.Errorf("none of 20 schedules has %q", k.name)
		}
	}
}
