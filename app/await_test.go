package app

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// tail is a source whose server has a document now and then.
type tail struct {
	replies []*messages.ReadReply // one for each getMore; after the last there is nothing
	asked   []messages.GetMore
	closed  int
	busy    error // what close returns
}

var tailing = &messages.Cursor{Host: "a:1", ID: 7}

func (s *tail) more(ctx context.Context, op messages.GetMore, patience time.Duration) (*messages.ReadReply, error) {
	s.asked = append(s.asked, op)
	if n := len(s.asked); n <= len(s.replies) {
		return s.replies[n-1], s.replies[n-1].Err
	}
	select {
	case <-time.After(patience):
		return &messages.ReadReply{Cursor: tailing}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *tail) close(context.Context, *messages.Cursor) error {
	s.closed++
	return s.busy
}

func batch(n int) *messages.ReadReply {
	rep := &messages.ReadReply{Cursor: tailing}
	for range n {
		rep.Documents = append(rep.Documents, bson.Raw{5, 0, 0, 0, 0})
	}
	return rep
}

func TestNextWaitsForADocumentThroughEmptyBatches(t *testing.T) {
	s := &tail{replies: []*messages.ReadReply{batch(0), batch(0), batch(1)}}
	c := &Cursor{source: s, rest: tailing, codec: &codec{}, fresh: true}
	if !c.Next(t.Context()) || len(s.asked) != 3 || c.Current == nil {
		t.Errorf("after %d getMores: %v", len(s.asked), c.Err())
	}
}

func TestTryNextAsksOnceAndMayBeCalledAgain(t *testing.T) {
	s := &tail{replies: []*messages.ReadReply{batch(0), batch(2)}}
	c := &Cursor{source: s, rest: tailing, codec: &codec{}}
	got := []bool{c.TryNext(t.Context()), c.TryNext(t.Context()), c.TryNext(t.Context())}
	if got[0] || !got[1] || !got[2] || len(s.asked) != 2 || c.Err() != nil || c.ID() != 7 {
		t.Errorf("%v after %d getMores: %v", got, len(s.asked), c.Err())
	}
}

func TestAnAwaitingCursorLeavesTheServerLessThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tail{}
		c := &Cursor{source: s, rest: tailing}
		c.SetMaxAwaitTime(time.Second + time.Microsecond)
		c.SetBatchSize(-5)
		c.SetComment("why")
		if c.TryNext(context.Background()) || c.Err() != nil {
			t.Fatal(c.Err())
		}
		if op := s.asked[0]; op.MaxAwaitTime != time.Second || op.BatchSize != 0 || op.Comment != "why" {
			t.Errorf("asked %+v", op)
		}
		short, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		if c.TryNext(short) || c.Err() != nil {
			t.Fatal(c.Err())
		}
		if got := s.asked[1].MaxAwaitTime; got != 90*time.Millisecond {
			t.Errorf("with 100 ms left the server may wait %v", got)
		}
		tight, cancel2 := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel2()
		if c.Next(tight) || !errors.Is(c.Err(), messages.ErrInvalid) || len(s.asked) != 2 {
			t.Errorf("Next with less time than MaxAwaitTime: %v", c.Err())
		}
	})
}

func TestNextWithAContextThatIsOverIsNoMistakeOfTheCursors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tail{}
		c := &Cursor{source: s, rest: tailing, batch: batch(1).Documents}
		c.SetMaxAwaitTime(time.Second)
		over, cancel := context.WithTimeout(context.Background(), time.Millisecond)
		defer cancel()
		<-over.Done()
		if !c.Next(over) {
			t.Fatalf("what is there already was withheld: %v", c.Err())
		}
		if c.Next(over) || !errors.Is(c.Err(), context.DeadlineExceeded) || errors.Is(c.Err(), messages.ErrInvalid) {
			t.Errorf("ended with %v", c.Err())
		}
	})
}

func TestAllOfATailingCursorEndsWhereTheServerHasNoMore(t *testing.T) {
	s := &tail{replies: []*messages.ReadReply{batch(2), batch(0), batch(1)}}
	c := &Cursor{source: s, rest: tailing, codec: &codec{}, batch: batch(1).Documents, tailable: true}
	var docs []bson.D
	if err := c.All(t.Context(), &docs); err != nil || len(docs) != 3 || len(s.asked) != 2 || s.closed != 1 {
		t.Errorf("%d documents after %d getMores, closed %d times: %v", len(docs), len(s.asked), s.closed, err)
	}
}

func TestACursorsCommentIsEncodedAsEverythingElse(t *testing.T) {
	type reason struct {
		Why string `json:"because"`
	}
	c := &codec{options: &options.BSONOptions{UseJSONStructTags: true}}
	got, err := c.freeze(reason{"test"})
	if v, ok := got.(bson.RawValue); err != nil || !ok || v.Document().Lookup("because").StringValue() != "test" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestNextEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &tail{}
		c := &Cursor{source: s, rest: tailing}
		c.SetMaxAwaitTime(time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 2500*time.Millisecond)
		defer cancel()
		began := time.Now()
		if c.Next(ctx) || !errors.Is(c.Err(), context.DeadlineExceeded) || time.Since(began) < 2400*time.Millisecond || len(s.asked) > 8 {
			t.Errorf("after %v and %d getMores: %v", time.Since(began), len(s.asked), c.Err())
		}
	})
}

func TestCloseMayBeRepeatedAfterAnOverload(t *testing.T) {
	s := &tail{busy: messages.ErrOverloaded}
	c := &Cursor{source: s, rest: tailing}
	if err := c.Close(t.Context()); !errors.Is(err, messages.ErrOverloaded) || c.ID() != 7 {
		t.Errorf("refused: %v, ID %d", err, c.ID())
	}
	s.busy = nil
	first, second := c.Close(t.Context()), c.Close(t.Context())
	if first != nil || second != nil || s.closed != 2 || c.ID() != 0 {
		t.Errorf("closed %d times, ID %d", s.closed, c.ID())
	}
}

func TestReturnedCountsWhatCameBeforeTheLoss(t *testing.T) {
	s := &tail{replies: []*messages.ReadReply{batch(3), batch(4), {Err: &messages.CursorLostError{Host: "a:1"}}}}
	c := &Cursor{source: s, codec: &codec{}}
	c.take(batch(2))
	var docs []bson.D
	err := c.All(t.Context(), &docs)
	var lost *messages.CursorLostError
	if !errors.As(err, &lost) || lost.Returned != 9 || s.closed != 0 {
		t.Errorf("%+v, %v, closed %d times", lost, err, s.closed)
	}
}
