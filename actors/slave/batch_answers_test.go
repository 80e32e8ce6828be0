package slave

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

func TestACollationThatTakesTwoTextsForOneAnswersBoth(t *testing.T) {
	for _, c := range []struct{ stored, asked []any }{
		{[]any{"ann"}, []any{"ann", "ANN"}}, // The document is known by one of the two.
		{[]any{"ann"}, []any{"ANN", "ann", "bob"}},
		{[]any{"Ann"}, []any{"ann", "ANN"}}, // It is known by none.
		{[]any{"ann", "Bob"}, []any{"ANN", "ann", "bob", "BOB", "eve"}},
		{[]any{1, "ann"}, []any{1, "ANN", 2}},
		{[]any{}, []any{"ann", "ANN"}},
	} {
		t.Run(fmt.Sprint(c.stored, c.asked), func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, s, host := w.busy()
				s.set(func(s *shelf) {
					s.same = fold
					for _, id := range c.stored {
						s.docs = append(s.docs, raw(bson.D{{Key: "_id", Value: id}}))
					}
				})
				reads := w.asks(host, c.asked...)
				s.opens()
				for i, r := range reads {
					n := slices.IndexFunc(c.stored, func(id any) bool { return fold(id, c.asked[i]) })
					if n < 0 {
						w.finds(r, nil)
					} else {
						w.finds(r, c.stored[n])
					}
				}
				w.settled(h, host)
			})
		})
	}
}

func TestAMissingDocumentIsAskedForOnceMoreOnlyWhereACollationMayMatter(t *testing.T) {
	for _, c := range []struct {
		ids   []any
		finds int
	}{
		{[]any{1, 2, 99}, 1},     // Of numbers it is known.
		{[]any{1, "a", 99}, 1},   // A number is no text.
		{[]any{"x", "y", 99}, 1}, // None of the texts was found.
		{[]any{"ann", "a", 99}, 2},
		{[]any{"ann", "bob", 99}, 1}, // None is missing.
		{[]any{"ann", "a", "b", "c"}, 2},
	} {
		t.Run(fmt.Sprint(c.ids), func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, s, host := w.busy(append(numbered(9), bson.D{{Key: "_id", Value: "ann"}}, bson.D{{Key: "_id", Value: "bob"}})...)
				reads := w.asks(host, c.ids...)
				s.opens()
				for i, r := range reads {
					id := c.ids[i]
					if n, ok := id.(int); ok && n > 9 || !ok && id != "ann" && id != "bob" {
						id = nil
					}
					w.finds(r, id)
				}
				if got := s.asked()[1:]; len(got) != c.finds {
					t.Errorf("asked for %v, want %d finds", got, c.finds)
				}
				w.settled(h, host)
			})
		})
	}
}

func TestAReplyThatDoesNotHoldAllIsFollowedByTheRest(t *testing.T) {
	for _, c := range []struct {
		most, reads, finds, kills int
	}{
		{3, 10, 4, 3}, // 3, 3, 3, and the last alone.
		{9, 9, 1, 0},  // It holds just all.
		{1, 128, 128, 127},
		{-1, 5, 6, 1}, // It holds none at all: each alone.
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, s, host := w.busy(numbered(c.reads)...)
				s.set(func(s *shelf) { s.most = c.most })
				var reads []*asked
				for i := range c.reads {
					reads = append(reads, w.asks(host, c.reads-1-i)...)
				}
				s.opens()
				for i, r := range reads {
					w.finds(r, c.reads-1-i)
				}
				if got := len(s.asked()) - 1; got != c.finds || s.kill != c.kills {
					t.Errorf("%d finds and %d cursors closed, want %d and %d", got, s.kill, c.finds, c.kills)
				}
				w.settled(h, host)
			})
		})
	}
}

func TestMissingDocumentsBehindACutAreAnsweredToo(t *testing.T) {
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(10)...)
		s.set(func(s *shelf) { s.most = 4 })
		reads := w.asks(host, 50, 9, 51, 0, 1, 2, 3, 52, 4, 0, 50, 8)
		s.opens()
		for i, want := range []any{nil, 9, nil, 0, 1, 2, 3, nil, 4, 0, nil, 8} {
			w.finds(reads[i], want)
		}
		w.settled(h, host)
	})
}

func TestOneBadReadAmongGoodOnesFailsAlone(t *testing.T) {
	bad := mongo.CommandError{Code: 2, Message: "BadValue"}
	inWorld(t, func(w *world) {
		h, s, host := w.busy(numbered(10)...)
		s.set(func(s *shelf) {
			s.bad = func(ids []any) error {
				if slices.Contains(ids, 3.0) {
					return bad
				}
				return nil
			}
		})
		reads := w.asks(host, 1, 2, 3, 4, 77)
		s.opens()
		for i, want := range []any{1, 2, 0, 4, nil} {
			if i != 2 {
				w.finds(reads[i], want)
			}
		}
		if rep := w.got(reads[2]); rep == nil || !errors.As(rep.Err, new(mongo.CommandError)) || rep.Host != "a:1" {
			t.Errorf("the bad one got %+v", rep)
		}
		if st := h.Stat(); st.Failed != 1 || st.Served != 5 || len(w.router.failed) != 0 {
			t.Errorf("%+v, and the router got back %v", st, w.router.failed)
		}
		w.settled(h, host)
	})
}
