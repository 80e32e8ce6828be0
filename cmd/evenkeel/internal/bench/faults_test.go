package bench

import (
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
)

func TestTheGapIsTheLongestTimeWithoutAnAcknowledgement(t *testing.T) {
	start := time.Now()
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	g := newGap(start)
	g.done(at(0), at(10), nil)
	g.done(at(0), at(60), nil)
	g.done(at(0), at(40), nil) // Told late: no gap ends with it.
	g.done(at(0), at(65), errors.New("refused"))
	g.done(at(0), at(95), nil)
	out := g.outcome("x", at(100))
	if out.values["x"] != 50 || out.errors != 1 || out.err == nil {
		t.Errorf("%+v", out)
	}
	// One that has not ended counts as long as it has lasted.
	if out := g.outcome("x", at(395)); out.values["x"] != 300 {
		t.Errorf("%+v", out)
	}
}

func TestOnlyWritesOfTheTimeAfterSayThatTheFaultIsSurvived(t *testing.T) {
	start := time.Now()
	g := newGap(start)
	for range 2 * gapAfter {
		g.done(start, start, nil)
	}
	g.mark(start)
	for range 2 * gapAfter { // They were held meanwhile.
		g.done(start, start.Add(time.Second), nil)
	}
	select {
	case <-g.enough:
		t.Error("no write was meant to come after the fault")
	default:
	}
	for range gapAfter {
		g.done(start.Add(1), start.Add(time.Second), nil)
	}
	<-g.enough
}

func TestAMemberHasItsShareOnlyOverAWholeWindow(t *testing.T) {
	w := &window{}
	look := func(a, b int64) bool { return w.has("a", 2, map[string]int64{"a": a, "b": b}) }
	for i := range shareWindow - 1 {
		if look(10, 10) {
			t.Fatalf("after %d looks", i+1)
		}
	}
	if !look(10, 10) {
		t.Error("after the whole window it has not")
	}
	w = &window{}
	for range shareWindow {
		if look(4, 6) {
			t.Error("8/10 of its share are too few")
		}
	}
	for range shareWindow / 2 {
		look(5, 5)
	}
	if !look(5, 5) { // 46 of 100
		t.Error("9/10 of its share are enough")
	}
	if w = (&window{}); w.has("a", 2, nil) {
		t.Error("without any reads")
	}
}

func TestSharesCountReadsAndNotCommands(t *testing.T) {
	s := newShares()
	answer := func(name, connection string, docs ...any) {
		reply, err := bson.Marshal(bson.D{{Key: "cursor", Value: bson.D{{Key: "firstBatch", Value: bson.A(docs)}}}})
		if err != nil {
			t.Fatal(err)
		}
		s.monitor().Succeeded(t.Context(), &event.CommandSucceededEvent{
			Reply: reply, CommandFinishedEvent: event.CommandFinishedEvent{CommandName: name, ConnectionID: connection},
		})
	}
	doc := bson.D{{Key: "_id", Value: 1}}
	answer("find", "127.0.0.1:1[-7]", doc)
	answer("find", "127.0.0.1:1[-12]", doc, doc, doc)
	answer("find", "[::1]:2[-7]", doc)
	answer("hello", "[::1]:2[-7]", doc)
	if got := s.take(); got["127.0.0.1:1"] != 4 || got["[::1]:2"] != 1 || len(got) != 2 {
		t.Errorf("%v", got)
	}
	if got := s.take(); len(got) != 0 {
		t.Errorf("taken twice: %v", got)
	}
}
