package slave

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// ask puts a read on the wire and reads its reply into rep.
func (s *service) ask(ctx context.Context, r *request.Read, rep *messages.ReadReply) (err error) {
	cmd := r.Cmd
	if cmd.Cursor != nil {
		return s.askPinned(ctx, cmd, rep)
	}
	var sess *mongo.Session
	if cmd.Kind == command.KindBatch || !r.After.IsZero() {
		// A cursor must be continued under the session that opened it, and a session
		// is how the driver is told a cluster time.
		if sess, err = s.conn.StartSession(); err != nil {
			return err
		}
		defer func() { endSession(sess) }()
		if len(r.After.ClusterTime) > 0 {
			if err := sess.AdvanceClusterTime(r.After.ClusterTime); err != nil {
				return &messages.InvalidError{Field: "After", Err: err}
			}
		}
	}
	concern := command.Concern{Level: s.host.cfg.ReadConcern, After: r.After.OperationTime}
	raw, err := s.conn.Run(ctx, cmd.Database, cmd.Wire(concern, 0), sess)
	if err != nil {
		return err
	}
	id, err := cmd.Parse(raw, rep)
	if err != nil || id == 0 {
		return err
	}
	if rep.Cursor, err = s.cursors.add(id, cmd, sess); err != nil {
		s.kill(cmd.Database, namespace(cmd), id, sess)
		return err
	}
	sess = nil // The cursor's from here on; it is held until it is delivered.
	return nil
}

// probe runs a read, or a ping for none, whose reply nobody waits for.
func (s *service) probe(ctx context.Context, cmd *command.Read) error {
	if cmd == nil {
		return s.conn.Ping(ctx)
	}
	var sess *mongo.Session
	if cmd.Kind == command.KindBatch {
		var err error
		if sess, err = s.conn.StartSession(); err != nil {
			return err
		}
		defer endSession(sess)
	}
	raw, err := s.conn.Run(ctx, cmd.Database, cmd.Wire(command.Concern{Level: s.host.cfg.ReadConcern}, 0), sess)
	if err != nil {
		return err
	}
	if id, err := cmd.Parse(raw, new(messages.ReadReply)); err == nil && id != 0 {
		s.kill(cmd.Database, namespace(cmd), id, sess)
	}
	return nil
}

// endSession gives a session, nil for none, back to the client. There is no transaction
// to abort, so that it does not wait.
func endSession(sess *mongo.Session) {
	if sess != nil {
		sess.EndSession(context.Background())
	}
}
