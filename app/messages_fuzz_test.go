package app_test

import (
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/evenkeel/evenkeel/messages"
	"github.com/evenkeel/evenkeel/replset"
)

// What a game may put where a document is wanted.
type (
	panics  struct{ A int }
	refuses struct{ A int }
)

func (panics) MarshalBSON() ([]byte, error)  { panic("a marshaler of the game's") }
func (refuses) MarshalBSON() ([]byte, error) { return nil, errors.New("a marshaler of the game's") }

// strange makes anything of a fuzz input: a document, or what is none.
func strange(kind byte, raw []byte) any {
	elements := binary.LittleEndian.AppendUint32(nil, uint32(len(raw)+5))
	whole := append(append(elements, raw...), 0)
	switch kind % 20 {
	case 0:
		return bson.Raw(raw)
	case 1:
		return bson.Raw(whole)
	case 2:
		return raw
	case 3:
		return bson.D{{Key: "_id", Value: bson.Raw(whole)}}
	case 4:
		return bson.D{{Key: "_id", Value: bson.RawValue{Type: bson.Type(kind), Value: raw}}}
	case 5:
		return bson.M{"$set": bson.M{string(raw): kind}}
	case 6:
		return nil
	case 7:
		return make(chan int)
	case 8:
		return func() {}
	case 9:
		return panics{}
	case 10:
		return &refuses{}
	case 11:
		return (*panics)(nil)
	case 12:
		return deepIn(int(kind) * 4)
	case 13:
		return []any{bson.Raw(whole), nil, int(kind), string(raw)}
	case 14:
		return bson.A{bson.D{{Key: "$match", Value: bson.Raw(whole)}}, bson.D{{Key: "$out", Value: "x"}}}
	case 15:
		return bson.RawArray(whole)
	case 16:
		return bson.D{{Key: "_id", Value: math.NaN()}, {Key: "_id", Value: bson.Regex{Pattern: string(raw)}}}
	case 17:
		return bson.D{{Key: "$set", Value: bson.D{{Key: "a", Value: bson.Raw(whole)}}}}
	case 18:
		return map[int]string{1: string(raw)}
	}
	return bson.D{{Key: "_id", Value: int(kind)}, {Key: "a", Value: string(raw)}}
}

func deepIn(n int) any {
	var v any = 1
	for range n {
		v = bson.D{{Key: "a", Value: v}}
	}
	return v
}

// commands are the names that a fuzzed Command may have: others would stop the server, or have it fail.
var commands = []string{
	"find", "ping", "insert", "update", "delete", "aggregate", "count", "distinct", "findAndModify", "create", "drop", "hello", "getMore", "killCursors", "endSessions",
	"commitTransaction", "abortTransaction", "explain", "listCollections", "dbStats", "mapReduce", "whatever", "$x", "", "bulkWrite", "createIndexes",
}

func aCommand(kind byte, v any) any {
	d := bson.D{{Key: commands[int(kind)%len(commands)], Value: "c"}}
	if kind%3 == 0 {
		return append(d, bson.E{Key: "filter", Value: v}, bson.E{Key: "documents", Value: bson.A{v}}, bson.E{Key: "maxTimeMS", Value: int(kind) - 2})
	}
	if doc, ok := v.(bson.Raw); ok {
		if elements, err := doc.Elements(); err == nil {
			for _, e := range elements {
				d = append(d, bson.E{Key: e.Key(), Value: e.Value()})
			}
		}
	}
	return d
}

