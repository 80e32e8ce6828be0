package evenkeel_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// readTally counts reads and why they failed. That one fails is no violation: all
// hosts may be down.
type readTally struct {
	mu      sync.Mutex
	served  int
	failure map[string]int
}

func (r *readTally) count(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.served++
		return
	}
	if r.failure == nil {
		r.failure = map[string]int{}
	}
	r.failure[sortOf(err)]++
}

func (r *readTally) total() int { return r.served + r.failed() }

func (r *readTally) failed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, k := range r.failure {
		n += k
	}
	return n
}

func (r *readTally) reasons() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.failure)
}

// sortOf is a short name for an error.
func sortOf(err error) string {
	for _, s := range []error{
		messages.ErrStopped, messages.ErrNoLiveHost, messages.ErrCursorLost, messages.ErrOverloaded, messages.ErrDeadline, messages.ErrNotLive,
		messages.ErrNoPrimary, messages.ErrWrongHost, messages.ErrPanicked, messages.ErrInvalid,
	} {
		if errors.Is(err, s) {
			return s.Error()[len("evenkeel: "):]
		}
	}
	var ce mongo.CommandError
	if errors.As(err, &ce) {
		return fmt.Sprintf("code %d", ce.Code)
	}
	return fmt.Sprintf("%T", err)
}

// read judges and counts a read's failure, and says whether it has failed.
func (x *storm) failed(p *party, err error) bool {
	x.reads.count(err)
	x.keepsSecret(p, err)
	if errors.Is(err, messages.ErrPanicked) || errors.Is(err, messages.ErrInvalid) {
		x.violate("error", "%q got %v", p.name, err)
	}
	if errors.Is(err, messages.ErrStopped) && !p.Stat().Stopping {
		x.violate("error", "%q, which runs, says %v", p.name, err)
	}
	return err != nil
}

func (x *storm) point(id int) *messages.Read {
	return &messages.Read{
		Database: x.c.db, Collection: "players", Operation: messages.FindOne{Filter: bson.D{{Key: "_id", Value: id}}},
		Deadline: time.Now().Add(100*time.Millisecond + rand.N(3*time.Second)),
	}
}

// mustBe says what is wrong with the document of a player.
func (x *storm) mustBe(p *party, id int, doc bson.Raw) {
	var got struct {
		ID    int `bson:"_id"`
		Owner string
		Level int
	}
	if err := bson.Unmarshal(doc, &got); err != nil || got.ID != id || got.Owner != secretOwner || got.Level != id {
		x.violate("document", "%q asked for %d and got %v (%v)", p.name, id, doc, err)
	}
}

// readPoints sends reads in bursts, so that they share round trips.
func (x *storm) readPoints(p *party) {
	free := make(chan struct{}, 64)
	x.paced(p, 20*time.Millisecond, func() {
		for range 10 {
			select {
			case free <- struct{}{}:
			default:
				return // Enough are on their way.
			}
			id := rand.IntN(players)
			m := x.point(id)
			m.From = messages.From(rand.IntN(int(messages.FromPrimaryPreferred) + 1))
			x.send(p, m, func(reply any) {
				if rep := reply.(*messages.ReadReply); !x.failed(p, rep.Err) {
					x.mustBe(p, id, rep.Document)
				}
				<-free
			})
		}
	})
	for range cap(free) { // All have been answered.
		free <- struct{}{}
	}
}

// readOnePoint calls a Collection.
func (x *storm) readOnePoint(p *party) {
	coll := p.Collection(x.c.db, "players")
	x.paced(p, 8*time.Millisecond, func() {
		id := rand.IntN(players)
		deadline := time.Now().Add(100*time.Millisecond + rand.N(3*time.Second))
		due := x.due(deadline)
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		res := coll.FindOne(ctx, bson.D{{Key: "_id", Value: id}})
		x.onTime(p, due, res.Err())
		if !x.failed(p, res.Err()) {
			doc, _ := res.Raw()
			x.mustBe(p, id, doc)
		}
	})
}

// readRanges reads through cursors, counts, and gathers distinct values.
func (x *storm) readRanges(p *party) {
	coll := p.Collection(x.c.db, "players")
	x.paced(p, 25*time.Millisecond, func() {
		from := rand.IntN(players)
		filter := bson.D{{Key: "level", Value: bson.D{{Key: "$gte", Value: from}}}, {Key: "owner", Value: secretOwner}}
		switch rand.IntN(6) {
		case 0:
			n, err := coll.CountDocuments(context.Background(), filter)
			if !x.failed(p, err) && n != int64(players-from) {
				x.violate("document", "%q counted %d from %d on", p.name, n, from)
			}
		case 1:
			var levels []int
			err := coll.Distinct(context.Background(), "level", filter).Decode(&levels)
			if !x.failed(p, err) && len(levels) != players-from {
				x.violate("document", "%q found %d levels from %d on", p.name, len(levels), from)
			}
		case 2:
			x.askForRange(p, from, filter)
		default:
			cur, err := coll.Find(context.Background(), filter, options.Find().SetBatchSize(int32(2+rand.IntN(40))).SetSort(bson.D{{Key: "_id", Value: 1}}))
			if x.failed(p, err) {
				return
			}
			next := from
			for cur.Next(context.Background()) {
				x.mustBe(p, next, cur.Current)
				next++
			}
			if !x.failed(p, cur.Err()) && next != players {
				x.violate("document", "%q came to the end of a cursor after %d", p.name, next-1)
			}
			_ = cur.Close(context.Background())
		}
	})
}

