package slave

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

func TestAReadThatFindsAFreeWorkerGoesAloneAndAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		s := shelve(c, numbered(10)...)
		start := time.Now()
		reads := w.asks(target.(*service), 0, 1, 2, 3)
		if got := s.asked(); len(got) != 4 {
			t.Fatalf("%d finds are on the wire at once, want 4", len(got))
		}
		for _, cmd := range s.cmds {
			if !strings.Contains(cmd.String(), `"limit"`) || strings.Contains(cmd.String(), "$in") {
				t.Errorf("sent %v, want what a read alone sends", cmd)
			}
		}
		s.opens()
		for i, r := range reads {
			w.finds(r, i)
		}
		if st := h.Stat(); st.Batches != 0 || st.Batched != 0 || st.Served != 4 {
			t.Errorf("%+v", st)
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("they have waited %v", took)
		}
		w.settled(h, target.(*service))
	})
}

func TestReadsThatWaitTogetherShareARoundTrip(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(10)...)
		reads := w.asks(host, 7, 3, 99, 0, "7")
		if st := h.Stat(); st.Queued != 5 || st.Active != 1 {
			t.Errorf("%d queued and %d active", st.Queued, st.Active)
		}
		s.lets(2)
		if got := s.asked(); len(got) != 2 || len(got[1]) != 5 {
			t.Errorf("asked for %v, want 5 in one find", got)
		}
		if size := s.cmds[1].Lookup("batchSize").Int32(); size != 6 {
			t.Errorf("a batch size of %d for 5 _ids: a server that has found all would keep a cursor open", size)
		}
		w.finds(reads[0], 7)
		w.finds(reads[1], 3)
		s.opens() // A text might be another one, to some collations.
		w.finds(reads[2], nil)
		w.finds(reads[3], 0)
		w.finds(reads[4], nil)
		for _, r := range reads {
			if rep := w.got(r); rep.Host != "a:1" || rep.Attempts != 1 || rep.Token.OperationTime.T != 9 {
				t.Errorf("got %+v", rep)
			}
		}
		if st := h.Stat(); st.Batches != 1 || st.Batched != 5 || st.Served != 6 {
			t.Errorf("%+v", st)
		}
		w.settled(h, host)
	})
}

func TestABatchHas128ReadsAtMost(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(300)...)
		var ids []any
		for i := range 300 {
			ids = append(ids, i)
		}
		reads := w.asks(host, ids...)
		s.opens()
		sizes := []int{}
		for _, ids := range s.asked() {
			sizes = append(sizes, len(ids))
		}
		if !slices.Equal(sizes, []int{1, 128, 128, 44}) {
			t.Errorf("asked for %v at a time", sizes)
		}
		for i, r := range reads {
			w.finds(r, i)
		}
		w.settled(h, host)
	})
}

func TestABatchAsksForAMegabyteAtMost(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy()
		for n, size := range []int{1 << 18, 1 << 18, 1 << 18, 1 << 18, 3 << 20, 100, 1 << 18} {
			id := fmt.Sprint(n, strings.Repeat("x", size-6)) // 5 bytes are the encoding's.
			s.set(func(s *shelf) { s.docs = append(s.docs, raw(bson.D{{Key: "_id", Value: id}})) })
			r := w.asks(host, id)[0]
			if got := len(r.Cmd.ID.Value); got != size {
				t.Fatalf("an _id of %d bytes, want %d", got, size)
			}
			defer w.finds(r, id)
		}
		s.opens()
		var sizes []int
		for _, ids := range s.asked()[1:] {
			sizes = append(sizes, len(ids))
		}
		if !slices.Equal(sizes, []int{4, 1, 2}) {
			t.Errorf("asked for %v at a time", sizes)
		}
		w.settled(h, host)
	})
}

func TestReadsOfOneIDShareItsAnswerAndEachHasACopy(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(9)...)
		reads := w.asks(host, 5, int64(5), 5.0, 5, 6)
		s.opens()
		if got := s.asked()[1]; len(got) != 2 {
			t.Errorf("asked for %v, want 5 and 6", got)
		}
		for _, r := range reads[:4] {
			w.finds(r, 5)
			clear(w.got(r).Document) // Its receiver's to change.
		}
		w.finds(reads[4], 6)
		if st := h.Stat(); st.Batched != 5 || st.Served != 6 {
			t.Errorf("%+v", st)
		}
		w.settled(h, host)
	})
}