func aRead(kind, with byte, v any, name string) messages.ReadOperation {
	limit := int64(int8(with))
	cursor := &messages.Cursor{Host: name, ID: limit, Database: name, Collection: name, Incarnation: uint64(with)}
	switch kind % 14 {
	case 0:
		return messages.FindOne{Filter: v}
	case 1:
		return messages.FindOne{Filter: bson.D{}, Options: []options.Lister[options.FindOneOptions]{nil, options.FindOne().SetSort(v).SetProjection(v).SetSkip(limit)}}
	case 2:
		return messages.Find{Filter: v, Options: []options.Lister[options.FindOptions]{options.Find().SetLimit(limit).SetSkip(limit).SetBatchSize(int32(limit)).SetHint(v)}}
	case 3:
		return messages.Find{Filter: bson.D{}, Options: []options.Lister[options.FindOptions]{options.Find().SetMin(v).SetMax(v).SetLet(v).SetComment(v).SetCursorType(options.CursorType(limit)).SetCollation(&options.Collation{Locale: name, Strength: int(limit)})}}
	case 4:
		return messages.Count{Filter: v, Options: []options.Lister[options.CountOptions]{options.Count().SetLimit(limit).SetSkip(-limit)}}
	case 5:
		return messages.EstimatedCount{Options: []options.Lister[options.EstimatedDocumentCountOptions]{nil, options.EstimatedDocumentCount().SetComment(v)}}
	case 6:
		return messages.Distinct{Field: name, Filter: v}
	case 7:
		return messages.Aggregate{Pipeline: v, Options: []options.Lister[options.AggregateOptions]{options.Aggregate().SetBatchSize(int32(limit)).SetLet(v)}}
	case 8:
		return messages.GetMore{Cursor: cursor, BatchSize: int32(limit), MaxAwaitTime: time.Duration(limit), Comment: v}
	case 9:
		return messages.CloseCursor{Cursor: cursor}
	case 10:
		return []messages.ReadOperation{messages.GetMore{}, messages.CloseCursor{}, messages.Command{}, messages.Aggregate{}, messages.Distinct{}, nil}[int(with)%6]
	case 11:
		return []messages.ReadOperation{&messages.FindOne{}, (*messages.FindOne)(nil), (*messages.Command)(nil), &messages.Command{}}[int(with)%4]
	case 12:
		return messages.Command{Document: v}
	}
	return messages.Command{Document: aCommand(with, v)}
}

func aWrite(kind, with byte, v, u any) messages.WriteOperation {
	upsert := with%2 == 0
	switch kind % 14 {
	case 0:
		return messages.InsertOne{Document: v, Options: []options.Lister[options.InsertOneOptions]{nil, options.InsertOne().SetComment(u)}}
	case 1:
		return messages.InsertMany{Documents: v, Options: []options.Lister[options.InsertManyOptions]{options.InsertMany().SetOrdered(upsert)}}
	case 2:
		return messages.InsertMany{Documents: []any{v, u}}
	case 3:
		return messages.UpdateOne{Filter: v, Update: u, Options: []options.Lister[options.UpdateOneOptions]{options.UpdateOne().SetUpsert(upsert).SetArrayFilters([]any{v}).SetHint(u)}}
	case 4:
		return messages.UpdateOne{Filter: v, Update: u}
	case 5:
		return messages.UpdateMany{Filter: v, Update: u, Options: []options.Lister[options.UpdateManyOptions]{nil, options.UpdateMany().SetUpsert(upsert)}}
	case 6:
		return messages.ReplaceOne{Filter: v, Replacement: u, Options: []options.Lister[options.ReplaceOptions]{options.Replace().SetUpsert(upsert).SetSort(v)}}
	case 7:
		return messages.DeleteOne{Filter: v, Options: []options.Lister[options.DeleteOneOptions]{options.DeleteOne().SetLet(u).SetCollation(&options.Collation{})}}
	case 8:
		return messages.DeleteMany{Filter: v}
	case 9:
		return messages.FindOneAndUpdate{Filter: v, Update: u, Options: []options.Lister[options.FindOneAndUpdateOptions]{options.FindOneAndUpdate().SetReturnDocument(options.ReturnDocument(int8(with))).SetProjection(v)}}
	case 10:
		return messages.FindOneAndReplace{Filter: v, Replacement: u}
	case 11:
		return messages.FindOneAndDelete{Filter: v, Options: []options.Lister[options.FindOneAndDeleteOptions]{nil, options.FindOneAndDelete().SetSort(u)}}
	case 12:
		return []messages.WriteOperation{nil, &messages.InsertOne{}, (*messages.DeleteMany)(nil), messages.Command{}, messages.Command{Document: v}}[int(with)%5]
	}
	return messages.Command{Document: aCommand(with, v)}
}

