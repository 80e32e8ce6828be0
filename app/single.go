package app

import "go.mongodb.org/mongo-driver/v2/bson"

// SingleResult is the document that a read, a FindOneAnd… or a command returned, with
// the methods of mongo.SingleResult. The driver can make one of those from a document too,
// but not without copying it four times, and knows nothing of BSON options then.
type SingleResult struct {
	// Acknowledged is as in mongo.SingleResult: a FindOneAnd… or a command was acknowledged.
	Acknowledged bool

	doc   bson.Raw // nil with an error, but for that of a command's statements
	err   error
	codec *codec
}

// Err is the error of the operation, mongo.ErrNoDocuments when it found none.
func (r *SingleResult) Err() error { return r.err }

// Raw returns the document as it came, or the operation's error. Both where a command's reply holds write errors.
func (r *SingleResult) Raw() (bson.Raw, error) { return r.doc, r.err }

// Decode decodes the document into v. It returns the operation's error, if there was
// one.
func (r *SingleResult) Decode(v any) error {
	if r.err != nil {
		return r.err
	}
	return r.codec.decode(r.doc, v)
}

// acknowledged makes the result of a command.
func (a *App) acknowledged(doc bson.Raw, err error) *SingleResult {
	r := a.single(doc, err)
	r.Acknowledged = err == nil || doc != nil
	return r
}

// single makes the result of a document, or of an error.
func (a *App) single(doc bson.Raw, err error) *SingleResult {
	return &SingleResult{doc: doc, err: err, codec: a.codec}
}