func TestOnlyReadsThatAskAlikeShareARoundTrip(t *testing.T) {
	one := options.FindOne
	type other struct {
		cmd  *command.Read
		m    messages.Read
		left time.Duration
	}
	for what, o := range map[string]other{
		"collection":    {cmd: byIDIn("guilds", 1)},
		"projection":    {cmd: byID(1, one().SetProjection(bson.D{{Key: "n", Value: 1}}))},
		"comment":       {cmd: byID(1, one().SetComment("x"))},
		"collation":     {cmd: byID(1, one().SetCollation(&options.Collation{Locale: "de"}))},
		"an option":     {cmd: byID(1, one().SetSkip(1))},
		"decimal":       {cmd: byID(bson.NewDecimal128(0x3040000000000000, 1))},
		"symbol":        {cmd: byID(bson.Symbol("ann"))},
		"long comment":  {cmd: byID(1, one().SetComment(strings.Repeat("x", 1<<20)))},
		"cluster time":  {cmd: byID(1), m: messages.Read{After: messages.Token{OperationTime: bson.Timestamp{T: 2}}}},
		"less patience": {cmd: byID(1), left: time.Second},
		"NoBatch":       {cmd: byID(1), m: messages.Read{NoBatch: true}},
	} {
		t.Run(what, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, s, host := w.busy(numbered(3)...)
				add := func() *asked {
					r := askWithin(o.cmd, &o.m, cmp.Or(o.left, 5*time.Second))
					if err := offer(host, r); err != nil {
						t.Fatal(err)
					}
					return r
				}
				reads := w.asks(host, 0)
				reads = append(reads, add())
				reads = append(reads, w.asks(host, 2)...)
				reads = append(reads, add())
				s.opens()
				for _, r := range reads {
					if rep := w.got(r); rep == nil {
						t.Error("a read has no answer")
					}
				}
				for _, ids := range s.asked() {
					if slices.Contains(ids, 1.0) && len(ids) > 1 {
						t.Errorf("the other one was asked along: %v", ids)
					}
				}
				if got := s.asked(); !slices.ContainsFunc(got, func(ids []any) bool { return len(ids) == 2 }) {
					t.Errorf("the two that are alike were not asked together: %v", got)
				}
				w.settled(h, host)
			})
		})
	}
	t.Run("Config.NoBatch", func(t *testing.T) {
		inWorld(t, func(w *world) {
			w.cfg.NoBatch = true
			h, s, host := w.busy(numbered(9)...)
			reads := w.asks(host, 0, 1, 2, 0)
			s.opens()
			for _, ids := range s.asked() {
				if len(ids) > 1 {
					t.Errorf("asked for %v", ids)
				}
			}
			for i, r := range reads {
				w.finds(r, i%3)
			}
			if st := h.Stat(); st.Batches != 0 {
				t.Errorf("%+v", st)
			}
			w.settled(h, host)
		})
	})
}

func TestReadsOfEqualProjectionCommentAndTokenGoTogether(t *testing.T) {
	opts := func() *options.FindOneOptionsBuilder {
		return options.FindOne().SetComment("why").SetProjection(bson.D{{Key: "n", Value: 1}})
	}
	inWorld(t, func(w *world) {
		_, s, host := w.busy(numbered(9)...)
		var reads []*asked
		for i := range 4 {
			reads = append(reads, askWithin(byID(i, opts()), &messages.Read{After: messages.Token{OperationTime: bson.Timestamp{T: 5, I: 6}}}, 4100*time.Millisecond+time.Duration(i)*time.Second))
		}
		if err := offer(host, reads...); err != nil {
			t.Fatal(err)
		}
		s.opens()
		for i, r := range reads {
			w.finds(r, i)
		}
		if n := len(s.cmds); n != 3 {
			t.Fatalf("%d finds, want 3: the first one goes alone", n)
		}
		cmd := s.cmds[2]
		if cmd.Lookup("comment").StringValue() != "why" || cmd.Lookup("projection", "n").AsInt64() != 1 {
			t.Errorf("sent %v", cmd)
		}
		if ts, i := cmd.Lookup("readConcern", "afterClusterTime").Timestamp(); ts != 5 || i != 6 {
			t.Errorf("sent %v", cmd)
		}
	})
}

func TestAReadNeverJoinsOneThatWasSent(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(bson.D{{Key: "_id", Value: 1}, {Key: "gold", Value: 1}})
		old := w.asks(host, 1, 2)
		s.lets(1) // Those two are on the wire now.
		// A write is acknowledged, and its writer reads.
		fresh := w.asks(host, 1)
		s.set(func(s *shelf) {
			s.then = func(n int, _ []any) {
				if n == 2 {
					s.set(func(s *shelf) { s.docs[0] = raw(bson.D{{Key: "_id", Value: 1}, {Key: "gold", Value: 2}}) })
				}
			}
		})
		s.opens()
		w.finds(old[0], 1)
		w.finds(old[1], nil)
		if rep := w.got(fresh[0]); rep == nil || rep.Document.Lookup("gold").AsInt64() != 2 {
			t.Errorf("got %+v: an answer from before the write", rep)
		}
		if n := len(s.asked()); n != 3 {
			t.Errorf("%d finds, want 3", n)
		}
		w.settled(h, host)
	})
}

func TestTheReadsThatCameFirstGoFirst(t *testing.T) {
	inWorld(t, func(w *world) {
		_, s, host := w.busy(numbered(9)...)
		var reads []*asked
		for i, coll := range []string{"a", "b", "a", "c", "b"} {
			reads = append(reads, ask(byIDIn(coll, i)))
		}
		if err := offer(host, reads...); err != nil {
			t.Fatal(err)
		}
		s.opens()
		var got []string
		for _, cmd := range s.cmds[1:] {
			got = append(got, fmt.Sprint(cmd.Lookup("find").StringValue(), len(idsOf(cmd))))
		}
		if fmt.Sprint(got) != "[a2 b2 c1]" {
			t.Errorf("asked for %v", got)
		}
	})
}

func TestARoundTripIsOneSampleOfItsHostsSpeed(t *testing.T) {
	inWorld(t, func(w *world) {
		_, s, host := w.busy(numbered(30)...)
		took := func(d time.Duration, ids ...any) {
			w.asks(host, ids...)
			time.Sleep(d) // Of the one that is on the wire.
			s.lets(1)
		}
		took(time.Millisecond, 1)
		took(time.Millisecond, 2)
		took(time.Millisecond, 3)
		var ids []any
		for i := range 20 {
			ids = append(ids, i)
		}
		took(time.Millisecond, ids...)
		took(time.Second, 4) // The 20 together.
		if got := time.Duration(host.load.Latency(command.Point, time.Now()) * float64(time.Second)); got > 2*time.Millisecond {
			t.Errorf("one slow round trip among fast ones makes %v", got)
		}
		s.opens()
		synctest.Wait()
	})
}
