package slave

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// shelf is a server's collection, which finds documents by their _ids. While it is shut
// a find waits until it is let through.
type shelf struct {
	c    *fakeConn
	pass chan struct{}

	mu   sync.Mutex
	docs []bson.Raw             // mu
	most int                    // mu; documents that a reply holds at most; 0 for any number, -1 for none to several _ids
	same func(a, b any) bool    // mu; which _ids it takes for one
	bad  func(ids []any) error  // mu; why it refuses a find, nil for not at all
	hung func(ids []any) bool   // mu; which finds it never answers
	open bool                   // mu
	sent [][]any                // mu; the _ids of each find so far
	cmds []bson.Raw             // mu; those finds
	kill int                    // mu; cursors that were closed
	then func(n int, ids []any) // mu; called when it has answered the nth find
}

// shelve makes a connection's server a shelf, which is shut.
func shelve(c *fakeConn, docs ...bson.D) *shelf {
	s := &shelf{c: c, pass: make(chan struct{}), same: func(a, b any) bool { return a == b }}
	for _, d := range docs {
		s.docs = append(s.docs, raw(d))
	}
	c.runs(s.run)
	return s
}

// set changes what the server does.
func (s *shelf) set(f func(*shelf)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// opens lets all that wait, and all to come, through.
func (s *shelf) opens() {
	s.set(func(s *shelf) { s.open = true })
	close(s.pass)
	synctest.Wait()
}

// lets n finds through, one after the other.
func (s *shelf) lets(n int) {
	for range n {
		s.pass <- struct{}{}
		synctest.Wait()
	}
}

// asked is the _ids of every find so far.
func (s *shelf) asked() [][]any {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([][]any(nil), s.sent...)
}

func (s *shelf) run(ctx context.Context, cmd bson.Raw) (bson.Raw, error) {
	if cmd.Index(0).Key() == "killCursors" {
		s.set(func(s *shelf) { s.kill++ })
		return raw(bson.D{{Key: "ok", Value: 1}}), nil
	}
	if err := cmd.Validate(); err != nil {
		return nil, fmt.Errorf("the server ends the connection: %w", err)
	}
	ids := idsOf(cmd)
	s.mu.Lock()
	s.sent, s.cmds = append(s.sent, ids), append(s.cmds, cmd)
	n, hung, open := len(s.sent), s.hung != nil && s.hung(ids), s.open
	s.mu.Unlock()
	if hung {
		return nil, hang(ctx)
	}
	if !open {
		select {
		case <-s.pass:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	defer func() {
		s.mu.Lock()
		then := s.then
		s.mu.Unlock()
		if then != nil {
			then(n, ids)
		}
	}()
	s.mu.Lock()
	bad := s.bad
	s.mu.Unlock()
	if bad != nil {
		if err := bad(ids); err != nil {
			return nil, err
		}
	}
	return s.answer(cmd, ids), nil
}

// answer is the reply to a find.
func (s *shelf) answer(cmd bson.Raw, ids []any) bson.Raw {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch, left := bson.A{}, false
	for _, d := range s.docs {
		for _, id := range ids {
			if !s.same(idOf(d), id) {
				continue
			}
			left = s.most > 0 && len(batch) == s.most || s.most < 0 && len(ids) > 1
			if !left {
				batch = append(batch, d)
			}
			break
		}
	}
	var cursor int64
	if size, ok := cmd.Lookup("batchSize").AsInt64OK(); left || ok && int64(len(batch)) >= size {
		cursor = 77
	}
	return raw(bson.D{
		{Key: "cursor", Value: bson.D{{Key: "firstBatch", Value: batch}, {Key: "id", Value: cursor}, {Key: "ns", Value: "game.players"}}},
		{Key: "ok", Value: 1}, {Key: "operationTime", Value: bson.Timestamp{T: 9}},
	})
}

// idsOf is what a find asks for.
func idsOf(cmd bson.Raw) (ids []any) {
	v := cmd.Lookup("filter", "_id")
	in, ok := bson.RawValue{}, false
	if d, is := v.DocumentOK(); is {
		var err error
		in, err = d.LookupErr("$in")
		ok = err == nil
	}
	if !ok {
		return []any{plain(v)}
	}
	values, err := in.Array().Values()
	if err != nil {
		panic(err)
	}
	for _, v := range values {
		ids = append(ids, plain(v))
	}
	return ids
}

func idOf(doc bson.Raw) any { return plain(doc.Lookup("_id")) }

// plain is a value that Go compares; all numbers are one type.
func plain(v bson.RawValue) any {
	if f, ok := v.AsFloat64OK(); ok {
		return f
	}
	if s, ok := v.StringValueOK(); ok {
		return s
	}
	return v.String()
}

// fold is how a collation compares that makes no difference between capitals and others.
func fold(a, b any) bool { return strings.EqualFold(fmt.Sprint(a), fmt.Sprint(b)) }

// byID is a FindOne by _id.
func byID(id any, opts ...*options.FindOneOptionsBuilder) *command.Read {
	return byIDIn("players", id, opts...)
}

func byIDIn(coll string, id any, opts ...*options.FindOneOptionsBuilder) *command.Read {
	op := messages.FindOne{Filter: bson.D{{Key: "_id", Value: id}}}
	for _, o := range opts {
		op.Options = append(op.Options, o)
	}
	cmd, err := (&command.Encoder{}).Read(&messages.Read{Database: "game", Collection: coll, Operation: op})
	if err != nil {
		panic(err)
	}
	return cmd
}

// numbered is documents {_id: 0…n-1, n: the same}.
func numbered(n int) (docs []bson.D) {
	for i := range n {
		docs = append(docs, bson.D{{Key: "_id", Value: i}, {Key: "n", Value: i}})
	}
	return docs
}

// busy is a host of one worker for point reads, and one for those that may wait for a cluster time; the former has one to do already: the reads that
// follow wait, until the shelf lets that one through.
func (w *world) busy(docs ...bson.D) (*Host, *shelf, *service) {
	w.t.Helper()
	w.cfg.PointWorkers, w.cfg.AfterWorkers = 1, 1
	h, c, target := w.live("a:1")
	s := shelve(c, docs...)
	if err := offer(target, ask(byIDIn("others", -1))); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	return h, s, target.(*service)
}

// asks gives reads of those _ids to a host.
func (w *world) asks(to *service, ids ...any) (reads []*asked) {
	w.t.Helper()
	for _, id := range ids {
		reads = append(reads, ask(byID(id)))
	}
	if err := offer(to, reads...); err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	return reads
}

// finds checks that a read was answered with the document of that _id, or for nil that
// there is none.
func (w *world) finds(r *asked, id any) {
	w.t.Helper()
	rep := w.got(r)
	switch {
	case rep == nil:
		w.t.Errorf("the read of %v has no answer, want %v", r.Cmd.ID, id)
	case id == nil && (rep.Err != mongo.ErrNoDocuments || rep.Document != nil):
		w.t.Errorf("the read of %v got %v, %v; want none", r.Cmd.ID, rep.Document, rep.Err)
	case id != nil && (rep.Err != nil || rep.Document.Lookup("_id").String() != bsonValue(id).String()):
		w.t.Errorf("the read of %v got %v, %v; want %v", r.Cmd.ID, rep.Document, rep.Err, id)
	}
}

func bsonValue(v any) bson.RawValue { return raw(bson.D{{Key: "v", Value: v}}).Lookup("v") }

// settled checks that a host has nothing left of its reads.
func (w *world) settled(h *Host, s *service) {
	w.t.Helper()
	synctest.Wait()
	if n := s.load.Pending(); n != 0 {
		w.t.Errorf("%d reads count as pending", n)
	}
	if st := h.Stat(); st.Queued != 0 || st.Active != 0 {
		w.t.Errorf("%d reads are queued and %d workers at work", st.Queued, st.Active)
	}
	s.health.mu.Lock()
	flying := s.health.flying
	s.health.mu.Unlock()
	if flying != 0 || len(s.flying) != 0 {
		w.t.Errorf("%d commands are on the wire for the health, %d for an evacuation", flying, len(s.flying))
	}
	if len(s.point.queue.open) != 0 || len(s.point.queue.jobs) != 0 || s.point.queue.reads != 0 {
		w.t.Errorf("the queue still has %d jobs, %d of them open, and %d reads", len(s.point.queue.jobs), len(s.point.queue.open), s.point.queue.reads)
	}
}

// askThen makes a read whose receiver does something once it has its reply.
func askThen(cmd *command.Read, then func(*messages.ReadReply)) *asked {
	a := &asked{}
	now := time.Now()
	a.Read = request.NewRead(&messages.Read{}, cmd, now, now.Add(5*time.Second), func(rep *messages.ReadReply) {
		a.mu.Lock()
		a.replies = append(a.replies, rep)
		a.mu.Unlock()
		then(rep)
	})
	a.AttemptDeadline = a.Deadline
	a.OnDeadline(func() { a.Fail(&messages.DeadlineError{Phase: "sent"}) })
	return a
}