// concern draws a write concern; satisfied says that the set can do what it asks for.
func concern(with byte) (wc *writeconcern.WriteConcern, satisfied bool) {
	journal := with%2 == 0
	switch with % 16 {
	case 0:
		return &writeconcern.WriteConcern{}, true
	case 1:
		return &writeconcern.WriteConcern{W: 0}, true
	case 2:
		return &writeconcern.WriteConcern{W: -1, Journal: &journal}, true
	case 3:
		return &writeconcern.WriteConcern{W: 2}, false
	case 4:
		return &writeconcern.WriteConcern{W: "a tag"}, false
	case 5:
		return &writeconcern.WriteConcern{W: 1.5}, true
	case 6:
		return &writeconcern.WriteConcern{W: []int{1}}, true
	case 7:
		return &writeconcern.WriteConcern{W: 1, Journal: &journal}, true
	}
	return nil, true
}

// forbidden says that a raw document is a command that changes the server itself.
func forbidden(v any) bool {
	raw, _ := v.(bson.Raw)
	if b, ok := v.([]byte); ok {
		raw = b
	}
	elements, err := raw.Elements()
	if err != nil || len(elements) == 0 {
		return false
	}
	first := strings.ToLower(elements[0].Key())
	for _, bad := range []string{"shutdown", "replset", "configurefailpoint", "kill", "setparameter", "fsync"} {
		if strings.HasPrefix(first, bad) {
			return true
		}
	}
	return false
}

// asked is a message that is on its way.
type asked struct {
	replies chan any
	n       atomic.Int32
}

