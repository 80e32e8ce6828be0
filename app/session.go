package app

import (
	"sync"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/evenkeel/evenkeel/messages"
)

// Session orders reads behind what came before them in the same session: they see
// its own acknowledged writes, and never less than its earlier reads saw, whichever
// members answer. Such a read waits, within its deadline, until its member has got that
// far.
//
// It is not the server's session: it needs no end, costs a few words, and there may
// be one for each player. Its methods, and those of its handles, are safe for
// concurrent use; operations that overlap are in no order. What holds past a rollback
// are majority writes (the default), and reads with readConcernLevel=majority in the
// URI. Of commands (Database.RunCommand) only find, aggregate, count and distinct wait, unless
// they have a readConcern of their own.
type Session struct {
	app *App

	mu    sync.Mutex
	token messages.Token // mu
}

// Session returns a new session, which has seen nothing yet.
func (a *App) Session() *Session { return &Session{app: a} }

// Database returns a handle to a database whose operations belong to the session.
func (s *Session) Database(name string) *Database {
	return &Database{scope{app: s.app, session: s, db: name}}
}

// Collection returns a handle to a collection whose operations belong to the session.
func (s *Session) Collection(db, name string, opts ...options.Lister[options.CollectionOptions]) *Collection {
	return s.Database(db).Collection(name, opts...)
}

// Token stands for the newest that the session has seen or done. Another
// session, in this process or in another, that is advanced by it sees no less.
func (s *Session) Token() messages.Token {
	if s == nil {
		return messages.Token{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.token
}

// Advance makes later reads of the session see no less than token stands for:
// one of another session, or of a ReadReply or WriteReply. One that is older than the
// session's own changes nothing. It must be from the same replica set; the set
// refuses reads after one that it has not signed.
func (s *Session) Advance(token messages.Token) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.token.Before(token) {
		s.token = token
	}
}
