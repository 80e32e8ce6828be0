package repl

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/leaktest"
	"github.com/evenkeel/evenkeel/replset/internal/query"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// cluster is a set in a bubble of time of its own: its members' time-outs pass as
// soon as nothing else is left to do.
type cluster struct {
	*Set
	t   testing.TB
	ctx context.Context // ends with the bubble
}

// inCluster runs a test on a set of n members that has just elected member 0.
func inCluster(t *testing.T, n int, test func(c *cluster), change ...func(*Options)) {
	t.Helper()
	opts := Options{Name: "rs0"}
	for i := range n {
		opts.Members = append(opts.Members, member(i))
	}
	for _, fn := range change {
		fn(&opts)
	}
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{Set: NewSet(opts), t: t, ctx: t.Context()}
		c.Start()
		defer c.Stop()
		synctest.Wait()
		test(c)
	})
}

func member(i int) MemberConfig {
	return MemberConfig{ID: int32(i), Host: fmt.Sprintf("127.0.0.1:%d", 27017+i), Priority: 1, Votes: 1}
}

func (c *cluster) node(i int) *process {
	c.t.Helper()
	p := c.Member(int32(i)).proc.Load()
	if p == nil {
		c.t.Fatalf("member %d does not run", i)
	}
	return p
}

func (c *cluster) role(i int) Role { return c.node(i).Status().Role }

// leader returns the index of the only primary, or -1.
func (c *cluster) leader() int {
	m := c.Leader()
	if m == nil {
		return -1
	}
	return int(m.id)
}

// until lets time pass until a condition holds.
func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	for range 60_000 {
		synctest.Wait()
		if ok() {
			return
		}
		time.Sleep(time.Millisecond) // a minute in the bubble at most
	}
	c.t.Fatalf("never: %s", what)
}

// pass lets time pass in the bubble.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func raw(d any) bson.Raw {
	doc, err := bson.Marshal(d)
	if err != nil {
		panic(err)
	}
	return doc
}

func idOf(v any) bson.RawValue { return raw(bson.D{{Key: "_id", Value: v}}).Lookup("_id") }

// insert writes one document to game.players.
func insert(n Node, id any) (OpTime, error) {
	return n.Write(context.Background(), func(w Writer) error {
		return w.Insert("game", "players", raw(bson.D{{Key: "_id", Value: id}}))
	})
}

func (c *cluster) insert(i int, id any) OpTime {
	c.t.Helper()
	op, err := insert(c.node(i), id)
	if err != nil {
		c.t.Fatalf("insert of %v into member %d: %v", id, i, err)
	}
	return op
}

// save is insert with w: majority.
func (c *cluster) save(i int, id any) {
	c.t.Helper()
	if err := c.node(i).AwaitReplication(context.Background(), c.insert(i, id), 0); err != nil {
		c.t.Fatalf("majority for %v: %v", id, err)
	}
}

// has says whether a member's game.players has a document.
func (c *cluster) has(i int, level ReadLevel, id any) bool {
	found := false
	_ = c.node(i).View(level, func(s Snapshot) error {
		if coll := s.Collection("game", "players"); coll != nil {
			_, found = coll.ByID(idOf(id))
		}
		return nil
	})
	return found
}

// dump is all of a member's data, written out.
func (c *cluster) dump(i int) string {
	v := c.node(i).seen.Load()
	var b strings.Builder
	fmt.Fprintf(&b, "at %v\n", v.now.op)
	for _, db := range v.now.data.databases() {
		for _, coll := range v.now.data.of(db) {
			fmt.Fprintf(&b, "%s.%s %v\n", db, coll.info.Name, coll.Indexes())
			coll.Each(func(doc bson.Raw) bool {
				fmt.Fprintf(&b, "%x\n", []byte(doc))
				return true
			})
		}
	}
	var sessions []string
	for lsid, s := range v.now.data.sessions.all() {
		line := fmt.Sprintf("session %s %d", lsid, s.txn)
		for stmt := range s.done.all() {
			line += fmt.Sprint(" ", stmt)
		}
		sessions = append(sessions, line)
	}
	slices.Sort(sessions)
	b.WriteString(strings.Join(sessions, "\n"))
	return b.String()
}

// converged waits until there is one primary, every other member a secondary, and all of
// them have the same data.
func (c *cluster) converged() {
	c.t.Helper()
	c.until("one primary, and the same newest entry everywhere", func() bool {
		primaries := 0
		ops := map[OpTime]bool{}
		for _, m := range c.all() {
			p := m.proc.Load()
			switch p.Status().Role {
			case Primary:
				primaries++
			case Secondary:
			default:
				return false
			}
			ops[p.Status().LastApplied] = true
		}
		return primaries == 1 && len(ops) == 1
	})
	for _, m := range c.all() {
		if got, want := c.dump(int(m.id)), c.dump(int(c.all()[0].id)); got != want {
			c.t.Fatalf("member %d has\n%s\nand the first one\n%s", m.id, got, want)
		}
	}
}

func (c *cluster) wantCode(err error, code int32) {
	c.t.Helper()
	var e *query.Error
	if !errors.As(err, &e) || e.Code != code {
		c.t.Errorf("error is %v, not one with code %d", err, code)
	}
}
