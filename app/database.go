package app

import (
	"context"
	"errors"
	"reflect"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"

	"github.com/evenkeel/evenkeel/messages"
)

// Database is a handle to a database. It is cheap to make, holds no connection, and
// is safe for concurrent use.
type Database struct{ scope }

// scope is what all that is asked through one handle has in common.
type scope struct {
	app     *App
	session *Session // nil for none
	db      string
	from    messages.From
	tags    []messages.TagSet
	noBatch bool
}

// Database returns a handle to a database.
func (a *App) Database(name string) *Database {
	return &Database{scope{app: a, db: name}}
}

// Collection returns a handle to a collection of a database; see Database.Collection
// for its options.
func (a *App) Collection(db, name string, opts ...options.Lister[options.CollectionOptions]) *Collection {
	return a.Database(db).Collection(name, opts...)
}

// RunCommand sends a command that only reads; see Database.RunCommand.
func (a *App) RunCommand(ctx context.Context, db string, cmd any) *SingleResult {
	return a.Database(db).RunCommand(ctx, cmd)
}

// RunWriteCommand sends a command through the ordered queue of writes; see
// Database.RunWriteCommand.
func (a *App) RunWriteCommand(ctx context.Context, db string, cmd any) *SingleResult {
	return a.Database(db).RunWriteCommand(ctx, cmd)
}

// Name is the database's name.
func (d *Database) Name() string { return d.db }

// Collection returns a handle to a collection. Of the driver's options it takes
// the write concern, and the read preference (as Collection.From and Tags). The others
// are the app's (Config.URI, Config.ClientOptions): with one of them, every operation of
// the handle fails with a *messages.InvalidError that names it.
func (d *Database) Collection(name string, opts ...options.Lister[options.CollectionOptions]) *Collection {
	c := &Collection{scope: d.scope, parent: d, name: name}
	o, err := resolve(opts)
	if err != nil {
		c.err = err
		return c
	}
	c.concern = o.WriteConcern
	refuse := func(field, why string) {
		c.err = &messages.InvalidError{Field: "CollectionOptions." + field, Err: errors.New(why)}
	}
	switch {
	case o.ReadConcern != nil:
		refuse("ReadConcern", "it is one for the whole app; write readConcernLevel= in Config.URI")
	case o.Registry != nil:
		refuse("Registry", "it is one for the whole app; set it in Config.ClientOptions")
	case o.BSONOptions != nil:
		refuse("BSONOptions", "they are one set for the whole app; set them in Config.ClientOptions")
	case o.ReadPreference != nil:
		c.err = c.prefer("CollectionOptions.ReadPreference", o.ReadPreference)
	}
	return c
}

// prefer takes an option's read preference.
func (s *scope) prefer(field string, rp *readpref.ReadPref) error {
	p, err := handlePreference(field, rp)
	s.from, s.tags = p.from, p.tags
	return err
}

// RunCommand sends a command that only reads, such as collStats or dbStats, to one
// of the members that reads go to, or to one that the option ReadPreference allows. The
// command is a document that keeps its order (bson.D, bson.Raw, a struct), and is
// sent once. A command that may write is refused with messages.ErrNotARead: see
// RunWriteCommand.
//
// In a Session a find, aggregate, count or distinct waits for what the session has seen,
// unless it has a readConcern of its own. Other commands have no place to say that, and
// do not wait.
func (d *Database) RunCommand(ctx context.Context, cmd any, opts ...options.Lister[options.RunCmdOptions]) *SingleResult {
	s := d.scope
	o, err := resolve(opts)
	if err == nil && o.ReadPreference != nil {
		err = s.prefer("RunCmdOptions.ReadPreference", o.ReadPreference)
	}
	if err != nil {
		return d.app.single(nil, err)
	}
	rep, err := s.read(ctx, s.asking("", messages.Command{Document: cmd}))
	if err != nil {
		return d.app.single(nil, err)
	}
	return d.app.acknowledged(rep.Document, nil)
}

// RunWriteCommand sends any other command, such as createIndexes or an aggregate
// with $out, to the primary, in the order of the app's writes and without others in
// its company. It is sent at most once, with the write concern that it says itself. As
// with the driver, a reply with ok: 0 is an error, and so are write errors inside an ok
// reply, beside which Raw returns the document. OutcomeOf tells what is known of the command: Partial, where its numbers
// say that some of it was done, and Unknown, where it may have been.
func (d *Database) RunWriteCommand(ctx context.Context, cmd any) *SingleResult {
	rep, err := d.write(ctx, &messages.Write{Database: d.db, Operation: messages.Command{Document: cmd}})
	return d.app.acknowledged(rep.Document, err)
}

// asking makes a read of this scope.
func (s *scope) asking(collection string, op messages.ReadOperation) *messages.Read {
	return &messages.Read{
		Database: s.db, Collection: collection, Operation: op, From: s.from, Tags: s.tags, After: s.session.Token(), NoBatch: s.noBatch,
	}
}

// read asks the router. The reply is nil when nothing was asked.
func (s *scope) read(ctx context.Context, m *messages.Read) (*messages.ReadReply, error) {
	rep, err := s.app.read(ctx, m)
	if rep != nil {
		s.session.Advance(rep.Token)
	}
	return rep, err
}

// write asks the master, and gives the error from which OutcomeOf reads the
// outcome.
func (s *scope) write(ctx context.Context, m *messages.Write) (*messages.WriteReply, error) {
	rep, _ := s.app.write(ctx, m)
	s.session.Advance(rep.Token)
	return rep, told(rep)
}

// resolve applies the setters of all listers, the later over the earlier.
func resolve[T any](listers []options.Lister[T]) (*T, error) {
	o := new(T)
	for _, l := range listers {
		if v := reflect.ValueOf(l); l == nil || v.Kind() == reflect.Pointer && v.IsNil() {
			continue
		}
		for _, set := range l.List() {
			if set == nil {
				continue
			}
			if err := set(o); err != nil {
				return nil, &messages.InvalidError{Field: "Options", Err: err}
			}
		}
	}
	return o, nil
}
