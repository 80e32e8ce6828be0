package evenkeel_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// hit is a fault of one member. It returns what ends it.
type hit func(t *testing.T, g *game, m *replset.Member) (heal func())

// struck waits until the app has noticed, by an event of one of these kinds.
func struck(t *testing.T, g *game, mark int, m *replset.Member, kinds ...messages.Kind) {
	t.Helper()
	eventually(t, fmt.Sprintf("one of the events %v of %s", kinds, m.Host()), func() bool {
		return slices.ContainsFunc(g.events.all()[mark:], func(e messages.Event) bool {
			return e.Head().Host == m.Host() && slices.Contains(kinds, e.Kind())
		})
	})
}

var gone = []messages.Kind{messages.KindHostLost, messages.KindHostEjected, messages.KindHostRestarting, messages.KindHostStandby}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until is a fault that lasts until the app has noticed it.
func until(strike func(t *testing.T, g *game, m *replset.Member) (heal func() error)) hit {
	return func(t *testing.T, g *game, m *replset.Member) func() {
		mark := g.events.mark()
		heal := strike(t, g, m)
		struck(t, g, mark, m, gone...)
		return func() { must(t, heal()) }
	}
}

// while is a fault that need not be noticed.
func while(strike func(g *game, m *replset.Member) (heal func())) hit {
	return func(_ *testing.T, g *game, m *replset.Member) func() { return strike(g, m) }
}

func done(f func()) func() error { return func() error { f(); return nil } }

var (
	killed = until(func(_ *testing.T, _ *game, m *replset.Member) func() error { m.Kill(); return m.Restart })
	frozen = until(func(_ *testing.T, _ *game, m *replset.Member) func() error { m.Freeze(); return done(m.Unfreeze) })
)

func linked(l replset.Link) hit {
	return until(func(t *testing.T, _ *game, m *replset.Member) func() error {
		must(t, m.SetLink(l))
		return func() error { return m.SetLink(replset.LinkWhole) }
	})
}

func cut(p replset.Phase, commands ...string) hit {
	return while(func(g *game, m *replset.Member) func() {
		return m.Cut(replset.Target{Commands: commands, Share: 0.1, AppName: g.name}, p).End
	})
}

// fault is one of one member.
type fault struct {
	name    string
	primary bool // it hits the primary
	hit     hit
}

// faults are those that any game must not notice.
var faults = []fault{
	{"killed, and back", false, killed},
	{"frozen", false, frozen},
	{"black hole", false, linked(replset.LinkBlackHole)},
	{"replies lost", false, linked(replset.LinkMute)},
	{"+50 ms on find", false, while(func(g *game, m *replset.Member) func() {
		m.Slow("find", 50*time.Millisecond)
		return func() { m.Slow("find", 0) }
	})},
	{"cut before execution", false, cut(replset.BeforeExecution, "find")},
	{"cut within the reply", false, cut(replset.WithinReply, "find")},
	{"overloaded", false, while(func(g *game, m *replset.Member) func() {
		return m.Overload(replset.Target{Commands: []string{"find"}, Share: 0.3, AppName: g.name}).End
	})},
	{"in maintenance", false, until(func(t *testing.T, _ *game, m *replset.Member) func() error {
		must(t, m.SetMaintenance(true))
		return func() error { return m.SetMaintenance(false) }
	})},
	{"restarted as a standalone", false, until(func(t *testing.T, _ *game, m *replset.Member) func() error {
		must(t, m.RestartStandalone())
		return m.Restart
	})},
	{"its address leads elsewhere", false, until(func(t *testing.T, g *game, m *replset.Member) func() error {
		must(t, g.c.set.Alternate(m.Index(), m.Index(), (m.Index()+1)%len(g.c.set.Members())))
		m.Cut(replset.Target{Commands: []string{"find"}, Times: 4, AppName: g.name}, replset.BeforeExecution) // So that new sockets are opened.
		return g.c.set.RestoreAddresses
	})},
	{"behind by more than MaxLag", false, until(func(_ *testing.T, _ *game, m *replset.Member) func() error {
		m.Lag(time.Minute)
		return done(func() { m.Lag(0) })
	})},

	{"steps down", true, func(t *testing.T, g *game, m *replset.Member) func() {
		mark := g.events.mark()
		g.c.awaitSteady(t)
		eventually(t, "the primary has stepped down", func() bool { return g.c.set.StepDown(soon(t)) == nil })
		newPrimary(t, g, mark, m)
		return func() {}
	}},
	{"killed, and back", true, deposed(killed)},
	{"frozen", true, deposed(frozen)},
	{"black hole", true, deposed(linked(replset.LinkBlackHole))},
	{"cut before execution", true, cut(replset.BeforeExecution, "insert", "update", "bulkWrite")},
	{"cut before the reply", true, cut(replset.BeforeReply, "insert", "update", "bulkWrite")},
	{"cut within the reply", true, cut(replset.WithinReply, "insert", "update", "bulkWrite")},
}