// FuzzMessages sends whatever an actor may send, to an app with one host. Each message gets one reply, which
// says what is wrong, and no actor is any the worse.
func FuzzMessages(f *testing.F) {
	set, err := replset.Start(replset.Options{Members: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(set.Stop)
	a := start(f, set)
	var twice atomic.Int64
	self := a.System().Root.Spawn(actor.PropsFromFunc(func(ctx actor.Context) {
		var q *asked
		switch rep := ctx.Message().(type) {
		case *messages.ReadReply:
			q, _ = rep.Correlation.(*asked)
		case *messages.WriteReply:
			q, _ = rep.Correlation.(*asked)
		default:
			return
		}
		if q.n.Add(1) > 1 {
			twice.Add(1)
			return
		}
		q.replies <- ctx.Message()
	}))
	for kind := range 14 {
		for v := range 20 {
			f.Add(byte(kind), byte(v), byte(v+3), "game", "c", []byte("\x10a\x00\x01\x00\x00\x00"))
			f.Add(byte(kind), byte(v), byte(8+12*(v%4)), "game", "c", []byte("\x10a\x00\x01\x00\x00\x00"))
		}
	}
	f.Add(byte(0), byte(1), byte(255), "", "a$b", []byte("\x02$where\x00\x02\x00\x00\x00x\x00"))
	f.Add(byte(12), byte(1), byte(8), "admin", "", []byte("\x02find\x00\x02\x00\x00\x00c\x00\x10maxTimeMS\x00\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, kind, what, with byte, db, coll string, raw []byte) {
		if len(raw) > 1<<14 || len(db)+len(coll) > 1000 {
			t.Skip("long ones are slow, and no other")
		}
		v := strange(what, raw)
		if forbidden(v) {
			t.Skip("it changes the server itself")
		}
		ask := func(to *actor.PID, m any, q *asked) any {
			q.replies = make(chan any, 1)
			a.System().Root.RequestWithCustomSender(to, m, self)
			select {
			case rep := <-q.replies:
				return rep
			case <-time.After(patience):
				t.Fatalf("no reply to %T", m)
				return nil
			}
		}

		q := new(asked)
		read := &messages.Read{Database: db, Collection: coll, Operation: aRead(kind, with, v, coll), Correlation: q, Deadline: time.Now().Add(patience / 2)}
		hurried := true
		switch with % 12 {
		case 0:
			read.From = messages.From(what)
		case 1:
			read.Tags = []messages.TagSet{{db: coll}, nil}
		case 2:
			read.After = messages.Token{ClusterTime: raw, OperationTime: bson.Timestamp{T: uint32(what) << 24}}
		case 3:
			read.Deadline = time.Time{}.Add(time.Duration(what))
		default:
			hurried = false
		}
		if hurried && with%12 != 3 {
			read.Deadline = time.Now().Add(5 * time.Millisecond)
		}
		rep := ask(a.Router(), read, q).(*messages.ReadReply)
		if !clear(rep.Err, what, hurried) {
			t.Errorf("%T of %T: %T: %v", read.Operation, v, rep.Err, rep.Err)
		}
		for _, d := range append(rep.Documents, rep.Document) {
			if d != nil && d.Validate() != nil {
				t.Errorf("%T of %T: it is answered with % x", read.Operation, v, []byte(d))
			}
		}

		q = new(asked)
		wc, satisfied := concern(with)
		write := &messages.Write{
			Database: db, Collection: coll, Operation: aWrite(kind, with, v, strange(what/20+with, raw)), WriteConcern: wc, Correlation: q,
			ErrorsOnly: with%5 == 0, Key: coll, Deadline: time.Now().Add(patience / 2),
		}
		if with%7 == 0 {
			write.Verify = v
		}
		wrote := ask(a.Master(), write, q).(*messages.WriteReply)
		ok := wrote.Err == nil || errors.Is(wrote.Err, mongo.ErrNoDocuments)
		switch {
		case ok != (wrote.Outcome == messages.Applied), wrote.Outcome == messages.Unknown && satisfied && !manyAtOnce(write.Operation), wrote.Outcome == messages.Partial && !manyAtOnce(write.Operation):
			t.Errorf("%T of %T: %v: %T: %v", write.Operation, v, wrote.Outcome, wrote.Err, wrote.Err)
		case wrote.Outcome != messages.Unknown && !clear(wrote.Err, what, false) && !clear(wrote.Err, what/20+with, false):
			t.Errorf("%T of %T: %T: %v", write.Operation, v, wrote.Err, wrote.Err)
		}
		if st := a.Stat(); st.Restarts != 0 || twice.Load() != 0 {
			t.Fatalf("%d actors were restarted, and %d messages answered twice: %v", st.Restarts, twice.Load(), a.Dump(t.Output()))
		}
	})
}

// manyAtOnce says that a write may stop in the middle, and that nobody can say where.
func manyAtOnce(op messages.WriteOperation) bool {
	switch op.(type) {
	case messages.InsertMany, messages.UpdateMany, messages.DeleteMany:
		return true
	}
	return false
}

// clear says that an error is one that tells its asker what to do.
func clear(err error, what byte, hurried bool) bool {
	var command mongo.CommandError
	var write mongo.WriteException
	var bulk mongo.BulkWriteException
	switch {
	case err == nil, errors.Is(err, messages.ErrInvalid), errors.Is(err, messages.ErrNotARead), errors.Is(err, mongo.ErrNoDocuments), errors.Is(err, messages.ErrCursorLost):
		return true
	case errors.As(err, &command), errors.As(err, &write), errors.As(err, &bulk):
		return true
	case hurried && (errors.Is(err, messages.ErrDeadline) || errors.Is(err, messages.ErrNoLiveHost)):
		return true
	}
	return (what%20 == 9 || what%20 == 11) && errors.Is(err, messages.ErrPanicked)
}
