package slave

import (
	"context"
	"errors"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/evenkeel/evenkeel/internal/command"
	"github.com/evenkeel/evenkeel/internal/mongoconn"
	"github.com/evenkeel/evenkeel/internal/request"
	"github.com/evenkeel/evenkeel/messages"
)

// ask puts a read on the wire and reads its reply into res.
func (s *service) ask(ctx context.Context, r *request.Read, res *result) (err error) {
	cmd, rep := r.Cmd, res.rep
	if cmd.Cursor != nil {
		return s.askPinned(ctx, cmd, rep)
	}
	// A cursor must be continued under the session that opened it.
	sess, err := s.session(cmd.Kind == command.KindBatch, r.After)
	if err != nil {
		return err
	}
	defer func() { endSession(sess) }()
	raw, err := s.run(ctx, cmd, r.After, sess)
	if err != nil {
		return err
	}
	id, err := s.parse(cmd, raw, rep)
	if err != nil || id == 0 {
		return err
	}
	if rep.Cursor, err = s.cursors.add(id, cmd, sess); err != nil {
		*rep = messages.ReadReply{Host: rep.Host, Attempts: rep.Attempts}
		if !errors.Is(err, messages.ErrProtocol) { // That one is somebody else's.
			res.orphan = &orphan{cmd.Database, namespace(cmd), id, sess, false}
			sess = nil
		}
		return err
	}
	sess = nil // The cursor's from here on; it is held until it is delivered.
	return nil
}

// askAll puts several point reads on the wire as one, and gives each what it asked for. An
// error is that of all of them.
func (s *service) askAll(ctx context.Context, reads []*request.Read, results []result) error {
	cmds := make([]*command.Read, len(reads))
	for i, r := range reads {
		cmds[i] = r.Cmd
	}
	after := reads[0].After // Their operation times are equal, and so any of the cluster times will do.
	batch := command.NewBatch(cmds)
	sess, err := s.session(false, after)
	if err != nil {
		return eachAlone(results, err)
	}
	defer endSession(sess)
	s.host.batches.Add(1)
	s.host.batched.Add(int64(len(reads)))
	raw, err := s.run(ctx, batch.Read, after, sess)
	if err != nil {
		return eachAlone(results, err)
	}
	var whole messages.ReadReply
	id, err := s.parse(batch.Read, raw, &whole)
	if err != nil {
		return err
	}
	if id != 0 { // The reply has all that one reply can hold.
		s.kill(batch.Read.Database, batch.Read.Collection, id, sess)
	}
	found, strange, text := batch.Match(whole.Documents)
	for i := range results {
		rep := results[i].rep
		rep.Document, rep.Token = found[i], whole.Token
		switch {
		case found[i] != nil:
		case strange || id != 0 && len(whole.Documents) == 0:
			results[i].again = alone
		case id != 0 || text && batch.HasText(i):
			results[i].again = together
		default:
			rep.Err = mongo.ErrNoDocuments
		}
	}
	return nil
}

// eachAlone lets the reads of a batch be asked one by one after an error that may be the fault
// of one of them, and returns any other.
func eachAlone(results []result, err error) error {
	if unanswered(err) || mongoconn.OtherHostMayServe(err) {
		return err
	}
	for i := range results {
		results[i].again = alone
	}
	return nil
}

// session starts a session where there is a need for one, and otherwise returns nil:
// a session is also how the driver is told a cluster time.
func (s *service) session(needed bool, after messages.Token) (*mongo.Session, error) {
	if !needed && after.IsZero() {
		return nil, nil
	}
	sess, err := s.conn.StartSession()
	if err != nil {
		return nil, err
	}
	if len(after.ClusterTime) > 0 {
		if err := sess.AdvanceClusterTime(after.ClusterTime); err != nil {
			endSession(sess)
			return nil, &messages.InvalidError{Field: "After", Err: err}
		}
	}
	return sess, nil
}

// run sends a read with the concern it is to have.
func (s *service) run(ctx context.Context, cmd *command.Read, after messages.Token, sess *mongo.Session) (bson.Raw, error) {
	concern := command.Concern{Level: s.host.cfg.ReadConcern, After: after.OperationTime}
	send := s.conn.Run
	if cmd.LeavesCursor() {
		send = s.conn.RunCursor
	}
	return send(ctx, cmd.Database, cmd.Wire(concern, 0), sess)
}

// parse reads a reply. What the protocol does not say is a *messages.ProtocolError.
func (s *service) parse(cmd *command.Read, raw bson.Raw, rep *messages.ReadReply) (cursorID int64, err error) {
	if cursorID, err = cmd.Parse(raw, rep); err != nil {
		// What was read of it goes to nobody.
		*rep = messages.ReadReply{Host: rep.Host, Attempts: rep.Attempts}
		return cursorID, &messages.ProtocolError{Host: s.host.name, Reason: err.Error()}
	}
	s.load.Replied(rep.Token.OperationTime)
	return cursorID, nil
}

// probe runs a read, or a ping for none, whose reply nobody waits for.
func (s *service) probe(ctx context.Context, cmd *command.Read) error {
	if cmd == nil {
		return s.conn.Ping(ctx)
	}
	sess, err := s.session(cmd.Kind == command.KindBatch, messages.Token{})
	if err != nil {
		return err
	}
	defer endSession(sess)
	raw, err := s.run(ctx, cmd, messages.Token{}, sess)
	if err != nil {
		return err
	}
	id, err := s.parse(cmd, raw, new(messages.ReadReply))
	if err == nil && id != 0 {
		s.kill(cmd.Database, namespace(cmd), id, sess)
	}
	return err
}

// endSession gives a session, nil for none, back to the client. There is no transaction
// to abort, so that it does not wait.
func endSession(sess *mongo.Session) {
	if sess != nil {
		sess.EndSession(context.Background())
	}
}