func newPrimary(t *testing.T, g *game, mark int, old *replset.Member) {
	t.Helper()
	await(t, g.events, mark, func(e messages.PrimaryChanged) bool { return e.To != "" && e.To != old.Host() })
}

// deposed is a fault of the primary that ends when there is another one.
func deposed(h hit) hit {
	return func(t *testing.T, g *game, m *replset.Member) func() {
		mark := g.events.mark()
		g.c.awaitSteady(t)
		heal := h(t, g, m)
		if m.Running() {
			g.c.set.Partition([]int{m.Index()}) // Its fault is with its clients only, and with the others from now on.
		}
		newPrimary(t, g, mark, m)
		return func() {
			g.c.set.Heal()
			heal()
		}
	}
}

// matrix collects a line for each fault under each load.
type matrix struct {
	mu    sync.Mutex
	lines []string
}

func (x *matrix) add(format string, args ...any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lines = append(x.lines, fmt.Sprintf(format, args...))
}

// Reads have a deadline of ten seconds, and none may fail; writes have one of fifteen, and
// each must be applied, once, in order, but for what the driver gives up.
func TestNoFaultOfOneHostIsNoticedByTheGame(t *testing.T) {
	if realURI() != "" {
		t.Skip("EVENKEEL_URI: a real set cannot be told to have these faults")
	}
	x := &matrix{}
	t.Cleanup(func() {
		slices.Sort(x.lines)
		var b strings.Builder
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "member\tfault\tload\treads\tfailed\tlongest\twrites\tnot applied")
		for _, l := range x.lines {
			fmt.Fprintln(w, l)
		}
		_ = w.Flush()
		t.Logf("\n%s", b.String())
	})
	for _, f := range faults {
		for _, load := range []string{"reads", "writes", "both"} {
			if testing.Short() && load != "both" {
				continue // As under the race detector: it has both loads in it.
			}
			who := "secondary"
			if f.primary {
				who = "primary"
			}
			t.Run(who+"/"+f.name+"/"+load, func(t *testing.T) {
				t.Parallel()
				opts := primaryFirst(4)
				if f.primary {
					opts = replset.Options{Members: 4, ElectionTimeout: 500 * time.Millisecond}
				}
				c := ownSet(t, f.name, opts)
				c.seed(t, "us")
				g := c.play(t, app.Config{MaxLag: 2 * time.Second})
				g.steady(t, 4)
				var crowd *crowd
				var ledger *ledger
				// more lets the load go on for a while.
				more := func() {
					if crowd != nil {
						crowd.more(t, 200)
					}
					if ledger != nil {
						ledger.more(t, 100)
					}
				}
				if load != "writes" {
					crowd = g.crowd(t, 8, unhurried, nil)
				} else if !f.primary {
					crowd = g.crowd(t, 1, unhurried, nil) // Some faults are noticed by reads only.
				}
				if load != "reads" {
					ledger = g.ledger(t, 16)
				}
				c.writing(t)
				more()

				m := c.set.Member(2)
				if f.primary {
					m = c.primary(t)
				}
				heal := f.hit(t, g, m)
				more()
				heal()
				more()
				c.awaitSteady(t)
				if crowd != nil && !f.primary {
					crowd.moreAt(t, m.Host(), 10)
				}

				line := []any{who, f.name, load, "-", "-", "-", "-", "-"}
				if crowd != nil {
					crowd.mustBeFine(t)
					line[3], line[4], line[5] = crowd.count(), len(crowd.failures), crowd.slowest().Round(time.Millisecond)
				}
				if ledger != nil {
					rest := ledger.audit(t)
					line[6], line[7] = ledger.sent, len(rest)
					refused := 0
					switch {
					case f.primary && strings.HasPrefix(f.name, "cut "):
						refused = g.refusals(m.Host())
					case f.primary && strings.HasPrefix(f.name, "killed"):
						refused = 1
					}
					ledger.mustBeGivenUp(t, rest, refused)
				}
				g.mustBeRight(t)
				x.add("%v\t%v\t%v\t%v\t%v\t%v\t%v\t%v", line...)
			})
		}
	}
}
