package slave

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/messages"
)

func TestAHostThatAnswersFindsWithNoAnswerIsRestartedAndTheReadGoesElsewhere(t *testing.T) {
	for name, cmd := range map[string]*command.Read{"a point read": pointRead, "a range read": rangeRead} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				h, c, target := w.live("a:1")
				w.told()
				c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return raw(bson.D{{Key: "ok", Value: 1}}), nil })
				rep := w.got(w.offered(target, 1, cmd)[0])
				var broken *messages.ProtocolError
				if !errors.As(rep.Err, &broken) || broken.Host != "a:1" || rep.Document != nil || rep.Documents != nil {
					t.Errorf("got %+v", rep)
				}
				if n := len(w.router.failed); n != 1 {
					t.Errorf("the router was asked for another host %d times", n)
				}
				w.is(h, Waiting)
				if got := w.told(); !slices.Equal(got, []string{"HostLost a:1", "HostRestarting a:1"}) {
					t.Errorf("told %v", got)
				}
			})
		})
	}
}

func TestAnAggregateThatIsAnsweredInAnUnknownWayRestartsNobody(t *testing.T) {
	inWorld(t, func(w *world) {
		h, c, target := w.live("a:1")
		c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return raw(bson.D{{Key: "ok", Value: 1}}), nil })
		if rep := w.got(w.offered(target, 1, heavyRead)[0]); !errors.Is(rep.Err, messages.ErrProtocol) {
			t.Errorf("got %+v", rep)
		}
		w.is(h, Live)
	})
}

func TestABatchOfAnotherCursorIsNotPassedOn(t *testing.T) {
	withSessions(t, func(w *world, s *sessions) {
		h, c, target := w.live("a:1")
		w.serving(c, s)
		cur := w.opened(h)
		for _, id := range []int64{cur.ID + 1, -cur.ID} {
			c.runs(func(context.Context, bson.Raw) (bson.Raw, error) { return reply(id), nil })
			rep := w.got(w.offered(target, 1, more(cur))[0])
			if !errors.Is(rep.Err, messages.ErrProtocol) && !errors.Is(rep.Err, messages.ErrCursorLost) || rep.Documents != nil || rep.Cursor != nil {
				t.Errorf("got %+v", rep)
			}
		}
		if n := s.open(); n != 0 {
			t.Errorf("%d sessions are left", n)
		}
	})
}

// The second one took the first one's place in the table: its owner got the other's documents, and
// whoever gave it back last found nothing there.
func TestACursorIsNotMixedUpWithOneOfTheSameNumber(t *testing.T) {
	withSessions(t, func(w *world, s *sessions) {
		h, c, target := w.live("a:1")
		w.serving(c, s)
		cur := w.opened(h)
		turn := make(chan struct{})
		c.runs(func(_ context.Context, cmd bson.Raw) (bson.Raw, error) {
			if first, _ := cmd.IndexErr(0); first.Key() == "getMore" {
				<-turn
			}
			return reply(cur.ID), nil
		})
		first := w.offered(target, 1, more(cur))[0]
		// An aggregate, since after a find the host would be restarted.
		second := w.got(w.offered(target, 1, heavyRead)[0])
		if !errors.Is(second.Err, messages.ErrProtocol) || second.Cursor != nil || second.Documents != nil {
			t.Errorf("the second one got %+v", second)
		}
		close(turn)
		synctest.Wait()
		if rep := w.got(first); rep == nil || rep.Err != nil || rep.Cursor == nil || *rep.Cursor != *cur {
			t.Errorf("the first one got %+v", rep)
		}
		if h.Stat().Cursors != 1 || s.open() != 1 {
			t.Errorf("%d cursors and %d sessions are open", h.Stat().Cursors, s.open())
		}
	})
}