// askForRange does by messages what a cursor does, and now and then gives it up.
func (x *storm) askForRange(p *party, from int, filter bson.D) {
	ask := func(op messages.ReadOperation) *messages.ReadReply {
		return askFor[*messages.ReadReply](x, p, &messages.Read{
			Database: x.c.db, Collection: "players", Operation: op, Deadline: time.Now().Add(2*time.Second + rand.N(4*time.Second)),
		})
	}
	rep := ask(messages.Find{Filter: filter, Options: []options.Lister[options.FindOptions]{
		options.Find().SetBatchSize(5).SetSort(bson.D{{Key: "_id", Value: 1}}),
	}})
	for next := from; !x.failed(p, rep.Err); {
		for _, doc := range rep.Documents {
			x.mustBe(p, next, doc)
			next++
		}
		switch {
		case rep.Cursor == nil && next != players:
			x.violate("document", "%q came to the end of a cursor after %d", p.name, next-1)
			return
		case rep.Cursor == nil:
			return
		case rand.IntN(10) == 0:
			_ = ask(messages.CloseCursor{Cursor: rep.Cursor})
			return
		}
		rep = ask(messages.GetMore{Cursor: rep.Cursor, BatchSize: 7})
	}
}

// count is a document of sessions.
type count struct {
	ID string `bson:"_id"`
	N  int
}

// keepSession writes numbers in a session and reads them in it: what it has had
// acknowledged, and what it has seen, it must see again.
func (x *storm) keepSession(p *party, k int) {
	s := p.Session()
	coll := s.Collection(x.c.db, "sessions")
	id := fmt.Sprintf("session %d", k)
	sent, acked, seen, neighbour := 0, 0, 0, 0
	token := messages.Token{}
	look := func(id string) (int, bool) {
		var doc count
		err := coll.FindOne(context.Background(), bson.D{{Key: "_id", Value: id}}).Decode(&doc)
		if t := s.Token(); t.Before(token) {
			x.violate("session", "%q: a session's token went from %v to %v", p.name, token.OperationTime, t.OperationTime)
		} else {
			token = t
		}
		if errors.Is(err, mongo.ErrNoDocuments) {
			return 0, true
		}
		return doc.N, !x.failed(p, err)
	}
	x.paced(p, 15*time.Millisecond, func() {
		if rand.IntN(3) == 0 {
			sent++
			_, err := coll.UpdateOne(context.Background(), bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: sent}}}},
				options.UpdateOne().SetUpsert(true))
			if err == nil {
				acked = sent
			}
		}
		if n, ok := look(id); ok {
			if n < acked || n < seen || n > sent {
				x.violate("session", "%q: %s read %d, having written up to %d, of which %d were acknowledged, and read %d", p.name, id, n, sent, acked, seen)
			}
			seen = max(seen, n)
		}
		if n, ok := look(fmt.Sprintf("session %d", 1-k)); ok {
			if n < neighbour {
				x.violate("session", "%q: %s read its neighbour's %d after %d", p.name, id, n, neighbour)
			}
			neighbour = max(neighbour, n)
		}
	})
}

// passTokens writes by messages, and reads with the write's token, anywhere.
func (x *storm) passTokens(p *party) {
	n := 0
	x.paced(p, 20*time.Millisecond, func() {
		n++
		w := &messages.Write{
			Database: x.c.db, Collection: "sessions", Key: "tokens", Deadline: time.Now().Add(5 * time.Second),
			Operation: messages.UpdateOne{
				Filter: bson.D{{Key: "_id", Value: "tokens"}}, Update: bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: n}}}},
				Options: []options.Lister[options.UpdateOneOptions]{options.UpdateOne().SetUpsert(true)},
			},
		}
		written := askFor[*messages.WriteReply](x, p, w)
		if written.Outcome != messages.Applied {
			return
		}
		if written.Token.IsZero() {
			x.violate("session", "%q: an applied write has no token", p.name)
			return
		}
		rep := askFor[*messages.ReadReply](x, p, &messages.Read{
			Database: x.c.db, Collection: "sessions", Operation: messages.FindOne{Filter: bson.D{{Key: "_id", Value: "tokens"}}},
			After: signed(written.Token), From: messages.FromAll, Deadline: time.Now().Add(2 * time.Second),
		})
		if x.failed(p, rep.Err) {
			if errors.Is(rep.Err, mongo.ErrNoDocuments) {
				x.violate("session", "%q: a read after the token of a write found nothing", p.name)
			}
			return
		}
		var doc count
		if err := bson.Unmarshal(rep.Document, &doc); err != nil || doc.N < n {
			x.violate("session", "%q: a read after the token of write %d read %d (%v)", p.name, n, doc.N, err)
		}
		if rep.Token.Before(written.Token) {
			x.violate("session", "%q: a read after %v has the token %v", p.name, written.Token.OperationTime, rep.Token.OperationTime)
		}
	})
}
