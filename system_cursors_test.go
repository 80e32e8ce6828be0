package evenkeel_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/app"
	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

func TestACursorsBatchesTogetherMayTakeLongerThanAReadMay(t *testing.T) {
	t.Parallel()
	c := anySet(t, replset.Options{})
	c.seed(t, "us")
	const limit, batch, each = 5 * time.Second, 5, 300 * time.Millisecond
	filter := bson.D{}
	if c.set != nil {
		for _, m := range c.set.Members() {
			m.Slow("getMore", each)
		}
	} else {
		filter = bson.D{{Key: "$where", Value: fmt.Sprintf("sleep(%d); return true", each.Milliseconds()/batch)}}
		unsupported(t, c.coll(t, "none").FindOne(soon(t), filter).Err())
	}
	g := c.play(t, app.Config{ReadTimeout: limit})
	g.ready(t)
	coll := g.Collection(c.db, "players")
	all := bson.A{bson.D{{Key: "$match", Value: filter}}}
	// The contexts have no deadline: each call has ReadTimeout.
	ctx := context.Background()
	var wg sync.WaitGroup
	for name, open := range map[string]func() (*app.Cursor, error){
		"find":      func() (*app.Cursor, error) { return coll.Find(ctx, filter, options.Find().SetBatchSize(batch)) },
		"aggregate": func() (*app.Cursor, error) { return coll.Aggregate(ctx, all, options.Aggregate().SetBatchSize(batch)) },
	} {
		wg.Go(func() {
			cur, err := open()
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			defer cur.Close(ctx)
			n := 0
			for cur.Next(ctx) {
				n++
			}
			if err := cur.Err(); err != nil || n != players {
				t.Errorf("%s: %d of %d documents came: %v", name, n, players, err)
			}
		})
	}
	wg.Wait()
}

func TestAnOpenCursorGoesOnAtASecondaryThatHasFallenBehind(t *testing.T) {
	t.Parallel()
	c := ownSet(t, "a secondary that lags", primaryFirst(3))
	c.seed(t, "us")
	g := c.play(t, app.Config{URI: c.only(0, 1), MaxLag: time.Second})
	g.steady(t, 2)
	coll := g.Collection(c.db, "players")
	open := func() *app.Cursor {
		cur, err := coll.Find(soon(t), bson.D{}, options.Find().SetBatchSize(15))
		if err != nil {
			t.Fatal(err)
		}
		return cur
	}
	read, closed := open(), open()
	c.writing(t)
	mark := g.events.mark()
	c.set.Member(1).Lag(time.Minute)
	await(t, g.events, mark, of[messages.HostEjected](c.host(1)))
	var all []bson.D
	if err := read.All(soon(t), &all); err != nil || len(all) != players {
		t.Errorf("%d of %d documents came: %v", len(all), players, err)
	}
	if err := closed.Close(soon(t)); err != nil || g.sent("killCursors") != 1 {
		t.Errorf("%d cursors are closed: %v", g.sent("killCursors"), err)
	}
}
